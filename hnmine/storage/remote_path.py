"""A path in an object store: as much of `pathlib.Path` as this package uses, over fsspec.

Every failure of a store, of whatever kind its library raises, becomes an `OutputError`; only that something is not
there stays a `FileNotFoundError`, as it is on a disk.
"""

import io
import secrets
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PosixPath
from typing import Any

from hnmine.errors import HnmineError, MissingExtra, OutputError

TEMPORARY = ".tmp-"
WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "memory"})
"""Stores in which an object is seen when all of it is there, and never before; elsewhere files are renamed."""
EXTRAS = {
    "s3": "s3fs: pip install 'hnmine[s3]'", "s3a": "s3fs: pip install 'hnmine[s3]'",
    "gs": "gcsfs: pip install gcsfs", "gcs": "gcsfs: pip install gcsfs",
    "abfs": "adlfs: pip install adlfs", "abfss": "adlfs: pip install adlfs", "az": "adlfs: pip install adlfs",
    "hdfs": "libhdfs, which comes with Hadoop (set HADOOP_HOME and CLASSPATH as pyarrow asks for)",
}  # fmt: skip
THREADS = 16
BUFFER = 8 << 20


class RemotePath(PosixPath):
    """A path whose first part is a scheme and whose second a bucket or host: RemotePath("s3://bucket/run").

    It stands wherever a Path does, and is pickled as its parts. What is not defined here and asks the system for a
    file of this machine raises TypeError.
    """

    def __str__(self) -> str:
        scheme, colon, rest = super().__str__().partition(":/")
        return f"{scheme}://{rest}" if colon else scheme

    def __fspath__(self) -> str:
        raise TypeError(f"{self} lies in an object store; it is no file of this machine")

    @property
    def scheme(self) -> str:
        """What stands before `://`."""
        return self.parts[0].rstrip(":")

    def where(self) -> tuple[Any, str]:
        """Return the file system and the path in it.

        Raises:
            MissingExtra: the package for this kind of store is not installed.
            OutputError: there is no such kind, or the store cannot be used.
        """
        import fsspec

        try:
            # what other processes write must be seen: nothing that a listing said is kept
            system, path = fsspec.core.url_to_fs(str(self), use_listings_cache=False)
        except ImportError as error:
            raise MissingExtra(f"{self}: {self.scheme}:// needs {EXTRAS.get(self.scheme, str(error))}") from None
        except Exception as error:
            raise OutputError(f"{self}: cannot be used: {reason(error)}") from error
        return system, path

    def exists(self) -> bool:
        """Tell whether there is an object of this name, or one below it."""
        return self._info() is not None

    def is_file(self) -> bool:
        """Tell whether there is an object of this name."""
        return (self._info() or {}).get("type") == "file"

    def is_dir(self) -> bool:
        """Tell whether there are objects below this name."""
        return (self._info() or {}).get("type") == "directory"

    def _info(self) -> dict[str, Any] | None:
        system, path = self.where()
        with asking(self, "read"):
            try:
                found: dict[str, Any] = system.info(path)
                return found
            except FileNotFoundError:
                return None

    def size(self) -> int:
        """Return how many bytes the object has; FileNotFoundError where there is none."""
        info = self._info()
        if info is None or info["type"] != "file":
            raise FileNotFoundError(f"{self}: no such object")
        return int(info["size"])

    def glob(self, pattern: str, **options: Any) -> Generator["RemotePath", None, None]:
        """Yield what lies in this folder and fits a pattern of one name, in the store's order."""
        system, path = self.where()
        names: list[str] = []
        with asking(self, "listed"):
            try:
                system.invalidate_cache()
                names = [str(name).rstrip("/").rpartition("/")[2] for name in system.ls(path, detail=False)]
            except (FileNotFoundError, NotADirectoryError):
                return
        yield from (self / name for name in names if name and fnmatchcase(name, pattern))

    def rglob(self, pattern: str, **options: Any) -> Generator["RemotePath", None, None]:
        """Yield the objects at any depth below this folder whose own name fits a pattern."""
        system, path = self.where()
        names: list[str] = []
        with asking(self, "listed"):
            try:
                system.invalidate_cache()
                names = list(system.find(path))
            except FileNotFoundError:
                return
        below = f"{path.rstrip('/')}/"
        for name in names:
            if name.startswith(below) and fnmatchcase(name.rpartition("/")[2], pattern):
                yield self / name.removeprefix(below)

    def resolve(self, strict: bool = False) -> "RemotePath":
        """Return the path itself: it is absolute."""
        return self

    def absolute(self) -> "RemotePath":
        """Return the path itself."""
        return self

    def expanduser(self) -> "RemotePath":
        """Return the path itself."""
        return self

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder is there with the first object in it."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object; it need not be there."""
        system, path = self.where()
        with asking(self, "removed"):
            try:
                system.rm_file(path)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def open(self, *args: Any, **options: Any) -> Any:
        """Open the object for reading bytes, some megabytes at a time."""
        return io.BufferedReader(RemoteFile(self), BUFFER)

    def read_bytes(self) -> bytes:
        """Return the whole object."""
        return self.read_range(None, None)

    def read_range(self, start: int | None, end: int | None) -> bytes:
        """Return the bytes from `start` to before `end`."""
        system, path = self.where()
        with asking(self, "read"):
            found: bytes = system.cat_file(path, start=start, end=end)
            return found

    def read_text(self, encoding: str | None = None, errors: str | None = None, **options: Any) -> str:
        """Return the whole object as text."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def write_bytes(self, data: Any) -> int:
        """Write an object whole."""
        system, path = self.where()
        with asking(self, "written", missing=False):
            system.pipe_file(path, bytes(data))
        return len(data)

    def write_text(self, data: str, *args: Any, **options: Any) -> int:
        """Write an object of text, whole."""
        return self.write_bytes(data.encode())

    def create(self, data: bytes) -> bool:
        """Write an object unless there is one of this name; tell whether it was written."""
        system, path = self.where()
        with asking(self, "written", missing=False):
            try:
                system.pipe_file(path, data, mode="create")
            except OSError as error:
                if isinstance(error, FileExistsError) or "ConditionalRequestConflict" in str(error):
                    return False
                raise
        return True

    def put(self, local: Path) -> None:
        """Make this object out of a local file, for a reader of its name at once."""
        system, path = self.where()
        with asking(self, "written", missing=False):
            if self.scheme in WHOLE:
                system.put_file(str(local), path)
                return
            folder, _, name = path.rpartition("/")
            half = f"{folder}/{TEMPORARY}{secrets.token_hex(4)}-{name}"
            system.makedirs(folder, exist_ok=True)
            system.put_file(str(local), half)
            if system.exists(path):  # a rename does not replace everywhere; a file that is missing is made again
                system.rm_file(path)
            system.mv(half, path)

    def get(self, local: Path) -> None:
        """Copy the object to a local file."""
        system, path = self.where()
        with asking(self, "read"):
            system.get_file(path, str(local))

    def remove_below(self, first: str, last: str) -> None:
        """Remove all objects below this folder: those named `first` before the others, those named `last` after."""
        found = list(self.rglob("*"))
        for group in (
            [path for path in found if path.name == first],
            [path for path in found if path.name not in (first, last)],
            [path for path in found if path.name == last],
        ):
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(lambda path: path.unlink(missing_ok=True), group))


class RemoteFile(io.RawIOBase):
    """An object as a file to read: each read asks the store for just these bytes.

    Args:
        path: the object.

    Raises:
        FileNotFoundError: it is not there.
    """

    def __init__(self, path: RemotePath) -> None:
        self._path, self._size, self._at = path, path.size(), 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that any place can be read."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place, and return it."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; fewer than asked for at the end only."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        found = self._path.read_range(self._at, end)
        self._at += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes, and return how many."""
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


@contextmanager
def asking(path: Path, what: str, missing: bool = True) -> Iterator[None]:
    """Turn a store's failure into an OutputError; with `missing`, that nothing is there is no failure.

    Raises:
        FileNotFoundError: with `missing`, there is no such object.
        OutputError: the store cannot be used.
    """
    try:
        yield
    except HnmineError:
        raise
    except Exception as error:  # each store's library has errors of its own
        if missing and isinstance(error, FileNotFoundError):
            raise
        raise OutputError(
            f"{path}: cannot be {what}: {reason(error)}; check the bucket, the credentials and the endpoint "
            "(docs/object-stores.md)"
        ) from error


def reason(error: BaseException) -> str:
    """Return what a store's error says, in one line."""
    text = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
