"""What a spec says, Setup reads: values come back unchanged from the answer file and scripts.

The readers here are the standard library's XML parser and a few lines by the documents of each
language; none of them is the code that wrote.
"""

import base64
import json
import re
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.answer.render import render_files
from builder.errors import WinseedError
from builder.media.shelf import Shelf
from builder.plan.make import Secrets
from builder.planning import plan_host
from builder.spec.load import load_site
from builder.values import Secret, load_password

NS = {"u": "urn:schemas-microsoft-com:unattend"}
SIGNS = "&^%!\"'<>$\\` \u2018\u2019\u201a\u201b\u201c\u201d\u201e;|()[]{}#@~*?\u00a0\ufeffäßЖ日𝄞"
FOLDER = Path("/spec")
SHELF = Shelf()


def carried(code: int) -> bool:
    return code & 0xFFFE != 0xFFFE


characters = st.one_of(
    st.sampled_from(SIGNS),
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]).filter(lambda c: carried(ord(c))),
)
lines = st.text(characters, min_size=1, max_size=60).filter(str.strip)  # blanks alone are refused
# learn.microsoft.com, "Naming conventions in Active Directory"; values.ComputerName refuses others
names = st.from_regex(r"\A[A-Za-z][A-Za-z0-9-]{0,8}[A-Za-z0-9]\Z").map(lambda name: f"h{name}")
# learn.microsoft.com, New-LocalUser, and unattend reference, LocalAccount Name (%)
accounts = st.text(
    characters.filter(lambda c: c not in '"/\\[]:;|=,+*?<>@%'), min_size=1, max_size=16
).map(lambda name: f"u{name.strip()}x")
labels = st.text(characters.filter(lambda c: c not in '*?/\\|.,;:+=[]<>"'), max_size=32)
passwords = st.text(characters, min_size=1, max_size=60)
octets = st.integers(1, 254)


def toml_text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def make(document: str, *, administrator="Given-1", account_secrets=(), blob=None):
    """The plan of the only host, and its rendered files by path."""
    assert tomllib.loads(document)
    site = load_site(document, source="site.toml", folder=FOLDER, overrides={})
    (host,) = site.hosts
    names_given = [account.name for account in host.account]
    plan = plan_host(
        host,
        site=site.spec.name,
        shelf=SHELF,
        secrets=Secrets(
            administrator=Secret(administrator),
            given=True,
            nonce="",
            accounts={n: Secret(s) for n, s in zip(names_given, account_secrets, strict=True)},
            join_blob=Secret(blob) if blob else None,
            on_medium=True,
        ),
        version="0",
    )
    return plan, {file.path: file.data for file in render_files(plan)}


def answer_of(files) -> ET.Element:
    return ET.fromstring(files["autounattend.xml"])


def component(root: ET.Element, pass_name: str, name: str) -> ET.Element:
    (found,) = root.findall(
        f"u:settings[@pass='{pass_name}']/u:component[@name='Microsoft-Windows-{name}']", NS
    )
    return found


def texts(element: ET.Element, path: str) -> list[str]:
    steps = "/".join(f"u:{step}" for step in path.split("/"))
    return [found.text or "" for found in element.findall(steps, NS)]


def decoded(value: str, element: str) -> str:
    """The password in a Value, by the unattend reference's description of PlainText."""
    text = base64.b64decode(value, validate=True).decode("utf-16-le")
    assert text.endswith(element)
    return text.removesuffix(element)


# about_Quoting_Rules and the tokenizer of PowerShell: all of them quote
QUOTES = "'\u2018\u2019\u201a\u201b"


def literals(line: str) -> list[str]:
    """Every single-quoted literal of a line of PowerShell, as PowerShell reads it."""
    found, at = [], 0
    while at < len(line):
        if line[at] not in QUOTES:
            at += 1
            continue
        text, at = "", at + 1
        while True:
            if line[at] in QUOTES:
                if at + 1 >= len(line) or line[at + 1] not in QUOTES:
                    break
                at += 1
            text += line[at]
            at += 1
        found.append(text)
        at += 1
    return found


