"""`winseed field-report`: bundles of invented runs, and what they settle.

EVERY LOG HERE IS INVENTED. None was written by Windows; lines of our own scripts are as the
templates have them, lines of Setup are made up. They show that rules work, not that beliefs hold.
"""

import base64
import io
import json
import string
import zipfile

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from builder.errors import ExitCode
from builder.field.evidence import SourceFile, Sources, clean
from builder.field.scrub import Name, Scrubber
from builder.field.tables import Finding, LogFact, ValueFact, kept_values, load_tables, values_at
from builder.plan.beliefs import beliefs
from tests.command import ROOT, process, winseed

ID = "0123456789ab"
MANIFEST = {
    "version": 1,
    "winseed": "0.1.0",
    "fingerprint": ID,
    "host": "DC01",
    "plan": {
        "host": "dc01",
        "image": {"kind": "ImageByName", "name": "x"},
        "key": {"kind": "GivenKey", "key": "***"},
        "membership": {"kind": "Workgroup", "name": "SECRETCLUB"},
        "dns_suffixes": ["corp.contoso-berlin.de"],
        "owner": "Erika Mustermann",
        "accounts": [{"name": "svc-backup"}],
        "nics": [{"mac": "BC:24:11:FD:6B:AB", "model": "virtio", "addresses": ["10.7.8.9/24"]}],
        "disk": {"bus": "scsi", "guard": True},
        "drivers": {
            "source": "carried",
            "os": "2k22",
            "deliveries": ["driver-paths", "drvload", "winpe-driver"],
        },
        "risks": [{"id": "FT09"}, {"id": "FT12"}, {"id": "FT13"}],
        "steps": [{"name": "agent", "kind": "own", "timeout": 900, "file": "agent.ps1"}],
    },
    "files": [{"path": "autounattend.xml", "size": 1, "sha256": None}],
}


def manifest(**drivers) -> dict:
    """The manifest with other values below `plan.drivers`."""
    plan = MANIFEST["plan"]
    return {**MANIFEST, "plan": {**plan, "drivers": {**plan["drivers"], **drivers}}}


def joined() -> dict:
    return {**MANIFEST, "plan": {**MANIFEST["plan"], "membership": {"kind": "OfflineJoin"}}}


JOURNAL = {
    "version": 1,
    "state": {
        "run": "r1", "kind": "deploy", "host": "dc01", "fingerprint": ID, "nonce": "abcdef",
        "node": "pve-keller", "vmid": 104, "created": True, "outcome": "kept", "powered": True,
        "failure": "dc01 on pve-keller stopped",
        "old": {"settings": [["cipassword", "Sommer2026!"]]},
    },
    "steps": {"begin": "done", "create": "done"},
}  # fmt: skip
PE = f"winseed: phase=winpe id={ID}\n"
SPECIALIZE = f"winseed: phase=specialize id={ID}\n"
LOADED = "winseed: drvload=vioscsi result=0\n"
ONE_DISK = "winseed: disks=1 waited=1\n"
NO_DISK = "winseed: disks=0 waited=30\n"
PASSED = "winseed: guard=passed\n"
FAILED = f"winseed: phase=failed id={ID}\n"
DONE = "winseed: phase=done ok=True failed=\n"
FOUND = (
    "2026-01-01 00:00:00, Info  Found usable unattend file for pass [windowsPE] at [{}:\\A.xml].\n"
)

