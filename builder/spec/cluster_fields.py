"""Types of spec keys that speak of a Proxmox VE cluster.

Forms: proxmox/pve-common at f665029, src/PVE/JSONSchema.pm (`pve-node`, `pve-storage-id`,
`pve-vmid`); proxmox/pve-access-control at 5ccd07d, src/PVE/AccessControl.pm (`pve-poolid`).
"""

import re
import urllib.parse
from typing import Annotated

from pydantic import AfterValidator, Field

API_PORT = 8006
PATHS = frozenset({"", "/api2/json"})
NODE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
STORAGE = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]*[a-zA-Z0-9]")
POOL = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+){0,2}")
VOLUME = re.compile(r"[A-Za-z0-9_.+@ -]+\.(?:iso|img)", re.IGNORECASE)
# JSONSchema.pm, `pve-tag`; lower case, because Proxmox VE folds tags unless told otherwise
TAG = re.compile(r"[a-z0-9_][a-z0-9_+.-]*")
LOWEST_VMID, HIGHEST_VMID = 100, 999_999_999


def _api_url(text: str) -> str:
    """`https://host:port`; scheme and port may be left out, other tools' /api2/json is dropped."""
    given = text if "://" in text else f"https://{text}"
    example = "give the address of a node, as https://pve1.example.com:8006"
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(example)
    url = urllib.parse.urlsplit(given)
    port = url.port or API_PORT  # ValueError of its own for what is no port
    if url.scheme != "https":
        raise ValueError(f"Proxmox VE speaks https only; {example}")
    if (
        url.username
        or url.password
        or url.query
        or url.fragment
        or url.path.rstrip("/") not in PATHS
    ):
        raise ValueError(f"an address without user, path or query is expected; {example}")
    if not url.hostname or not url.hostname.isascii():
        raise ValueError(example)
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"https://{host}:{port}"


def _fingerprint(text: str) -> str:
    digits = re.sub(r"[:\s]", "", text).upper()
    if not re.fullmatch(r"[0-9A-F]{64}", digits):
        raise ValueError("a SHA-256 fingerprint has 32 pairs of hex digits, as `pvenode cert info`")
    return ":".join(digits[i : i + 2] for i in range(0, 64, 2))


def _node(text: str) -> str:
    if not NODE.fullmatch(text):
        raise ValueError("a node name holds letters, digits and inner hyphens, without a domain")
    return text


def _storage(text: str) -> str:
    if not STORAGE.fullmatch(text):
        raise ValueError("a storage name starts with a letter, as local-lvm")
    return text


def _pool(text: str) -> str:
    if not POOL.fullmatch(text):
        raise ValueError("a pool name holds letters, digits, dots, hyphens and underscores")
    return text


def _iso_volid(text: str) -> str:
    storage, colon, volume = text.partition(":")
    kind, slash, name = volume.partition("/")
    if not (colon and slash and STORAGE.fullmatch(storage) and kind == "iso"):
        raise ValueError("an ISO on the node is named as local:iso/windows.iso")
    if not VOLUME.fullmatch(name):
        raise ValueError("an ISO on the node is one file that ends in .iso")
    return text


def _tag(text: str) -> str:
    if not TAG.fullmatch(text):
        raise ValueError("a tag holds lower-case letters, digits, and inside _ - + .")
    return text


def _vmid(number: int) -> int:
    if number and not LOWEST_VMID <= number <= HIGHEST_VMID:
        raise ValueError(f"a VMID is {LOWEST_VMID} to {HIGHEST_VMID}, or 0 for the next free one")
    return number


ApiUrl = Annotated[str, AfterValidator(_api_url)]
Fingerprint = Annotated[str, AfterValidator(_fingerprint)]
NodeName = Annotated[str, AfterValidator(_node)]
StorageName = Annotated[str, AfterValidator(_storage), Field(max_length=100)]
PoolName = Annotated[str, AfterValidator(_pool), Field(max_length=100)]
OptionalNode = Annotated[str, AfterValidator(lambda text: _node(text) if text else text)]
OptionalVolid = Annotated[str, AfterValidator(lambda text: _iso_volid(text) if text else text)]
Tag = Annotated[str, AfterValidator(_tag)]
Vmid = Annotated[int, AfterValidator(_vmid)]
