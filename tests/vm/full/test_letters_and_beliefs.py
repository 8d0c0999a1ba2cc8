"""Every order of the CDs over their letters; rules that are belief, switched off one by one.

Beliefs take no part in the verdict: a run without one may end otherwise, and then the rehearsal
must have named it.
"""

import itertools

import pytest

from tests.vm.cases import CASES, DRVLOAD, ON_E, Case, ours, referring
from tests.vm.lab import ISO
from tests.vm.runs import run_case

pytestmark = pytest.mark.timeout(900)
SLOTS = ("ide2", "ide0", "sata0")
ORDERS = [
    " ".join(f"{slot}={letter}" for slot, letter in zip(SLOTS, letters, strict=True))
    for letters in itertools.permutations("DEF")
]
BY_ID = {case.id: case for case in CASES}


@pytest.mark.parametrize("letters", [*ORDERS, "ide2=C ide0=D sata0=E", "ide2=J ide0=I sata0=C"])
@pytest.mark.parametrize("answer", [ours, referring], ids=["carried", "referring"])
def test_our_discs_install_under_every_letter(lab, letters, answer):
    case = Case(id="letters", ends="installed", answer=answer, letters=letters)
    name = f"letters-{answer.__name__}-{letters.replace(' ', '-').replace('=', '')}"
    outcome = run_case(lab, case, name=name)
    assert outcome.result.installed, outcome.result.line
    assert outcome.prediction.stops == ()


@pytest.mark.parametrize("slots", list(itertools.permutations(SLOTS)), ids="-".join)
def test_our_discs_install_from_every_drive(lab, slots):
    """The three discs in the three drives in every order, letters as the drives turn up."""
    discs = ("windows-2022-volume.iso", "virtio.iso", "answer-2022.iso")
    config = {slot: f"{ISO}{disc},media=cdrom" for slot, disc in zip(slots, discs, strict=True)}
    config["boot"] = f"order=scsi0;{slots[0]}"
    case = Case(id="slots", ends="installed", answer=ours, config=config, letters="")
    outcome = run_case(lab, case, name=f"slots-{'-'.join(slots)}")
    assert outcome.result.installed, outcome.result.line
    assert outcome.prediction.stops == ()


def test_one_letter_is_found_as_often_as_predicted(lab):
    """The rehearsal counts 6 of 24 with a free C:, so 2 of the 6 orders over D: to F:."""
    hits = 0
    for number, letters in enumerate(ORDERS):
        case = Case(id="one-letter", ends="", answer=ON_E, letters=letters)
        outcome = run_case(lab, case, name=f"one-letter-{number}")
        assert outcome.prediction.steps["storage.letters"] == "risk"
        hits += outcome.result.installed
    assert hits == 2


@pytest.mark.parametrize("belief", ["FT01", "FT02", "FT03", "FT01 FT02 FT03", "FT12", "FT22"])
@pytest.mark.parametrize("name", ["own-disc", "foreign"])
def test_what_hangs_on_a_belief_is_told(lab, name, belief):
    outcome = run_case(
        lab,
        BY_ID[name],
        name=f"without-{belief.replace(' ', '-')}-{name}",
        tell={"disbelieve": belief},
    )
    if not outcome.result.installed:
        assert outcome.prediction.beliefs & set(belief.split()), outcome.result.line


def test_drvload_alone_does_not_reach_the_installed_system(lab):
    case = Case(id="drvload", ends="installed", answer=DRVLOAD)
    outcome = run_case(lab, case, name="drvload-alone", second=True)
    assert outcome.result.installed
    assert outcome.second is not None
    assert outcome.second.stage == "boot"
    assert any(step.startswith("devices.") for step in outcome.prediction.stops)
