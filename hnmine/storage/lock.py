"""One live run to an output folder. The lock is the kernel's: it goes when its holder dies, however it dies.

An object store has no such locks; see `hnmine.storage.object_lock` for what holds a run there.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hnmine.errors import LockedOutput, OutputError
from hnmine.storage.object_lock import hold_object
from hnmine.storage.remote_path import RemotePath
from hnmine.storage.store import clear_temporaries


@contextmanager
def lock_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the output folder for as long as the block runs; what a dead run left half-written is removed.

    Args:
        folder: the output folder; made if it is not there.
        wait: wait for another run to end instead of refusing.

    Raises:
        LockedOutput: another live run holds it; the message names it.
        OutputError: the folder cannot be made, written or locked.
    """
    if isinstance(folder, RemotePath):
        with hold_object(folder, wait=wait):
            clear_temporaries(folder)
            yield
        return
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be used as an output folder: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise LockedOutput(
                f"{folder}: {_holder(handle)} is writing to this folder; "
                "wait for it to end, pass --wait, or choose another --out"
            ) from None
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be locked: {error.strerror}; choose an --out on a file system with locks"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        clear_temporaries(folder)
        yield
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    try:
        held = json.loads(os.pread(handle, 4096, 0))
        return f"process {held['pid']} on {held['host']}"
    except (ValueError, KeyError, TypeError):
        return "another run"
