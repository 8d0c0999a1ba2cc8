"""The one place with opinions: spec and facts -> Plan. Pure; the spec ends here."""

from collections.abc import Mapping
from typing import assert_never

from builder.drivers import Layout
from builder.errors import ExitCode, Problem, WinseedError
from builder.media.windows import WindowsMedia
from builder.plan.beliefs import with_beliefs
from builder.plan.carrier import (
    AnswerIso,
    Carrier,
    carries_drivers,
    on_boot_network,
    settle_carrier,
)
from builder.plan.disk import make_disk
from builder.plan.domain import make_dc_risks
from builder.plan.drivers import DriverFacts, InboxDrivers, VirtioDisc, make_drivers
from builder.plan.first_boot import Attachments, make_steps
from builder.plan.hardware import MachinePlan
from builder.plan.image import choose_channel, choose_image, choose_key
from builder.plan.model import (
    Accepted,
    Account,
    Administrator,
    GivenKey,
    ImageByIndex,
    ImageChoice,
    KeyChoice,
    LocalePlan,
    Media,
    Membership,
    OfflineJoin,
    Plan,
    RemotePlan,
    SettingsPlan,
    Workgroup,
)
from builder.plan.network import make_nics
from builder.plan.packages import DriverPlan
from builder.plan.updates import make_updates
from builder.record import record
from builder.releases import Release, load_release
from builder.spec.model import HostSpec
from builder.tables import input_locale
from builder.values import Edition, Firmware, Secret

DEFAULT_CARRIER = AnswerIso()
DEFAULT_LANGUAGE = "en-US"
MEMORY_MIB = {Edition.CORE: 4096, Edition.DESKTOP: 6144}
# well-known SIDs: group names differ by language
GROUP_SIDS = {
    "administrators": "S-1-5-32-544",
    "users": "S-1-5-32-545",
    "remote-desktop-users": "S-1-5-32-555",
}


@record
class Secrets:
    """The secrets of one host. `nonce` is random when the password was drawn here, "" else."""

    administrator: Secret
    given: bool
    nonce: str
    accounts: Mapping[str, Secret]
    join_blob: Secret | None
    on_medium: bool
    product_key: Secret | None = None  # stands for a given key that is filled in later


def make_plan(
    host: HostSpec,
    *,
    site: str,
    windows: WindowsMedia | None,
    drivers: DriverFacts,
    attachments: Attachments,
    secrets: Secrets,
    version: str,
    carrier: Carrier = DEFAULT_CARRIER,
) -> Plan:
    """Decide everything about `host`. Raises WinseedError (SPEC, MEDIA or UNSAFE).

    `host.release` must be set: without one in the spec it is read from the media before.
    """
    release = load_release(host.release or "")
    refuse_lasting_secrets(host, secrets, carrier)
    image = choose_image(host, release, windows)
    channel, assumption = choose_channel(host, release, windows)
    driver_plan, driver_risks = make_drivers(host, release, drivers)
    plan = Plan(
        host=host.name,
        release=release.id,
        release_name=release.name,
        build=release.build,
        edition=host.edition,
        sku=host.sku,
        channel=channel,
        image=image,
        key=_key(choose_key(host, release, channel, windows), secrets),
        locale=_locale(host, image, windows),
        owner=host.owner,
        organization=host.organization,
        membership=_membership(host, secrets),
        disk=make_disk(host),
        drivers=driver_plan,
        nics=make_nics(host, site),
        dns_suffixes=host.dns_suffixes,
        administrator=Administrator(
            password=secrets.administrator, given=secrets.given, expires=host.expire_password
        ),
        accounts=_accounts(host, secrets),
        updates=make_updates(host, release),
        remote=_remote(host, attachments),
        settings=_settings(host, release),
        steps=make_steps(host, attachments, driver_plan, packages=carries_drivers(carrier)),
        attachments=attachments.all,
        machine=_machine(host, release),
        media=_media(windows, drivers),
        risks=(*driver_risks, *make_dc_risks(host, release, channel, windows)),
        accepted=_accepted(host),
        nonce=secrets.nonce,
        version=version,
        carrier=_carrier(carrier, host, release, windows, driver_plan),
    )
    return with_beliefs(plan, release, assumption=assumption)


def _carrier(
    carrier: Carrier,
    host: HostSpec,
    release: Release,
    windows: WindowsMedia | None,
    drivers: DriverPlan,
) -> Carrier:
    return settle_carrier(
        carrier,
        host.name,
        windows=windows,
        disk=make_disk(host),
        drivers=drivers,
        wds_boot=release.wds_boot,
    )


def _key(key: KeyChoice, secrets: Secrets) -> KeyChoice:
    if isinstance(key, GivenKey) and secrets.product_key is not None:
        return GivenKey(key=secrets.product_key)
    return key


