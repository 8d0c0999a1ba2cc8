"""Letters: counted by formula in the code, one by one here."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.rehearsal.facts import Content
from builder.rehearsal.letters import LetterModel, system_letters, winpe_letters
from tests.rehearsals import Scene

SLOTS = ("ide0", "ide2", "sata0", "sata1")
LETTERS = "CDEFG"


def brute_force(model, pairs):
    hits = 0
    for dealt in itertools.permutations(model.letters, len(model.slots)):
        hits += any(pair in pairs for pair in zip(model.slots, dealt, strict=True))
    return hits


@given(
    st.integers(1, 4),
    st.integers(0, 2),
    st.sets(st.tuples(st.sampled_from((*SLOTS, "scsi7")), st.sampled_from("CDEFGZX"))),
)
def test_reach_is_what_dealing_every_assignment_gives(drives, more, pairs):
    model = LetterModel(slots=SLOTS[:drives], letters=tuple("CDEFGHIJ"[: drives + more]))
    found = model.reach(pairs)
    every = itertools.permutations(model.letters, drives)
    assert found.total == sum(1 for _ in every)
    assert found.hits == brute_force(model, pairs)
    assert found.always is (found.hits == found.total)
    assert bool(found.miss) is (
        0 < found.hits < found.total
        or (
            found.hits == 0
            and bool(
                {
                    (slot, letter)
                    for slot, letter in pairs
                    if slot in model.slots and letter in model.letters
                }
            )
        )
    )


@pytest.mark.parametrize(
    ("content", "letters"),
    [(Content.EMPTY, "CDEF"), (Content.USED, "CDEFGHIJ"), (Content.UNKNOWN, "CDEFGHIJ")],
)
def test_three_cds_share_letters_with_the_volumes_of_a_used_disk(content, letters):
    facts = replace(Scene().facts(), content=content)
    assert "".join(winpe_letters(facts).letters) == letters
    assert "".join(system_letters(facts).letters) == "DEF"


def test_a_further_disk_takes_letters_in_both_systems():
    config = Scene().config + "scsi1: local-lvm:vm-101-disk-2,size=100G\n"
    facts = Scene(config=config).facts()
    assert len(winpe_letters(facts).letters) == 8
    assert len(system_letters(facts).letters) == 7


def test_windows_pe_is_never_given_as_a_letter():
    assert "X" not in LetterModel(slots=SLOTS, letters=tuple("CDEFGHIJKLMNOPQRSTUVWYZ")).letters
    many = Scene().config + "".join(
        f"scsi{number}: local-lvm:vm-101-disk-{number},size=1G\n" for number in range(1, 6)
    )
    assert "X" not in winpe_letters(Scene(config=many).facts()).letters
