"""The spec: what outranks what, and the place and words of each problem."""

import json
from pathlib import Path

import pytest

from builder.errors import ExitCode, WinseedError
from builder.spec.load import Override, load_site, resolve_release, spec_schema
from builder.values import Channel, Edition, Firmware, Sku

FOLDER = Path("/spec")


def load(text, overrides=None, host=None):
    given = {key: Override(value=v, source=f"--{key}") for key, v in (overrides or {}).items()}
    return load_site(text, source="site.toml", folder=FOLDER, overrides=given, host=host)


def problems(text, **options):
    with pytest.raises(WinseedError) as caught:
        load(text, **options)
    assert caught.value.code is ExitCode.SPEC
    return {problem.where: problem.what for problem in caught.value.problems}


def test_no_spec_is_one_host_of_defaults():
    (host,) = load(None).hosts
    assert (host.name, host.edition, host.sku, host.release) == (
        "winsrv",
        Edition.CORE,
        Sku.STANDARD,
        None,
    )
    assert host.disk.wipe == "refuse"
    assert host.expire_password


def test_a_name_for_the_host_of_defaults():
    assert load(None, host="DC01").hosts[0].name == "DC01"
    assert load("[defaults]\nowner = 'x'\n", host="dc01").hosts[0].name == "dc01"


def test_flag_over_host_over_defaults():
    text = """
[defaults]
release = "2016"
edition = "core"
owner = "defaults"
[[host]]
name = "a1"
edition = "desktop"
owner = "host"
"""
    (host,) = load(text, {"release": "2019"}).hosts
    assert (host.release, host.edition, host.owner) == ("2019", Edition.DESKTOP, "host")


def test_tables_merge_and_lists_are_replaced():
    text = """
[defaults]
dns_suffixes = ["one.example", "two.example"]
[defaults.disk]
size_gib = 100
label = "Kept"
[[defaults.nic]]
bridge = "vmbr1"
[[defaults.nic]]
bridge = "vmbr2"
[[host]]
name = "a1"
dns_suffixes = ["three.example"]
disk.size_gib = 200
[[host.nic]]
bridge = "vmbr3"
"""
    (host,) = load(text).hosts
    assert (host.disk.size_gib, host.disk.label) == (200, "Kept")
    assert host.dns_suffixes == ("three.example",)
    assert [nic.bridge for nic in host.nic] == ["vmbr3"]


def test_hosts_do_not_share_what_one_of_them_changes():
    text = (
        '[defaults.disk]\nsize_gib = 80\n[[host]]\nname="a"\ndisk.label="A"\n[[host]]\nname="b"\n'
    )
    first, second = load(text).hosts
    assert (first.disk.label, second.disk.label) == ("A", "Windows")
    assert (first.disk.size_gib, second.disk.size_gib) == (80, 80)


def test_paths_count_from_the_folder_of_the_spec():
    text = 'defaults.windows_iso = "iso/w.iso"\ndefaults.virtio_iso = "/abs/v.iso"\n'
    (host,) = load(text).hosts
    assert host.windows_iso == FOLDER / "iso/w.iso"
    assert host.virtio_iso == Path("/abs/v.iso")


def test_values_in_other_spellings():
    text = """
[defaults]
release = "2012 R2"
product_key = " bcdfg-hjkmp-qrtvw-xy234-6789b "
[defaults.locale]
ui_language = "de-de"
input = ["german", "DE-de", "0407:00000407"]
time_zone = "europe/berlin"
[[host]]
name = "A-1"
[[host.nic]]
mac = "bc24.1100.0001"
addresses = ["2001:0db8:0::0010/64"]
gateways = ["fe80:0::1"]
dns = ["2001:DB8::53"]
dns_suffix = "AD.example.com."
[[host.data_disk]]
letter = "e:"
size_gib = 1
slot = 30
"""
    (host,) = load(text).hosts
    assert host.release == "2012r2"
    assert host.product_key == "BCDFG-HJKMP-QRTVW-XY234-6789B"
    assert host.locale.ui_language == "de-DE"
    assert host.locale.input == ("0407:00000407", "de-DE", "0407:00000407")
    assert host.locale.time_zone == "W. Europe Standard Time"
    nic = host.nic[0]
    assert (nic.mac, nic.addresses, nic.gateways, nic.dns, nic.dns_suffix) == (
        "BC:24:11:00:00:01",
        ("2001:db8::10/64",),
        ("fe80::1",),
        ("2001:db8::53",),
        "AD.example.com",
    )
    assert host.data_disk[0].letter == "E"