def refuse_lasting_secrets(
    host: HostSpec, secrets: Secrets, carrier: Carrier = DEFAULT_CARRIER
) -> None:
    """A password or blob that stays valid does not go onto a medium unasked (exit 7).

    What a boot network can read is read by anybody there, so less goes onto it than onto an ISO.
    """
    lasting = [f"account {account.name!r}" for account in host.account]
    if host.offline_join_file:
        lasting.append("offline_join_file")
    if on_boot_network(carrier) and secrets.given:
        lasting.append("the given password of Administrator")
    elif on_boot_network(carrier) and not host.expire_password:
        lasting.append("the password of Administrator, with expire_password = false")
    if on_boot_network(carrier) and host.product_key not in {"auto", "none"}:
        lasting.append("product_key")
    if lasting and not secrets.on_medium:
        raise WinseedError(
            "the answer medium would carry secrets that stay valid after installation",
            code=ExitCode.UNSAFE,
            problems=tuple(Problem(where=host.name, what=what) for what in lasting),
            hint="leave them out, or accept it with --secrets-on-medium and delete the ISO later; "
            "in a hand-off: --secrets-in-tree",
        )


def _locale(host: HostSpec, image: ImageChoice, windows: WindowsMedia | None) -> LocalePlan:
    languages = image.languages if isinstance(image, ImageByIndex) else ()
    first = languages[0] if languages else DEFAULT_LANGUAGE
    language = host.locale.ui_language or first
    if languages and language.casefold() not in {text.casefold() for text in languages}:
        name = windows.path.name if windows else "the media"
        raise WinseedError(
            f"{name} speaks {', '.join(languages)}, not {language}",
            code=ExitCode.MEDIA,
            hint="set locale.ui_language to a language of the media; formats and keyboards are "
            "free: user_locale, system_locale, input",
        )
    user_locale = host.locale.user_locale or language
    return LocalePlan(
        ui_language=language,
        system_locale=host.locale.system_locale or language,
        user_locale=user_locale,
        input_locale=";".join(host.locale.input or (input_locale(user_locale),)),
        time_zone=host.locale.time_zone,
    )


def _membership(host: HostSpec, secrets: Secrets) -> Membership:
    if secrets.join_blob is not None:
        return OfflineJoin(blob=secrets.join_blob)
    return Workgroup(name=host.workgroup)


def _accounts(host: HostSpec, secrets: Secrets) -> tuple[Account, ...]:
    return tuple(
        Account(
            name=account.name,
            full_name=account.full_name,
            description=account.description,
            group_sids=tuple(dict.fromkeys(GROUP_SIDS[group] for group in account.groups)),
            password=secrets.accounts[account.name],
        )
        for account in host.account
    )


def _remote(host: HostSpec, attachments: Attachments) -> RemotePlan:
    return RemotePlan(
        winrm=host.remote.winrm,
        rdp=host.remote.rdp,
        ssh=host.remote.ssh,
        package=attachments.openssh,
        allow_from=host.remote.allow_from,
    )


def _settings(host: HostSpec, release: Release) -> SettingsPlan:
    core = host.edition is Edition.CORE
    return SettingsPlan(
        server_manager=None if core else host.settings.server_manager,
        sconfig=host.settings.sconfig if core and release.sconfig_autostart else None,
    )


def _machine(host: HostSpec, release: Release) -> MachinePlan:
    machine = host.machine
    uefi = host.disk.layout is Firmware.UEFI
    return MachinePlan(
        ostype=release.ostype,
        chipset=machine.chipset,
        cores=machine.cores,
        memory_mib=machine.memory_mib or MEMORY_MIB[host.edition],
        cpu=machine.cpu,
        secure_boot=uefi and machine.secure_boot,
        tpm=uefi and machine.tpm,
        agent=machine.agent,
        balloon=machine.balloon,
        rng=machine.rng,
        virtiofs=machine.virtiofs,
        vga=machine.vga,
    )


def _media(windows: WindowsMedia | None, drivers: DriverFacts) -> Media:
    size: int | None = None
    match drivers:
        case VirtioDisc(media=virtio):
            volume, size = virtio.volume_id, virtio.size
        case Layout():
            volume = drivers.volume_id
        case InboxDrivers():
            volume = ""
        case _:
            assert_never(drivers)
    return Media(
        windows_volume=windows.volume_id if windows else None,
        windows_size=windows.size if windows else None,
        virtio_volume=volume,
        virtio_size=size,
    )


def _accepted(host: HostSpec) -> tuple[Accepted, ...]:
    accepted = []
    if host.account:
        reason = "the first boot adds accounts to their groups by SID: names differ by language"
        accepted.append(Accepted(id="WS403", reason=reason))
    if host.offline_join_file:
        accepted.append(Accepted(id="WS909", reason="asked for with --secrets-on-medium"))
    return tuple(accepted)
