"""What the preflight makes of the facts: each thing that is wrong, alone and all at once."""

import dataclasses
from pathlib import Path

import pytest

from builder.errors import ExitCode
from builder.proxmox.facts import (
    Bridge,
    Guest,
    IsoFile,
    Node,
    Room,
    Storage,
    Version,
    VmConfig,
    load_bridges,
    load_config,
    load_guests,
    load_status,
    load_storages,
    load_version,
)
from builder.proxmox.failures import Trouble, make_refusal
from builder.proxmox.findings import Finding, Level, exit_code
from builder.proxmox.media import WantedIso, choose_iso
from builder.proxmox.preflight import choose_node, judge_doubles, judge_host, judge_version
from builder.proxmox.rights import make_needs
from builder.proxmox.survey import Card, ClusterFacts, NodeFacts, Shelf, Unread, VmidFacts
from builder.proxmox.wanted import files_of, make_wanted
from builder.spec.load import load_site

GIB = 1 << 30
WINDOWS = IsoFile(volid="local:iso/win2025.iso", size=5_000_000_000)
VIRTIO = IsoFile(volid="local:iso/virtio-win-0.1.271.iso", size=700_000_256)
SPEC = """
[proxmox]
node = "pve1"
[[host]]
name = "dc01"
windows_iso = "win2025.iso"
virtio_iso = "virtio-win.iso"
[host.machine]
vmid = 101
cores = 4
memory_mib = 8192
[[host.nic]]
mac = "BC:24:11:00:00:01"
"""


def load(text=SPEC):
    site = load_site(text, source="test", folder=Path(), overrides={})
    sizes = {Path("win2025.iso"): WINDOWS.size, Path("virtio-win.iso"): VIRTIO.size}
    return [
        make_wanted(host, site.proxmox, site=site.spec.name, sizes=sizes) for host in site.hosts
    ]


WANTED = load()[0]
NODE = Node(name="pve1", online=True, cpus=16, memory=64 * GIB, fingerprint="")
CLUSTER = ClusterFacts(
    user="winseed@pve",
    token="install",
    version=Version(text="9.2.1", major=9, minor=2),
    nodes=(NODE,),
    guests=(),
    roles=(),
    cards=(),
    unseen=0,
)
FACTS = NodeFacts(
    node=NODE,
    storages=(
        Storage(name="local", kind="dir", content=frozenset({"iso"}), shared=False, active=True,
                available=100 * GIB),
        Storage(name="local-lvm", kind="lvmthin", content=frozenset({"images"}), shared=False,
                active=True, available=500 * GIB),
    ),
    shelves=(Shelf(storage="local", isos=(WINDOWS, VIRTIO)),),
    bridges=(Bridge(name="vmbr0", vnet=False, vlan_aware=True),),
    room=Room(root_available=20 * GIB, memory=64 * GIB),
)  # fmt: skip
FREE = VmidFacts(vmid=101, free=True, config=None)


def rights(*without):
    found = {}
    for need in make_needs(WANTED.subject(node="pve1", vmid=101), major=9):
        if need.privilege not in without:
            found.setdefault(need.paths[0], set()).add(need.privilege)
    return {path: frozenset(names) for path, names in found.items()}


def judge(*, wanted=WANTED, cluster=CLUSTER, node=FACTS, vmid=FREE, granted=None):
    granted = rights() if granted is None else granted
    return judge_host(wanted, cluster, node, vmid, granted)


def only(findings, level) -> Finding:
    """The one finding that is not fine."""
    (found,) = [finding for finding in findings if finding.level is not Level.OK]
    assert found.level is level, found
    assert found.hint or level is Level.OK
    return found


def having(facts, **changes):
    return dataclasses.replace(facts, **changes)


def storage(name, /, **changes):
    return having(
        FACTS,
        storages=tuple(
            having(one, **changes) if one.name == name else one for one in FACTS.storages
        ),
    )


def guest(**changes):
    plain = {
        "vmid": 101, "name": "dc01", "node": "pve1", "kind": "qemu", "running": False,
        "template": False, "pool": "", "tags": frozenset(), "lock": "",
    }  # fmt: skip
    return Guest(**plain | changes)


def config(**settings) -> VmConfig:
    return load_config({"digest": "0" * 40, "name": "dc01", **settings}, "test")


def test_all_is_fine():
    findings = judge()
    assert {finding.level for finding in findings} == {Level.OK}
    assert exit_code(findings) is ExitCode.DONE
    subjects = {finding.subject for finding in findings}
    assert subjects == {
        *("rights", "vmid", "name", "mac", "bridge", "node", "windows iso", "virtio iso"),
        *("storage local", "storage local-lvm"),
    }


