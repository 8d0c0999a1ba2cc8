"""winseed: Windows Server installs itself on Proxmox VE.

spec + media + machine facts -> Plan -> files -> answer ISO

Readers (`media/`) report facts, `make_plan` (`plan.py`) is the only place with opinions, and
writers (`answer/render.py`, `disc.py`) decide nothing. `build.py` is that line, read aloud.
"""


def version() -> str:
    """The version of the installed package."""
    import importlib.metadata  # noqa: PLC0415 - 20 ms that `winseed --help` does not need

    return importlib.metadata.version("winseed")
