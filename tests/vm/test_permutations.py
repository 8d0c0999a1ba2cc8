"""The stand-in and `winseed rehearse` walk the same discs on the same machine, and must agree.

They come from the same facts, so their agreement is consistency and not truth (docs/boot-proof.md).
"""

import pytest

from tests.vm.cases import CASES

pytestmark = pytest.mark.timeout(600)
GUARDED = {"second-disk", "disk-with-partitions", "disk-with-windows"}
NAMES = [case.id for case in CASES]


@pytest.mark.parametrize("name", NAMES)
def test_both_walks_agree(runs, name):
    outcome = runs[name]
    case, result, prediction = outcome.case, outcome.result, outcome.prediction
    ended = result.stage if result.word == "stopped" else result.word
    assert ended == case.ends, result.line
    for text in case.log:
        assert text in result.log
    for text in case.com1:
        assert text in result.com1, result.com1

    if case.ends == "installed" and not case.blames:
        assert prediction.stops == ()
        wanted = [part["size_mib"] for part in prediction.document["disk"]["partitions"]]
        assert outcome.sizes == wanted
    else:
        assert _blamed(prediction.steps, case.blames), prediction.steps

    if name in GUARDED:
        assert all(outcome.untouched.values()), outcome.untouched


def _blamed(steps, blames):
    """Whether one of the steps that the case blames is a stop, or a risk where the case says so."""
    for blame in blames:
        verdict, _, begin = blame.rpartition(":")
        if any(
            step.startswith(begin) and found == (verdict or "stop") for step, found in steps.items()
        ):
            return True
    return False
