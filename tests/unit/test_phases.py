"""How far an installation is: tables of what is seen, and any sequence of it."""

import pickle
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.errors import ExitCode
from builder.install.patience import Allowance, load_patience, make_patience
from builder.install.phases import (
    MIB,
    Marker,
    Observation,
    Phase,
    advance,
    needs_agent,
    start_progress,
)
from builder.install.stalls import (
    SIGNS,
    choose_causes,
    find_stall,
    load_causes,
    make_foreign,
    make_guard_refusal,
    make_signs,
    make_unsettled,
    minutes,
)
from builder.install.told import Told, load_told, own_text
from tests.command import ROOT

ID = "0123abcd"
PATIENCE = load_patience()
SCRIPTS = ROOT / "answer_templates" / "scripts"


def seen(at, **what):
    usual = {"running": True, "qmp": "running", "uptime": int(at), "read": 0, "written": 0}
    return Observation(at=float(at), **(usual | what))


def fold(*observations, fingerprint=ID, phase=Phase.OFF):
    progress = start_progress(fingerprint, 0.0, phase=phase)
    for observation in observations:
        progress = advance(progress, observation)
    return progress


def marker(**what):
    return Marker(**({"id": ID, "ok": True, "failed": ()} | what))


def copied(at, mib):
    """The CD was read to the end; so much was written."""
    return seen(at, read=4000 * MIB, written=mib * MIB)


DONE = "winseed: phase=done ok=True failed="
SPECIALIZED = seen(900, read=5000 * MIB, serial=("winseed: phase=specialize id=0123abcd",))
MARKED = {"agent": True, "marker": marker()}


@pytest.mark.parametrize(
    ("observations", "phase"),
    [
        ((), Phase.OFF),
        ((seen(1, running=False),), Phase.OFF),
        ((seen(1),), Phase.FIRMWARE),
        ((seen(1, read=2 * MIB),), Phase.PROMPT),
        ((seen(1, read=11 * MIB),), Phase.WINPE),
        ((seen(1, serial=("winseed: phase=winpe id=0123abcd",)),), Phase.WINPE),
        ((seen(1, written=900 * MIB),), Phase.FIRMWARE),  # an old system starts from the disk
        ((seen(1, read=500 * MIB, written=90 * MIB),), Phase.WINPE),  # partitions are formatted
        ((seen(1, read=500 * MIB, written=400 * MIB),), Phase.APPLY),
        # the CD is read no more, and nothing speaks on COM1
        ((copied(1, 1000), copied(190, 3000)), Phase.SPECIALIZE),
        ((copied(1, 2500), copied(170, 3000)), Phase.APPLY),
        ((copied(1, 500), copied(900, 600)), Phase.APPLY),
        ((SPECIALIZED,), Phase.SPECIALIZE),
        ((SPECIALIZED, seen(950, serial=("winseed: step=agent ok=True",))), Phase.FIRST_BOOT),
        ((SPECIALIZED, seen(960, agent=False)), Phase.SPECIALIZE),
        ((SPECIALIZED, seen(960, agent=True)), Phase.AGENT),
        ((SPECIALIZED, seen(960, **MARKED)), Phase.AGENT),  # once is not enough
        ((SPECIALIZED, seen(960, **MARKED), seen(990, **MARKED)), Phase.MARKED),
        ((SPECIALIZED, seen(960, **MARKED), seen(970), seen(990, **MARKED)), Phase.MARKED),
        (
            (SPECIALIZED, seen(960, **MARKED), seen(970, agent=True), seen(990, **MARKED)),
            Phase.AGENT,
        ),
        ((seen(1), seen(2, **MARKED), seen(3, **MARKED)), Phase.FIRMWARE),  # nobody asked then
    ],
)  # fmt: skip
def test_what_is_seen_makes_the_phase(observations, phase):
    assert fold(*observations).phase is phase


@pytest.mark.parametrize(
    ("found", "phase"),
    [
        (marker(), Phase.MARKED),
        (marker(image_state="IMAGE_STATE_COMPLETE"), Phase.MARKED),
        (marker(image_state="IMAGE_STATE_UNDEPLOYABLE"), Phase.AGENT),
        (marker(id="ffffffff"), Phase.AGENT),
        (marker(ok=False, failed=("agent",)), Phase.MARKED),  # whether that is good is not ours
    ],
)
def test_only_the_final_marker_of_this_build_counts(found, phase):
    told = [seen(at, agent=True, marker=found) for at in (960, 990, 1020)]
    progress = fold(SPECIALIZED, *told)
    assert progress.phase is phase
    assert progress.foreign == (found.id if found.id != ID else "")


