"""The named formats of Proxmox VE's parameter schemas: a value, or the sentence that refuses it.

Regular expressions and wording are facts of PVE::JSONSchema and its users; each entry of the data
files names its line. Only what an expression cannot say stands here.
"""

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

Check = Callable[[str], None]


class Refused(Exception):  # noqa: N818 - the word of the field
    """A format check failed; the text is the one that Proxmox VE answers, without its newline."""


def perl_pattern(pattern: str) -> str:
    """Expression for `re`: Perl prints a compiled one as `(?^u:...)`."""
    return re.sub(r"\(\?\^u?:", "(?:", pattern)


def split_list(text: str) -> list[str]:
    """Items between commas, semicolons or blanks, or between NULs when there is one."""
    if "\0" in text:
        return text.rstrip("\0").split("\0")
    return re.sub(r"[,;]", " ", text).split()


def parse_size(text: str) -> int | None:
    """Bytes of `32G`, `1.5M`, `528K` or a bare number (JSONSchema.pm parse_size)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT])?(?:iB)?", text)
    if not found:
        return None
    power = " KMGT".index(found[2] or " ")
    return int(float(found[1]) * 1024**power)


def render_size(size: int) -> str:
    """The shortest exact text of a number of bytes (JSONSchema.pm format_size)."""
    for unit in ("", "K", "M", "G"):
        if size % 1024 or not size:
            return f"{size}{unit}"
        size //= 1024
    return f"{size}T"


def parse_boolean(text: str) -> str:
    """`1` or `0` for the words that property strings allow, anything else as it came."""
    lowered = text.lower()
    if lowered in {"1", "on", "yes", "true"}:
        return "1"
    return "0" if lowered in {"0", "off", "no", "false"} else text


def _storage_id(value: str) -> None:
    if len(value) < 2:
        raise Refused(f"storage ID '{value}' cannot be shorter than 2 characters")
    if not re.fullmatch(r"[a-z][a-z0-9._-]*[a-z0-9]", value, re.IGNORECASE):
        raise Refused(f"storage ID '{value}' contains illegal characters")


def _hotplug(value: str) -> None:
    if value in {"0", "1"}:
        return
    for word in split_list(value):
        if word not in {"network", "disk", "cpu", "memory", "usb", "cloudinit"}:
            raise Refused(f"invalid hotplug feature '{word}'")


def _address_of(family: type, message: str) -> Check:
    def check(value: str) -> None:
        try:
            family(value)
        except ValueError:
            raise Refused(message) from None

    return check


def _from_entry(entry: Mapping[str, Any]) -> Check:
    expression = entry.get("regex")
    if expression is None:
        return lambda _value: None
    flags = re.IGNORECASE if entry.get("ignorecase") else 0
    # $ of Perl and Python both allow one newline at the end; \Z would be stricter than PVE
    compiled = re.compile(perl_pattern(expression), flags | re.ASCII)

    def check(value: str) -> None:
        if not compiled.search(value):
            raise Refused(entry["message"].replace("{v}", value))

    return check


def make_checks(
    entries: Mapping[str, Mapping[str, Any]], *, privileges: Collection[str], release: str
) -> dict[str, Check]:
    """Checks by name of format for one release."""
    checks = {name: _from_entry(entry) for name, entry in entries.items()}

    def privilege(value: str) -> None:
        if value not in privileges:
            raise Refused(f"invalid privilege '{value}'")

    checks["pve-priv"] = privilege
    if release == "8.4":  # the one-character sentence came with pve-common 9
        checks["pve-storage-id"] = _from_entry(
            {**entries["pve-storage-id"], "note": "", "ignorecase": True}
        )
    else:
        checks["pve-storage-id"] = _storage_id
    checks["pve-hotplug-features"] = _hotplug
    checks["ipv6"] = _address_of(ipaddress.IPv6Address, entries["ipv6"]["message"])
    checks["string"] = lambda _value: None
    return checks


def check_cpu(value: Mapping[str, str], *, models: Collection[str], flags: Collection[str]) -> None:
    """The validator behind `pve-vm-cpu-conf` (CPUConfig.pm): known model, known flags."""
    model = value.get("cputype")
    if not model:
        raise Refused("CPU type is missing")
    if not model.startswith("custom-") and model not in models:
        raise Refused(f"Built-in cputype '{model}' is not defined (missing 'custom-' prefix?)")
    if "reported-model" in value:
        raise Refused("Property 'reported-model' not allowed in VM-specific CPU config.")
    for flag in value.get("flags", "").split(";"):
        if flag and flag[1:] not in flags:
            raise Refused(f"VM-specific CPU flag '{flag}' is not supported")
