"""Where templates and driver tables lie: beside the package, or inside it in a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def templates() -> Path:
    """The folder `answer_templates`."""
    return _folder("answer_templates", "answer_templates")


def driver_tables() -> Path:
    """The folder `drivers`: catalog, known-bad table, layouts."""
    return _folder("drivers_data", "drivers")


def _folder(in_wheel: str, in_checkout: str) -> Path:
    packaged = PACKAGE / in_wheel
    return packaged if packaged.is_dir() else PACKAGE.parent / in_checkout
