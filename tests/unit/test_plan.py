"""The plan: every decision by its rule, frozen, printable, and silent about secrets."""

import dataclasses
import json

import pytest

from builder.drivers import load_layout
from builder.errors import ExitCode, WinseedError
from builder.media.shelf import Shelf
from builder.media.windows import inspect_windows
from builder.plan.beliefs import beliefs
from builder.plan.disk import make_disk
from builder.plan.first_boot import Attachments
from builder.plan.image import choose_channel, choose_key, chosen_image
from builder.plan.make import Secrets, make_plan
from builder.plan.model import (
    GivenKey,
    ImageByIndex,
    ImageByName,
    KmsClientKey,
    NoKey,
    plan_document,
)
from builder.plan.updates import make_updates
from builder.planning import plan_host
from builder.releases import load_release, release_ids, release_of_build
from builder.spec.load import load_site
from builder.values import Channel, Delivery, Edition, Secret, Sku
from tests.command import ROOT

SHELF = Shelf()


def host_of(text="", **tables):
    (host,) = load_site(
        text or None, source="s", folder=ROOT / "tests/golden/cases", overrides={}
    ).hosts
    return host.model_copy(update=tables)


def secrets(administrator="Given-1", **changes):
    plain = {
        "administrator": Secret(administrator),
        "given": True,
        "nonce": "",
        "accounts": {},
        "join_blob": None,
        "on_medium": True,
    }
    return Secrets(**plain | changes)


def plan_of(text="", **changes):
    return plan_host(
        host_of(text), site="winseed", shelf=SHELF, secrets=secrets(**changes), version="1"
    )


# Releases


def test_releases():
    assert release_ids() == ("2012r2", "2016", "2019", "2022", "2025")
    builds = {release: load_release(release).build for release in release_ids()}
    # build numbers: learn.microsoft.com, "Windows Server release information"
    assert builds == {"2012r2": 9600, "2016": 14393, "2019": 17763, "2022": 20348, "2025": 26100}
    assert release_of_build(20348).id == "2022"
    assert release_of_build(19045) is None


@pytest.mark.parametrize("release", ["2012r2", "2016", "2019", "2022", "2025"])
def test_every_release_has_standard_and_datacenter_in_both_editions(release):
    known = load_release(release)
    images = [
        known.image(sku, edition) for sku in (Sku.STANDARD, Sku.DATACENTER) for edition in Edition
    ]
    assert all(images)
    assert len({image.name for image in images}) == 4
    keys = {image.sku: image.kms_key for image in images}
    assert len(set(keys.values())) == 2
    assert {image.kms_key for image in images} == set(keys.values())


# Image, channel, key


def test_without_media_the_image_has_a_name():
    plan = plan_of()
    assert plan.image == ImageByName(name="Windows Server 2022 SERVERSTANDARDCORE")
    assert not plan.verified
    assert (plan.channel, plan.release) == (Channel.EVALUATION, "2022")
    assert isinstance(plan.key, NoKey)
    ids = {risk.id for risk in plan.risks}
    assert {"FT06", "FT09", "FT11"} <= ids


@pytest.fixture(scope="module")
def media(discs):
    return lambda name: inspect_windows(SHELF.image(discs[name]))


@pytest.mark.parametrize(
    ("edition", "sku", "index"),
    [
        ("core", "standard", 1),
        ("desktop", "standard", 2),
        ("core", "datacenter", 3),
        ("desktop", "datacenter", 4),
    ],
)
@pytest.mark.parametrize(
    "name", ["windows-2012r2-eval", "windows-2022-eval", "windows-2025-volume"]
)
def test_the_image_by_its_index(media, name, edition, sku, index):
    host = host_of(f'defaults = {{edition = "{edition}", sku = "{sku}"}}')
    release = load_release(name.split("-")[1])
    assert chosen_image(host, release, media(name)).index == index


