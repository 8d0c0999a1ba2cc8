"""The VM that a run is about, as everything that asks or changes it needs to know it."""

from builder.proxmox.api import Api
from builder.record import record


@record
class Target:
    """A VM on its node. `install_cd` and `install_disk` are slots, as `ide2` and `scsi0`.

    `fingerprint` is that of the build on its answer ISO; "" where nobody knows. The node may
    change while Windows installs itself: a migration, or HA.
    """

    api: Api
    node: str
    vmid: int
    host: str
    install_cd: str
    install_disk: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.host} (VM {self.vmid} on {self.node})"
