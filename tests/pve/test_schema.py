"""The fake's idea of a valid request, against the verdicts of the real validator of 8.4 and 9.2."""

import json

import pytest

from tests.pve.schema import DATA, RELEASES, load_schema


def vectors(release):
    return json.loads((DATA / f"vectors-{release}.json").read_text(encoding="utf-8"))["vectors"]


CASES = [
    pytest.param(release, vector, id=f"{release}-{number}")
    for release in RELEASES
    for number, vector in enumerate(vectors(release))
]


@pytest.mark.parametrize(("release", "vector"), CASES)
def test_verdict_and_sentences_are_those_of_the_real_validator(release, vector):
    found = load_schema(release).check(vector["call"], vector["params"])
    assert found == vector.get("errors", {})
    assert (not found) == vector["ok"]
