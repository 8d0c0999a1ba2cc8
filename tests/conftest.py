"""What all tests share: a clean environment, discs made once a session, bounds for hypothesis."""

import os

import hypothesis
import pytest

from builder.media import signer
from tests.command import Discs, trusting_anchors

hypothesis.settings.register_profile(
    "winseed",
    deadline=None,  # the machine may be busy; the number of examples bounds the time
    max_examples=100,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("winseed")


def pytest_addoption(parser):
    parser.addoption(
        "--regenerate", action="store_true", help="rewrite the expected files of tests/golden"
    )


@pytest.fixture(scope="session", autouse=True)
def environment():
    """Nothing of the caller's environment steers a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WINSEED_")]:
            patch.delenv(name)
        patch.delenv("SOURCE_DATE_EPOCH", raising=False)
        yield


@pytest.fixture(scope="session")
def discs(tmp_path_factory):
    """Synthetic discs by name; see `tests.command.Discs`."""
    return Discs(tmp_path_factory.mktemp("discs"))


@pytest.fixture
def trusted(monkeypatch):
    """The session's own authority counts as one of Microsoft's."""
    anchors = trusting_anchors()
    monkeypatch.setattr(signer, "known_anchors", lambda: anchors)