def test_the_marker_stays():
    marked = fold(SPECIALIZED, seen(960, **MARKED), seen(990, **MARKED))
    assert advance(marked, seen(1000, running=False)) is marked


def test_a_phase_keeps_the_time_of_its_beginning():
    progress = fold(seen(10), seen(20, read=20 * MIB), seen(50, read=400 * MIB))
    assert (progress.since, progress.active, progress.elapsed) == (20, 50, 50)


def test_small_changes_are_no_sign_of_life():
    told = [seen(at, read=20 * MIB, written=at * 1000) for at in range(20, 500, 20)]
    assert fold(*told).active == 20
    assert fold(*told, seen(510, read=22 * MIB)).active == 510
    assert fold(*told, seen(510, read=20 * MIB, serial=("winseed: disks=1",))).active == 510
    assert fold(*told, seen(510, read=20 * MIB, serial=("BdsDxe: loading",))).active == 20


def test_a_vm_that_is_held_is_not_silent():
    held = fold(seen(10, read=20 * MIB), seen(700, read=20 * MIB, lock="backup"))
    assert (held.active, held.since) == (700, 700)
    paused = fold(seen(10, read=20 * MIB), seen(700, read=20 * MIB, qmp="paused"))
    assert paused.active == 700


def test_qemu_that_began_again_is_counted():
    progress = fold(seen(100, read=20 * MIB, uptime=90), seen(120, read=0, uptime=5))
    assert (progress.restarts, progress.phase) == (1, Phase.WINPE)


# When the agent is due


@pytest.mark.parametrize(
    ("observations", "now", "due"),
    [
        ((seen(1),), 1e6, False),
        ((seen(1, read=20 * MIB, written=9000 * MIB),), 1e6, False),
        ((SPECIALIZED,), 900 + PATIENCE.agent_after, False),  # COM1 will say
        ((SPECIALIZED,), 900 + PATIENCE.agent_after_told, True),
        ((SPECIALIZED, seen(950, serial=("winseed: phase=first-boot id=0123abcd",))), 951, True),
        ((SPECIALIZED, seen(950, agent=True)), 951, False),  # it was asked just now
        ((SPECIALIZED, seen(950, agent=True)), 950 + PATIENCE.agent_pause, True),
        ((SPECIALIZED, seen(950, agent=True), seen(960, running=False)), 1e6, False),
        ((SPECIALIZED, seen(960, **MARKED), seen(990, **MARKED)), 1e6, False),
    ],
)
def test_the_agent_is_asked_when_it_is_due(observations, now, due):
    assert needs_agent(fold(*observations), now, PATIENCE) is due


def test_without_com1_the_agent_is_asked_after_a_time():
    silent = fold(
        seen(1, read=4000 * MIB, written=2500 * MIB),
        seen(200, read=4000 * MIB, written=2600 * MIB),
    )
    assert silent.phase is Phase.SPECIALIZE
    assert not needs_agent(silent, 200 + PATIENCE.agent_after - 1, PATIENCE)
    assert needs_agent(silent, 200 + PATIENCE.agent_after, PATIENCE)


# What COM1 tells


def test_lines_of_our_own():
    assert own_text("\x1b[2Jwinseed: phase=winpe \x07 done\r") == "phase=winpe   done"
    assert own_text("Booting from Hard Disk...") == ""
    assert len(own_text("winseed: " + "x" * 5000)) == 300
    told = load_told(
        Told(), ("winseed: guard=stopped reason=disks expected=1 found=2",), fingerprint=ID
    )
    assert told.guard == "disks expected=1 found=2"
    told = load_told(
        Told(),
        (
            "winseed: drvload=vioscsi result=0",
            "winseed: drvload=viostor result=-532462766",
            "winseed: virtio_cd=missing expected=virtio-win-0.1.285",
            "winseed: phase=winpe done",
            "winseed: step=agent ok=False result=1603 seconds=9",
            "winseed: step=agent says phase=winpe",
        ),
        fingerprint=ID,
    )  # fmt: skip
    assert [line.partition(" ")[0] for line in told.problems] == [
        "drvload=viostor", "virtio_cd=missing", "step=agent",
    ]  # fmt: skip
    assert (told.ended, told.failed_steps) == ({"winpe"}, ("agent",))


