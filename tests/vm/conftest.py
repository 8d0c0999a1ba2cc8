"""The boot proof runs only when it is asked for: pytest tests/vm (make test-vm)."""

import pytest

from tests.vm.packages import missing_packages


def pytest_ignore_collect(collection_path, config):
    """`make test` does not come in here."""
    asked = any("tests/vm" in str(argument).replace("\\", "/") for argument in config.args)
    return None if asked else True


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """Discs and VMs of this run; skipped with the names of what is missing."""
    missing = missing_packages()
    if missing:
        pytest.skip(f"missing for the boot proof: apt install {' '.join(missing)}")
    from tests.vm.lab import Lab

    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def runs(lab, request):
    """The permutations that were chosen, two at a time in the background."""
    from tests.vm.cases import CASES
    from tests.vm.runs import Runs

    started = Runs(lab, [case for case in CASES if case.id in _chosen(request)])
    yield started
    started.close()


@pytest.fixture(scope="session", autouse=True)
def _early(request):
    """The permutations begin while other tests boot in the foreground."""
    if _chosen(request) and not missing_packages():
        request.getfixturevalue("runs")


def _chosen(request):
    return {
        item.callspec.params["name"]
        for item in request.session.items
        if item.name.startswith("test_both_walks_agree[")
    }
