"""For all tests: no waiting for the disk, and a check that a run of the tests leaves no file in the checkout."""

import subprocess
from pathlib import Path

import pytest

BEFORE, LEFT = pytest.StashKey[set[str] | None](), pytest.StashKey[list[str]]()


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)


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