KEY = "BCDFG-HJKMP-QRTVW-XY234-6789B"
CHANNELS = [
    # media, channel of the spec, product_key, channel of the plan, kind of key
    (None, None, "auto", Channel.EVALUATION, NoKey),
    (None, "volume", "auto", Channel.VOLUME, KmsClientKey),
    (None, "volume", "none", Channel.VOLUME, NoKey),
    (None, "retail", KEY, Channel.RETAIL, GivenKey),
    (None, "retail", "none", Channel.RETAIL, NoKey),
    (None, None, KEY, Channel.VOLUME, GivenKey),
    ("windows-2022-eval", None, "auto", Channel.EVALUATION, NoKey),
    ("windows-2022-eval", None, "none", Channel.EVALUATION, NoKey),
    ("windows-2022-eval", None, KEY, 2, "evaluation media refuse a product key"),
    ("windows-2022-eval", "volume", "auto", 3, "is evaluation media"),
    ("windows-2022-volume", None, "auto", Channel.VOLUME, KmsClientKey),
    ("windows-2022-volume", "eval", "auto", 3, "is not evaluation media"),
    ("windows-2022-volume", None, KEY, Channel.VOLUME, GivenKey),
    ("windows-2022-retail", None, "auto", 2, "retail media need your product key"),
    ("windows-2022-retail", None, KEY, Channel.RETAIL, GivenKey),
    ("windows-2022-retail", "volume", "auto", Channel.VOLUME, KmsClientKey),
    ("windows-2022-none", None, "auto", Channel.VOLUME, KmsClientKey),
]


@pytest.mark.parametrize(("name", "channel", "key", "expected", "kind"), CHANNELS)
def test_channels_and_keys(media, name, channel, key, expected, kind):
    host = host_of().model_copy(
        update={"channel": Channel(channel) if channel else None, "product_key": key}
    )
    release = load_release("2022")
    facts = media(name) if name else None
    try:
        found, _ = choose_channel(host, release, facts)
        chosen = choose_key(host, release, found, facts)
    except WinseedError as error:
        found, chosen = error.code, error.what
    if isinstance(kind, str):
        assert found == expected
        assert kind in chosen
        return
    assert found is expected
    assert isinstance(chosen, kind)
    if kind is KmsClientKey:
        # learn.microsoft.com, "KMS client activation and product keys", Windows Server 2022
        assert chosen.key == "VDYBN-27WPP-V4HQT-9VMD4-VMK7H"


@pytest.mark.parametrize(
    ("edition_id", "installation_type", "edition"),
    [
        ("ServerTurbine", "Server", "desktop"),
        ("ServerTurbine", "Server Core", "core"),
        ("ServerTurbineCor", "Server Core", "core"),
    ],
)
def test_the_azure_edition_from_its_media(media, edition_id, installation_type, edition):
    """EditionID as DISM and wiminfo list it; the key: KMS client keys, Azure Edition of 2022."""
    facts = media("windows-2022-volume")
    azure = dataclasses.replace(
        facts.images[0], index=5, edition_id=edition_id, installation_type=installation_type
    )
    facts = dataclasses.replace(facts, images=(*facts.images, azure))
    host = host_of(f'defaults.edition = "{edition}"').model_copy(update={"sku": Sku.AZURE})
    release = load_release("2022")
    assert chosen_image(host, release, facts).index == 5
    channel, _ = choose_channel(host, release, facts)
    assert choose_key(host, release, channel, facts).key == "NTBV8-9K7Q8-V27C6-M2BTV-KHMXV"


def test_an_assumed_channel_is_a_risk(media):
    key = host_of(f'defaults.product_key = "{KEY}"')
    assert "volume: a product key" in choose_channel(key, load_release("2022"), None)[1]
    assert choose_channel(host_of(), load_release("2022"), media("windows-2022-none"))[1]
    assert not choose_channel(host_of(), load_release("2022"), media("windows-2022-volume"))[1]


def test_the_release_is_read_from_the_media(discs):
    plan = plan_of(f'defaults.windows_iso = "{discs["windows-2019-eval"]}"')
    assert (plan.release, plan.build, plan.verified) == ("2019", 17763, True)
    assert isinstance(plan.image, ImageByIndex)
    assert plan.media.windows_size == discs["windows-2019-eval"].stat().st_size


