"""Windows Update policy: the registry values of each mode.

learn.microsoft.com, "Manage additional Windows Update settings": values below
HKLM\\SOFTWARE\\Policies\\Microsoft\\Windows\\WindowsUpdate. With NoAutoUpdate=1 a WSUS address has
no effect, so the modes exclude each other.
"""

from typing import assert_never

from builder.plan.model import PolicyValue, UpdatesPlan
from builder.releases import Release
from builder.spec.model import HostSpec, UpdatesSpec
from builder.values import Edition

NOTIFY, DOWNLOAD, SCHEDULE, NOTIFY_ALL = 2, 3, 4, 7
ENABLE_SCRIPT = r"C:\ProgramData\winseed\enable-updates.ps1"


def make_updates(host: HostSpec, release: Release) -> UpdatesPlan:
    """The policies that specialize writes, and the duty the result reminds of."""
    updates = host.updates
    match updates.mode:
        case "disabled":
            policies = (_au("NoAutoUpdate", 1), _au("AUOptions", NOTIFY), *_pin(release))
            duty = (
                "updates are disabled: the administrator turns them on before production use, "
                f"with {ENABLE_SCRIPT}"
            )
        case "wsus":
            policies = _wsus(updates)
            duty = f"updates come from {updates.server}: approve them there"
            if updates.install != "schedule":
                duty += f"; {_by_hand(host)}"
        case "manual":
            policies = (_au("NoAutoUpdate", 0), _au("AUOptions", NOTIFY))
            core = host.edition is Edition.CORE
            silence = "neither installed nor announced" if core else "announced, not installed"
            duty = f"updates are {silence}: {_by_hand(host)}"
        case "auto":
            policies = (
                *(_au("NoAutoUpdate", 0), _au("AUOptions", SCHEDULE)),
                *_schedule(updates),
            )
            duty = ""
        case _:
            assert_never(updates.mode)
    return UpdatesPlan(mode=updates.mode, policies=policies, scan=release.update_scan, duty=duty)


def _by_hand(host: HostSpec) -> str:
    """Who installs updates and when. Core shows no notifications at all: learn.microsoft.com,
    "Patch a Server Core installation"."""
    tool = " with sconfig" if host.edition is Edition.CORE else ""
    return f"the administrator installs them{tool}, first before production use, then each month"


def _wsus(updates: UpdatesSpec) -> tuple[PolicyValue, ...]:
    options = {"download": DOWNLOAD, "notify": NOTIFY_ALL, "schedule": SCHEDULE}[updates.install]
    server = updates.server or ""
    group = (
        (_text("TargetGroup", updates.target_group), _number("TargetGroupEnabled", 1))
        if updates.target_group
        else ()
    )
    schedule = _schedule(updates) if updates.install == "schedule" else ()
    return (
        _text("WUServer", server),
        _text("WUStatusServer", updates.status_server or server),
        *group,
        _au("UseWUServer", 1),
        _au("NoAutoUpdate", 0),
        _au("AUOptions", options),
        *schedule,
    )


def _schedule(updates: UpdatesSpec) -> tuple[PolicyValue, ...]:
    return (
        _au("ScheduledInstallDay", updates.day),
        _au("ScheduledInstallTime", updates.hour),
        _au("NoAutoRebootWithLoggedOnUsers", 1),
    )


def _pin(release: Release) -> tuple[PolicyValue, ...]:
    """Hold the feature version; that Server honours it is belief (docs/field-test.md, FT08)."""
    if not release.feature_version:
        return ()
    return (
        _number("TargetReleaseVersion", 1),
        _text("TargetReleaseVersionInfo", release.feature_version),
    )


def _au(name: str, value: int) -> PolicyValue:
    return PolicyValue(subkey="AU", name=name, kind="REG_DWORD", value=str(value))


def _number(name: str, value: int) -> PolicyValue:
    return PolicyValue(subkey="", name=name, kind="REG_DWORD", value=str(value))


def _text(name: str, value: str) -> PolicyValue:
    return PolicyValue(subkey="", name=name, kind="REG_SZ", value=value)
