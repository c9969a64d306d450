"""Files on disk or in an object store: written whole or not at all, and known to be done by the key they carry.

A Parquet shard carries its key in the footer; any other file carries it in a sidecar under `_keys/`. A file is
done when it exists and its key is the one expected; there is no other marker that could drift from it.
"""

import errno
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.errors import OutputError
from hnmine.storage.paths import map_paths, opened, remove_tree, write_object
from hnmine.storage.remote_path import TEMPORARY, RemotePath
from hnmine.storage.schemas.base import conform

KEY = b"hnmine.key"
MANIFEST, STARTED = "_manifest.json", "_started.json"


def part_name(number: int, ending: str = "parquet") -> str:
    """Return the name of shard `number`: part-00000.parquet."""
    return f"part-{number:05d}.{ending}"


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it, and rename it into place.

    In an object store the finished object is the rename: it is uploaded whole from a temporary file of this machine.

    Raises:
        OutputError: the folder or the disk does not take it; nothing is left under the final name.
    """
    if isinstance(path, RemotePath):
        write_object(path, write)
        return
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=path.name, dir=path.parent)
        temporary = Path(name)
        os.fchmod(handle, 0o666 & ~_umask())
        os.close(handle)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        advice = "free some space and run the same command again" if error.errno == errno.ENOSPC else "check the path"
        raise OutputError(f"{path}: cannot be written: {reason}; {advice}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


_UMASK = threading.Lock()


def _umask() -> int:
    with _UMASK:  # it can only be read by setting it, and shards are written in a thread
        mask = os.umask(0)
        os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def leaves(schema: pa.Schema, wanted: Callable[[pa.DataType], bool]) -> list[str]:
    """Return the Parquet paths of the columns whose innermost type is wanted: name, name.list.element, ..."""
    found = []
    for field in schema:
        path, kind = field.name, field.type
        while pa.types.is_list(kind):
            path, kind = f"{path}.list.element", kind.value_type
        if wanted(kind):
            found.append(path)
    return found


def write_table(table: pa.Table, path: Path, key: str, *, plain: bool = False, lists: bool = False) -> None:
    """Write one Parquet shard with `key` in its footer.

    Args:
        table: what is written.
        path: where to.
        key: of the shard.
        plain: skips compression (vectors).
        lists: for tables that are mostly lists of numbers: only strings by dictionary, which numbers seldom repeat for,
            and a lighter compression. It takes a third of the time, to write and to read, and about the same space.

    Raises:
        OutputError: as `write_atomic`.
    """
    keyed = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: key.encode()})
    options: dict[str, Any] = {"compression": "zstd"}
    if plain:
        options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    elif lists:
        strings = leaves(table.schema, pa.types.is_string)
        options = {"compression": "lz4", "use_dictionary": strings, "write_statistics": False}
    write_atomic(path, lambda temporary: pq.write_table(keyed, temporary, **options))


def write_text(text: str, path: Path, key: str | None = None) -> None:
    """Write a text file atomically; with a `key`, its sidecar after it.

    Raises:
        OutputError: as `write_atomic`.
    """

    def fill(temporary: Path) -> None:
        _put(temporary, text)
        _sidecar(path).unlink(missing_ok=True)  # a kill before the new key must not leave new text under an old one

    write_atomic(path, fill)
    if key is not None:
        write_atomic(_sidecar(path), lambda temporary: _put(temporary, key))


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def write_json(data: Any, path: Path) -> None:
    """Write JSON that is the same for the same data: sorted keys, no NaN.

    Raises:
        OutputError: as `write_atomic`.
        ValueError: the data holds a number that is not finite.
    """
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomic(path, lambda temporary: _put(temporary, text + "\n"))


def read_json(path: Path) -> Any:
    """Return what a JSON file of ours holds, or None where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _sidecar(path: Path) -> Path:
    return path.parent / "_keys" / path.name


def read_table(path: Path, columns: list[str] | None = None, dictionaries: list[str] | None = None) -> pa.Table:
    """Return a Parquet file as a table, all of it or some columns; `dictionaries` names leaves to keep as such.

    Raises:
        FileNotFoundError: it is not there.
        OutputError: the object store cannot be used.
    """
    source = opened(path, whole=columns is None)
    # pq.read_table takes a small file for a whole dataset, which takes twice as long
    with pq.ParquetFile(source, memory_map=isinstance(source, Path), read_dictionary=dictionaries) as file:
        return file.read(columns)


def count_rows(path: Path) -> int:
    """Return the rows of a Parquet file, from its footer; that of a file of this machine is read once."""
    if isinstance(path, RemotePath):
        return int(pq.read_metadata(opened(path)).num_rows)
    found = path.stat()
    return _rows(str(path), (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))


