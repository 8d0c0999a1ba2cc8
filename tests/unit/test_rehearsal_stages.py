"""Single stages: layouts in MiB, drives, ways, and what is told."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.machine import DriveBus, Slot
from builder.rehearsal.answer_file import load_answer_file
from builder.rehearsal.drawing import draw_disk
from builder.rehearsal.drives import make_drives
from builder.rehearsal.facts import DiscFacts, DiscKind
from builder.rehearsal.make import rehearse
from builder.rehearsal.model import Verdict
from builder.rehearsal.report import (
    rehearsal_document,
    rehearsal_lines,
    summary_line,
)
from builder.rehearsal.ways import Way, loop_letters, winpe_ways
from builder.vm_config import load_machine
from tests import rehearsals as base
from tests.rehearsals import Scene, answer_with, command, config_with


def drawn(**change):
    return rehearse(Scene(**change).facts()).disk


def test_a_gpt_disk_of_60_gib():
    disk = drawn()
    # 61,440 MiB: 1 before, 260, 16, the rest, 1 for the copy of the table
    assert [(one.start_mib, one.size_mib) for one in disk.partitions] == [
        (1, 260),
        (261, 16),
        (277, 61440 - 1 - 277),
    ]
    assert [one.windows for one in disk.partitions] == [False, False, True]
    assert disk.style == "GPT"


def test_what_stays_unused_is_drawn_and_told():
    scene = Scene(answer=answer_with("<Extend>true</Extend>", "<Size>40960</Size>"))
    rehearsal = rehearse(scene.facts())
    assert rehearsal.disk.partitions[-1].kind == "unused"
    assert rehearsal.disk.partitions[-1].size_mib == 61440 - 1 - 277 - 40960
    assert [one[0] for one in scene.steps()["partitions.fit"]] == ["risk"]


def test_narrow_partitions_are_enlarged_and_keep_their_proportion():
    drawing = draw_disk(drawn())
    assert sum(bar.width for bar in drawing.bars) == pytest.approx(1000 * 61438 / 61440)
    (lens,) = drawing.lenses
    assert [round(bar.width) for bar in lens.bars] == [942, 58]  # 260 and 16 of 276


def disc(name, kind=DiscKind.OTHER):
    return DiscFacts(name=name, kind=kind)


def test_discs_go_where_the_configuration_names_them():
    machine = load_machine(base.CONFIG, source="test")
    discs = [
        disc("answer.iso", DiscKind.ANSWER),
        disc("Virtio-win-copy.iso", DiscKind.VIRTIO),
        disc("server.iso", DiscKind.WINDOWS),
    ]
    plugged = make_drives(machine, discs, mentioned=True)
    held = {str(drive.slot): drive.disc.name for drive in plugged.drives}
    assert held == {"sata0": "answer.iso", "ide0": "Virtio-win-copy.iso", "ide2": "server.iso"}
    assert plugged.guessed == ()


def test_a_disc_that_is_not_mentioned_gets_a_free_slot_and_is_told():
    machine = load_machine(config_with("sata0: local:iso/answer.iso,media=cdrom\n", ""), source="t")
    plugged = make_drives(machine, [disc("answer.iso", DiscKind.ANSWER)], mentioned=True)
    assert plugged.guessed == ("answer.iso as sata0",)
    assert Slot(bus=DriveBus.SATA, number=0) in {drive.slot for drive in plugged.machine.cds}
    unread = {drive.disc.kind for drive in plugged.drives if drive.disc.name != "answer.iso"}
    assert unread == {DiscKind.UNREAD}


def test_an_empty_drive_takes_a_letter_and_holds_nothing():
    config = config_with("ide0: local:iso/virtio-win.iso,media=cdrom", "ide0: none,media=cdrom")
    machine = load_machine(config, source="test")
    plugged = make_drives(machine, [], mentioned=True)
    assert [drive.disc is None for drive in plugged.drives] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("for %d in (C D E) do x", {"d": "CDE"}),
        ("FOR %%i IN (d: e: f:) DO x", {"i": "DEF"}),
        ("for /l %i in (1,1,30) do x", {}),
        ("no loop", {}),
    ],
)
def test_letters_of_a_loop(text, letters):
    assert loop_letters(text) == {name: frozenset(found) for name, found in letters.items()}


RUN = r"cmd.exe /c for %d in (D E) do if exist %d:\go.cmd call %d:\go.cmd %d:"


@pytest.mark.parametrize(
    ("script", "found"),
    [
        # found by a loop of its own, whatever disc the script is on
        (
            'for %%d in (D E) do if exist "%%d:\\vioscsi" set "PACKAGES=%%d:"\r\n'
            'drvload "%PACKAGES%\\vioscsi\\2k22\\amd64\\vioscsi.inf" >> x.log\r\n',
            True,
        ),
        # on the script's own disc, which has no such folder
        (
            'set "MEDIUM=%~1"\r\nset "PACKAGES=%MEDIUM%"\r\n'
            'drvload "%PACKAGES%\\vioscsi\\2k22\\amd64\\vioscsi.inf"\r\n',
            False,
        ),
        ("drvload %~d0\\vioscsi\\2k22\\amd64\\vioscsi.inf\r\n", False),
    ],
)
def test_drvload_in_a_script_that_a_command_calls(script, found):
    scene = Scene(
        answer=answer_with(base.WINPE_PATHS, "").replace(
            "<UserData>", f"<RunSynchronous>{command(RUN)}</RunSynchronous><UserData>"
        ),
        answer_files=frozenset({"go.cmd"}),
        scripts=(("go.cmd", script),),
    )
    ways = winpe_ways(scene.facts(), load_answer_file(scene.answer.encode()))
    assert [(one.way, one.slot, one.driver.driver) for one in ways] == (
        [(Way.DRVLOAD, "ide0", "vioscsi")] if found else []
    )
    assert {letter for one in ways for _, letter in one.pairs} == (set("DE") if found else set())


@pytest.mark.parametrize(
    ("operand", "letters"),
    [
        (r"%d:\vioscsi\2k22\amd64\vioscsi.inf", "DE"),
        (r"%%d:\vioscsi\2k22\amd64\vioscsi.inf", "DE"),
        (r"F:\vioscsi\2k22\amd64\vioscsi.inf", "F"),
        (r'"F:\VIOSCSI\2k22\amd64\vioscsi.inf"', "F"),
        (r"F:\vioscsi\2k22\amd64\other.inf", ""),
    ],
)
def test_drvload_in_the_answer_file_itself(operand, letters):
    run = f"cmd.exe /c for %d in (D E) do drvload {operand}".replace('"', "&quot;")
    run = command(run).replace("&amp;quot;", "&quot;")
    text = answer_with(base.WINPE_PATHS, "").replace(
        "<UserData>", f"<RunSynchronous>{run}</RunSynchronous><UserData>"
    )
    scene = Scene(answer=text)
    ways = winpe_ways(scene.facts(), load_answer_file(text.encode()))
    assert {letter for one in ways for _, letter in one.pairs} == set(letters)
    assert {one.way for one in ways} == ({Way.DRVLOAD} if letters else set())


def test_what_only_drvload_brings_is_seen_by_windows_pe_and_not_by_the_system():
    run = r"cmd.exe /c for %d in (C D E F) do drvload %d:\vioscsi\2k22\amd64\vioscsi.inf"
    text = answer_with(base.WINPE_PATHS, "").replace(base.OFFLINE_PATHS, "<!-- -->")
    text = text.replace("<UserData>", f"<RunSynchronous>{command(run)}</RunSynchronous><UserData>")
    found = {step.id: step for step in rehearse(Scene(answer=text).facts()).steps}
    assert found["storage.disk"].beliefs == ("FT02",)
    assert found["devices.virtio-scsi.missing"].verdict is Verdict.STOP
    assert "only drvload" in found["devices.virtio-scsi.missing"].what


def test_further_discs_leave_the_drives_of_the_design_alone():
    config = "".join(f"{slot}: none,media=cdrom\n" for slot in ("ide0", "ide2", "sata0", "sata3"))
    machine = load_machine(config, source="test")
    discs = [disc("x.iso"), disc("w.iso", DiscKind.WINDOWS), disc("v.iso", DiscKind.VIRTIO)]
    plugged = make_drives(machine, [*discs, disc("a.iso", DiscKind.ANSWER)], mentioned=False)
    held = {str(drive.slot): drive.disc.name for drive in plugged.drives}
    assert held == {"ide2": "w.iso", "ide0": "v.iso", "sata0": "a.iso", "sata3": "x.iso"}


def test_one_letter_is_counted():
    scene = Scene(
        answer=answer_with(
            base.WINPE_PATHS,
            base.component(
                "PnpCustomizationsWinPE",
                base.driver_paths(base.on_letters(("vioscsi",), "E")),
            ),
        )
    )
    ((verdict, text),) = scene.steps()["storage.letters"]
    assert verdict == "risk"
    assert "6 of 24" in text  # one of four letters, whatever the other two drives get


def test_nothing_is_said_of_the_text_of_commands():
    secret = "hunter2-not-to-be-told"
    scene = Scene(answer=answer_with(base.INSTALL_AGENT, f"net user x {secret} /add"))
    rehearsal = rehearse(scene.facts())
    assert secret not in "\n".join(rehearsal_lines(rehearsal))
    assert secret not in json.dumps(rehearsal_document(rehearsal))


def test_a_product_key_of_the_owner_is_not_told():
    key = "BCDFG-HJKMN-PQRTV-WXY23-46789"
    rehearsal = rehearse(Scene(answer=answer_with(base.KMS_2022["standard"], key)).facts())
    assert key not in json.dumps(rehearsal_document(rehearsal))
    found = [step.verdict for step in rehearsal.steps if step.id == "image.key"]
    assert found == [Verdict.NOT_CHECKED]


def test_every_verdict_is_counted_once():
    rehearsal = rehearse(Scene().facts())
    counts = rehearsal_document(rehearsal)["counts"]
    assert sum(counts.values()) == len(rehearsal.steps)
    assert summary_line(rehearsal).startswith(f"rehearsed: {counts['ok']} ok, ")
    assert "0 stops" in summary_line(rehearsal)


def test_a_risk_that_rests_on_belief_names_one_that_is_in_the_table():
    document = rehearsal_document(rehearse(Scene().facts()))
    named = {
        name for stage in document["stages"] for step in stage["steps"] for name in step["beliefs"]
    }
    assert named
    assert set(document["beliefs"]) == named


def test_a_virtio_disk_is_never_ok_and_a_sata_disk_is():
    sata = config_with("scsi0: local-lvm", "sata5: local-lvm").replace("order=scsi0", "order=sata5")
    assert {found for found, _ in Scene().steps()["storage.disk"]} == {"risk"}
    assert {found for found, _ in Scene(config=sata).steps()["storage.disk"]} == {"ok"}


def test_unread_discs_are_not_taken_for_empty_ones():
    facts = Scene().facts()
    drives = tuple(
        replace(drive, disc=DiscFacts(name=drive.disc.name, kind=DiscKind.UNREAD))
        if drive.disc.kind is DiscKind.VIRTIO
        else drive
        for drive in facts.drives
    )
    found = {step.id: step.verdict for step in rehearse(replace(facts, drives=drives)).steps}
    assert found["storage.disk"] is Verdict.NOT_CHECKED
    assert found["discovery.unread"] is Verdict.NOT_CHECKED


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_answer_file_gives_a_rehearsal(data):
    text = base.ANSWER
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 60)))
        text = text[:start] + data.draw(st.text(max_size=12)) + text[end:]
    scene = Scene(answer=text.encode("utf-8", "replace").decode())
    rehearsal = rehearse(scene.facts())
    assert rehearsal.stages
    assert rehearsal_lines(rehearsal)