def test_the_language_is_that_of_the_media(discs):
    iso = f'windows_iso = "{discs["windows-2022-volume-de-DE"]}"'
    locale = plan_of(f"defaults = {{{iso}}}").locale
    assert (locale.ui_language, locale.system_locale, locale.user_locale) == ("de-DE",) * 3
    locale = plan_of(f'defaults = {{{iso}, locale = {{user_locale = "fr-CH"}}}}').locale
    assert (locale.ui_language, locale.user_locale, locale.input_locale) == (
        "de-DE",
        "fr-CH",
        "fr-CH",
    )
    with pytest.raises(WinseedError, match="speaks de-DE, not en-US"):
        plan_of(f'defaults = {{{iso}, locale = {{ui_language = "en-US"}}}}')


# Disk


def shape(text):
    plan = make_disk(host_of(text))
    return plan.windows_partition, [
        (part.number, part.kind, part.size_mib, part.label) for part in plan.partitions
    ]


def test_partitions():
    """Numbers count the MSR: InstallTo of the unattend reference counts every partition."""
    assert shape("") == (
        3,
        [(1, "EFI", 260, "System"), (2, "MSR", 16, None), (3, "Primary", None, "Windows")],
    )
    assert shape('defaults.disk = {recovery = "first", label = ""}') == (
        4,
        [
            (1, "Primary", 1024, "Recovery"),
            (2, "EFI", 260, "System"),
            (3, "MSR", 16, None),
            (4, "Primary", None, None),
        ],
    )
    assert shape('defaults.disk = {recovery = "last", size_gib = 60}') == (
        3,
        [
            (1, "EFI", 260, "System"),
            (2, "MSR", 16, None),
            (3, "Primary", 60 * 1024 - 260 - 16 - 1024 - 2, "Windows"),
            (4, "Primary", None, "Recovery"),
        ],
    )
    assert shape('defaults.disk = {layout = "bios"}') == (
        2,
        [(1, "Primary", 500, "System"), (2, "Primary", None, "Windows")],
    )


def test_recovery_types():
    """learn.microsoft.com, "UEFI/GPT-based" and "BIOS/MBR-based hard drive partitions"."""
    for layout, expected in (("uefi", "de94bba4-06d1-4d40-a16a-bfd50179d6ac"), ("bios", "0x27")):
        plan = make_disk(host_of(f'defaults.disk = {{layout = "{layout}", recovery = "last"}}'))
        assert [part.type_id for part in plan.partitions if part.type_id] == [expected]
        active = [part.label for part in plan.partitions if part.active]
        assert active == (["System"] if layout == "bios" else [])


@pytest.mark.parametrize("bus", ["scsi", "virtio", "sata"])
def test_disks_that_the_first_boot_could_not_tell_apart(bus):
    """data-disks.ps1 knows a slot from the LUN, which only a SCSI disk has; else by the size."""
    disk = '{{letter = "{}", slot = {}, size_gib = 10}}'
    disks = f"[{disk.format('D', 2)}, {disk.format('E', 3)}]"
    text = f'[[host]]\nname = "a1"\ndisk.bus = "{bus}"\ndata_disk = {disks}\n'
    if bus == "scsi":
        assert host_of(text)
        return
    with pytest.raises(WinseedError) as caught:
        host_of(text)
    assert [problem.where for problem in caught.value.problems] == ["host[0].data_disk"]
    assert "cannot be told apart" in caught.value.problems[0].what


# Updates


def policies(text, release="2022"):
    made = make_updates(host_of(text), load_release(release))
    return {(value.subkey, value.name): value.value for value in made.policies}, made.duty


def test_update_policies():
    """learn.microsoft.com, "Manage additional Windows Update settings"; WSUS: `UseWUServer`."""
    found, duty = policies('defaults.updates.mode = "disabled"')
    assert found[("AU", "NoAutoUpdate")] == "1"
    assert found[("", "TargetReleaseVersionInfo")] == "21H2"
    assert "administrator turns them on" in duty
    found, _ = policies('defaults.updates.mode = "disabled"', "2012r2")
    assert ("", "TargetReleaseVersion") not in found
    found, _ = policies("")
    assert found == {("AU", "NoAutoUpdate"): "0", ("AU", "AUOptions"): "2"}
    found, duty = policies('defaults.updates = {mode = "auto", day = 2, hour = 5}')
    assert (found[("AU", "AUOptions")], duty) == ("4", "")
    assert (found[("AU", "ScheduledInstallDay")], found[("AU", "ScheduledInstallTime")]) == (
        "2",
        "5",
    )
    wsus = 'mode = "wsus", server = "http://w:8530"'
    for install, option in (("download", "3"), ("notify", "7"), ("schedule", "4")):
        found, _ = policies(f'defaults.updates = {{{wsus}, install = "{install}"}}')
        assert found[("AU", "AUOptions")] == option
        assert found[("AU", "UseWUServer")] == "1"
        assert found[("AU", "NoAutoUpdate")] == "0"
        assert found[("", "WUServer")] == found[("", "WUStatusServer")] == "http://w:8530"
        assert ("", "TargetGroup") not in found


