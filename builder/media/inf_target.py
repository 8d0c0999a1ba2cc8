"""TargetOSVersion: the decoration that says which Windows a Models section is for.

Source: learn.microsoft.com/windows-hardware/drivers/install/inf-manufacturer-section.
"""

import re

from builder.record import record

_FORM = re.compile(
    r"NT(?P<arch>x86|amd64|arm64|arm|ia64)?(?:\.(?P<major>[0-9]{0,5}))?(?:\.(?P<minor>[0-9]{0,5}))?"
    r"(?:\.(?P<product>(?:0x)?[0-9a-f]{0,8}))?(?:\.(?P<suite>(?:0x)?[0-9a-f]{0,8}))?"
    r"(?:\.(?P<build>[0-9]{0,9}))?",
    re.IGNORECASE,
)
_WORKSTATION, _SERVER = 1, 3  # VER_NT_*; 2, a domain controller, is no state Setup meets
# Of the product suites only these are on every server (winnt.h: TERMINAL, SINGLEUSERTS); whether a
# decoration that asks for another one fits cannot be told from a build number.
_SUITES = 0x110
_WITH_BUILD = 10, 0, 14310  # the first Windows that reads the build field


@record
class Decoration:
    """A TargetOSVersion such as `NTamd64.10.0...16299`; None where a field is not given.

    `arch` is one of `x86 amd64 arm64 arm ia64` in lower case. `understood` is false for text of
    another form, which fits no Windows.
    """

    text: str
    arch: str | None = None
    major: int | None = None
    minor: int | None = None
    product_type: int | None = None
    suite_mask: int | None = None
    build: int | None = None
    understood: bool = True

    def fits(self, arch: str) -> bool:
        """Whether it is for this architecture; without one it means x86 (since Server 2003 SP1)."""
        return self.understood and (self.arch or "x86") == arch.lower()

    def admits(self, *, build: int, major: int, minor: int, arch: str, server: bool) -> bool:
        """Whether this Windows may use the Models section so decorated."""
        wanted, running = (self.major or 0, self.minor or 0), (major, minor)
        if not self.fits(arch) or wanted > running:
            return False
        if self.build is not None and (
            running < _WITH_BUILD[:2]  # knows no such decoration
            or (wanted == running and build < max(self.build, _WITH_BUILD[2]))
        ):
            return False
        if self.product_type not in {None, _SERVER if server else _WORKSTATION}:
            return False
        return not (self.suite_mask or 0) & ~_SUITES

    @property
    def rank(self) -> tuple[int, int, int, bool, bool]:
        """The higher, the closer: Windows takes the highest version it may, then the narrowest."""
        return (
            self.major or 0,
            self.minor or 0,
            self.build or 0,
            self.product_type is not None,
            self.suite_mask is not None,
        )


def load_decoration(text: str) -> Decoration:
    """Read a TargetOSVersion; text of another form gives one that is not `understood`."""
    match = _FORM.fullmatch(text)
    if match is None:
        return Decoration(text=text, understood=False)
    return Decoration(
        text=text,
        arch=match["arch"].lower() if match["arch"] else None,
        major=load_number(match["major"]),
        minor=load_number(match["minor"]),
        product_type=load_number(match["product"]),
        suite_mask=load_number(match["suite"]),
        build=load_number(match["build"]),
    )


def load_number(text: str | None) -> int | None:
    """Decimal or 0x..., as INF files write numbers; None for anything else."""
    if not text:
        return None
    if re.fullmatch(r"0x[0-9a-f]{1,8}", text, re.IGNORECASE):
        return int(text, 16)
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else None
