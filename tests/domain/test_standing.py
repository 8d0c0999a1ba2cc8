"""A change to a domain that is under way keeps the old disk."""

import pytest

from builder.domain.change.journal import DcRecord, begin_dc_journal
from builder.domain.change.standing import refuse_unfinished
from builder.errors import ExitCode, WinseedError
from tests.domain.plans import make_plan


def test_without_a_change_nothing_is_refused(tmp_path):
    refuse_unfinished(tmp_path)
    assert not list(tmp_path.iterdir()), "looking writes nothing"


def test_a_change_that_has_just_begun_keeps_the_old_disk(tmp_path):
    begin_dc_journal(tmp_path, DcRecord(run="0a1b2c3d", verb="reinstall", plan=make_plan()))
    with pytest.raises(WinseedError) as caught:
        refuse_unfinished(tmp_path)
    assert caught.value.code is ExitCode.UNSAFE
    assert "winseed dc reinstall dc1" in caught.value.hint