# belief, what it is found to be, and the invented files of the run; dicts are documents
CASES: list[tuple[str, str, dict]] = [
    ("FT01", "confirmed", {"m.manifest.json": MANIFEST, "serial.txt": SPECIALIZE}),
    (
        "FT01",
        "refuted",
        {"m.manifest.json": MANIFEST, "setuperr.log": "Error: DriverPaths D:\\x (INVENTED)\n"},
    ),
    (
        "FT02",
        "confirmed",
        {
            "m.manifest.json": manifest(deliveries=["drvload"]),
            "serial.txt": PE + LOADED + SPECIALIZE,
        },
    ),
    (
        "FT02",
        "refuted",
        {"m.manifest.json": manifest(deliveries=["drvload"]), "serial.txt": PE + LOADED + FAILED},
    ),
    (
        "FT03",
        "confirmed",
        {"m.manifest.json": manifest(deliveries=["winpe-driver"]), "serial.txt": SPECIALIZE},
    ),
    ("FT03", "confirmed", {"setupact.log": "Info E:\\$WinPEDriver$\\vioscsi\\vioscsi.inf\n"}),
    (
        "FT03",
        "refuted",
        {"m.manifest.json": manifest(deliveries=["winpe-driver"]), "serial.txt": FAILED},
    ),
    ("FT04", "confirmed", {"m.manifest.json": MANIFEST, "winpe.log": ONE_DISK + PASSED}),
    ("FT04", "refuted", {"winpe.log": NO_DISK + PASSED}),
    ("FT04", "refuted", {"serial.txt": ONE_DISK + "winseed: guard=stopped reason=no-disk\n"}),
    ("FT05", "confirmed", {"setupact.log": "Info created the recovery partition (INVENTED)\n"}),
    ("FT06", "confirmed", {"m.manifest.json": MANIFEST, "specialize.log": SPECIALIZE}),
    ("FT06", "refuted", {"m.manifest.json": MANIFEST, "setuperr.log": "image selection failed\n"}),
    (
        "FT07",
        "confirmed",
        {"specialize.log": 'SUCCESS: The task "winseed-first-boot" (INVENTED)\n'},
    ),
    ("FT07", "refuted", {"specialize.log": "ERROR: The service is not running. (INVENTED)\n"}),
    ("FT09", "confirmed", {"m.manifest.json": MANIFEST, "first-boot.log": DONE}),
    (
        "FT09",
        "refuted",
        {"m.manifest.json": MANIFEST, "setuperr.log": "no ProductKey (INVENTED)\n"},
    ),
    (
        "FT10",
        "confirmed",
        {"m.manifest.json": manifest(os="2k8R2"), "serial.txt": LOADED + SPECIALIZE},
    ),
    (
        "FT10",
        "refuted",
        {"m.manifest.json": manifest(os="2k8R2"), "serial.txt": "winseed: drvload=a result=577\n"},
    ),
    ("FT11", "confirmed", {"m.manifest.json": manifest(source="virtio-cd"), "serial.txt": LOADED}),
    (
        "FT11",
        "refuted",
        {
            "m.manifest.json": manifest(source="virtio-cd"),
            "specialize.log": "winseed: copy=failed from=D:\\NetKVM\\2k22\\amd64\\*.*\n",
        },
    ),
    ("FT12", "confirmed", {"m.manifest.json": MANIFEST, "serial.txt": SPECIALIZE}),
    ("FT12", "refuted", {"m.manifest.json": MANIFEST, "setuperr.log": "offlineServicing failed\n"}),
    (
        "FT13",
        "confirmed",
        {"m.manifest.json": MANIFEST, "serial.txt": "winseed: step=settings ok=True result=0\n"},
    ),
    ("FT13", "refuted", {"settings.log": "update policy NoAutoUpdate is 1, expected 0\n"}),
    (
        "FT14",
        "confirmed",
        {"m.manifest.json": joined(), "setupact.log": "[DJOIN.EXE] Unattended Join: x succeeded\n"},
    ),
    (
        "FT14",
        "refuted",
        {"m.manifest.json": joined(), "setupact.log": "[DJOIN.EXE] Unattended Join: x failed\n"},
    ),
    ("FT15", "confirmed", {"serial.txt": PE}),
    ("FT15", "refuted", {"serial.txt": SPECIALIZE}),
    ("FT16", "confirmed", {"m.manifest.json": MANIFEST, "serial.txt": PASSED}),
    ("FT16", "refuted", {"serial.txt": "winseed: guard=stopped reason=diskpart-failed\n"}),
    (
        "FT16",
        "refuted",
        {
            "journal.json": JOURNAL,
            "serial.txt": "winseed: guard=stopped reason=disk-has-partitions\n",
        },
    ),
    ("FT18", "refuted", {"scrub.log": "could not remove C:\\Windows\\Panther\\unattend.xml\n"}),
    ("FT19", "refuted", {"settings.log": "Set-SConfig: no parameter AllUsers (INVENTED)\n"}),
    ("FT20", "confirmed", {"m.manifest.json": MANIFEST, "data-disks.log": "D: disk 1, NTFS, x\n"}),
    ("FT21", "confirmed", {"setupact.log": FOUND.format("E")}),
    ("FT21", "refuted", {"setupact.log": FOUND.format("K")}),
    (
        "FT23",
        "confirmed",
        {
            "m.manifest.json": manifest(source="virtio-cd"),
            "first-boot.log": "winseed: step=agent ok=True result=0\n",
        },
    ),
    (
        "FT23",
        "refuted",
        {
            "m.manifest.json": manifest(source="virtio-cd"),
            "specialize.log": "winseed: copy=failed from=D:\\guest-agent\\qemu-ga-x86_64.msi\n",
        },
    ),
]


