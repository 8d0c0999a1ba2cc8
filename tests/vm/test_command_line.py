"""Our VMs are those of Proxmox VE: held against what its own code makes of the same configuration.

data/*.devices: the -device arguments of qemu-server 9.2's `config_to_command`.
"""

import itertools
from pathlib import Path

import pytest

from tests.vm.command_line import Places, cd_place, command_line

DATA = Path(__file__).with_name("data")
PLACE = {
    "bus", "addr", "unit", "channel", "scsi-id", "lun", "port", "id", "drive", "bootindex", "mac",
    "netdev", "tpmdev", "chardev", "name", "iothread", "multifunction", "chassis_nr",
}  # fmt: skip
LEFT_OUT = {"vmgenid"}  # nothing here reads it
OURS = {"isa-serial"}  # COM2, the stand-in's log


def devices(lines):
    """Driver and id -> where it is plugged in."""
    found = {}
    for line in lines:
        driver, *parts = line.split(",")
        values = dict(part.partition("=")[::2] for part in parts)
        key = (driver, values.get("id") or values.get("chardev", ""))
        found[key] = {name: values[name] for name in sorted(PLACE & set(values))}
    return found


@pytest.mark.parametrize("chipset", ["q35", "i440fx"])
def test_every_device_is_where_proxmox_ve_puts_it(chipset, tmp_path):
    text = (DATA / f"{chipset}.conf").read_text()
    rows = [line.partition(": ")[::2] for line in text.splitlines() if not line.startswith("#")]
    places = Places(folder=tmp_path, volume=lambda name: tmp_path / name.rpartition("/")[2])
    command = command_line(dict(rows), places, accelerator="tcg")
    pairs = itertools.pairwise(command)
    ours = devices(value for flag, value in pairs if flag == "-device")
    theirs = devices((DATA / f"{chipset}.devices").read_text().splitlines())
    assert {key: ours.get(key) for key in theirs if key[0] not in LEFT_OUT} == {
        key: place for key, place in theirs.items() if key[0] not in LEFT_OUT
    }
    assert {key[0] for key in ours if key not in theirs} == OURS


def test_where_a_guest_finds_the_drives():
    """DriveDevice.pm: each IDE unit of q35 is a port of its own, ide1 the third."""
    assert [cd_place({"machine": "q35"}, f"ide{n}") for n in range(4)] == [
        "1f.2:0:0", "1f.2:2:0", "1f.2:1:0", "1f.2:3:0"]  # fmt: skip
    assert [cd_place({"machine": "pc"}, f"ide{n}") for n in range(4)] == [
        "01.1:0:0", "01.1:0:1", "01.1:1:0", "01.1:1:1"]  # fmt: skip
    assert cd_place({"machine": "q35"}, "sata3") == "07.0:3:0"
