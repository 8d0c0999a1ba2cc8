"""The Windows Server releases winseed knows: `answer_templates/releases/<id>.toml` as values."""

import functools
import tomllib
from pathlib import Path

from builder import resources
from builder.record import record
from builder.values import Delivery, Edition, Firmware, Sku, WdsBoot


@record
class ReleaseImage:
    """An image of the release's media: `name` is "" where no public source tells it."""

    sku: Sku
    edition: Edition
    name: str
    edition_id: str
    installation_type: str
    usual_index: int
    kms_key: str


@record
class Release:
    """One Windows Server release; `build` as in `10.0.<build>`."""

    id: str
    name: str
    build: int
    ostype: str
    firmware: tuple[Firmware, ...]
    deliveries: tuple[Delivery, ...]
    use_configuration_set: bool
    adds_recovery: bool
    needs_key: bool
    wds_boot: WdsBoot
    openssh_inbox: bool
    sconfig_autostart: bool
    au_option_7: bool
    update_scan: str
    feature_version: str
    images: tuple[ReleaseImage, ...]

    def image(self, sku: Sku, edition: Edition) -> ReleaseImage | None:
        """The image of that edition, or None where the release has no such edition."""
        for image in self.images:
            if (image.sku, image.edition) == (sku, edition):
                return image
        return None


@functools.cache
def release_ids() -> tuple[str, ...]:
    """Every known release, oldest first."""
    paths = (resources.templates() / "releases").glob("*.toml")
    return tuple(sorted(path.stem for path in paths))


@functools.cache
def load_release(release: str) -> Release:
    """The release with that id, which must be one of `release_ids()`."""
    return _load(resources.templates() / "releases" / f"{release}.toml")


def release_of_build(build: int) -> Release | None:
    """The release whose media carry `build`, or None for any other Windows."""
    # newest first: a table is read only when no newer release fits
    for release in map(load_release, reversed(release_ids())):
        if release.build == build:
            return release
    return None


def _load(path: Path) -> Release:
    with path.open("rb") as file:
        table = tomllib.load(file)
    images = tuple(
        ReleaseImage(
            sku=Sku(row["sku"]),
            edition=Edition(row["edition"]),
            name=row["name"],
            edition_id=row["edition_id"],
            installation_type=row["installation_type"],
            usual_index=row["usual_index"],
            kms_key=row["kms_key"],
        )
        for row in table["image"]
    )
    return Release(
        id=table["id"],
        name=table["name"],
        build=table["build"],
        ostype=table["ostype"],
        firmware=tuple(map(Firmware, table["firmware"])),
        deliveries=tuple(map(Delivery, table["delivery"]["ways"])),
        use_configuration_set=table["delivery"]["use_configuration_set"],
        adds_recovery=table["setup"]["adds_recovery"],
        needs_key=table["setup"]["needs_key"],
        wds_boot=WdsBoot(table["setup"]["wds_boot"]),
        openssh_inbox=table["guest"]["openssh_inbox"],
        sconfig_autostart=table["guest"]["sconfig_autostart"],
        au_option_7=table["guest"]["au_option_7"],
        update_scan=table["guest"]["update_scan"],
        feature_version=table["guest"]["feature_version"],
        images=images,
    )
