"""Where files lie: on a disk of this machine, or in an object store. What both share, in one place each.

A folder of an object store is a `RemotePath`, which stands wherever a Path does. Most code need not know which it
has; what must is here: opening for Parquet, files that a library can only read from a disk, room for scratch files.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hnmine.errors import OutputError
from hnmine.storage.remote_path import THREADS, RemoteFile, RemotePath

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
ResultT = TypeVar("ResultT")


def path_of(given: str | Path, base: Path | None = None) -> Path:
    """Return the path that a user means: a URL of a store, or a path of this machine, which starts at `base`."""
    if isinstance(given, RemotePath):
        return given
    found = _URL.fullmatch(str(given))
    if found is None:
        return Path(given) if base is None else base / given
    scheme, rest = found[1].lower(), found[2]
    if scheme in ("file", "local"):
        return Path(rest)
    # hdfs:///folder is a folder of the cluster that Hadoop's own settings name
    return RemotePath(
        f"{scheme}://default{rest}" if scheme == "hdfs" and rest.startswith("/") else f"{scheme}://{rest}"
    )


def is_remote(path: Path) -> bool:
    """Tell whether a path lies in an object store."""
    return isinstance(path, RemotePath)


def opened(path: Path, whole: bool = False) -> Any:
    """Return what pyarrow reads a file from: the path itself, or the object, all of it at once where `whole`.

    Raises:
        FileNotFoundError: there is no such object.
        OutputError: the store cannot be used.
    """
    if not isinstance(path, RemotePath):
        return path
    if whole:
        import pyarrow as pa

        return pa.BufferReader(path.read_bytes())
    return RemoteFile(path)


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """Give a file under a path of this machine for as long as the block runs: itself, or a copy of the object.

    A memory map that is made in the block stays good after it, as the system keeps the file until it is let go.

    Raises:
        OutputError: the store cannot be used, or the disk has no room.
    """
    if not isinstance(path, RemotePath):
        yield path
        return
    with _scratch_file(path) as local:
        path.get(local)
        yield local


def write_object(path: RemotePath, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file of this machine, and make an object of it whole.

    Raises:
        OutputError: the temporary file or the object cannot be written; nothing is left under the object's name.
    """
    with _scratch_file(path) as local:
        try:
            write(local)
        except OSError as error:
            raise _no_room(path, error) from error
        path.put(local)


@contextmanager
def _scratch_file(path: Path) -> Iterator[Path]:
    try:
        file = tempfile.NamedTemporaryFile(prefix="hnmine-", suffix=f"-{path.name}")  # noqa: SIM115 - below
    except OSError as error:
        raise _no_room(path, error) from error
    with file:
        yield Path(file.name)


def _no_room(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: a temporary file in {tempfile.gettempdir()} cannot be written: {error.strerror or error}; "
        "free some space there, or set TMPDIR to a folder with more"
    )


def scratch_folder(folder: Path) -> Path:
    """Return a folder of this machine for files without a name: the one given, made where it is not there, or TMPDIR.

    Raises:
        OSError: it cannot be made.
    """
    if is_remote(folder):
        return Path(tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def disk_free(folder: Path) -> int | None:
    """Return how many bytes the disk of a folder, made or not, has left; None for an object store."""
    if is_remote(folder):
        return None
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def remove_tree(folder: Path, first: str = "", last: str = "") -> None:
    """Remove a folder with all that is in it, if it is there.

    Args:
        folder: what is removed.
        first: in an object store, where objects go one by one, the name of those that go before all others.
        last: likewise after all others.

    Raises:
        OutputError: the store does not let go of something.
    """
    if isinstance(folder, RemotePath):
        folder.remove_below(first, last)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def map_paths(function: Callable[[Path], ResultT], paths: Sequence[Path]) -> list[ResultT]:
    """Return the function's result for each path, in order; a store is asked for several of them at a time."""
    if len(paths) < 2 or not is_remote(paths[0]):
        return [function(path) for path in paths]
    with ThreadPoolExecutor(min(THREADS, len(paths))) as pool:
        return list(pool.map(function, paths))
