"""Whatever a spec asks for, our own judge has no error and no warning for the answer file.

Only what the plan lists as accepted may be told, each with its reason.
"""

import ipaddress
import json

from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from builder.answer.lint import Level, lint_answer
from builder.errors import ExitCode, WinseedError
from tests.property.test_answer import (
    accounts,
    characters,
    labels,
    lines,
    make,
    names,
    passwords,
    toml_text,
)

JOIN = "AAAA" * 20
# what a plan may ever accept: more would be a rule that nobody keeps
ACCEPTABLE = {"WS403", "WS909"}


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return toml_text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {toml(item)}' for key, item in value.items())}}}"
    return json.dumps(value)


def some(**fields: st.SearchStrategy) -> st.SearchStrategy:
    """Any of the keys, as a spec leaves out what it does not care for."""
    return st.fixed_dictionaries({}, optional=fields)


yes_or_no = st.booleans()
words = lines.filter(str.strip)  # a name of blanks alone is refused at the build (WS117)
domains = st.sampled_from(["example.com", "ad.example.com", "example.test"])
addresses = st.ip_addresses(v=4, network="192.0.2.0/24").map(str)
addresses6 = st.ip_addresses(v=6, network="2001:db8::/64").map(str)
inside = st.integers(2, 254).map(lambda host: f"198.51.100.{host}/24")
inside6 = st.integers(2, 0xFFFF).map(lambda host: f"{ipaddress.ip_address('2001:db8::') + host}/64")
nics = some(
    model=st.sampled_from(["virtio", "e1000e"]),
    addresses=st.tuples(inside) | st.tuples(inside, inside6) | st.tuples(inside6),
    dns=st.lists(addresses | addresses6, max_size=3, unique=True),
    dns_suffix=domains,
    gateways=st.just(["198.51.100.1"]),
)
disks = some(
    layout=st.sampled_from(["uefi", "uefi", "bios"]),
    bus=st.sampled_from(["scsi", "virtio", "sata"]),
    recovery=st.sampled_from(["none", "first", "last"]),
    recovery_mib=st.integers(300, 4096),
    size_gib=st.integers(40, 4000),
    efi_mib=st.integers(100, 1024),
    msr_mib=st.integers(16, 128),
    system_mib=st.integers(350, 2048),
    label=labels,
    wipe=st.sampled_from(["refuse", "existing"]),
)
updates = st.one_of(
    some(mode=st.sampled_from(["disabled", "manual", "auto"])),
    st.fixed_dictionaries(
        {"mode": st.just("wsus"), "server": st.just("http://wsus.example.com:8530")},
        optional={
            "target_group": st.text(characters, min_size=1, max_size=20),
            "install": st.sampled_from(["download", "notify", "schedule"]),
            "day": st.integers(0, 7),
            "hour": st.integers(0, 23),
        },
    ),
)
people = st.fixed_dictionaries(
    {
        # the unattended setup reference refuses % where New-LocalUser takes it
        "name": accounts.filter(lambda name: "%" not in name),
        "password_env": st.just("UNUSED"),
    },
    optional={
        "full_name": words,
        "description": words,
        "groups": st.lists(st.sampled_from(["administrators", "users"]), unique=True),
    },
)
locales = some(
    ui_language=st.sampled_from(["en-US", "de-DE", "ja-JP", "pt-BR", "zh-CN"]),
    system_locale=st.sampled_from(["en-US", "de-CH", "ja-JP", "fr-CA"]),
    user_locale=st.sampled_from(["en-GB", "de-AT", "sv-SE"]),
    input=st.sampled_from([["de-DE"], ["0407:00000407", "en-US"], ["ja-JP"]]),
    time_zone=st.sampled_from(
        ["UTC", "Europe/Berlin", "America/New_York", "W. Europe Standard Time", "Asia/Tokyo"]
    ),
)
machines = some(
    agent=yes_or_no,
    balloon=yes_or_no,
    rng=yes_or_no,
    virtiofs=yes_or_no,
    vga=st.sampled_from(["std", "virtio"]),
    secure_boot=yes_or_no,
    tpm=yes_or_no,
    cores=st.integers(1, 64),
)
hosts = st.fixed_dictionaries(
    {"name": names},
    optional={
        "release": st.sampled_from(["2012r2", "2016", "2019", "2022", "2025"]),
        "edition": st.sampled_from(["core", "desktop"]),
        "sku": st.sampled_from(["standard", "datacenter"]),
        "channel": st.sampled_from(["eval", "volume", "retail"]),
        "product_key": st.sampled_from(["auto", "none", "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"]),
        "virtio_release": st.sampled_from(["0.1.189", "0.1.240", "0.1.271", "0.1.285"]),
        "owner": words,
        "organization": words,
        "workgroup": st.sampled_from(["LAB", "workgroup"]),
        "expire_password": yes_or_no,
        "driver_delivery": st.lists(
            st.sampled_from(["driver-paths", "drvload"]), min_size=1, unique=True
        ),
        "dns_suffixes": st.lists(domains, unique=True, max_size=2),
        "locale": locales,
        "disk": disks,
        "nic": st.lists(nics, min_size=1, max_size=3),
        "account": st.lists(people, max_size=2, unique_by=lambda one: one["name"].casefold()),
        "updates": updates,
        "remote": some(winrm=yes_or_no, rdp=yes_or_no),
        "settings": some(server_manager=yes_or_no, sconfig=yes_or_no),
        "machine": machines,
    },
)


@settings(max_examples=200, phases=[p for p in Phase if p is not Phase.explain])
@given(hosts, passwords, st.booleans())
def test_no_error_and_no_warning_but_those_accepted(host, secret, joins):
    if joins:
        host["offline_join_file"] = "join.txt"
    document = "[[host]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in host.items())
    try:
        plan, files = make(
            document,
            administrator=secret,
            account_secrets=[secret for _ in host.get("account", ())],
            blob=JOIN if joins else None,
        )
    except WinseedError as refused:
        if refused.code not in {ExitCode.SPEC, ExitCode.MEDIA}:
            raise
        event(f"refused: {refused.what.splitlines()[0][:60]}")
        return
    except ValueError:
        event("refused: the password")
        return
    event("built")
    accepted = {row.id: row.reason for row in plan.accepted}
    assert set(accepted) <= ACCEPTABLE
    assert all(accepted.values())
    findings = lint_answer(files["autounattend.xml"], name="autounattend.xml", release=plan.release)
    told = [row for row in findings if row.level is not Level.ADVICE]
    assert [f"{row.id} {row.what}" for row in told if row.id not in accepted] == []
