"""For all tests: what one leaves behind does not reach the next, and a run can be repeated.

Properties draw the same examples each time, so that a change is judged by what it changes; `HYPOTHESIS_PROFILE=explore`
draws new ones (`make test-all` does, and prints the seed).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from router import FORM
from tests.engine_contract.contract_models import VLLM
from tests.engine_contract.served_engine import ServedEngine

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

SLOWEST = 40


@pytest.fixture(autouse=True)
def _logs_of_its_own() -> Iterator[None]:
    """A command under test sets up logging on a stream that is gone after it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def vllm_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """A real vLLM, started once for all tests of the session that ask for one: a start takes a minute."""
    served = ServedEngine(VLLM, tmp_path_factory.mktemp("engine") / "vllm.log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


def pytest_report_header() -> str:
    """Say in which form the request path is tested."""
    return f"request path: {FORM}"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Say in which process a test runs where two share the work: one has the session's vLLM, the other has Ray."""
    needs_engine = "vllm_engine" in getattr(item, "fixturenames", ()) or "engine_contract" in item.path.parts
    item.add_marker(pytest.mark.xdist_group("vllm" if needs_engine else "ray"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that end a shared engine after all that need it."""
    items.sort(key=lambda item: "engine_to_end" in getattr(item, "fixturenames", ()))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--durations-file` and `--full-size`."""
    told = f"write the seconds of each folder and of the {SLOWEST} slowest tests to this file"
    parser.addoption("--durations-file", type=Path, help=told)
    parser.addoption("--full-size", action="store_true", help="racks of as many machines as real ones have")


def pytest_configure(config: pytest.Config) -> None:
    """Take down how long tests take where a file is to have it; under xdist, its workers tell the first process."""
    file: Path | None = config.getoption("--durations-file")
    if file is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Durations(file))


class _Durations:
    """Writes down which tests and folders take the time.

    Args:
        file: made anew by each run.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds: list[tuple[float, str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take down a set-up, a call or a tear-down."""
        self._seconds.append((report.duration, report.when, report.nodeid))

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        folders: dict[str, float] = {}
        for seconds, _, test in self._seconds:
            folder = test.partition("::")[0].rpartition("/")[0]
            folders[folder] = folders.get(folder, 0.0) + seconds
        rows = [f"{seconds:8.2f} s  {folder}" for folder, seconds in sorted(folders.items(), key=lambda row: -row[1])]
        slowest = sorted(self._seconds, reverse=True)[:SLOWEST]
        rows += ["", *(f"{seconds:8.2f} s  {when:8}  {test}" for seconds, when, test in slowest)]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text("\n".join(rows) + "\n", encoding="utf-8")