def test_every_problem_at_once_each_with_its_place():
    text = """
[site]
nam = "x"
[defaults]
editon = "core"
release = "2023"
[[host]]
name = "a_b"
disk.layout = "efi"
disk.size_gib = "60"
[[host.nic]]
gateways = ["192.0.2.1"]
[[host]]
name = "ok"
channel = "retail"
"""
    found = problems(text)
    assert found["site.nam"] == "unknown key; did you mean 'name'?"
    assert found["defaults.editon"] == "unknown key; did you mean 'edition'?"
    assert found["defaults.release"].startswith("unknown release '2023', expected one of 2012r2")
    assert "letters, digits and inner hyphens" in found["host[0].name"]
    assert found["host[0].disk.layout"].endswith("did you mean 'uefi'?")
    assert found["host[0].disk.size_gib"] == 'must be a whole number, not "60"'
    assert "no effect with DHCP" in found["host[0].nic[0]"]
    assert "retail media need your product key" in found["host[1].product_key"]
    assert len(found) == 8


def test_a_problem_of_the_defaults_is_told_once():
    hosts = "".join(f'[[host]]\nname = "h{n}"\n' for n in range(5))
    with pytest.raises(WinseedError) as caught:
        load(f'[defaults]\nsku = "entreprise"\n{hosts}')
    assert [problem.where for problem in caught.value.problems] == ["defaults.sku"]
    assert caught.value.what == "site.toml has 1 problem"


def test_a_wrong_flag_is_named_by_the_flag():
    found = problems('[defaults]\nedition = "core"\n', overrides={"edition": "gui"})
    assert list(found) == ["--edition"]


def test_a_key_beside_its_table():
    assert "below [defaults]" in problems('edition = "core"\n')["edition"]
    assert "belongs to one [[host]]" in problems('[defaults]\nname = "x"\n')["defaults.name"]
    found = problems("[[host]]\nname='a'\n[[host.nic]]\nzz=1\n")
    assert "unknown key; known are mac, model" in found["host[0].nic[0].zz"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a = ", "is not TOML"),
        ("[[host]]\nname = 'a'\nname = 'b'\n", "is not TOML"),
        ("x = 1" + "0" * 5000, "is not TOML"),
    ],
)
def test_no_toml(text, what):
    with pytest.raises(WinseedError, match=what):
        load(text)


def test_a_host_that_the_spec_lacks():
    text = '[[host]]\nname = "dc01"\n[[host]]\nname = "dc02"\n'
    with pytest.raises(WinseedError, match="did you mean 'dc01'") as caught:
        load(text, host="dc1")
    assert caught.value.hint == "it has dc01, dc02"
    assert [host.name for host in load(text, host="DC02").hosts] == ["dc02"]


def test_another_host_of_the_spec_may_be_wrong():
    text = '[[host]]\nname = "good"\n[[host]]\nname = "bad"\nsku = "x"\n'
    assert len(load(text, host="good").hosts) == 1
    assert list(problems(text)) == ["host[1].sku"]