def test_what_a_host_asks_for():
    assert (WANTED.vmid, WANTED.node, WANTED.disk_gib, WANTED.memory_mib) == (101, "pve1", 60, 8192)
    text = SPEC + '[[host.data_disk]]\nletter = "D"\nsize_gib = 40\nslot = 1\n'
    text = text.replace("memory_mib = 8192\n", "").replace("vmid = 101", 'node = "pve2"')
    (wanted,) = load(text)
    assert (wanted.vmid, wanted.node, wanted.disk_gib, wanted.memory_mib) == (0, "pve2", 100, 4096)
    (host,) = load_site(SPEC, source="test", folder=Path("a"), overrides={}).hosts
    assert set(files_of(host)) == {Path("a/win2025.iso"), Path("a/virtio-win.iso")}


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("7.4.1", Level.STOP), ("8.3.0", Level.WARN), ("8.4.21", Level.OK), ("9.0.3", Level.OK),
        ("9.2.11", Level.OK), ("10.0.1", Level.WARN),
    ],
)  # fmt: skip
def test_versions(text, level):
    finding = judge_version(load_version({"version": text}))
    assert finding.level is level
    assert text in finding.what


def test_missing_rights_stop():
    found = only(judge(granted=rights("VM.Console")), Level.STOP)
    assert (found.subject, found.code) == ("rights", ExitCode.PROXMOX)
    assert "missing on /vms/101: VM.Console (press a key" in found.what
    assert any("--tokens 'winseed@pve!install'" in line for line in found.commands)
    assert "9" not in found.what
    assert "VM.Monitor" not in str(found)


def test_rights_that_are_only_useful_warn():
    found = only(judge(granted=rights("Datastore.Allocate")), Level.WARN)
    assert "overwritten" in found.what
    assert found.commands


def test_without_any_right_each_place_is_told_once():
    facts = having(FACTS, storages=(), shelves=(), bridges=(), room=Unread(reason="403"))
    findings = judge(granted={}, node=facts)
    stops = [finding for finding in findings if finding.level is Level.STOP]
    assert [finding.subject for finding in stops] == [
        *("rights", "rights", "rights", "rights", "windows iso", "virtio iso")
    ]
    assert [bool(finding.commands) for finding in stops] == [
        False,
        False,
        False,
        True,
        False,
        False,
    ]
    warned = {finding.subject for finding in findings if finding.level is Level.WARN}
    assert warned >= {"storage local", "storage local-lvm", "bridge", "node"}
    assert exit_code(findings) is ExitCode.PROXMOX


# VMIDs


def taken(**changes):
    return having(CLUSTER, guests=(guest(**changes),))


def with_config(found):
    return VmidFacts(vmid=101, free=False, config=found)


EMPTY = with_config(config(ide2="none,media=cdrom"))


@pytest.mark.parametrize(
    ("cluster", "facts", "told"),
    [
        (CLUSTER, with_config(None), "may not see"),
        (taken(kind="lxc"), with_config(None), "container dc01"),
        (taken(name="other"), EMPTY, "VM other on pve1"),
        (taken(template=True), EMPTY, "template"),
        (
            taken(),
            with_config(config(scsi0="local-lvm:vm-101-disk-0,size=60G")),
            "has disks (scsi0)",
        ),
        (taken(), with_config(Unread(reason="403")), "not read: 403"),
    ],
)
def test_a_vmid_that_is_taken(cluster, facts, told):
    found = only(judge(cluster=cluster, vmid=facts), Level.STOP)
    assert (found.subject, found.code) == ("vmid", ExitCode.UNSAFE)
    assert told in found.what


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"running": True}, ExitCode.PROXMOX),
        ({"lock": "backup"}, ExitCode.PROXMOX),
        ({"node": "pve2"}, ExitCode.SPEC),
    ],
)
def test_a_vm_of_ours_that_is_busy_or_elsewhere(changes, code):
    assert only(judge(cluster=taken(**changes), vmid=EMPTY), Level.STOP).code is code


def test_a_vm_without_disks_can_be_taken_over():
    findings = judge(cluster=taken(name="DC01"), vmid=EMPTY)
    assert {finding.level for finding in findings} == {Level.OK}


def test_two_hosts_with_one_vmid():
    twice = SPEC + SPEC[SPEC.index("[[host]]") :].replace("dc01", "dc02").replace("00:01", "00:02")
    (found,) = judge_doubles(load(twice))
    assert found.what == "101 is given to dc01, dc02"
    assert list(judge_doubles(load())) == []


