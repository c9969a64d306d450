"""An encoder that is a program of the user's: texts on its standard input, vectors on its standard output.

A request is one line of JSON, `{"kind": "query" | "document", "texts": [...]}`. The answer is one line of JSON, a
list with a vector for each text; or the bytes that `numpy.save` writes of an array of shape (texts, dimension).
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import NoReturn, cast

import numpy as np

from hnmine.config.models import EmbedConfig, Kind, TeacherTable
from hnmine.errors import ModelError, reason
from hnmine.models.command_files import find_program
from hnmine.runtime.worker_slot import current_slot, thread_count

PROBE = "probe"
"""The text of the requests that find the dimension and whether answers are in step with requests."""
MOST_NUMBERS = 65_536
"""Numbers of the longest vector that is read."""
_NUMBER_BYTES = 40  # of a number in JSON, with what separates it
_SHOWN_BYTES = 2_000  # of the program's last messages
_PATIENCE = 5.0  # seconds that a program may take to end once its input has ended
_NPY = b"\x93NUMPY"
_SIGNALS = {one.value: one.name for one in signal.Signals}
"""Names of signals; real-time ones have none."""


class CommandEncoder:
    """A program that answers requests for vectors, one after another; it ends with this object.

    `table` names the teacher's table in messages.

    Raises:
        ModelError: the program is missing, ends or does not answer in time, or its answer is no vector.
    """

    def __init__(self, config: EmbedConfig, table: TeacherTable, cell_rows: int) -> None:
        self.config, self.table, self.cell_rows = config, table, cell_rows
        self.dim = 0
        self._program = _start(config, table)
        self._input = cast(BufferedWriter, self._program.stdin)
        self._output = cast(BufferedReader, self._program.stdout)
        self._messages = _Tail(cast(BufferedReader, self._program.stderr))
        self._is_late = False
        self._end = weakref.finalize(self, _end, self._program)
        with self._ended_on_error():
            self.dim = self._answers([_request([PROBE], "document")], [1], lambda rows: None)[0].shape[1]

    def prepare(self, texts: Sequence[str], kind: Kind) -> Callable[[Callable[[int], None]], np.ndarray]:
        """Return a function that encodes the texts: the longest first, so that those of a request are alike in length.

        A last request for the probe shows whether the answers are still those to the requests.
        """
        prompt, size = self.config.prompt(kind), self.config.batch_size
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        batches = [order[first : first + size] for first in range(0, len(order), size)]
        requests = [_request([prompt + texts[row] for row in rows], kind) for rows in batches]
        requests.append(_request([PROBE], "document"))
        return partial(self._encode, np.array(order, dtype=np.int64), requests, [*map(len, batches), 1])

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors of the texts, each with the prompt of its kind before it."""
        return self.prepare(texts, kind)(lambda rows: None)

    def _encode(
        self, order: np.ndarray, requests: list[bytes], sizes: list[int], tick: Callable[[int], None]
    ) -> np.ndarray:
        with self._ended_on_error():
            found = self._answers(requests, sizes, tick)
        out = np.empty((len(order), self.dim), dtype=np.float32)
        out[order] = np.concatenate(found)[: len(order)]
        return out

    @contextmanager
    def _ended_on_error(self) -> Iterator[None]:
        """End the program if it, or the user, stops the block."""
        try:
            yield
        except BaseException:
            _kill(self._program)
            self._end()
            raise

    def _answers(self, requests: list[bytes], sizes: list[int], tick: Callable[[int], None]) -> list[np.ndarray]:
        """Return the answers to requests for so many vectors; the program may read a request while one is answered."""
        threading.Thread(target=self._send, args=(requests,), daemon=True).start()
        found = []
        for number, size in enumerate(sizes):
            timer = threading.Timer(self.config.command_timeout, self._stop_late)
            timer.daemon = True
            timer.start()
            try:
                found.append(self._answer(size))
            finally:
                timer.cancel()
            tick(size if number < len(sizes) - 1 else 0)
        return found

    def _send(self, requests: list[bytes]) -> None:
        with suppress(OSError, ValueError):  # a program that ended, or whose pipe is closed; reading says so
            for request in requests:
                self._input.write(request)
                self._input.flush()

    def _stop_late(self) -> None:
        self._is_late = True
        _kill(self._program)

    def _answer(self, size: int) -> np.ndarray:
        """Return the next answer, float32 of shape (size, dim)."""
        first = self._output.peek(1)[:1]
        if not first:
            self._fail_ended()
        vectors = self._npy(size) if first == _NPY[:1] else self._json(size)
        if vectors.ndim != 2 or len(vectors) != size or not vectors.shape[1]:
            self._fail(f"gave an array of shape {vectors.shape} for {size} texts, not one of {size} vectors")
        if self.dim and vectors.shape[1] != self.dim:
            self._fail(f"gave vectors of {vectors.shape[1]:,} numbers, after others of {self.dim:,}")
        with np.errstate(over="ignore"):
            found = vectors.astype(np.float32)
        if not np.isfinite(found).all():
            self._fail("gave a vector with a number that is not finite, or too large for float32")
        return found

    def _json(self, size: int) -> np.ndarray:
        """Read an answer that is a line of JSON."""
        most = size * MOST_NUMBERS * _NUMBER_BYTES
        line = self._output.readline(most)
        if len(line) == most:
            self._fail(f"gave a line of more than {most:,} bytes for {size} texts")
        if not line.endswith(b"\n"):
            self._fail_ended()
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            self._fail(
                f"wrote {_shown(line)} where an answer should be: a line of JSON, or an array by numpy.save; it must "
                "write everything else to standard error"
            )
        try:
            return np.asarray(value, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            self._fail(f"gave {_shown(line)}, which is no list of {size} vectors of equal length")

    def _npy(self, size: int) -> np.ndarray:
        """Read an answer written by `numpy.save`; its header is checked before its numbers are read."""
        out, npy = self._output, np.lib.format
        try:
            read = npy.read_array_header_1_0 if npy.read_magic(out) == (1, 0) else npy.read_array_header_2_0
            shape, is_fortran, dtype = read(out)
        except (ValueError, OSError) as error:
            self._fail(f"began an array by numpy.save and did not go on: {reason(error)}")
        if dtype.kind not in "fiu" or len(shape) != 2 or shape[0] != size or not 0 < shape[1] <= MOST_NUMBERS:
            self._fail(f"gave an array of {dtype} of shape {shape} for {size} texts")
        wanted = dtype.itemsize * shape[0] * shape[1]
        content = out.read(wanted)
        if len(content) < wanted:
            self._fail_ended()
        return np.frombuffer(content, dtype).reshape(size, -1, order="F" if is_fortran else "C")

    def _fail_ended(self) -> NoReturn:
        """Raise the error of a program that ended, or was ended, before its answer."""
        if self._is_late:
            self._fail(f"gave no answer within {self.config.command_timeout:g} seconds (command_timeout)")
        try:
            code = self._program.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._fail("closed its standard output before it had answered")
        how = f"signal {_SIGNALS.get(-code, -code)}" if code < 0 else f"exit code {code}"
        self._fail(f"ended with {how} before it had answered")

    def _fail(self, what: str) -> NoReturn:
        _kill(self._program)
        said = self._messages.text()
        said = f"\nit wrote to standard error:\n{said}" if said else ""
        raise ModelError(f"{self.table}.command ({shlex.join(self.config.command or [])}) {what}{said}")


def _start(config: EmbedConfig, table: TeacherTable) -> subprocess.Popen[bytes]:
    """Start the program, which ends with this process however that ends.

    Raises:
        ModelError: there is none, or the system takes no such words.
    """
    words = [find_program(config, table), *(config.command or [])[1:]]
    environment = dict(os.environ)
    if current_slot().count > 1:
        environment.setdefault("OMP_NUM_THREADS", str(thread_count()))
    guard = Path(__file__).with_name("end_with_parent.py")
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(guard), str(os.getpid()), *words],
            cwd=config.command_folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # what it starts ends with it, and Ctrl-C reaches it through this process alone
        )
    except OSError as error:  # words that are too long, among others
        raise ModelError(
            f"{table}.command: cannot be started: {reason(error)}; check its words, and the folder it runs in"
        ) from None


