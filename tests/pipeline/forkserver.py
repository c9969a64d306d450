"""Real runs in real processes, cheap to start: a server that has imported everything forks one child a run.

The server is a fresh process that has run nothing itself: a process in which faiss has already worked on several
threads must not be forked. Spawned workers import this file again, so that it imports nothing heavy at the top.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import ROOT


class Child:
    """A run in a process of its own, leader of its own session."""

    def __init__(self, server: "ForkServer", pid: int) -> None:
        self.server, self.pid = server, pid

    def kill(self, number: int) -> None:
        """Send a signal to the run's own process, and to no worker of it."""
        self.signal(self.pid, number)

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a process of this run; anything else is an error, so that no stray pid is ever hit."""
        assert _stat(self.pid)[1] == self.server.process.pid, f"process {self.pid} is no run of this server"
        assert _stat(pid)[2] == self.pid, f"process {pid} is not of the run {self.pid}"
        os.kill(pid, number)

    def wait(self) -> int:
        """Return the exit status once the process and all that it started are gone; -9 where SIGKILL ended it."""
        status = os.waitstatus_to_exitcode(self.server.ask(wait=self.pid))
        deadline = time.monotonic() + 10
        while self.others() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not self.others(), "workers outlive their run"
        return status

    def others(self) -> list[int]:
        """Return the live processes of the session: workers, and multiprocessing's own helper."""
        return [pid for pid in _session(self.pid) if pid != self.pid]

    def workers(self) -> list[int]:
        """Return the live worker processes."""
        return [pid for pid in self.others() if b"--multiprocessing-fork" in _command(pid)]


class ForkServer:
    """Starts runs of configs given as nested tables."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log
        self.asked = 0

    def ask(self, **request: Any) -> Any:
        """Return the answer to a request; one that a test no longer waited for (a timeout) is passed over."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.asked += 1
        self.process.stdin.write(json.dumps({**request, "number": self.asked}) + "\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            answer = json.loads(line)
            if answer["number"] == self.asked:
                return answer["answer"]
        raise AssertionError(f"the server is gone: {self.log.read_text()}")

    def start(self, base: Path, **raw: Any) -> Child:
        """Start a run; relative paths of the config start at `base`."""
        return Child(self, self.ask(base=str(base), raw=raw))

    def finish(self, base: Path, **raw: Any) -> None:
        """Run to the end."""
        status = self.start(base, **raw).wait()
        assert status == 0, self.log.read_text()


@contextmanager
def fork_server(log: Path) -> Iterator[ForkServer]:
    """Keep a server for as long as the block runs; what its runs say on stderr goes to `log`."""
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process,
    ):
        server = ForkServer(process, log)
        assert server.ask() == "ready"
        yield server
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)


def _stat(pid: int) -> tuple[str, int, int]:
    """Return state, parent and session of a process; ("X", 0, 0) where there is none."""
    try:
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "X", 0, 0
    return fields[0], int(fields[1]), int(fields[3])


def _session(leader: int) -> list[int]:
    """Return the live processes of a session."""
    found = ((int(folder.name), *_stat(int(folder.name))) for folder in Path("/proc").glob("[0-9]*"))
    return [pid for pid, state, _, session in found if session == leader and state not in "ZX"]


def _command(pid: int) -> bytes:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def _serve() -> None:
    import faiss  # noqa: F401
    import pyarrow.dataset  # noqa: F401
    import sklearn.linear_model  # noqa: F401

    import hnmine.pipeline.run  # noqa: F401

    os.fsync = lambda handle: None  # as in all tests: a signal loses nothing that the system has taken
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer: Any = os.waitpid(request["wait"], 0)[1]
        elif "raw" in request:
            answer = os.fork()
            if not answer:
                _run(request["raw"], Path(request["base"]))
        else:
            answer = "ready"
        os.write(1, f"{json.dumps({'number': request['number'], 'answer': answer})}\n".encode())


def _run(raw: dict[str, Any], base: Path) -> None:
    """Run a config in a forked child, which never comes back from here."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    from hnmine.config.file import check_config
    from hnmine.errors import HnmineError
    from hnmine.pipeline.run import run

    status = 1
    try:
        run(check_config(raw, "test config", base))
        status = 0
    except KeyboardInterrupt:
        status = 130
    except HnmineError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        status = error.exit_code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