# Names, addresses


def test_a_name_that_is_there():
    found = only(judge(cluster=taken(vmid=200, name="DC01")), Level.WARN)
    assert found.subject == "name"


def test_a_mac_of_another_vm():
    card = Card(mac="BC:24:11:00:00:01", vmid=200, vm="x")
    found = only(judge(cluster=having(CLUSTER, cards=(card,))), Level.STOP)
    assert (found.subject, found.code) == ("mac", ExitCode.UNSAFE)
    own = having(CLUSTER, cards=(having(card, vmid=101),))
    assert {finding.level for finding in judge(cluster=own)} == {Level.OK}


def test_vms_that_were_not_read_are_told():
    (found,) = [f for f in judge(cluster=having(CLUSTER, unseen=3)) if f.subject == "mac"]
    assert "3 VMs were not read" in found.what


# Storages, nodes, networks


@pytest.mark.parametrize(
    ("facts", "level", "code"),
    [
        (storage("local-lvm", available=10 * GIB), Level.WARN, ExitCode.DONE),
        (storage("local-lvm", available=10 * GIB, kind="lvm"), Level.STOP, ExitCode.PROXMOX),
        (storage("local-lvm", available=60 * GIB), Level.WARN, ExitCode.DONE),
        (storage("local-lvm", content=frozenset({"rootdir"})), Level.STOP, ExitCode.SPEC),
        (storage("local-lvm", active=False), Level.STOP, ExitCode.PROXMOX),
        (storage("local-lvm", name="other"), Level.STOP, ExitCode.SPEC),
        (storage("local-lvm", available=None), Level.WARN, ExitCode.DONE),
        (storage("local", available=GIB // 10), Level.STOP, ExitCode.PROXMOX),
        (storage("local", kind="zfspool"), Level.STOP, ExitCode.SPEC),
        (storage("local", content=frozenset({"vztmpl"})), Level.STOP, ExitCode.SPEC),
        (having(FACTS, room=Unread(reason="403")), Level.WARN, ExitCode.DONE),
        (having(FACTS, room=Room(root_available=1000, memory=64 * GIB)), Level.STOP,
         ExitCode.PROXMOX),
        (having(FACTS, room=Room(root_available=GIB, memory=4 * GIB)), Level.STOP, ExitCode.SPEC),
        (having(FACTS, node=having(NODE, cpus=2)), Level.STOP, ExitCode.SPEC),
        (having(FACTS, bridges=()), Level.STOP, ExitCode.SPEC),
        (having(FACTS, bridges=Unread(reason="595")), Level.WARN, ExitCode.DONE),
    ],
)  # fmt: skip
def test_places(facts, level, code):
    assert only(judge(node=facts), level).code is code


def test_a_vnet_is_seen_and_its_right_not_judged():
    bridges = (Bridge(name="vmbr0", vnet=True, vlan_aware=None),)
    found = only(judge(node=having(FACTS, bridges=bridges), granted=rights("SDN.Use")), Level.WARN)
    assert "not checked" in found.what


def test_storages_that_could_not_be_read():
    findings = judge(node=having(FACTS, storages=Unread(reason="596")))
    assert [f.subject for f in findings if f.level is Level.STOP] == [
        "storage local-lvm",
        "storage local",
    ]
    shelves = (*FACTS.shelves, Shelf(storage="nfs", isos=Unread(reason="it hangs")))
    assert "it hangs" in only(judge(node=having(FACTS, shelves=shelves)), Level.WARN).what


@pytest.mark.parametrize(
    ("node", "nodes", "told"),
    [
        ("", (NODE, having(NODE, name="pve2")), "no node is named"),
        ("pve9", (NODE,), "no node pve9"),
        ("", (having(NODE, online=False),), "offline"),
    ],
)
def test_no_node(node, nodes, told):
    found = choose_node(having(WANTED, node=node), nodes)
    assert isinstance(found, Finding)
    assert told in found.what


def test_the_only_node_needs_no_name():
    assert choose_node(having(WANTED, node=""), (NODE,)) is NODE


# Media


def iso(**known):
    return WantedIso(kind="windows iso", key="windows_volid", **known)


HERE = (VIRTIO, WINDOWS)


@pytest.mark.parametrize(
    ("wanted", "found", "level", "code"),
    [
        (iso(name="win2025.iso", size=WINDOWS.size), WINDOWS, Level.OK, ExitCode.DONE),
        (iso(name="renamed.iso", size=WINDOWS.size), WINDOWS, Level.OK, ExitCode.DONE),
        (iso(name="WIN2025.iso", size=1), None, Level.STOP, ExitCode.UNSAFE),
        (iso(name="other.iso", size=1), None, Level.STOP, ExitCode.MEDIA),
        (iso(volid=WINDOWS.volid), WINDOWS, Level.WARN, ExitCode.DONE),
        (
            iso(volid=WINDOWS.volid, name="x.iso", size=WINDOWS.size),
            WINDOWS,
            Level.OK,
            ExitCode.DONE,
        ),
        (iso(volid=WINDOWS.volid, name="x.iso", size=2), None, Level.STOP, ExitCode.UNSAFE),
        (iso(volid="nfs:iso/win2025.iso"), None, Level.STOP, ExitCode.MEDIA),
        (iso(release="0.1.271"), VIRTIO, Level.WARN, ExitCode.DONE),
        (iso(release="0.1.27"), None, Level.STOP, ExitCode.MEDIA),
        (iso(), None, Level.STOP, ExitCode.SPEC),
    ],
)
def test_media(wanted, found, level, code):
    choice = choose_iso(wanted, HERE)
    assert (choice.iso, choice.finding.level, choice.finding.code) == (found, level, code)
    assert choice.finding.hint or level is Level.OK


def test_of_two_discs_of_a_size_the_name_decides():
    twin = IsoFile(volid="a:iso/a.iso", size=WINDOWS.size)
    choice = choose_iso(iso(name="win2025.iso", size=WINDOWS.size), (twin, WINDOWS))
    assert choice.iso is WINDOWS


def test_the_gravest_reason_gives_the_code():
    codes = [ExitCode.SPEC, ExitCode.MEDIA, ExitCode.PROXMOX, ExitCode.UNSAFE]
    for count in range(1, 5):
        findings = [
            Finding(subject="", level=Level.STOP, what="", code=code) for code in codes[:count]
        ]
        assert exit_code(findings) is codes[count - 1]


# Answers and errors as values


def test_answers():
    (storage,) = load_storages(
        [{"storage": "s", "type": "nfs", "content": "iso,images", "active": 1, "avail": 0}]
    )
    assert (storage.available, storage.shared) == (0, False)
    bridges = load_bridges([{"iface": "vmbr0", "type": "bridge", "bridge_vlan_aware": 1},
                            {"iface": "v1", "type": "vnet"}])  # fmt: skip
    assert [(b.name, b.vnet, b.vlan_aware) for b in bridges] == [
        ("v1", True, None),
        ("vmbr0", False, True),
    ]
    (found,) = load_guests([{"type": "qemu", "vmid": "100", "tags": "a;b", "template": 1}])
    assert (found.vmid, found.tags, found.template, found.name) == (100, {"a", "b"}, True, "")
    status = load_status({"status": "running", "blockstat": {"ide2": {"rd_bytes": 7}}, "ha": {}})
    assert (status.drives[0].slot, status.drives[0].read, status.qmp) == ("ide2", 7, "running")


@pytest.mark.parametrize(
    ("status", "text", "trouble"),
    [
        (595, "Connection timed out", Trouble.UNKNOWN),
        (596, "Broken pipe", Trouble.UNKNOWN),
        (599, "Too many redirections", Trouble.UNKNOWN),
        (504, "Gateway Time-out", Trouble.UNKNOWN),
        (401, "invalid token value!", Trouble.TOKEN),
        (403, "Permission check failed (/vms/101, VM.Audit)", Trouble.FORBIDDEN),
        (400, "Parameter verification failed.", Trouble.PARAMETERS),
        (500, "checksum mismatch (file change by other user?)", Trouble.CHANGED),
        (500, "VM is locked (backup)", Trouble.LOCKED),
        (500, "can't lock file '/var/lock/qemu-server/lock-1.conf' - got timeout", Trouble.BUSY),
        (500, "cfs-lock 'storage-ceph' error: got lock request timeout", Trouble.BUSY),
        (500, "cluster not ready - no quorum?", Trouble.NO_QUORUM),
        (500, "QEMU guest agent is not running", Trouble.AGENT),
        (500, "VM 101 is not running", Trouble.STOPPED),
        (500, "Configuration file 'nodes/a/qemu-server/1.conf' does not exist", Trouble.MISSING),
        (501, "for data too large", Trouble.REFUSED),
        (500, "", Trouble.REFUSED),
    ],
)
def test_texts_of_the_server(status, text, trouble):
    error = make_refusal("GET /x", status, text)
    assert error.trouble is trouble
    assert error.what
