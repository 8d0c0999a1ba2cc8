"""The verdict over an installed Windows: every deviation is found, and nothing else is."""

import dataclasses

import pytest

from builder.errors import ExitCode
from builder.guest.facts import DeviceFacts, GuestFacts, PolicyFacts, RoleFacts, VolumeFacts
from builder.guest.judge import judge_guest, load_undriven
from builder.plan.model import PolicyValue
from builder.proxmox.findings import Level
from tests.unit.test_scripts import make_plan

SPEC = """
[[host]]
name = "srv"
release = "2022"
edition = "core"
updates = { mode = "disabled" }
data_disk = [ { letter = "D", label = "Daten", size_gib = 10, slot = 1 } ]
"""
# the ids of virtio devices as QEMU shows them behind a conventional PCI bridge
IDS = {
    "vioscsi": "PCI\\VEN_1AF4&DEV_1004&SUBSYS_00081AF4&REV_00",
    "NetKVM": "PCI\\VEN_1AF4&DEV_1000&SUBSYS_00011AF4&REV_00",
    "Balloon": "PCI\\VEN_1AF4&DEV_1002&SUBSYS_00051AF4&REV_00",
    "vioserial": "PCI\\VEN_1AF4&DEV_1003&SUBSYS_00031AF4&REV_00",
}
LPC = "PCI\\VEN_8086&DEV_2918&SUBSYS_11001AF4&REV_02"


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return make_plan(tmp_path_factory.mktemp("judge"), SPEC)


def device(hardware_id, *, problem=0, inf="oem3.inf", version="1.2.3.4"):
    return DeviceFacts(
        id=f"{hardware_id}\\3&11583659&0&18",
        name="",
        hardware_ids=(hardware_id, hardware_id.partition("&SUBSYS")[0]),
        problem=problem,
        service="",
        inf=inf,
        version=version,
        provider="Red Hat, Inc.",
    )


GOOD = GuestFacts(
    role=RoleFacts(computer_name="SRV", domain_role=2, domain="WORKGROUP"),
    booted="20261121120000.500000+060",
    edition="ServerStandardEval",
    installation_type="Server Core",
    build="20348",
    revision="2031",
    image_state="IMAGE_STATE_COMPLETE",
    pending=(),
    renames=(),
    policies=(),
    devices=(*map(device, IDS.values()), device(LPC, inf="machine.inf")),
    volumes=(
        VolumeFacts(letter="C", kind=3, label="Windows", filesystem="NTFS", size=60 << 30),
        VolumeFacts(letter="D", kind=3, label="Daten", filesystem="NTFS", size=10 << 30),
    ),
    agent="Running",
)
FOREIGN = device("PCI\\VEN_10EC&DEV_8139&SUBSYS_11001AF4&REV_20", problem=28, inf="")
SMBUS = device("PCI\\VEN_8086&DEV_2930&SUBSYS_11001AF4&REV_02", problem=28, inf="")
FIRMWARE = device("ACPI\\SOME0001", problem=28, inf="")


@pytest.fixture
def good(plan):
    policies = tuple(
        PolicyFacts(subkey=value.subkey, name=value.name, value=value.value)
        for value in plan.updates.policies
    )
    assert policies
    assert {package.driver for package in plan.drivers.packages} == {*IDS, "viostor"}
    return dataclasses.replace(GOOD, policies=policies)


def judged(plan, facts, level, **how):
    found = [finding for finding in judge_guest(plan, facts, **how) if finding.level is level]
    assert all(finding.code is ExitCode.UNSETTLED for finding in found if level is Level.STOP)
    return [(finding.subject, finding.what) for finding in found]


def without(devices, driver):
    return tuple(one for one in devices if IDS[driver] not in one.hardware_ids)


def test_a_windows_as_planned(plan, good):
    assert judged(plan, good, Level.STOP) == []
    assert judged(plan, good, Level.WARN) == []
    assert len(judged(plan, good, Level.OK)) == 12


@pytest.mark.parametrize(
    ("change", "subject", "words"),
    [
        ({"edition": "ServerDatacenter"}, "edition", "planned was ServerStandard, Server Core"),
        ({"installation_type": "Server"}, "edition", "it is ServerStandardEval, Server,"),
        ({"build": "17763"}, "build", "it is 17763, planned was 20348"),
        ({"build": ""}, "build", "it is unknown"),
        ({"image_state": "IMAGE_STATE_UNDEPLOYABLE"}, "image state", "UNDEPLOYABLE"),
        ({"pending": ("servicing", "domain")}, "restart", "servicing, domain"),
        ({"policies": ()}, "updates", "NoAutoUpdate is not set"),
        ({"volumes": GOOD.volumes[:1]}, "disk D:", "no disk has this letter"),
    ],
)
def test_deviations(plan, good, change, subject, words):
    ((found, what),) = judged(plan, dataclasses.replace(good, **change), Level.STOP)
    assert found == subject
    assert words in what


