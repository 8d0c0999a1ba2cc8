"""The known-bad table in a rehearsal: what is loaded or run, from which disc, on which Windows."""

import dataclasses

import pytest

from builder.rehearsal.make import rehearse
from tests.rehearsals import Scene, answer_with, command, config_with

TOOLS = r"D:\virtio-win-guest-tools.exe /install /quiet /norestart"
RUN_TOOLS = answer_with("<RunSynchronous>", f"<RunSynchronous>{command(TOOLS, order=9)}")


@dataclasses.dataclass(frozen=True)
class WithTools(Scene):
    """The installers lie on the disc, too."""

    def virtio(self):
        disc = super().virtio()
        return dataclasses.replace(disc, files=disc.files | {"virtio-win-guest-tools.exe"})


def rows(scene):
    """Ids of the rows told, as a set; the way out and the source go with each."""
    found = scene.steps().get("devices.known-bad", [])
    assert {verdict for verdict, _ in found} <= {"risk"}
    ids = [text.partition(":")[0] for _, text in found]
    assert len(set(ids)) == len(ids)
    return set(ids)


BLOCK = config_with("scsi0: local-lvm:vm-101-disk-1,iothread=1", "virtio0: local-lvm:vm-101-disk-1")
BLOCK = BLOCK.replace("order=scsi0", "order=virtio0")
VIOSTOR = answer_with("vioscsi", "viostor").replace("vioscsi", "viostor")


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (Scene(disc_release="0.1.285"), {"KB01", "KB03"}),
        (Scene(disc_release="0.1.302"), set()),
        (Scene(disc_release="0.1.271"), set()),
        (Scene(disc_release="0.1.240"), {"KB05"}),
        (Scene(), set()),
        (Scene(disc_release="0.1.285", config=BLOCK, answer=VIOSTOR), {"KB02", "KB03"}),
        (Scene(disc_release="0.1.285", config=config_with("cores: 2", "cores: 64")),
         {"KB01", "KB03", "KB11"}),
        (Scene(disc_release="0.1.262"), {"KB05", "KB13"}),
        (WithTools(disc_release="0.1.271", answer=RUN_TOOLS), set()),
        (WithTools(disc_release="0.1.266", answer=RUN_TOOLS), {"KB17"}),
        (Scene(disc_release="0.1.266", answer=RUN_TOOLS), set()),
    ],
)  # fmt: skip
def test_rows(scene, expected):
    assert rows(scene) == expected


def test_the_way_out_and_the_source_are_told():
    steps = [
        step
        for step in rehearse(Scene(disc_release="0.1.285").facts()).steps
        if step.id == "devices.known-bad"
    ]
    assert "0.1.271" in steps[0].fix
    assert "#1453" in steps[0].source
