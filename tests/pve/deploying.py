"""A site whose hosts are installed on a fake cluster, with a clock that runs in pauses only."""

import itertools
import random
from pathlib import Path

from builder.install.jobs import Workshop, deploy_host, resume_host, undo_host
from builder.install.journal import Kind, load_journal
from builder.install.opening import Case, Entropy, open_anew
from builder.install.poll import StatePoll
from builder.install.run import Limits
from builder.install.sight import look_at_screen, read_serial
from builder.install.witness import Witness, no_serial
from builder.media.shelf import Shelf
from builder.proxmox.api import Api
from builder.proxmox.checkup import inspect_checkup, refuse_checkup
from builder.proxmox.connection import CaFile, Clock, load_token, make_connection
from builder.proxmox.wanted import files_of, make_wanted
from builder.spec.load import load_site
from builder.values import Secret

SPEC = """
[proxmox]
url = "https://127.0.0.1:8006"
node = "pve1"

[defaults]
release = "2022"
edition = "core"
channel = "volume"
windows_iso = "{windows}"
virtio_iso = "{virtio}"

[[host]]
name = "app01"
"""


class Site:
    """What `winseed deploy` makes of a spec, piece by piece, against a fake cluster."""

    def __init__(
        self, pve, token, discs, folder: Path, spec: str = SPEC, *, clock, serial: bool = False
    ):
        self.pve, self.folder, self.events = pve, folder, []
        windows, virtio = discs["windows-2022-volume"], discs["virtio"]
        for name, path in (("windows.iso", windows), ("virtio-win.iso", virtio)):
            pve.add_iso("local", name, size=path.stat().st_size)
        text = spec.format(windows=windows, virtio=virtio)
        self.site = load_site(text, source="site.toml", folder=folder, overrides={}, host=None)
        self.clock = clock
        self.chance = random.Random(7)
        self.numbers = itertools.count(1)
        self.token = load_token(f"{token.user}!{token.name}={token.value}", source="test")
        self.serial = serial
        self.shelf = Shelf()

    def api(self) -> Api:
        connection = make_connection(self.pve.url, self.token, CaFile(path=Path(self.pve.ca_file)))
        pause = self.clock.sleep
        clock = Clock(now=self.clock, pause=pause, jitter=self.chance.random)
        return Api(connection, clock, timeout=(5.0, 5.0))

    def shop(self, api: Api | None = None) -> Workshop:
        """A new process, as it were."""
        api = api or self.api()
        serial = read_serial if self.serial else no_serial
        limits = Limits()
        witness = Witness(
            emit=self.events.append,
            poll=StatePoll(api),
            slots=limits.agents,
            serial=serial,
            look=look_at_screen,
        )
        return Workshop(api=api, limits=limits, witness=witness)

    def case(self, name: str = "app01", *, administrator: str = "") -> Case:
        host = next(host for host in self.site.hosts if host.name == name)
        return Case(
            host=host,
            proxmox=self.site.proxmox,
            site=self.site.spec.name,
            folder=self.folder / "dist" / name,
            shelf=self.shelf,
            administrator=Secret(administrator) if administrator else None,
            accounts={account.name: Secret(f"Of-{account.name}-1!") for account in host.account},
            join_blob=None,
            version="0",
        )

    def entropy(self) -> Entropy:
        return Entropy(
            token=lambda size: f"{next(self.numbers):0{2 * size}x}",
            password=lambda: Secret(f"Drawn-Pass-{next(self.numbers)}!"),
            now=lambda: 1_700_000_000,
        )

    def open(self, case: Case, api: Api):
        sizes = {path: path.stat().st_size for path in files_of(case.host)}
        wanted = make_wanted(case.host, case.proxmox, site=case.site, sizes=sizes)
        checkup = inspect_checkup(api, [wanted])
        (found,) = checkup.hosts
        refuse_checkup(checkup, found)
        return open_anew(case, found, self.entropy(), kind=Kind.DEPLOY)

    def deploy(self, name: str = "app01"):
        shop, case = self.shop(), self.case(name)
        return deploy_host(shop, case, self.open(case, shop.api))

    def resume(self, name: str = "app01"):
        return resume_host(self.shop(), self.case(name))

    def undo(self, name: str = "app01"):
        return undo_host(self.shop(), self.folder / "dist" / name, name)

    def journal(self, name: str = "app01"):
        return load_journal(self.folder / "dist" / name)