CARD = '[[host]]\nname = "a1"\n[[host.nic]]\n'
DISK = '[[host]]\nname = "a1"\n[[host.data_disk]]\nletter = "D"\nsize_gib = 1\nslot = 1\n'
USER = '[[host]]\nname = "a1"\n[[host.account]]\n'
CONFLICTS = [
    ("defaults.sku = 'azure'\ndefaults.release = '2016'", "defaults.sku", "no azure edition"),
    ("defaults.sku = 'azure'", "defaults.windows_iso", "media must be read"),
    ("defaults.channel = 'retail'", "defaults.product_key", "retail media need"),
    (
        "defaults.disk.layout = 'bios'\ndefaults.release = '2025'",
        "defaults.disk.layout",
        "not installed with bios",
    ),
    ("defaults.disk.size_gib = 28", "defaults.disk.size_gib", "MiB are left for Windows"),
    ("defaults.driver_delivery = []", "defaults.driver_delivery", "sees no VirtIO disk"),
    (
        "defaults.driver_delivery = ['driver-paths']",
        "defaults.driver_delivery",
        "guard cannot look",
    ),
    (
        "defaults.driver_delivery = ['drvload', 'drvload']",
        "defaults.driver_delivery",
        "named twice",
    ),
    (f"{DISK}[[host.data_disk]]\nletter='D'\nsize_gib=1\nslot=2", "host[0].data_disk", "letter D"),
    (f"{DISK}[[host.data_disk]]\nletter='E'\nsize_gib=1\nslot=1", "host[0].data_disk", "slot 1"),
    (
        f"{DISK}filesystem='refs'\nallocation_unit=8192",
        "host[0].data_disk[0].allocation_unit",
        "4096 or 65536",
    ),
    (
        "defaults.disk.bus='virtio'\n" + DISK.replace("slot = 1", "slot = 16"),
        "host[0].data_disk[0].slot",
        "virtio15",
    ),
    (
        "defaults.disk.bus='sata'\n" + DISK.replace("slot = 1", "slot = 6"),
        "host[0].data_disk[0].slot",
        "SATA ends at sata5",
    ),
    (
        f"{CARD}mac='BC:24:11:00:00:01'\n[[host.nic]]\nmac='bc2411000001'",
        "host[0].nic",
        "two cards",
    ),
    (
        f"{CARD}addresses=['192.0.2.9/24']\n[[host.nic]]\naddresses=['192.0.2.9/25']",
        "host[0].nic",
        "given twice",
    ),
    (f"{CARD}gateways=['192.0.2.1']", "host[0].nic[0]", "no effect with DHCP"),
    (
        f"{CARD}addresses=['192.0.2.9/24']\ngateways=['192.0.2.1','192.0.2.2']",
        "host[0].nic[0]",
        "more than one IPv4 gateway",
    ),
    (
        f"{CARD}addresses=['192.0.2.9/24']\ngateways=['192.0.3.1']",
        "host[0].nic[0]",
        "cannot be reached from 192.0.2.0/24",
    ),
    (
        f"{CARD}addresses=['192.0.2.9/24']\ngateways=['2001:db8::1']",
        "host[0].nic[0]",
        "no network of its family",
    ),
    (f"{CARD}addresses=['192.0.2.9/24']\ngateways=['192.0.2.9']", "host[0].nic[0]", "own address"),
    (f"{USER}name='Administrator'\npassword_env='P'", "host[0].account[0].name", "built-in"),
    (f"{USER}name='A1'\npassword_env='P'", "host[0].account[0].name", "same name"),
    (f"{USER}name='x'", "host[0].account[0]", "password_file or from password_env"),
    (
        f"{USER}name='x'\npassword_env='P'\npassword_file='f'",
        "host[0].account[0]",
        "password_file or from password_env",
    ),
    (
        f"{USER}name='x'\npassword_env='P'\n[[host.account]]\nname='X'\npassword_env='P'",
        "host[0].account",
        "given twice",
    ),
    (
        "defaults.workgroup = 'LAB'\ndefaults.offline_join_file = 'f'",
        "defaults.workgroup",
        "not in both",
    ),
    ("defaults.updates.mode = 'wsus'", "defaults.updates.server", "needs the server"),
    (
        "defaults.updates.server = 'http://w:8530'",
        "defaults.updates.server",
        "no effect with mode manual",
    ),
    (
        "defaults.release = '2012r2'\ndefaults.updates = {mode = 'wsus', server = 'http://w:8530',"
        " install = 'notify'}",
        "defaults.updates.install",
        "does not know notify",
    ),
    ("defaults.updates.packages = ['a.exe']", "defaults.updates.packages", "not a .msu or .cab"),
    ("defaults.first_boot = ['a b.ps1']", "defaults.first_boot", "holds blanks"),
    ("defaults.first_boot = ['a.vbs']", "defaults.first_boot", "not a .cmd or .ps1"),
    ("defaults.remote.ssh = true\ndefaults.release = '2019'", "defaults.remote.ssh", "no OpenSSH"),
    (
        "defaults.remote.openssh_package = 'o.msi'",
        "defaults.remote.openssh_package",
        "no effect without ssh",
    ),
    ("[[host]]\nname = 'a'\n[[host]]\nname = 'A'", "host[1].name", "host[0] is called A as well"),
]


@pytest.mark.parametrize(("text", "where", "what"), CONFLICTS, ids=[row[2] for row in CONFLICTS])
def test_rules_between_keys(text, where, what):
    found = problems(text)
    assert where in found
    assert what in found[where]