def last_argument(command: str) -> str:
    """What follows `/d` in a command line, read as the C run time of Windows does."""
    rest = command.partition(" /d ")[2]
    assert rest.startswith('"')
    text, at = "", 1
    while True:
        slashes = len(rest[at:]) - len(rest[at:].lstrip("\\"))
        at += slashes
        if rest[at] == '"':
            text += "\\" * (slashes // 2)
            if slashes % 2 == 0:
                assert rest[at + 1 :] == " /f"
                return text
            text += '"'
        else:
            text += "\\" * slashes + rest[at]
        at += 1


@given(name=names, owner=lines, organization=lines, label=labels, password=passwords)
def test_texts_of_the_answer_file(name, owner, organization, label, password):
    document = f"""
[[host]]
name = {toml_text(name)}
owner = {toml_text(owner)}
organization = {toml_text(organization)}
disk.label = {toml_text(label)}
"""
    try:
        load_password(password)
    except ValueError:
        return
    _plan, files = make(document, administrator=password)
    root = answer_of(files)
    shell = component(root, "specialize", "Shell-Setup")
    assert texts(shell, "ComputerName") == [name]
    assert texts(shell, "RegisteredOwner") == [owner]
    assert texts(shell, "RegisteredOrganization") == [organization]
    setup = component(root, "windowsPE", "Setup")
    assert texts(setup, "UserData/FullName") == [owner]
    assert texts(setup, "UserData/Organization") == [organization]
    disk = "DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/Label"
    assert texts(setup, disk) == ["System", *([label] if label else [])]
    oobe = component(root, "oobeSystem", "Shell-Setup")
    (value,) = texts(oobe, "UserAccounts/AdministratorPassword/Value")
    assert decoded(value, "AdministratorPassword") == password


@given(
    account=accounts,
    full_name=lines,
    description=lines,
    secret=passwords,
    groups=st.lists(st.sampled_from(["administrators", "users", "remote-desktop-users"])),
)
def test_accounts(account, full_name, description, secret, groups):
    document = f"""
[[host]]
name = "acc01"
[[host.account]]
name = {toml_text(account)}
full_name = {toml_text(full_name)}
description = {toml_text(description)}
groups = {groups}
password_env = "UNUSED"
"""
    _plan, files = make(document, account_secrets=[secret])
    oobe = component(answer_of(files), "oobeSystem", "Shell-Setup")
    (found,) = oobe.findall("u:UserAccounts/u:LocalAccounts/u:LocalAccount", NS)
    assert texts(found, "Name") == [account]
    assert texts(found, "DisplayName") == [full_name]
    assert texts(found, "Description") == [description]
    assert decoded(*texts(found, "Password/Value"), "Password") == secret
    script = files["winseed/guest/settings.ps1"].decode("utf-8-sig")
    calls = [line for line in script.splitlines() if line.startswith("Add-ToGroup ")]
    # well-known SIDs, learn.microsoft.com "Security identifiers"
    sids = {"administrators": "544", "users": "545", "remote-desktop-users": "555"}
    wanted = [[account, f"S-1-5-32-{sids[group]}"] for group in dict.fromkeys(groups)]
    assert [literals(line) for line in calls] == wanted


@given(label=labels, letter=st.sampled_from("DEFGHIJKLMNOPQRSTUVWYZ"), size=st.integers(1, 65536))
def test_data_disks(label, letter, size):
    document = f"""
[[host]]
name = "disk01"
[[host.data_disk]]
letter = "{letter}"
label = {toml_text(label)}
size_gib = {size}
slot = 3
"""
    _plan, files = make(document)
    script = files["winseed/guest/data-disks.ps1"].decode("utf-8-sig")
    (line,) = [line for line in re.split("\r\n", script) if line.startswith("    @{ Letter = ")]
    assert literals(line) == [letter, label, "NTFS"]
    assert f"Bytes = {size}GB" in line


@given(
    mac=st.binary(min_size=6, max_size=6),
    separator=st.sampled_from([":", "-", ""]),
    host=octets,
    router=octets,
    six=st.integers(1, 0xFFFF),
    dns=st.lists(octets, max_size=3, unique=True),
    suffix=st.from_regex(r"\A[a-z][a-z0-9]{0,10}(\.[a-z]{2,5}){1,2}\Z"),
)
def test_network(mac, separator, host, router, six, dns, suffix):
    if host == router:
        router = host % 254 + 1
    mac = bytes([mac[0] & 0xFE, *mac[1:]])
    document = f"""
[defaults]
dns_suffixes = ["{suffix}"]
[[host]]
name = "net01"
[[host.nic]]
mac = "{mac.hex(separator) if separator else mac.hex()}"
addresses = ["192.0.2.{host}/24", "2001:db8::{six:x}/64"]
gateways = ["192.0.2.{router}"]
dns = {[f"198.51.100.{number}" for number in dns]}
dns_suffix = "{suffix}"
"""
    plan, files = make(document)
    root = answer_of(files)
    identifier = mac.hex("-").upper()
    assert plan.nics[0].mac == mac.hex(":").upper()
    tcpip = component(root, "specialize", "TCPIP")
    assert texts(tcpip, "Interfaces/Interface/Identifier") == [identifier]
    addresses = "Interfaces/Interface/UnicastIpAddresses/IpAddress"
    assert texts(tcpip, addresses) == [f"192.0.2.{host}/24", f"2001:db8::{six:x}/64"]
    assert texts(tcpip, "Interfaces/Interface/Routes/Route/NextHopAddress") == [f"192.0.2.{router}"]
    client = component(root, "specialize", "DNS-Client")
    assert texts(client, "DNSSuffixSearchOrder/DomainName") == [suffix]
    assert texts(client, "Interfaces/Interface/Identifier") == [identifier]
    servers = "Interfaces/Interface/DNSServerSearchOrder/IpAddress"
    assert texts(client, servers) == [f"198.51.100.{number}" for number in dns]


@settings(max_examples=150)
@given(group=st.text(characters, min_size=1, max_size=63))
@example(group="ends in one \\")
@example(group="in the \\\\ middle and at the end \\\\")
def test_wsus_target_group(group):
    document = f"""
[defaults.updates]
mode = "wsus"
server = "http://wsus.example.com:8530"
target_group = {toml_text(group)}
"""
    try:
        _plan, files = make(document)
    except WinseedError as refused:
        wrong = [problem.where for problem in refused.problems]
        assert wrong == ["defaults.updates.target_group"]
        return
    deployment = component(answer_of(files), "specialize", "Deployment")
    commands = texts(deployment, "RunSynchronous/RunSynchronousCommand/Path")
    (command,) = [command for command in commands if " /v TargetGroup " in command]
    assert last_argument(command) == group
    script = files["winseed/guest/settings.ps1"].decode("utf-8-sig")
    (line,) = [line for line in re.split("\r\n", script) if "'TargetGroup'" in line]
    assert literals(line) == ["", "TargetGroup", group]


@given(blob=st.text("ABCDEFabcdef0123456789+/=", min_size=40, max_size=400))
def test_offline_join(blob):
    _plan, files = make('[[host]]\nname = "join01"\n', blob=blob)
    join = component(answer_of(files), "specialize", "UnattendedJoin")
    assert texts(join, "Identification/Provisioning/AccountData") == [blob]
    assert sum(blob.encode() in data for data in files.values()) == 1


@given(
    st.fixed_dictionaries(
        {
            "release": st.sampled_from(["2012r2", "2016", "2019", "2022", "2025"]),
            "edition": st.sampled_from(["core", "desktop"]),
            "sku": st.sampled_from(["standard", "datacenter"]),
            "channel": st.sampled_from(["eval", "volume"]),
        }
    ),
    st.sampled_from(["uefi", "bios"]),
    st.sampled_from(["scsi", "virtio", "sata"]),
    st.sampled_from(["none", "first", "last"]),
    st.integers(40, 2000),
)
def test_partitions_fill_the_disk_and_setup_installs_to_c(host, layout, bus, recovery, size):
    document = "[defaults]\n" + "".join(f'{key} = "{value}"\n' for key, value in host.items())
    document += f'disk = {{layout = "{layout}", bus = "{bus}", recovery = "{recovery}"'
    document += f", size_gib = {size}}}\n"
    if (host["release"], layout) == ("2025", "bios"):
        with pytest.raises(WinseedError):
            make(document)
        return
    _plan, files = make(document)
    setup = component(answer_of(files), "windowsPE", "Setup")
    made = setup.findall(".//u:CreatePartition", NS)
    assert [texts(one, "Order")[0] for one in made] == [str(n + 1) for n in range(len(made))]
    extends = [bool(texts(one, "Extend")) for one in made]
    assert extends == [False] * (len(made) - 1) + [True]
    taken = sum(int(texts(one, "Size")[0]) for one in made[:-1])
    assert 0 < taken < size * 1024
    changed = {
        texts(one, "PartitionID")[0]: one for one in setup.findall(".//u:ModifyPartition", NS)
    }
    (target,) = texts(setup, "ImageInstall/OSImage/InstallTo/PartitionID")
    assert texts(changed[target], "Letter") == ["C"]
    assert texts(changed[target], "Format") == ["NTFS"]
    windows = made[int(target) - 1]
    if recovery == "last":
        assert int(texts(windows, "Size")[0]) >= 28 * 1024
    else:
        assert texts(windows, "Extend") == ["true"]
    keys = texts(setup, "UserData/ProductKey/Key")
    assert len(keys) == (host["channel"] == "volume")
    assert all(keys)