def test_another_build_is_noticed():
    line = ("winseed: phase=winpe id=ffffffff",)
    assert load_told(Told(), line, fingerprint=ID).foreign == "ffffffff"
    assert load_told(Told(), line, fingerprint="").foreign == ""
    assert load_told(Told(), line, fingerprint="ffffffff").foreign == ""


def test_the_words_are_those_of_the_scripts():
    """What is looked for is written by the scripts, letter by letter."""
    scripts = "".join(path.read_text() for path in sorted(SCRIPTS.glob("*.j2")))
    for words in (
        "call :say phase=winpe id=", "phase=winpe done", "phase=specialize id=",
        "phase=specialize done", "guard=stopped %*", "guard=passed", "virtio_cd=missing",
        "drvload={{ package.driver }} result=%ERRORLEVEL%", "disks=%DISKS%", "copy=failed",
        "incomplete=", "phase=first-boot id=$id", "step={0} ok={1} result={2}", "phase=done ok=",
        "winseed: phase=failed id=",
    ):  # fmt: skip
        assert words in scripts, words
    assert all("reason=" in call for call in re.findall(r"call :stop (.*)", scripts))


# When it is stuck


def stuck(progress, now):
    return find_stall(progress, now, PATIENCE)


def test_silence_is_told_at_half_and_given_up_at_the_end():
    progress = fold(seen(10, read=20 * MIB))
    silence = PATIENCE.of("winpe").silence
    assert stuck(progress, 10 + silence / 2 - 1) is None
    assert stuck(progress, 10 + silence / 2).final is False
    stall = stuck(progress, 10 + silence)
    assert stall.final
    assert "nothing has moved for 15 min" in stall.what


@pytest.mark.parametrize(
    ("last", "now", "what"),
    [
        (seen(20, read=20 * MIB, running=False, qmp="stopped"), 50, "the VM is off"),
        (seen(20, read=20 * MIB, qmp="io-error"), 21, "I/O error"),
        (seen(20, read=20 * MIB, qmp="internal-error"), 21, "internal-error"),
        (seen(20, read=20 * MIB), 10 + PATIENCE.of("winpe").limit, "this phase lasts"),
        (seen(20, read=20 * MIB), PATIENCE.overall, "not done after 4 h"),
    ],
)
def test_other_ends(last, now, what):
    stall = stuck(fold(seen(10, read=20 * MIB), last), now)
    assert stall.final
    assert what in stall.what
    assert stall.causes


def test_a_vm_under_ha_may_be_off_for_longer():
    off = fold(seen(10, read=20 * MIB), seen(20, running=False, managed=True))
    assert stuck(off, 200) is None
    assert stuck(off, 400).final


OFF = {"running": False, "qmp": "stopped"}


@pytest.mark.parametrize(
    ("observations", "first"),
    [
        ((seen(1),), "the firmware read nothing"),
        ((seen(1, read=2 * MIB),), "the Windows CD did not start"),
        ((seen(1, written=50 * MIB, read=MIB),), "another system starts"),
        ((seen(1, read=300 * MIB),), "no answer file"),
        ((seen(1, read=300 * MIB, serial=("winseed: phase=winpe done",)),), "about the image"),
        ((seen(1, read=300 * MIB, serial=("winseed: disks=0 waited=30",)),), "sees no disk"),
        ((seen(1, read=300 * MIB, serial=("winseed: drvload=vioscsi result=2",)),), "driver"),
        ((seen(1, read=300 * MIB), seen(9, read=300 * MIB, **OFF)), "the disk guard powered"),
        ((seen(1, read=300 * MIB, qmp="io-error"),), "QEMU has paused the VM after a write error"),
        ((SPECIALIZED, seen(999, serial=("winseed: phase=failed id=0123abcd",))), "fatal error"),
        ((SPECIALIZED, seen(999, serial=("winseed: step=x ok=False result=1",))), "a step of the"),
        ((SPECIALIZED, seen(999, serial=(DONE,))), "the first boot is"),
        ((SPECIALIZED, seen(999, agent=True)), "SetupComplete.cmd did not run"),
    ],
)  # fmt: skip
def test_the_likeliest_cause_comes_first(observations, first):
    causes = choose_causes(fold(*observations))
    told = [cause.what for cause in causes]
    assert any(first in what for what in told[:2]), told


def test_causes_name_public_sources_and_signs_that_exist():
    phases = {phase.value for phase in Phase} - {"off", "marked"}
    covered = set()
    for cause in load_causes():
        assert cause.phases
        assert cause.phases <= phases
        assert cause.when <= SIGNS
        assert re.search(
            r"[\w.-]+/[\w.-]+#\d+|\w+/[\w.-]+ \w|learn\.microsoft\.com|answer_templates/",
            cause.source,
        )
        assert cause.way_out
        covered |= cause.phases
    assert covered == phases == set(PATIENCE.allowances)
    assert make_signs(fold(seen(1))) <= SIGNS


