"""Lock of an output folder: one live run at a time.

On a disk the lock is the kernel's: it ends with its process, however that dies. An object store has no such locks.
There the lock is an object that only one run can create; it names its holder and the time of its last renewal, and the
holder renews it. The lock of a dead run is taken over once it has not been renewed for `STALE_SECONDS`, or at once by a
run on the same machine, which sees that the process is gone.

The object is no fence. A holder that the machine suspends for longer than that and then resumes may write one more file
before it sees that it has lost the lock. Files carry keys of their content, so two runs of the same config cannot harm
each other; of two configs, the next run sees by the keys which files are not its own.
"""

import fcntl
import json
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hnmine.errors import HnmineError, LockedOutput, OutputError
from hnmine.storage.remote_path import RemotePath
from hnmine.storage.store import clear_temporaries

RENEW_SECONDS = 20.0
STALE_SECONDS = 180.0
SETTLE_SECONDS = 2.0
"""Wait before the lock is read back after a takeover, which two runs may attempt at once."""
POLL_SECONDS = 2.0


@contextmanager
def lock_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of an output folder for the block, and remove half-written files of dead runs.

    Args:
        folder: the output folder, made if missing.
        wait: wait for another run to end instead of refusing.

    Raises:
        LockedOutput: another live run, which the message names, holds the lock; or has taken it over from this run.
        OutputError: the folder or the store cannot be used.
    """
    with _object_lock(folder, wait) if isinstance(folder, RemotePath) else _file_lock(folder, wait):
        clear_temporaries(folder)
        yield


@contextmanager
def _file_lock(folder: Path, wait: bool) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be used as an output folder: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise LockedOutput(_locked(folder, _parsed(os.pread(handle, 4096, 0)))) from None
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be locked: {error.strerror}; choose an --out on a file system with locks"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        yield
    finally:
        os.close(handle)


def _parsed(content: bytes) -> dict[str, Any]:
    """Return what a lock says of its holder; empty if it is damaged."""
    try:
        holder = json.loads(content)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _locked(folder: Path, holder: dict[str, Any]) -> str:
    known = {"pid", "host"} <= holder.keys()
    name = f"process {holder['pid']} on {holder['host']}" if known else "another run"
    return f"{folder}: {name} is writing to this folder; wait for it to end, pass --wait, or choose another --out"


@contextmanager
def _object_lock(folder: RemotePath, wait: bool) -> Iterator[None]:
    lock = _ObjectLock(folder)
    lock.acquire(wait)
    renewal = threading.Thread(target=lock.renew, args=(threading.current_thread(),), daemon=True)
    renewal.start()
    lost = LockedOutput(
        f"{folder}: this run could not renew its lock in time and another may write there now; finished shards are "
        "kept: run the same command again"
    )
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if lock.lost:
            raise lost from None
        raise
    finally:
        lock.ended.set()
        renewal.join()
        lock.release()
    if lock.lost:
        raise lost


class _ObjectLock:
    """The lock object of a folder.

    Attributes:
        ended: set when the lock is no longer needed.
        lost: another run took the lock over, or it could not be renewed in time.
    """

    def __init__(self, folder: RemotePath) -> None:
        self.folder, self.path = folder, folder / ".lock"
        self.token = secrets.token_hex(8)
        self.ended = threading.Event()
        self.lost = False

    def acquire(self, wait: bool) -> None:
        """Create the object. Remove that of a dead run first; wait for a live run, or refuse."""
        took_over = False
        while True:
            if self.path.create(self._content()):
                time.sleep(SETTLE_SECONDS if took_over else 0.0)
                if self._is_ours(self._holder()):  # not every store keeps two runs from creating it at once
                    return
            holder = self._holder()
            if self._is_ours(holder):
                return  # the store's answer was lost, and its library's second try met the object of the first
            if holder is None:
                time.sleep(POLL_SECONDS / 20)
            elif _is_dead(holder) or self._is_stale(holder):
                if self._holder() == holder:
                    self.path.unlink(missing_ok=True)
                took_over = True
            elif wait:
                time.sleep(POLL_SECONDS)
            else:
                raise LockedOutput(
                    f"{_locked(self.folder, holder)} (should it be dead, the folder is free {STALE_SECONDS:g} s after "
                    "its last renewal)"
                )

    def renew(self, holder: threading.Thread) -> None:
        """Renew the object until `ended`; interrupt the holder's thread if the lock is lost."""
        last = time.monotonic()
        while not self.ended.wait(RENEW_SECONDS):
            try:
                if not self._is_ours(self._holder()):
                    break
                self.path.write_bytes(self._content())
                last = time.monotonic()
            except HnmineError:  # the store may be out of reach for a while
                if time.monotonic() - last > STALE_SECONDS - 2 * RENEW_SECONDS:
                    break
        else:
            return
        self.lost = True
        if holder is threading.main_thread() and not self.ended.is_set():
            signal.pthread_kill(holder.ident or 0, signal.SIGINT)

    def release(self) -> None:
        """Remove the object if it is still ours. If that fails, it becomes stale."""
        with suppress(HnmineError):
            if self._is_ours(self._holder()):
                self.path.unlink(missing_ok=True)

    def _content(self) -> bytes:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "machine": _machine(), "token": self.token}
        return json.dumps({**holder, "renewed": time.time()}).encode()

    def _holder(self) -> dict[str, Any] | None:
        """Return what the object says; None if there is no object."""
        try:
            return _parsed(self.path.read_bytes())
        except FileNotFoundError:
            return None

    def _is_ours(self, holder: dict[str, Any] | None) -> bool:
        return holder is not None and holder.get("token") == self.token

    def _is_stale(self, holder: dict[str, Any]) -> bool:
        """Return whether the lock was last renewed long ago by our clock, and is not renewed while we watch."""
        renewed = holder.get("renewed")
        if isinstance(renewed, int | float) and time.time() - renewed < STALE_SECONDS:
            return False
        time.sleep(1.5 * RENEW_SECONDS)  # clocks may differ; a live holder renews meanwhile
        return self._holder() == holder


def _is_dead(holder: dict[str, Any]) -> bool:
    """Return whether the holder was a process of this machine that has ended."""
    if isinstance(holder.get("pid"), int) and holder.get("machine") and holder["machine"] == _machine():
        try:
            os.kill(holder["pid"], 0)
        except OSError as error:
            return isinstance(error, ProcessLookupError)
    return False


def _machine() -> str:
    """Return an id of this machine and of the space of process ids in it; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - a name of the kernel's
    except OSError:
        return ""
