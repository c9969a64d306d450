"""For all tests: the profiles of hypothesis, no waiting for the disk, cores shared out, no file left behind."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.workers import forked_context

# The same examples every time, so that what a change fails is due to the change; no time is asserted.
ANY_SPEED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
settings.register_profile("same", ANY_SPEED, max_examples=50, derandomize=True)
# New examples every time, and many: to look for what the same examples do not show.
settings.register_profile("search", ANY_SPEED, max_examples=1000, derandomize=False)
settings.load_profile("same")

if "PYTEST_XDIST_WORKER" in os.environ:
    # processes that share the cores wait for one another where each has as many threads as there are cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

BEFORE, LEFT = pytest.StashKey[set[str] | None](), pytest.StashKey[list[str]]()


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture(autouse=True)
def _forked_workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "linux" and request.node.get_closest_marker("spawn") is None:
        monkeypatch.setattr("hnmine.runtime.engines.start_context", forked_context)


@pytest.fixture(scope="module")
def two_threads() -> Iterator[None]:
    """Let torch compute on two threads, for tests that other numbers of threads give the same bytes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def untracked(root: Path) -> set[str] | None:
    """Return the files of the checkout that git neither tracks nor ignores; None where there is no git."""
    command = ["git", "ls-files", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return {name for name in listed.split("\0") if name}


def pytest_sessionstart(session: pytest.Session) -> None:
    # workers of pytest-xdist leave it to the process that started them
    is_worker = hasattr(session.config, "workerinput")
    session.config.stash[BEFORE] = None if is_worker else untracked(session.config.rootpath)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    before = session.config.stash.get(BEFORE, None)
    after = untracked(session.config.rootpath) if before is not None else None
    left = session.config.stash[LEFT] = sorted((after or set()) - (before or set()))
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name in terminalreporter.config.stash.get(LEFT, []):
        terminalreporter.write_line(f"FAILED: a test left {name} in the checkout", red=True)