def with_role(good, **change):
    return dataclasses.replace(good, role=dataclasses.replace(good.role, **change))


@pytest.mark.parametrize(
    ("change", "joined", "words"),
    [
        ({"computer_name": "WIN-AB12"}, False, "it is WIN-AB12, planned was srv"),
        ({"domain_role": 5, "domain": "ad"}, False, "domain controller of ad"),
        ({"domain_role": 2}, True, "has not joined"),
        ({"domain_role": 1}, False, "no server"),
    ],
)
def test_roles(plan, good, change, joined, words):
    ((_subject, what),) = judged(plan, with_role(good, **change), Level.STOP, joined=joined)
    assert words in what


def test_a_member_answers_to_its_domain(plan, good):
    member = dataclasses.replace(with_role(good, domain_role=3), policies=())
    assert judged(plan, member, Level.STOP, joined=True) == []
    ((subject, _what),) = judged(plan, member, Level.WARN, joined=True)
    assert subject == "updates"


def test_a_policy_with_another_value(plan, good):
    wrong = dataclasses.replace(good.policies[0], value="7")
    facts = dataclasses.replace(good, policies=(wrong, *good.policies[1:]))
    ((_subject, what),) = judged(plan, facts, Level.STOP)
    assert f"{wrong.name} is 7" in what
    kept = PolicyValue(subkey="au", name="noautoupdate", kind="REG_DWORD", value="1")
    lenient = dataclasses.replace(plan, updates=dataclasses.replace(plan.updates, policies=(kept,)))
    assert judged(lenient, good, Level.STOP) == [], "the registry does not tell cases apart"


@pytest.mark.parametrize("driver", IDS)
@pytest.mark.parametrize("state", [{"problem": 28, "inf": ""}, {"problem": 39}, {"inf": ""}])
def test_a_planned_driver_that_is_not_at_work(plan, good, driver, state):
    broken = device(IDS[driver], **state)
    devices = (*without(good.devices, driver), broken)
    ((subject, _),) = judged(plan, dataclasses.replace(good, devices=devices), Level.STOP)
    assert subject == f"driver {driver}"


def test_two_cards_of_which_one_has_a_driver(plan, good):
    devices = (*good.devices, device(IDS["NetKVM"], problem=28, inf=""))
    assert len(judged(plan, dataclasses.replace(good, devices=devices), Level.STOP)) == 1


def test_a_planned_device_that_is_not_there(plan, good):
    facts = dataclasses.replace(good, devices=without(good.devices, "Balloon"))
    assert judged(plan, facts, Level.STOP) == []
    assert [subject for subject, _ in judged(plan, facts, Level.WARN)] == ["driver Balloon"]


@pytest.mark.parametrize(
    ("extra", "level"),
    [(FOREIGN, Level.STOP), (FIRMWARE, Level.WARN), (SMBUS, None)],
)
def test_devices_without_a_plan(plan, good, extra, level):
    facts = dataclasses.replace(good, devices=(*good.devices, extra))
    for one in (Level.STOP, Level.WARN):
        assert bool(judged(plan, facts, one)) is (one is level)


def test_a_disabled_device_is_nobodys_fault(plan, good):
    off = device("PCI\\VEN_8086&DEV_100E", problem=22)
    assert judged(plan, dataclasses.replace(good, devices=(*good.devices, off)), Level.WARN) == []


def test_a_device_that_the_plan_leaves_alone(plan, good):
    drivers = dataclasses.replace(plan.drivers, without_driver=("rng",))
    facts = dataclasses.replace(
        good, devices=(*good.devices, device("PCI\\VEN_1AF4&DEV_1005", problem=28, inf=""))
    )
    assert judged(plan, facts, Level.STOP)
    assert judged(dataclasses.replace(plan, drivers=drivers), facts, Level.STOP) == []


@pytest.mark.parametrize(("kind", "filesystem"), [(5, "CDFS"), (3, ""), (3, "RAW")])
def test_a_letter_that_is_no_data_disk(plan, good, kind, filesystem):
    other = dataclasses.replace(good.volumes[1], kind=kind, filesystem=filesystem)
    facts = dataclasses.replace(good, volumes=(good.volumes[0], other))
    ((subject, _),) = judged(plan, facts, Level.STOP)
    assert subject == "disk D:"


def test_waiting_file_moves_are_only_told(plan, good):
    facts = dataclasses.replace(good, renames=("\\??\\C:\\Windows\\Temp\\x",))
    assert judged(plan, facts, Level.STOP) == []
    assert [subject for subject, _ in judged(plan, facts, Level.WARN)] == ["restart"]


def test_devices_that_may_stay_bare_say_why():
    rows = load_undriven()
    assert rows
    for row in rows:
        assert row.id.startswith(("PCI\\", "ACPI\\"))
        assert row.reason
        assert "1AF4" not in row.id, "a virtio device is never one of them"