def test_errors_say_where_why_and_what_was_seen():
    progress = fold(seen(1, read=300 * MIB), seen(2000, read=300 * MIB))
    error = make_unsettled("dc01", stuck(progress, 2000), progress, looked="screen.png: a dialog")
    assert error.code is ExitCode.UNSETTLED
    assert "dc01: nothing has moved for 33 min (Windows PE, 33 min after the start)" in error.what
    told = [str(problem) for problem in error.problems]
    assert any("hashicorp/" in line or "cschneegans/" in line for line in told)
    assert "seen: screen.png: a dialog" in told
    assert "seen: COM1: nothing" in told
    assert error.hint
    again = pickle.loads(pickle.dumps(error))
    assert (again.what, again.stall, again.progress) == (error.what, error.stall, progress)


def test_the_guard_is_a_refusal_for_safety():
    line = "winseed: guard=stopped reason=domain-controller drive=C"
    error = make_guard_refusal("dc01", fold(seen(1, read=300 * MIB, serial=(line,))))
    assert error.code is ExitCode.UNSAFE
    assert "domain-controller drive=C" in error.what


def test_another_build_is_named():
    error = make_foreign("dc01", fold(seen(1, serial=("winseed: phase=winpe id=ffff",))))
    assert "build ffff, expected 0123abcd" in error.what


def test_patience_is_widened():
    usual = make_patience()
    assert usual == load_patience()
    longer = make_patience(first_boot=20000)
    assert longer.of("first-boot") == Allowance(silence=20000, limit=24000)
    assert longer.overall == usual.overall + 24000 - usual.of("first-boot").limit
    own = make_patience(overall=60, allowances={"winpe": Allowance(silence=1, limit=2)})
    assert (own.overall, own.of("winpe").limit) == (60, 2)


def test_durations():
    assert [minutes(s) for s in (45, 119.9, 120, 3540, 7500)] == [
        "45 s", "119 s", "2 min", "59 min", "2 h 5 min",
    ]  # fmt: skip


# Any sequence

LINES = st.sampled_from(
    [
        "winseed: phase=winpe id=0123abcd", "winseed: phase=winpe done", "winseed: disks=0",
        "winseed: guard=stopped reason=x", "winseed: phase=specialize id=0123abcd",
        "winseed: phase=first-boot id=ffff", "winseed: step=a ok=False", DONE,
        "winseed: phase=failed id=0123abcd", "winseed: ", "winseed: id= phase=", "noise \x00",
    ]
)  # fmt: skip
OBSERVATIONS = st.builds(
    Observation,
    at=st.floats(-1e3, 1e6),
    running=st.booleans(),
    qmp=st.sampled_from(["running", "paused", "stopped", "io-error", "", "guest-panicked"]),
    uptime=st.integers(0, 10**6),
    read=st.integers(0, 10**11),
    written=st.integers(0, 10**11),
    serial=st.lists(LINES | st.text(max_size=30), max_size=3).map(tuple),
    agent=st.sampled_from([None, True, False]),
    marker=st.none() | st.builds(
        Marker,
        id=st.sampled_from([ID, "ffff", ""]),
        ok=st.booleans(),
        failed=st.just(()),
        image_state=st.sampled_from(["", "IMAGE_STATE_COMPLETE", "x"]),
    ),
    lock=st.sampled_from(["", "backup"]),
    managed=st.booleans(),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(OBSERVATIONS, max_size=12))
def test_any_sequence(observations):
    progress = start_progress(ID, 0.0)
    for observation in observations:
        before, progress = progress, advance(progress, observation)
        assert progress.phase.rank >= before.phase.rank
        assert progress.at >= before.at
        assert progress.since <= progress.at
        assert progress.active <= progress.at
        if before.phase is Phase.MARKED:
            assert progress is before
        if needs_agent(progress, progress.at + 1e9, PATIENCE):
            assert progress.phase in {Phase.SPECIALIZE, Phase.FIRST_BOOT, Phase.AGENT}
        stall = find_stall(progress, progress.at, PATIENCE)
        assert (stall is None) or progress.phase is not Phase.MARKED
        if stall is not None:
            assert make_unsettled("h", stall, progress).code is ExitCode.UNSETTLED
        assert len(progress.told.lines) <= 60
