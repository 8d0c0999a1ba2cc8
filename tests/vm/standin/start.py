"""The first Python of the stand-in: Setup when the CD was booted, Windows when the disk was."""

import subprocess
import time
import traceback
from pathlib import Path

import installed
import setup
import world


def main() -> None:
    """Never returns: the machine restarts, switches off, or waits as a dialog would."""
    world.load_inbox()
    words = Path("/proc/cmdline").read_text().split()
    role = next((word[8:] for word in words if word.startswith("standin=")), "setup")
    kernel = subprocess.run(["busybox", "dmesg"], capture_output=True, text=True, check=False)
    locked = "yes" if "Secure boot enabled" in kernel.stdout else "no"
    firmware = "uefi" if Path("/sys/firmware/efi").exists() else "bios"
    world.say(f"starts as {role} firmware={firmware} secure-boot={locked}")
    try:
        result = setup.install() if role == "setup" else installed.run()
    except Exception:
        for line in traceback.format_exc().splitlines():
            world.say(line)
        result = "result=broken"
    world.say(result)
    subprocess.run(["busybox", "sync"], check=False)
    if result == "result=ready":
        installed.wait_for_power_button()
    if result.startswith("result=powered-off"):
        subprocess.run(["busybox", "poweroff", "-f"], check=False)
    elif result == "result=installed":
        subprocess.run(["busybox", "reboot", "-f"], check=False)
    while True:  # a dialog waits for a click
        time.sleep(60)


main()
