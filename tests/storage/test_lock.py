"""One live run to an output folder, and a dead one in nobody's way."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hnmine.errors import LockedOutput, OutputError
from hnmine.storage.lock import lock_folder

HOLDER = """
import sys
from pathlib import Path
from hnmine.storage.lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "emit").mkdir()
    (Path(sys.argv[1]) / "emit" / ".tmp-half").write_text("half")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_a_killed_one_is_not_in_the_way(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(LockedOutput) as caught, lock_folder(out):
        pass
    assert str(caught.value) == (
        f"{out}: process {holder.pid} on {socket.gethostname()} is writing to this folder; "
        "wait for it to end, pass --wait, or choose another --out"
    )
    assert (out / "emit" / ".tmp-half").exists(), "the live run's file is left alone"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock_folder(out):
        assert not (out / "emit" / ".tmp-half").exists(), "the dead run's is not"
        assert f'"pid": {os.getpid()}' in (out / ".lock").read_text()
    with lock_folder(out):
        pass


def test_waiting_for_the_other_to_end(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    timer = threading.Timer(0.3, holder.kill)
    began = time.monotonic()
    timer.start()
    with lock_folder(tmp_path / "out", wait=True):
        assert time.monotonic() - began >= 0.25
    timer.join()


def test_the_lock_ends_with_the_block_however_it_ends(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock_folder(tmp_path / "a" / "b"):
        raise KeyError
    with lock_folder(tmp_path / "a" / "b"), pytest.raises(LockedOutput, match=f"process {os.getpid()} on "):  # noqa: SIM117
        with lock_folder(tmp_path / "a" / "b"):
            pass


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "3"])
def test_a_holder_that_has_not_said_who_it_is(tmp_path: Path, content: str) -> None:
    with lock_folder(tmp_path):
        (tmp_path / ".lock").write_text(content)
        with pytest.raises(LockedOutput, match="another run is writing to this folder"), lock_folder(tmp_path):
            pass


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=f"{folder}: cannot be used as an output folder: "), lock_folder(folder):
            pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", fail)
    with (
        pytest.raises(OutputError, match="cannot be locked: No locks available; choose an --out"),
        lock_folder(tmp_path),
    ):
        pass
