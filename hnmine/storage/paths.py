"""Operations on paths that may be on a disk of this machine or in an object store.

A path in an object store is a `RemotePath`, which most code uses like any Path. The functions here are for the rest:
opening Parquet files, files that a library reads only from a disk, temporary files, and removing folders. They raise
`OutputError` if the store cannot be used or the disk is full.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hnmine.errors import OutputError, reason
from hnmine.storage.remote_path import RemoteFile, RemotePath

REQUESTS = 16
"""Requests to an object store at a time."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
ResultT = TypeVar("ResultT")


def path_of(given: str | Path, base: Path | None = None) -> Path:
    """Return the path that a user gave: the URL of a store, or a path of this machine, relative to `base`."""
    if isinstance(given, RemotePath):
        return given
    found = _URL.fullmatch(str(given))
    if found is None:
        return Path(given) if base is None else base / given
    scheme, rest = found[1].lower(), found[2]
    if scheme in ("file", "local"):
        return Path(rest)
    # hdfs:///folder is on the cluster that Hadoop's settings name
    return RemotePath(
        f"{scheme}://default{rest}" if scheme == "hdfs" and rest.startswith("/") else f"{scheme}://{rest}"
    )


def existing_path(given: str, base: Path | None = None) -> Path | None:
    """Return the file or folder of this machine that a text names, relative to `base`; None if it names none.

    `~` and `~NAME` at the beginning are home folders. A text that can be no path, such as one that is too long, names
    none.
    """
    try:
        found = (base or Path()) / Path(given).expanduser()
        return found if found.exists() else None
    except (OSError, RuntimeError, ValueError):  # RuntimeError: there is no such home
        return None


def shown_path(path: Path) -> str:
    """Return a path as text, relative to the working directory if it is inside."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def opened(path: Path, whole: bool = False) -> Any:
    """Return what pyarrow reads a file from: the path, or the opened object. With `whole` an object is fetched at once.

    Raises:
        FileNotFoundError: there is no such object.
    """
    if not isinstance(path, RemotePath):
        return path
    if whole:
        import pyarrow as pa

        return pa.BufferReader(path.read_bytes())
    return RemoteFile(path)


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """Yield a path of this machine with the file's content: the path itself, or a temporary copy of an object.

    A memory map made in the block stays valid after it: the system keeps the file until the map is closed.
    """
    if not isinstance(path, RemotePath):
        yield path
        return
    with _scratch_file(path) as local:
        path.get(local)
        yield local


def write_object(path: RemotePath, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file of this machine, then upload it as one object."""
    with _scratch_file(path) as local:
        try:
            write(local)
        except OSError as error:
            raise _no_scratch(path, error) from error
        path.put(local)


@contextmanager
def _scratch_file(path: Path) -> Iterator[Path]:
    try:
        file = tempfile.NamedTemporaryFile(prefix="hnmine-", suffix=f"-{path.name}")  # noqa: SIM115 - closed below
    except OSError as error:
        raise _no_scratch(path, error) from error
    with file:
        yield Path(file.name)


def _no_scratch(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: a temporary file in {tempfile.gettempdir()} cannot be written: {reason(error)}; "
        "free some space there, or set TMPDIR to a folder with more"
    )


def scratch_folder(folder: Path) -> Path:
    """Return a folder of this machine for temporary files: the one given, made if missing, or TMPDIR for a remote one.

    Raises:
        OSError: it cannot be made.
    """
    if isinstance(folder, RemotePath):
        return Path(tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def disk_free(folder: Path) -> int | None:
    """Return the free bytes of the disk on which a folder is or would be; None for an object store."""
    if isinstance(folder, RemotePath):
        return None
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def remove_tree(folder: Path, first: str = "", last: str = "") -> None:
    """Remove a folder with its content, if it exists.

    In an object store objects are removed one by one: those of the name `first` before all others, `last` after them.
    """
    if not isinstance(folder, RemotePath):
        shutil.rmtree(folder, ignore_errors=True)
        return
    groups: dict[str, list[Path]] = {first: [], "": [], last: []}
    for path in folder.rglob("*"):
        groups[path.name if path.name in groups else ""].append(path)
    for group in groups.values():
        map_paths(lambda path: path.unlink(missing_ok=True), group)


def map_paths(function: Callable[[Path], ResultT], paths: Sequence[Path]) -> list[ResultT]:
    """Return `function(path)` for each path, in order; for an object store several calls run at a time."""
    if len(paths) < 2 or not isinstance(paths[0], RemotePath):
        return [function(path) for path in paths]
    with ThreadPoolExecutor(min(REQUESTS, len(paths))) as pool:
        return list(pool.map(function, paths))
