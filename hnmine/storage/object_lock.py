"""One live run to a folder of an object store: an object that says who writes there, renewed as long as it lives.

The object is made only where there is none, which the store itself decides, so of two runs that start one is refused.
It names its holder and the time of its last renewal. A holder that is gone without a word is followed when nothing
has been renewed for `STALE_SECONDS`, or at once by a run on the same machine, which sees that the process is dead.

It is no fence: a holder that the machine stops for longer than that and then lets go on may write one more file
before it sees that another has followed it. Files carry keys of their content, so two runs of the same config cannot
harm each other even so; of two configs the next run sees by the keys which files are not its own.
"""

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

from hnmine.errors import HnmineError, LockedOutput
from hnmine.storage.remote_path import RemotePath

RENEW_SECONDS = 20.0
STALE_SECONDS = 180.0
SETTLE_SECONDS = 2.0
POLL_SECONDS = 2.0


@contextmanager
def hold_object(folder: RemotePath, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder of an object store for as long as the block runs.

    Args:
        folder: the output folder.
        wait: wait for another run to end instead of refusing.

    Raises:
        LockedOutput: another live run holds it, or has followed this one, which stood still for too long.
        OutputError: the store cannot be used.
    """
    lock = _Lock(folder)
    lock.take(wait)
    renewing = threading.Thread(target=lock.renew, args=(threading.current_thread(),), daemon=True)
    renewing.start()
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if lock.lost:
            raise _lost(folder) from None
        raise
    finally:
        lock.ended.set()
        renewing.join()
        lock.release()
    if lock.lost:
        raise _lost(folder)


def _lost(folder: Path) -> LockedOutput:
    return LockedOutput(
        f"{folder}: this run could not renew its lock in time and another may write there now; finished shards are "
        "kept: run the same command again"
    )


class _Lock:
    """The object of a lock, and whether it is ours."""

    def __init__(self, folder: RemotePath) -> None:
        self.folder, self.path = folder, folder / ".lock"
        self.token = secrets.token_hex(8)
        self.ended = threading.Event()
        self.lost = False

    def take(self, wait: bool) -> None:
        """Make the object, after that of a dead run is removed; wait for a live one or refuse."""
        followed = False
        while True:
            if self.path.create(self._content()) and self._is_kept(SETTLE_SECONDS if followed else 0.0):
                return
            held = self._held()
            if held is not None and held.get("token") == self.token:
                return  # an answer was lost, and the library's second try met what the first had made
            if held is None:
                time.sleep(POLL_SECONDS / 20)
            elif _is_dead(held) or self._stands_still(held):
                if self._held() == held:
                    self.path.unlink(missing_ok=True)
                followed = True
            elif wait:
                time.sleep(POLL_SECONDS)
            else:
                raise LockedOutput(
                    f"{self.folder}: {_holder(held)} is writing to this folder; wait for it to end, pass --wait, or "
                    f"choose another --out (should it be dead, the folder is free {STALE_SECONDS:g} s after its last "
                    "renewal)"
                )

    def renew(self, holder: threading.Thread) -> None:
        """Say again and again that the run lives; where another has followed, stop it."""
        last = time.monotonic()
        while not self.ended.wait(RENEW_SECONDS):
            try:
                held = self._held()
                if held is None or held.get("token") != self.token:
                    break
                self.path.write_bytes(self._content())
                last = time.monotonic()
            except HnmineError:  # a store that is out of reach for a while
                if time.monotonic() - last > STALE_SECONDS - 2 * RENEW_SECONDS:
                    break
        else:
            return
        self.lost = True
        if holder is threading.main_thread() and not self.ended.is_set():
            signal.pthread_kill(holder.ident or 0, signal.SIGINT)

    def release(self) -> None:
        """Remove the object, if it is still ours; else it is left to grow old."""
        with suppress(HnmineError):
            if (self._held() or {}).get("token") == self.token:
                self.path.unlink(missing_ok=True)

    def _content(self) -> bytes:
        said = {"pid": os.getpid(), "host": socket.gethostname(), "machine": _machine(), "token": self.token}
        return json.dumps({**said, "renewed": time.time()}).encode()

    def _held(self) -> dict[str, Any] | None:
        """Return what the object says; None where there is none."""
        try:
            said = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}

    def _is_kept(self, seconds: float) -> bool:
        """Tell whether the object is ours after a moment: not every store keeps two from making it at once."""
        time.sleep(seconds)
        return (self._held() or {}).get("token") == self.token

    def _stands_still(self, held: dict[str, Any]) -> bool:
        """Tell whether nothing has been renewed for long, by our clock, and is not while we look on."""
        renewed = held.get("renewed")
        if isinstance(renewed, int | float) and time.time() - renewed < STALE_SECONDS:
            return False
        time.sleep(1.5 * RENEW_SECONDS)  # clocks may differ; a live holder renews meanwhile
        return self._held() == held


def _holder(held: dict[str, Any]) -> str:
    if not {"pid", "host", "renewed"} <= held.keys():
        return "another run"
    return f"process {held['pid']} on {held['host']}"


def _is_dead(held: dict[str, Any]) -> bool:
    """Tell whether the holder was a process of this machine that is no more."""
    if not isinstance(held.get("pid"), int) or not held.get("machine") or held["machine"] != _machine():
        return False
    try:
        os.kill(held["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _machine() -> str:
    """Return what tells this machine, and within it this space of process ids, from all others; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - a name of the kernel's
    except OSError:
        return ""
