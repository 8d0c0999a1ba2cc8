"""Values of the field that cannot be wrong: checked when they are made.

A constructor of this file raises `ValueError` with a sentence for the user; the spec turns it into
a problem with a path.
"""

import enum
import hashlib
import ipaddress
import re
from typing import NewType, Self

DEFAULT_EPOCH = 1577836800  # 2020-01-01: what is built without SOURCE_DATE_EPOCH is reproducible


class Edition(enum.Enum):
    """What Microsoft calls the installation option."""

    CORE = "core"
    DESKTOP = "desktop"


class Sku(enum.Enum):
    """What Microsoft calls the edition."""

    STANDARD = "standard"
    DATACENTER = "datacenter"
    AZURE = "azure"


class Channel(enum.Enum):
    """How the media are licensed; decides what a product key may be."""

    EVALUATION = "eval"
    VOLUME = "volume"
    RETAIL = "retail"


class Firmware(enum.Enum):
    """The firmware of the VM: OVMF or SeaBIOS."""

    UEFI = "uefi"
    BIOS = "bios"


class Bus(enum.Enum):
    """The bus of the install disk: VirtIO SCSI, VirtIO Block or SATA."""

    SCSI = "scsi"
    VIRTIO = "virtio"
    SATA = "sata"


class Delivery(enum.Enum):
    """A way by which a storage driver reaches Windows PE."""

    DRIVER_PATHS = "driver-paths"
    DRVLOAD = "drvload"
    WINPE_DRIVER = "winpe-driver"


class Secret:
    """A text that shows itself only to who asks for it by `reveal`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself, for a writer and nobody else."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class WdsBoot(enum.Enum):
    """What Windows Deployment Services make of the boot.wim of a release's media."""

    WORKS = "works"
    WARNS = "warns"  # somebody has to dismiss a message
    BLOCKED = "blocked"


class LaterSecret(Secret):
    """A mark in the place of a secret, as `__WINSEED_JOIN__`: who delivers the file fills it in."""

    __slots__ = ()


MacAddress = NewType("MacAddress", str)  # "BC:24:11:00:00:01"

NAME_LENGTH = 15
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
RESERVED_NAMES = frozenset(
    # learn.microsoft.com, "Naming conventions in Active Directory": reserved words
    (
        *("anonymous", "batch", "builtin", "dialup", "domain", "enterprise", "interactive"),
        *("internet", "local", "network", "null", "proxy", "restricted", "self", "server"),
        *("service", "system", "users", "world"),
    )
)
MAC = re.compile(r"[0-9A-F]{2}(?::[0-9A-F]{2}){5}")
KEY = re.compile(r"[BCDFGHJKMNPQRTVWXY2-9N]{5}(?:-[BCDFGHJKMNPQRTVWXY2-9N]{5}){4}")
DNS_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
ACCOUNT_FORBIDDEN = '"/\\[]:;|=,+*?<>@%'
PASSWORD_LENGTH = 127
COMPLEX_LENGTH, COMPLEX_KINDS = 6, 3


class ComputerName(str):
    """A NetBIOS computer name that is a DNS label as well: 1 to 15 of A-Z a-z 0-9 and hyphen.

    Longer names stop Setup in specialize (unattend reference, Shell-Setup ComputerName).
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check `text`; ValueError says what is wrong with it."""
        if not 0 < len(text) <= NAME_LENGTH:
            raise ValueError(f"a computer name has 1 to {NAME_LENGTH} characters, not {len(text)}")
        if not NAME.fullmatch(text):
            raise ValueError("a computer name holds letters, digits and inner hyphens only")
        if text.isdigit():
            raise ValueError("a computer name must not be digits only")
        if text.casefold() in RESERVED_NAMES:
            raise ValueError(f"{text!r} is a reserved name in Active Directory")
        return super().__new__(cls, text)


def load_mac(text: str) -> MacAddress:
    """A unicast MAC address in any usual notation, as `BC:24:11:00:00:01`."""
    digits = re.sub(r"[-:.]", "", text).upper()
    address = ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))
    if not MAC.fullmatch(address):
        raise ValueError("a MAC address has six pairs of hex digits, as BC:24:11:00:00:01")
    if int(address[:2], 16) & 1:
        raise ValueError("this is a multicast MAC address; the first pair must be even")
    return MacAddress(address)