WRONG = [
    ("defaults.product_key = 'ABC'", "five groups"),
    ("defaults.windows_iso = 5", "must be text in quotes"),
    ("defaults.windows_iso = ''", "the path is empty"),
    ("defaults.virtio_iso = '~nobody-of-that-name/v.iso'", "no home folder"),
    ('defaults.owner = "a\\u0007"', "U+0007"),
    ('defaults.owner = "a\\u2028"', "line separator U+2028"),
    ("defaults.disk.size_gib = 19", "greater than or equal to 20"),
    ("defaults.disk.size_gib = true", "whole number"),
    ("defaults.updates.server = 'wsus'", "http://server:8530"),
    ("defaults.updates.server = 'http://u@w:8530'", "http://server:8530"),
    ("defaults.updates.server = 'http://w:8530/%41'", "percent"),
    ("defaults.locale.time_zone = 'Europe/Berln'", "did you mean 'Europe/Berlin'"),
    ("defaults.locale.input = ['0407:99999999']", "no keyboard layout"),
    ("defaults.locale.ui_language = 'tlh-KL'", "unknown Windows language"),
    ("defaults.remote.allow_from = ['10.0.0.1/8']", "host bits"),
    ("defaults.workgroup = 'my group'", "no blanks"),
    ("defaults.dns_suffixes = ['a..b']", "labels"),
    ("[[host]]\nname = '12345'", "digits only"),
    ("[[host]]\nname = 'sixteen-letters-'", "1 to 15"),
    ("[[host]]\nname = 'server'", "reserved"),
    (f"{CARD}mac = '01:00:5e:00:00:01'", "multicast"),
    (f"{CARD}mac = 'BC:24:11'", "six pairs"),
    (f"{CARD}addresses = ['192.0.2.9']", "prefix length is missing"),
    (f"{CARD}addresses = ['192.0.2.0/24']", "the network itself"),
    (f"{CARD}addresses = ['192.0.2.255/24']", "broadcast"),
    (f"{CARD}addresses = ['224.0.0.1/24']", "not the address of a host"),
    (f"{CARD}vlan = 4095", "less than or equal to 4094"),
    (DISK.replace('"D"', '"C"'), "C is Windows"),
    (DISK.replace('"D"', '"X"'), "Windows PE"),
    (f"{DISK}label = 'a:b'", "cannot hold :"),
    (f"{DISK}allocation_unit = 3000", "power of two"),
    (f"{USER}name = 'a/b'\npassword_env = 'P'", "cannot hold /"),
    (f"{USER}name = '...'\npassword_env = 'P'", "not only dots"),
    (f"{USER}name = 'x'\npassword_env = 'P'\ngroups = ['Users']", "did you mean 'users'"),
]


@pytest.mark.parametrize(("text", "what"), WRONG, ids=[row[1] for row in WRONG])
def test_values_that_are_refused(text, what):
    assert what in " ".join(problems(text).values())


def test_a_given_key_is_not_shown():
    secret = "BCDFG-HJKMP-QRTVW-XY234-6789"
    with pytest.raises(WinseedError) as caught:
        load(f'[defaults]\nproduct_key = "{secret}"\n')
    assert secret not in " ".join(map(str, caught.value.problems))


def test_rules_are_tried_where_their_keys_are_sound():
    """A wrong key elsewhere hides no verdict; one the rule reads does."""
    text = "defaults.channel = 'retail'\ndefaults.edition = 'x'\n"
    assert set(problems(text)) == {"defaults.edition", "defaults.product_key"}
    text = "defaults.channel = 'retial'\n"
    assert set(problems(text)) == {"defaults.channel"}


def test_a_release_that_the_media_decided_is_checked_again():
    (host,) = load("defaults.disk.layout = 'bios'").hosts
    assert resolve_release(host, "2022").release == "2022"
    with pytest.raises(WinseedError, match="the media are Windows Server 2025") as caught:
        resolve_release(host, "2025")
    assert caught.value.problems[0].where == "winsrv.disk.layout"


def test_schema_holds_every_table_and_refuses_unknown_keys():
    schema = spec_schema()
    json.dumps(schema)
    definitions = schema["$defs"]
    assert set(schema["properties"]) == {"site", "defaults", "host", "proxmox"}
    assert "name" in definitions["HostSpec"]["required"]
    assert "name" not in definitions["Defaults"]["properties"]
    assert all(
        table["additionalProperties"] is False
        for table in definitions.values()
        if table.get("type") == "object"
    )
    assert definitions["DiskSpec"]["properties"]["wipe"]["enum"] == ["refuse", "existing"]


def test_enumerations_of_the_spec():
    text = "defaults = {channel = 'volume', disk = {layout = 'bios', bus = 'sata'}}"
    (host,) = load(text).hosts
    assert (host.channel, host.disk.layout) == (Channel.VOLUME, Firmware.BIOS)