@lru_cache(maxsize=1 << 16)
def _rows(path: str, stamp: tuple[int, ...]) -> int:
    return int(pq.read_metadata(path).num_rows)


def read_key(path: Path) -> str | None:
    """Return the key that a file of ours carries; None where it is missing, damaged, or not ours."""
    try:
        if path.suffix == ".parquet":
            metadata = pq.read_schema(opened(path)).metadata or {}
            return metadata.get(KEY, b"").decode() or None
        return _sidecar(path).read_text(encoding="utf-8") if path.exists() else None
    except (OSError, ValueError, pa.ArrowException):
        return None


def clear_temporaries(folder: Path) -> None:
    """Remove what a killed run left half-written or half-removed; only ever called under the folder's lock."""
    for path in list(folder.rglob(f"{TEMPORARY}*")):
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder of ours, for a reader of its name at once: a kill half-way leaves nothing under that name.

    An object store has no rename of folders. There the manifest goes first and the note of the key last, so that what
    is left is known for a stage that is not complete, of whichever key it was.
    """
    if folder.exists():
        renamed = (
            folder if isinstance(folder, RemotePath) else folder.rename(folder.with_name(f"{TEMPORARY}{folder.name}"))
        )
        remove_tree(renamed, first=MANIFEST, last=STARTED)


class Shards:
    """The shards of one table, in order: part-00000.parquet, part-00001.parquet, ...

    Args:
        folder: where they lie.
        schema: what every shard must conform to.
        keep_bytes: how much of what is read may stay in memory; the rest is read again each time.
    """

    def __init__(self, folder: Path, schema: pa.Schema, keep_bytes: int = 0) -> None:
        self.folder, self.schema = folder, schema
        self._left = keep_bytes
        self._kept: dict[tuple[int, tuple[str, ...]], pa.Table] = {}
        # by number: part-100000 comes after part-99999, which it would not by name alone
        self.paths = sorted(folder.glob("part-*.parquet"), key=lambda path: (len(path.name), path.name))
        rows = map_paths(count_rows, self.paths)
        self.offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def rows(self) -> int:
        """Rows of all shards together."""
        return int(self.offsets[-1])

    def read(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """Return shard `number`, all of it or some columns, conformed to the schema."""
        names = tuple(self.schema.names if columns is None else columns)
        if (number, names) in self._kept:
            return self._kept[number, names]
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        path = self.paths[number]
        coded = leaves(schema, pa.types.is_dictionary)
        table = conform(read_table(path, columns, coded or None), schema, f"{self.folder.name}/{path.name}")
        if table.nbytes <= self._left:
            self._left -= table.nbytes
            self._kept[number, names] = table
        return table

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column of all shards."""
        parts = [self.read(number, [name]).column(0) for number in range(len(self))]
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], self.schema.field(name).type)

    def take(self, rows: np.ndarray, columns: list[str]) -> pa.Table:
        """Return the given rows, in the given order; only shards that hold one are read, one at a time.

        Args:
            rows: int64, shape (n,), each in [0, self.rows); repeats are fine.
            columns: names of the columns wanted.
        """
        unique, inverse = np.unique(rows, return_inverse=True)
        shard_of = np.searchsorted(self.offsets, unique, side="right") - 1
        parts = []
        for number in np.unique(shard_of):
            local = unique[shard_of == number] - self.offsets[number]
            parts.append(self.read(int(number), columns).take(pa.array(local)))
        if not parts:
            return pa.schema([self.schema.field(name) for name in columns]).empty_table()
        return pa.concat_tables(parts).take(pa.array(inverse))

    def __iter__(self) -> Iterator[pa.Table]:
        return (self.read(number) for number in range(len(self)))


class TextReader:
    """Reads the column `text` of a table in shards, by position among its rows or among some of them.

    Args:
        shards: the table.
        rows: int64, ascending, the rows that count; None for all. With all rows, the last shard read stays in memory.
    """

    def __init__(self, shards: Shards, rows: np.ndarray | None = None) -> None:
        self._shards, self._rows = shards, rows
        self._number, self._texts = -1, [""]

    def read(self, first: int, last: int) -> list[str]:
        """Return the texts at positions [first, last); fewer where the rows end before."""
        found: list[str] = []
        if self._rows is not None:
            found += self._shards.take(self._rows[first:last], ["text"]).column(0).to_pylist()
            return found
        for number, start in enumerate(self._shards.offsets[:-1].tolist()):
            if start < last and first < self._shards.offsets[number + 1]:
                found += self._shard(number)[max(0, first - start) : last - start]
        return found

    def _shard(self, number: int) -> list[str]:
        if number != self._number:
            self._number, self._texts = number, self._shards.read(number, ["text"]).column(0).to_pylist()
        return self._texts
