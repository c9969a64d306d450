"""Paths in an object store: the parts of `pathlib.Path` that this package uses, over fsspec.

Every failure of a store becomes an `OutputError`, whatever its library raises. Only a missing object stays a
`FileNotFoundError`, as on a disk.
"""

import io
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path, PosixPath
from typing import Any

from hnmine.errors import HnmineError, MissingExtra, OutputError, reason

TEMPORARY = ".tmp-"
"""Prefix of the names of half-written files and folders."""

ATOMIC_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "memory"})
"""Stores that show an object only once it is complete. In others a file is written under another name and renamed."""

EXTRAS = {
    "s3": "s3fs: pip install 'hnmine[s3]'", "s3a": "s3fs: pip install 'hnmine[s3]'",
    "gs": "gcsfs: pip install gcsfs", "gcs": "gcsfs: pip install gcsfs",
    "abfs": "adlfs: pip install adlfs", "abfss": "adlfs: pip install adlfs", "az": "adlfs: pip install adlfs",
    "hdfs": "libhdfs, which comes with Hadoop (set HADOOP_HOME and CLASSPATH as pyarrow asks for)",
}  # fmt: skip
BUFFER_BYTES = 8 << 20


class RemotePath(PosixPath):
    """A path in an object store: RemotePath("s3://bucket/run"). Its first parts are the scheme and the bucket or host.

    It can be used wherever a Path can, and pickled. Methods that are not overridden here and need a file of this
    machine raise TypeError. All others may raise OutputError, or MissingExtra where the store's package is missing.

    universal-pathlib does not replace it: since version 0.3 its paths are no `pathlib.Path`, and every method would
    still need the translation of errors.
    """

    def __str__(self) -> str:
        scheme, colon, rest = super().__str__().partition(":/")
        return f"{scheme}://{rest}" if colon else scheme

    def __fspath__(self) -> str:
        raise TypeError(f"{self} is in an object store, not a file of this machine")

    @property
    def scheme(self) -> str:
        """The part before `://`."""
        return self.parts[0].rstrip(":")

    @contextmanager
    def _store(self, action: str, missing: bool = True) -> Iterator[tuple[Any, str]]:
        """Yield the file system and the path in it, and translate errors of the block.

        Args:
            action: the past participle for the message: read, written, ...
            missing: let FileNotFoundError through.
        """
        import fsspec

        try:
            # without a cache of listings, so that objects written by other processes are seen
            system, path = fsspec.core.url_to_fs(str(self), use_listings_cache=False)
        except ImportError as error:
            raise MissingExtra(f"{self}: {self.scheme}:// needs {EXTRAS.get(self.scheme, str(error))}") from None
        except Exception as error:
            raise OutputError(f"{self}: cannot be used: {reason(error)}") from error
        try:
            yield system, path
        except HnmineError:
            raise
        except Exception as error:  # each store's library has its own errors
            if missing and isinstance(error, FileNotFoundError):
                raise
            raise OutputError(
                f"{self}: cannot be {action}: {reason(error)}; check the bucket, the credentials and the endpoint "
                "(docs/object-stores.md)"
            ) from error

    def info(self) -> dict[str, Any]:
        """Return fsspec's description of the object or folder; empty if there is none."""
        with self._store("read") as (system, path), suppress(FileNotFoundError):
            return dict(system.info(path))
        return {}

    def exists(self) -> bool:
        """Return whether there is an object of this name, or one below it."""
        return bool(self.info())

    def is_file(self) -> bool:
        """Return whether there is an object of this name."""
        return self.info().get("type") == "file"

    def is_dir(self) -> bool:
        """Return whether there are objects below this name."""
        return self.info().get("type") == "directory"

    def glob(self, pattern: str, **options: Any) -> Generator["RemotePath", None, None]:
        """Yield the entries of this folder that match a pattern without `/`, in the store's order."""
        found: list[str] = []
        with self._store("listed") as (system, path), suppress(FileNotFoundError, NotADirectoryError):
            system.invalidate_cache()
            found = system.ls(path, detail=False)
        names = [str(name).rstrip("/").rpartition("/")[2] for name in found]
        yield from (self / name for name in names if name and fnmatchcase(name, pattern))

    def rglob(self, pattern: str, **options: Any) -> Generator["RemotePath", None, None]:
        """Yield the objects at any depth below this folder whose own name matches a pattern."""
        names: list[str] = []
        with self._store("listed") as (system, path), suppress(FileNotFoundError):
            system.invalidate_cache()
            names = list(system.find(path))
        below = f"{path.rstrip('/')}/"
        for name in names:
            if name.startswith(below) and fnmatchcase(name.rpartition("/")[2], pattern):
                yield self / name.removeprefix(below)

    def resolve(self, strict: bool = False) -> "RemotePath":
        """Return the path itself, which is always absolute."""
        return self

    absolute = expanduser = resolve

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder exists with its first object."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        with self._store("removed") as (system, path):
            try:
                system.rm_file(path)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def open(self, *args: Any, **options: Any) -> Any:
        """Open the object for reading bytes, `BUFFER_BYTES` at a time."""
        return io.BufferedReader(RemoteFile(self), BUFFER_BYTES)

    def read_bytes(self) -> bytes:
        """Return the whole object."""
        return self.read_range(None, None)

    def read_range(self, start: int | None, end: int | None) -> bytes:
        """Return the bytes [start, end)."""
        with self._store("read") as (system, path):
            return bytes(system.cat_file(path, start=start, end=end))

    def read_text(self, encoding: str | None = None, errors: str | None = None, **options: Any) -> str:
        """Return the whole object as text."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def write_bytes(self, data: Any) -> int:
        """Write the whole object and return its number of bytes."""
        with self._store("written", missing=False) as (system, path):
            system.pipe_file(path, bytes(data))
        return len(data)

    def write_text(self, data: str, *args: Any, **options: Any) -> int:
        """Write the whole object as UTF-8."""
        return self.write_bytes(data.encode())

    def create(self, data: bytes) -> bool:
        """Write the object if there is none of this name; return whether it was written."""
        with self._store("written", missing=False) as (system, path):
            try:
                system.pipe_file(path, data, mode="create")
            except OSError as error:
                if isinstance(error, FileExistsError) or "ConditionalRequestConflict" in str(error):
                    return False
                raise
        return True

    def put(self, local: Path) -> None:
        """Write the object from a local file. Readers see all of it or nothing."""
        with self._store("written", missing=False) as (system, path):
            if self.scheme in ATOMIC_STORES:
                system.put_file(str(local), path)
                return
            folder, _, name = path.rpartition("/")
            temporary = f"{folder}/{TEMPORARY}{secrets.token_hex(4)}-{name}"
            system.makedirs(folder, exist_ok=True)
            system.put_file(str(local), temporary)
            if system.exists(path):  # not every rename replaces; a file lost between the two is made again
                system.rm_file(path)
            system.mv(temporary, path)

    def get(self, local: Path) -> None:
        """Copy the object to a local file."""
        with self._store("read") as (system, path):
            system.get_file(path, str(local))


class RemoteFile(io.RawIOBase):
    """An object opened for reading. Each read is one request for exactly these bytes.

    Raises:
        FileNotFoundError: there is no such object.
    """

    def __init__(self, path: RemotePath) -> None:
        info = path.info()
        if info.get("type") != "file":
            raise FileNotFoundError(f"{path}: no such object")
        self._path, self._size, self._at = path, int(info["size"]), 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, fewer than `size` only at the end; all that are left if it is negative."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        found = self._path.read_range(self._at, end)
        self._at += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes and return their number."""
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)