# The whole


def test_steps_of_the_first_boot():
    text = """
[defaults]
first_boot = ["files/site.ps1", "files/site.cmd"]
remote.rdp = true
updates.packages = ["files/kb5000001.msu"]
[[host]]
name = "a1"
[[host.data_disk]]
letter = "D"
size_gib = 1
slot = 1
"""
    plan = plan_of(text)
    names = [step.name for step in plan.steps]
    assert names[0] == "drivers"
    assert names[-1] == "scrub"
    order = [
        "agent",
        "balloon",
        "data-disks",
        "remote-access",
        "settings",
        "script-01",
        "script-02",
    ]
    assert [name for name in names if name in order] == order
    assert "update-01" in names
    assert all(0 < step.timeout <= 4 * 3600 for step in plan.steps)
    assert len({attachment.name for attachment in plan.attachments}) == 3


def test_lasting_secrets_need_consent():
    text = '[[host]]\nname = "a1"\n[[host.account]]\nname = "ops"\npassword_env = "X"\n'
    accounts = {"accounts": {"ops": Secret("x1")}}
    with pytest.raises(WinseedError, match="stay valid") as caught:
        plan_of(text, on_medium=False, **accounts)
    assert caught.value.code is ExitCode.UNSAFE
    assert plan_of(text, **accounts).accounts[0].name == "ops"
    assert plan_of(on_medium=False).accounts == ()


def test_every_belief_is_described_and_told_somewhere():
    """In the plans of the golden cases, or where a source file names it."""
    known = beliefs()
    assert all(row["what"] and row["way_out"] and row["source"] for row in known.values())
    plans = (ROOT / "tests/golden/expected").glob("*/plan.txt")
    told = " ".join(path.read_text(encoding="utf-8") for path in plans)
    sources = " ".join(
        path.read_text(encoding="utf-8")
        for folder in ("builder", "drivers", "answer_templates/scripts")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in {".py", ".toml", ".j2"}
    )
    assert [name for name in known if name not in told and name not in sources] == []
    applied = {risk.id for risk in plan_of().risks}
    assert applied <= set(known) | {"DS01", "DS02", "DS03"}


def test_delivery_can_be_switched_off():
    plan = plan_of('defaults.driver_delivery = ["drvload"]')
    assert plan.drivers.deliveries == (Delivery.DRVLOAD,)
    assert "FT01" not in {risk.id for risk in plan.risks}


def test_a_plan_is_frozen_and_prints_without_secrets():
    plan = plan_of(administrator="Visible-Secret-1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.host = "other"
    assert hash(plan.image)
    text = json.dumps(plan_document(plan)) + repr(plan)
    assert "Visible-Secret-1" not in text
    assert plan.secrets == ("Visible-Secret-1",)
    assert str(ROOT) not in json.dumps(plan_document(plan))


def test_the_fingerprint_covers_everything_but_secrets():
    plan = plan_of()
    assert len(plan.fingerprint) == 12
    assert plan_of(administrator="Other-1").fingerprint == plan.fingerprint
    assert plan_of(nonce="1").fingerprint != plan.fingerprint
    assert plan_of("defaults.owner = 'x'").fingerprint != plan.fingerprint
    assert plan_of("site.name = 'x'").fingerprint == plan.fingerprint  # MACs follow the site given


def test_make_plan_is_pure():
    """Twice the same arguments, twice the same plan."""
    arguments = {
        "site": "s",
        "windows": None,
        "drivers": load_layout("0.1.271"),
        "attachments": Attachments(),
        "secrets": secrets(),
        "version": "1",
    }
    host = host_of('defaults.release = "2022"')
    assert make_plan(host, **arguments) == make_plan(host, **arguments)