def _kill(program: subprocess.Popen[bytes]) -> None:
    """End a program and what it has started at once."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, signal.SIGKILL)


def _end(program: subprocess.Popen[bytes]) -> None:
    """End a program's input, and the program with what it has started if it does not end by itself."""
    if program.stdin is not None:
        with suppress(OSError):
            program.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        program.wait(_PATIENCE)
    _kill(program)
    program.wait()
    if program.stdout is not None:
        program.stdout.close()


def _request(texts: list[str], kind: Kind) -> bytes:
    return json.dumps({"kind": kind, "texts": texts}).encode() + b"\n"


def _shown(line: bytes) -> str:
    text = line[:80].decode(errors="replace").rstrip("\n")
    return repr(f"{text}..." if len(line) > 80 else text)


class _Tail:
    """The last bytes of a stream, read in a thread so that its writer never waits."""

    def __init__(self, stream: BufferedReader) -> None:
        self._kept = b""
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: BufferedReader) -> None:
        with stream:
            while block := stream.read1(1 << 16):
                self._kept = (self._kept + block)[-_SHOWN_BYTES:]

    def text(self) -> str:
        """Return the stream's end as text, once its writer has ended."""
        self._thread.join(_PATIENCE)
        lines = self._kept.decode(errors="replace").replace("\r", "\n").splitlines()
        return "\n".join("".join(filter(str.isprintable, line)) for line in lines if line.strip())
