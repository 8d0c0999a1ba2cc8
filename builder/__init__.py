"""winseed: Windows Server installs itself on Proxmox VE.

spec + media + machine facts -> Plan -> files -> answer ISO

Readers (`media/`) report facts, `make_plan` (`plan.py`) is the only place with opinions, and
writers (`answer/render.py`, `disc.py`) decide nothing. `build.py` is that line, read aloud.
"""

__version__ = "0.1.0"  # pyproject.toml reads it; asking the installed package costs 20 ms
