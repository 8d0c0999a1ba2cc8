"""The table of a domain controller and the types of its keys.

Names and limits: learn.microsoft.com, "Naming conventions in Active Directory for computers,
domains, sites, and OUs"; parameters of Install-ADDSDomainController and Install-ADDSForest in
MicrosoftDocs/windows-powershell-docs, docset/winserver2025-ps/ADDSDeployment.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from builder.spec.cluster_fields import OptionalNode, Vmid
from builder.spec.fields import DnsName, InputFile, Line, TimeZone
from builder.spec.table import Table
from builder.values import NAME_LENGTH, check_text

NETBIOS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
LOCAL_PATH = re.compile(r"([C-WYZ]):((?:\\[A-Za-z0-9][A-Za-z0-9 ._-]*)+)")
SITE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
DOMAIN_USER = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]*)\\([^\\/\"\[\]:;|=,+*?<>@]+)")
PATH_LENGTH = 200


def _netbios(text: str) -> str:
    """Install-ADDSForest, DomainNetbiosName: a single label of at most 15 characters."""
    if not 0 < len(text) <= NAME_LENGTH or not NETBIOS.fullmatch(text):
        raise ValueError(
            f"a NetBIOS domain name has 1 to {NAME_LENGTH} letters, digits and inner hyphens"
        )
    if text.isdigit():
        raise ValueError("a NetBIOS domain name must not be digits only")
    return text.upper()


def _domain(text: str) -> str:
    """Microsoft blocks new single-label domains since Server 2008 (Troubleshooting-Domain-
    Controller-Deployment.md)."""
    if "." not in text:
        raise ValueError("a domain is given by its full DNS name, as ad.example.com")
    if "_" in text:
        raise ValueError("an underscore cannot stand in the DNS name of a domain")
    return text.lower()


def _fqdn(text: str) -> str:
    if "." not in text:
        raise ValueError("give the full DNS name, as dc2.ad.example.com")
    return text.lower()


def _site(text: str) -> str:
    if not SITE.fullmatch(text):
        raise ValueError("a site name has 1 to 63 letters, digits and inner hyphens")
    return text


def _local_path(text: str) -> str:
    """Database, logs, SYSVOL and IFM: a local folder, never UNC, never a drive's root."""
    check_text(text)
    path = text.replace("/", "\\").removesuffix("\\")
    if path.startswith("\\\\"):
        raise ValueError(r"a network path is refused by Windows itself; give a local one, D:\NTDS")
    path = path[:1].upper() + path[1:]
    if len(path) > PATH_LENGTH or not LOCAL_PATH.fullmatch(path):
        raise ValueError(r"a local folder in plain letters is expected, as D:\NTDS")
    if any(part in {".", ".."} or part[-1] in " ." for part in path[3:].split("\\")):
        raise ValueError(r"a folder name does not end in a dot or a blank")
    return path


def _domain_user(text: str) -> str:
    """Other forms give misleading errors (Troubleshooting-Domain-Controller-Deployment.md)."""
    check_text(text)
    if not DOMAIN_USER.fullmatch(text):
        raise ValueError(r"the account is given as DOMAIN\user; other forms mislead Windows")
    return text


Domain = Annotated[DnsName, AfterValidator(_domain)]
Fqdn = Annotated[DnsName, AfterValidator(_fqdn)]
NetbiosName = Annotated[str, AfterValidator(_netbios)]
SiteName = Annotated[str, AfterValidator(_site)]
LocalPath = Annotated[str, AfterValidator(_local_path)]
DomainUser = Annotated[str, AfterValidator(_domain_user)]
FunctionalLevel = Literal["Win2008R2", "Win2012", "Win2012R2", "WinThreshold"]


class DcSpec(Table):
    """The domain controller that a host with role = "dc" becomes; read by `winseed dc`."""

    mode: Literal["new-forest", "additional", "replacement", "rodc"] = Field(
        default="additional",
        description="new-forest; additional; replacement: same name and address as a DC that goes; "
        "rodc: read-only, with a staged account.",
    )
    domain: Domain | None = Field(default=None, description="DNS name of the domain.")
    netbios: NetbiosName | None = Field(
        default=None, description="NetBIOS name of the domain. Default: its first label."
    )
    site: SiteName | None = Field(
        default=None, description="Site. Default: that of the address's subnet."
    )
    database_path: LocalPath = Field(
        default="D:\\NTDS", description="Database; on a data disk of its own."
    )
    log_path: LocalPath = Field(default="D:\\NTDS", description="Logs of the database.")
    sysvol_path: LocalPath = Field(default="D:\\SYSVOL", description="SYSVOL.")
    dns: bool = Field(default=True, description="DNS server on this DC.")
    global_catalog: bool = Field(default=True, description="Global catalog.")
    ifm_path: LocalPath | None = Field(
        default=None, description="Installation media (ntdsutil ifm) in the guest, never a share."
    )
    replication_source: Fqdn | None = Field(
        default=None, description="DC to replicate from. Default: partner."
    )
    partner: Fqdn | None = Field(
        default=None, description="Writable DC of the same domain that is asked and cleaned up."
    )
    partner_vmid: Vmid = Field(
        default=0, description="VMID of the partner; 0: it is outside this cluster."
    )
    partner_node: OptionalNode = Field(default="", description="Node of the partner's VM.")
    forest_level: FunctionalLevel | None = Field(
        default=None, description="Level of a new forest. Default: the highest documented one."
    )
    domain_level: FunctionalLevel | None = Field(
        default=None, description="Level of its domain; goes with forest_level."
    )
    fsmo: Literal["undecided", "transfer", "seize"] = Field(
        default="undecided",
        description="Roles that the old DC holds: undecided stops; transfer while it lives; seize "
        "when it is dead.",
    )
    fsmo_back: bool = Field(
        default=False, description="Transfer the roles that were moved away back at the end."
    )
    reuse_account: bool = Field(
        default=False,
        description="Fallback when metadata cannot be removed: promote onto the old DC account.",
    )
    delegated_admin: DomainUser | None = Field(
        default=None, description="rodc: account or group that may promote and manage it."
    )
    credential_user: DomainUser | None = Field(
        default=None, description="Account that promotes, as CORP\\\\admin."
    )
    credential_password_file: InputFile | None = Field(
        default=None, description="File whose first line is its password. Default: asked for."
    )
    credential_password_env: Line | None = Field(
        default=None, description="Environment variable with its password."
    )
    dsrm_password_file: InputFile | None = Field(
        default=None, description="File with the restore mode password. Default: asked for."
    )
    dsrm_password_env: Line | None = Field(
        default=None, description="Environment variable with the restore mode password."
    )
    host_time_zone: TimeZone | None = Field(
        default=None, description="Time zone of the node, compared with the guest's."
    )
