"""Real runs and commands in real processes, cheap to start: a server that has imported everything forks them.

The server is a fresh process that has run nothing itself: a process in which faiss has already worked on several
threads must not be forked. Each process of pytest has one. Spawned workers import this file again, so that it imports
nothing heavy at the top.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

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
    """Starts runs of configs given as nested tables; what they say on stderr goes to `log`."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log

    def ask(self, **request: Any) -> Any:
        """Return the answer to a request; one that a test no longer waited for (a timeout) is passed over."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        number = time.monotonic_ns()
        self.process.stdin.write(json.dumps({**request, "number": number}) + "\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            answer = json.loads(line)
            if answer["number"] == number:
                return answer["answer"]
        raise AssertionError("the server is gone")

    def start(self, base: Path, **raw: Any) -> Child:
        """Start a run; relative paths of the config start at `base`."""
        return Child(self, self.ask(base=str(base), raw=raw, errors=str(self.log)))

    def finish(self, base: Path, **raw: Any) -> None:
        """Run to the end."""
        status = self.start(base, **raw).wait()
        assert status == 0, self.log.read_text()

    def command(self, arguments: list[str], folder: Path, environment: dict[str, str], output: Path) -> int:
        """Run `hnmine` with arguments in a folder and return its exit status; stdout and stderr go to `output`."""
        asked = {"arguments": arguments, "folder": str(folder), "environment": environment, "output": str(output)}
        return os.waitstatus_to_exitcode(self.ask(wait=self.ask(**asked)))


@contextmanager
def fork_server(log: Path) -> Iterator[ForkServer]:
    """Give the server of this process for as long as the block runs; what its runs say on stderr goes to `log`."""
    log.touch()
    yield ForkServer(server_process(), log)


@cache
def server_process() -> subprocess.Popen[str]:
    """Start the server; it ends with this process."""
    stack = ExitStack()
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    )
    atexit.register(stack.close)
    return process


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
    import jinja2  # noqa: F401
    import matplotlib.backends.backend_svg  # noqa: F401
    import pyarrow.dataset  # noqa: F401
    import scipy.sparse  # noqa: F401
    import sentence_transformers  # noqa: F401
    import sklearn.linear_model  # noqa: F401

    import hnmine

    # not the command line itself: its libraries look at the terminal and the environment when imported
    names = (found.name for found in pkgutil.walk_packages(hnmine.__path__, "hnmine."))
    for name in names:
        if not name.startswith(("hnmine.cli", "hnmine.__main__")):
            importlib.import_module(name)

    os.fsync = lambda handle: None  # as in all tests: a signal loses nothing that the system has taken
    gc.freeze()  # a child's collections leave what was imported alone, and with it the pages shared with the server
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer: Any = os.waitpid(request["wait"], 0)[1]
        else:
            answer = os.fork()
            if not answer:
                if "raw" in request:
                    _run(request["raw"], Path(request["base"]), request["errors"])
                _command_line(request)
        os.write(1, f"{json.dumps({'number': request['number'], 'answer': answer})}\n".encode())


def _command_line(request: dict[str, Any]) -> NoReturn:
    """Run the command line in a forked child, as `python -m hnmine` does."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(request["output"]) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["hnmine", *request["arguments"]]
    status: Any = 1
    try:
        runpy.run_module("hnmine", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        traceback.print_exc()
    # Python's own end would free all that was imported, which takes longer than most commands
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


def _run(raw: dict[str, Any], base: Path, errors: str) -> NoReturn:
    """Run a config in a forked child, which never comes back from here."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
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
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