def write_run(folder, files: dict) -> list:
    """The files of an invented run."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name).write_text(text, encoding="utf-8")
    return sorted(folder.iterdir())


def bundled(tmp_path, capsys, files: dict):
    target = tmp_path / "report.zip"
    done = winseed(capsys, "field-report", *write_run(tmp_path / "run", files), "-o", target)
    assert done.code == 0, done.err
    return target


def found(capsys, bundle) -> dict:
    done = winseed(capsys, "field-report", "--read", bundle, "--json")
    assert done.code == 0, done.err
    return {row["id"]: row for row in json.loads(done.out)["beliefs"]}


def texts(bundle) -> dict[str, str]:
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


# What a run settles


@pytest.mark.parametrize(("belief", "finding", "files"), CASES)
def test_invented_logs_of_both_kinds(tmp_path, capsys, belief, finding, files):
    row = found(capsys, bundled(tmp_path, capsys, files))[belief]
    assert row["finding"] == finding
    assert row["reasons"][0]["why"]
    assert row["reasons"][0]["seen"]


def test_every_rule_is_tried():
    tried = sorted((belief, finding) for belief, finding, _ in CASES)
    assert tried == sorted((rule.belief, rule.means.value) for rule in load_tables().rules)


@pytest.mark.parametrize(
    ("belief", "finding", "files"), [case for case in CASES if len(case[2]) > 1]
)
def test_half_of_the_evidence_settles_nothing(tmp_path, capsys, belief, finding, files):
    """A rule with several conditions needs them all."""
    for name in files:
        folder = tmp_path / name
        folder.mkdir()
        left = {key: value for key, value in files.items() if key != name}
        row = found(capsys, bundled(folder, capsys, left))[belief]
        assert row["finding"] != finding


def test_logs_without_evidence_settle_nothing(tmp_path, capsys):
    files = {"setupact.log": "Info nothing to see here\n", "serial.txt": "UEFI firmware\n"}
    rows = found(capsys, bundled(tmp_path, capsys, files))
    assert set(rows) == set(beliefs())
    assert {row["finding"] for row in rows.values()} == {"not seen"}


@pytest.mark.parametrize("belief", ["FT02", "FT03"])
def test_one_way_of_three_proves_nothing(tmp_path, capsys, belief):
    """Nobody can tell which of the ways brought the driver."""
    files = {"m.manifest.json": MANIFEST, "serial.txt": PE + LOADED + SPECIALIZE}
    assert found(capsys, bundled(tmp_path, capsys, files))[belief]["finding"] == "not seen"


def test_a_refutation_outweighs(tmp_path, capsys):
    """Both are told."""
    stopped = "winseed: guard=stopped reason=diskpart-failed\n"
    files = {"m.manifest.json": MANIFEST, "serial.txt": PASSED + stopped}
    row = found(capsys, bundled(tmp_path, capsys, files))["FT16"]
    assert row["finding"] == "refuted"
    assert {reason["finding"] for reason in row["reasons"]} == {"confirmed", "refuted"}


def test_every_belief_of_an_installation_has_a_rule_or_a_reason():
    tables = load_tables()
    judged = {rule.belief for rule in tables.rules} | set(tables.out_of_sight)
    assert judged <= set(beliefs())
    assert judged >= {f"FT{number:02}" for number in range(1, 25)}
    assert not {rule.belief for rule in tables.rules} & set(tables.out_of_sight)


def test_rules_name_facts_that_exist_and_facts_are_used():
    tables = load_tables()
    used = {name for rule in tables.rules for name in (*rule.every, *rule.none)}
    assert used == set(tables.facts)
    kinds = {kind.key: kind for kind in tables.kinds}
    for fact in tables.facts.values():
        if isinstance(fact, LogFact):
            assert all(kinds[key].text for key in fact.kinds)
        else:
            assert isinstance(fact, ValueFact)
            # what is judged must be among what is kept
            path = fact.path.removesuffix(".*")
            assert any(
                kept in {fact.path, path} or fact.path.startswith(f"{kept}.")
                for kept in kinds[fact.kind].keep
            ), fact
    assert all(rule.means is not Finding.NOT_SEEN for rule in tables.rules)


def test_our_own_lines_are_those_of_the_scripts():
    """What rules look for behind `winseed: ` is what a template says."""
    scripts = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "answer_templates" / "scripts").glob("*.j2")
    )
    for words in (
        "phase=winpe id=", "phase=specialize id=", "phase=failed id=", "phase=done ok=",
        "guard=passed", "reason=no-disk", "reason=disk-has-partitions", "reason=diskpart-failed",
        "reason=disk-not-readable", "drvload={{ package.driver }} result=", "disks=%DISKS% waited=",
        "copy=failed from=", "virtio_cd=missing", "update policy {0} is {1}, expected {2}",
        "step={0} ok={1} result=", "could not remove {0}", "Set-SConfig: {0}",
    ):  # fmt: skip
        assert words in scripts, words


def test_logs_of_another_build_are_told(tmp_path, capsys):
    files = {"m.manifest.json": MANIFEST, "serial.txt": "winseed: phase=winpe id=ffffffffffff\n"}
    bundle = bundled(tmp_path, capsys, files)
    done = winseed(capsys, "field-report", "--read", bundle)
    assert "ffffffffffff" in done.err
    assert "confirmed" in done.out


# What is in a bundle


def test_a_host_and_its_files(tmp_path):
    """As `winseed iso` and `deploy` leave them; other hosts' files and passwords stay out."""
    dist = tmp_path / "dist"
    password = "Tr0ub4dor&3 horse"
    write_run(dist, {
        "dc01-2022-core.manifest.json": MANIFEST, f"dc01-2022-core.{ID}.password": password,
        "dc010-2022-core.manifest.json": {"host": "other"}, "dc01-x-2022-core.manifest.json": {},
    })  # fmt: skip
    write_run(dist / "dc01", {"journal.json": JOURNAL, "serial.txt": PE, "screen.png": "x"})
    write_run(dist / "dc01" / "logs", {"setupact.log": f"said {password} twice: {password}\n"})
    done = process("field-report", "dc01", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert {row["path"] for row in told["files"]} == {
        "manifest.json", "journal.json", "logs/serial.log", "logs/setupact.log",
    }  # fmt: skip
    assert told["removed"]["secret"] == 2
    assert told["left_out"] == ["screen.png"]
    inside = texts(tmp_path / "field-report.zip")
    assert inside["logs/setupact.log"] == "said *** twice: ***\n"
    assert password not in "".join(inside.values())


PRIVATE = (
    "dc01", "SECRETCLUB", "contoso-berlin", "Mustermann", "svc-backup", "BC:24:11", "10.7.8.9",
    "pve-keller", "Sommer2026", "abcdef",
)  # fmt: skip


def test_documents_lose_what_is_private(tmp_path, capsys):
    log = (
        "join DC01.corp.contoso-berlin.de for CONTOSO\\svc-backup by Erika Mustermann at 10.7.8.9\n"
        "dc01 at BC:24:11:FD:6B:AB in SecretClub on pve-keller\n"
    )
    files = {"m.manifest.json": MANIFEST, "journal.json": JOURNAL, "setupact.log": log}
    inside = texts(bundled(tmp_path, capsys, files))
    everything = "\n".join(inside.values()).casefold()
    for word in PRIVATE:
        assert word.casefold() not in everything, word
    assert json.loads(inside["manifest.json"])["plan"]["drivers"]["os"] == "2k22"
    assert json.loads(inside["journal.json"])["steps"] == JOURNAL["steps"]
    second = inside["logs/setupact.log"].splitlines()[1]
    assert second.split()[0] in inside["journal.json"]  # the same stand-in everywhere


# A line, and the part of it that must not be seen
PLANTED = {
    "product key": ("key NPPR9-FWDCX-D2C8J-H872K-2YT43 set", "NPPR9"),
    "product key, small": ("key nppr9-fwdcx-d2c8j-h872k-2yt43 set", "fwdcx"),
    "product id": ("ProductId=00454-40000-00001-AA123", "00454"),
    "sid": ("user S-1-5-21-397955417-626881126-188441444-1010", "397955417"),
    "assignment": ("password = correct horse battery", "battery"),
    "json": ('{"dsrm_password": "correct horse"}', "horse"),
    "colon": ("Password: hunter22", "hunter22"),
    "longer word": ("SafeModeAdministratorPassword = hunter22", "hunter22"),
    "sentence": ("the new password is hunter22.", "hunter22"),
    "flag": ("djoin /machinepassword hunter22", "hunter22"),
    "flag p": ("runas /p hunter22", "hunter22"),
    "net user": ("net user bob hunter22 /add", "hunter22"),
    "xml": ("<AdministratorPassword><Value>aHVudGVyMjI=</Value>", "aHVudGVyMjI"),
    "product key element": ("<ProductKey>something</ProductKey>", "something"),
    "bearer": ("Authorization: Bearer abcdefghij.klm", "abcdefghij"),
    "api token": ("winseed@pve!token=0b1c-uuid sent", "0b1c"),
    "private key": (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----",
        "MIIE",
    ),
    "blob": ("blob " + base64.b64encode(bytes(range(60))).decode(), "AAECAwQF"),
    "mail": ("mail to erika@contoso.com now", "erika"),
    "url": ("WUServer http://wsus.intern:8530/x", "wsus"),
    "share": (r"copy \\fileserver\share\x", "fileserver"),
    "profile": (r"C:\Users\erika\AppData", "erika"),
    "default name": ("computer WIN-3N9QJ2KFB0A ready", "3N9QJ2KFB0A"),
    "pe name": ("computer MININT-1A2B3C4 ready", "1A2B3C4"),
    "domain": ("asked dc07.corp.contoso.local first", "contoso"),
    "ipv4": ("address 192.168.17.4/24", "192.168"),
    "ipv6": ("address fe80::a11:22ff:fe33:4455%12 ok", "fe80"),
    "mac": ("nic 00-15-5D-01-02-03 up", "5D-01"),
    "guid": ("disk {6f1b2c3d-0001-4aaa-8bbb-123456789abc}", "6f1b2c3d"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_removed_by_its_looks(tmp_path, capsys, what):
    line, secret = PLANTED[what]
    text = f"before\r\n2026-01-01 12:30:45, Info {line}\r\nafter\r\n"
    bundle = bundled(tmp_path, capsys, {"setupact.log": text})
    log = texts(bundle)["logs/setupact.log"]
    assert secret not in log
    assert log.startswith("before\n2026-01-01 12:30:45, Info ")
    assert log.endswith("after\n")
    assert json.loads(texts(bundle)["field-report.json"])["removed"]


KEPT = (
    "2026-11-21 12:30:45, Info  [0x0a013d] version 10.0.20348.1 of vioscsi.inf",
    r"X:\$WINDOWS.~BT\Sources\Panther\setupact.log",
    r"PCI\VEN_1AF4&DEV_1004&SUBSYS_00081AF4 at \\?\STORAGE and \\.\PHYSICALDRIVE0",
    "S-1-5-18 and S-1-5-32-544 run it; 127.0.0.1, mask 255.255.255.0",
    "Found usable unattend file for pass [windowsPE] at [E:\\Autounattend.xml].",
    "winseed: step=agent ok=True result=0 seconds=12",
    r"C:\Users\Default\NTUSER.DAT",
    "Error 0x80070490: boot\\etfsboot.com, driver 100.95.104.26200",
)


@pytest.mark.parametrize("line", KEPT)
def test_what_stays(line):
    names = [Name(sort="computer", text="setup"), Name(sort="computer", text="dc01")]
    scrubber = Scrubber(names=names, secrets=["12"], common=load_tables().common)
    assert scrubber.scrub(line) == line


# Known secrets, wherever they are

SECRETS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")),
    min_size=5,
    max_size=24,
).filter(lambda text: len(text.strip()) >= 5 and text == text.strip())
FORMS = {
    "plain": lambda secret: secret,
    "upper": lambda secret: secret.upper() if secret.isascii() else secret,
    "json": json.dumps,
    "answer file": lambda s: base64.b64encode(
        f"{s}AdministratorPassword".encode("utf-16-le")
    ).decode(),
    "account": lambda s: base64.b64encode(f"{s}Password".encode("utf-16-le")).decode(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "hex": lambda s: s.encode().hex(),
}


@given(
    secret=SECRETS,
    form=st.sampled_from(sorted(FORMS)),
    before=st.text(string.printable, max_size=20),
    after=st.text(string.printable, max_size=20),
    name=st.sampled_from(["setupact.log", "journal.json", "serial.txt", "done.json"]),
)
def test_no_planted_secret_is_in_a_bundle(secret, form, before, after, name):
    """In logs, in values and in keys of documents; if one would stay, nothing is made."""
    tables = load_tables()
    planted = FORMS[form](secret)
    kind = tables.kind_of(name)
    text = before + planted + after
    if not kind.text:
        state = {"failure": text, "next": planted, "tries": {planted: 1}, "nonce": planted}
        text = json.dumps({"version": 1, "state": state, "failed": [text], "id": planted})
    sources = Sources(
        files=(SourceFile(kind=kind, name=name, text=text),), left_out=(planted,), secrets=(secret,)
    )
    cleaned = clean(sources, tables)
    (file,) = cleaned.files
    assert planted not in file.text
    assert secret not in file.text
    if not kind.text:
        assert secret not in str(json.loads(file.text))
    assert planted not in cleaned.left_out[0]
    assert cleaned.removed["secret"] >= 1


@given(
    text=st.text(max_size=300),
    secrets=st.lists(SECRETS, max_size=2),
)
def test_any_text_is_scrubbed_and_stays_so(text, secrets):
    scrubber = Scrubber(names=[], secrets=secrets, common=frozenset())
    once = scrubber.scrub(text)
    assume(not any(secret in "{}computer-1***" for secret in secrets))
    assert not any(secret in once for secret in secrets)
    assert once.count("\n") <= text.count("\n") + text.count("\r")


def test_secret_files_and_the_environment(tmp_path):
    write_run(tmp_path / "run", {"setupact.log": "a Winter2026x b Herbst2026y c Fruehling26z\n"})
    (tmp_path / "more.txt").write_text("Herbst2026y\n")
    (tmp_path / "run" / "x.password").write_text("Fruehling26z\n")
    done = process(
        "field-report", "run", "--secret-file", "more.txt", cwd=tmp_path,
        env={"WINSEED_ADMIN_PASSWORD": "Winter2026x"},
    )  # fmt: skip
    assert done.code == 0, done.err
    assert texts(tmp_path / "field-report.zip")["logs/setupact.log"] == "a *** b *** c ***\n"


def test_logs_in_the_encodings_of_windows(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    line = "Info gr\u00fc\u00df dich S-1-5-21-1-2-3-500\r\n"
    (run / "setupact.log").write_bytes(line.encode("utf-16"))
    (run / "setuperr.log").write_bytes(line.encode("utf-16-le") * 5)
    (run / "serial.txt").write_bytes(line.encode("cp1252"))
    (run / "winpe.log").write_bytes(b"\xef\xbb\xbf" + line.encode())
    target = tmp_path / "out.zip"
    assert winseed(capsys, "field-report", run, "-o", target).code == 0
    inside = texts(target)
    wanted = "Info gr\u00fc\u00df dich {security-identifier-1}-500\n"
    for name in ("setupact", "serial", "winpe"):
        assert inside[f"logs/{name}.log"] == wanted, name
    assert inside["logs/setuperr.log"] == wanted * 5


def test_the_end_of_a_long_log(tmp_path, capsys, monkeypatch):
    """Without its first half line, which might hold half a secret."""
    monkeypatch.setattr("builder.field.evidence.LARGEST", 40)
    bundle = bundled(tmp_path, capsys, {"setupact.log": "x" * 80 + "hunter22\nlast line\n"})
    assert texts(bundle)["logs/setupact.log"] == "last line\n"
    assert json.loads(texts(bundle)["field-report.json"])["files"][0]["cut"] is True


# The zip


def test_the_same_files_give_the_same_bytes(tmp_path, capsys):
    files = {"m.manifest.json": MANIFEST, "setupact.log": FOUND.format("E"), "serial.txt": PE}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = bundled(tmp_path / "a", capsys, files)
    run, second = write_run(tmp_path / "b" / "run", files), tmp_path / "b.zip"
    assert winseed(capsys, "field-report", *reversed(run), "-o", second).code == 0
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_dry_run_writes_nothing(tmp_path, capsys):
    run = write_run(tmp_path / "run", {"serial.txt": PE})
    done = winseed(capsys, "field-report", *run, "-o", tmp_path / "x.zip", "--dry-run")
    assert done.code == 0
    assert "would hold" in done.out
    assert not (tmp_path / "x.zip").exists()


def test_calls_that_cannot_be(tmp_path):
    (tmp_path / "readme.txt").write_text("x")
    (tmp_path / "journal.json").write_text("{")
    for call, words in (
        ((), "name a host"),
        (("ghost",), "neither a file nor a host"),
        (("readme.txt",), "none of these files"),
        (("journal.json",), "no JSON"),
        (("missing/serial.txt",), "cannot read"),
        (("--read", "readme.txt"), "no field report"),
        (("--read", "missing.zip"), "cannot read"),
        (("--read", "x.zip", "host"), "nothing else"),
        (("readme.txt", "--secret-file", "none"), "cannot read"),
    ):
        done = process("field-report", *call, cwd=tmp_path)
        assert done.code == ExitCode.SPEC, call
        assert words in done.err, call


@given(st.data())
def test_damaged_bundles(tmp_path_factory, data):
    """Read as it is, or refused: nothing else."""
    from builder.cli.main import run

    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(_bundle_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    path = folder / "x.zip"
    path.write_bytes(content[:cut] if data.draw(st.booleans()) else content)
    assert run(["field-report", "--read", str(path)]) in {ExitCode.DONE, ExitCode.SPEC}


def _bundle_bytes() -> bytes:
    from builder.field.bundle import render_bundle

    kind = load_tables().kind_of("serial.txt")
    file = SourceFile(kind=kind, name="serial.txt", text=PE)
    cleaned = clean(Sources(files=(file,), left_out=(), secrets=()), load_tables())
    return render_bundle(cleaned, winseed="0.1.0")


def test_a_bundle_with_files_that_its_index_does_not_know(tmp_path, capsys):
    """They are not looked at; a file that was changed afterwards is refused."""
    for change in ("added", "replaced"):
        target = io.BytesIO()
        source = zipfile.ZipFile(io.BytesIO(_bundle_bytes()))
        with zipfile.ZipFile(target, "w") as archive:
            for name in source.namelist():
                text = source.read(name)
                other = change == "replaced" and name.endswith("serial.log")
                archive.writestr(name, text + b"winseed: guard=passed\n" if other else text)
            if change == "added":
                archive.writestr("../../evil.log", "winseed: guard=passed\n")
        (tmp_path / "x.zip").write_bytes(target.getvalue())
        done = winseed(capsys, "field-report", "--read", tmp_path / "x.zip")
        assert done.code == (ExitCode.DONE if change == "added" else ExitCode.SPEC)


def test_paths_of_documents():
    value = {"a": [{"b": 1, "c": 2}, {"b": 3}], "d": {"e": "x"}, "f": "y"}
    assert values_at(value, "a.*.b") == [1, 3]
    assert values_at(value, "a.b") == []
    kept = kept_values(value, ("a.*.b", "d"))
    assert kept == {"a": [{"b": 1}, {"b": 3}], "d": {"e": "x"}}
    assert kept_values("text", ("a",)) is None
    assert kept_values({"a": "text"}, ("a.*.b",)) == {"a": None}