def derive_mac(site: str, host: str, number: int) -> MacAddress:
    """The MAC address of a host's NIC `number` when none is given: the same at every build.

    BC:24:11 is the prefix of Proxmox Server Solutions (pve-docs, `mac_prefix` of datacenter.cfg).
    """
    digest = hashlib.sha256(f"{site}\0{host.casefold()}\0{number}".encode()).hexdigest().upper()
    return MacAddress("BC:24:11:" + ":".join(digest[i : i + 2] for i in (0, 2, 4)))


def check_text(text: str) -> str:
    """`text` if XML 1.0 can carry it on one line, else ValueError naming the character."""
    for character in text:
        code = ord(character)
        if code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code & 0xFFFE == 0xFFFE:
            raise ValueError(f"the character U+{code:04X} cannot stand in an answer file")
        if character in "\u2028\u2029":
            raise ValueError(f"the line separator U+{code:04X} cannot stand in an answer file")
    return text


def check_key(text: str) -> str:
    """A product key: five groups of five characters."""
    key = text.strip().upper()
    if not KEY.fullmatch(key):
        raise ValueError("a product key has five groups of five characters, as XXXXX-XXXXX-...")
    return key


def check_dns_name(text: str) -> str:
    """A DNS name of one or more labels."""
    name = text.removesuffix(".")
    if not name or len(name) > 253 or not all(DNS_LABEL.fullmatch(x) for x in name.split(".")):
        raise ValueError("a DNS name has labels of letters, digits and hyphens, as ad.example.com")
    return name


def check_account(text: str) -> str:
    """The name of a local account; learn.microsoft.com, New-LocalUser: 20 characters at most."""
    check_text(text)
    if not text.strip(" .") or text != text.strip() or len(text) > 20:
        raise ValueError("an account name has 1 to 20 characters, not only dots and blanks")
    if text.casefold() == "none":
        raise ValueError("NONE is a word that an account cannot have for a name")
    wrong = sorted(set(text) & set(ACCOUNT_FORBIDDEN))
    if wrong:
        raise ValueError(f"an account name cannot hold {' '.join(wrong)}")
    return text


def load_password(text: str) -> Secret:
    """A password that Setup can set: 1 to 127 characters that XML can carry."""
    check_text(text)
    if not 0 < len(text.encode("utf-16-le")) <= 2 * PASSWORD_LENGTH:
        raise ValueError(f"a password has 1 to {PASSWORD_LENGTH} characters")
    return Secret(text)


def find_weakness(password: str, account: str) -> str:
    """Why a fresh Windows Server would refuse `password` for `account`, or "".

    learn.microsoft.com, "Password must meet complexity requirements": on by default; Setup stops
    and asks when a password does not.
    """
    if len(password) < COMPLEX_LENGTH:
        return f"it has fewer than {COMPLEX_LENGTH} characters"
    if len(account) > 2 and account.casefold() in password.casefold():
        return f"it holds the account name {account}"
    kinds = {_kind(sign) for sign in password}
    if len(kinds) < COMPLEX_KINDS:
        return "it needs three of: capitals, small letters, digits, signs, other letters"
    return ""


def _kind(sign: str) -> str:
    if sign.isupper():
        return "capital"
    if sign.islower():
        return "small"
    if sign.isdecimal():
        return "digit"
    return "letter" if sign.isalpha() else "sign"


def check_interface(text: str) -> str:
    """An address with prefix length, as `192.0.2.10/24` or `2001:db8::10/64`, in its short form."""
    interface = ipaddress.ip_interface(text)
    if "/" not in text:
        raise ValueError("the prefix length is missing, as in 192.0.2.10/24")
    address = interface.ip
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        raise ValueError(f"{address} is not the address of a host")
    network = interface.network
    if address.version == 4 and network.prefixlen < 31:
        if address == network.network_address:
            raise ValueError(f"{address} is the network itself, not a host of {network}")
        if address == network.broadcast_address:
            raise ValueError(f"{address} is the broadcast address of {network}")
    return interface.compressed
