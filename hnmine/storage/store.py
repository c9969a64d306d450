"""A run's files, on disk or in an object store: atomic writes, content keys, and tables stored in shards.

A file is written completely or not at all: the functions that write raise `OutputError`. A Parquet shard carries its
content key in the footer, any other file in a sidecar under `_keys/`. A file is done if it exists with the expected
key; there is no other marker that could disagree.
"""

import errno
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.errors import OutputError, reason
from hnmine.storage.paths import local_copy, map_paths, opened, remove_tree, write_object
from hnmine.storage.remote_path import TEMPORARY, RemotePath
from hnmine.storage.schemas.base import conform

KEY, COUNTS = b"hnmine.key", b"hnmine.counts"
MANIFEST, STARTED = "_manifest.json", "_started.json"


def part_name(number: int, ending: str = "parquet") -> str:
    """Return the name of shard `number`: part-00000.parquet."""
    return f"part-{number:05d}.{ending}"


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it, and rename it to `path`.

    An object is uploaded complete from a temporary file of this machine, which has the effect of a rename.

    Raises:
        OutputError: the file cannot be written; nothing is left at `path`.
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
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        advice = "free some space and run the same command again" if error.errno == errno.ENOSPC else "check the path"
        raise OutputError(f"{path}: cannot be written: {reason(error)}; {advice}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


_UMASK = threading.Lock()


def _umask() -> int:
    with _UMASK:  # it can be read only by setting it, and shards are written in several threads
        mask = os.umask(0)
        os.umask(mask)
    return mask


def leaves(schema: pa.Schema, wanted: Callable[[pa.DataType], bool]) -> list[str]:
    """Return the Parquet paths (name, name.list.element, ...) of the columns whose innermost type is `wanted`."""
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
        table: the rows.
        path: the file.
        key: the shard's content key.
        plain: for vectors: no compression.
        lists: for tables that are mostly lists of numbers, which seldom repeat: dictionaries for strings alone, and a
            faster compression. Writing and reading take a third of the time, the file about the same space.
    """
    keyed = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: key.encode()})
    options: dict[str, Any] = {"compression": "zstd"}
    if plain:
        options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    elif lists:
        strings = leaves(table.schema, pa.types.is_string)
        options = {"compression": "lz4", "use_dictionary": strings, "write_statistics": False}

    def fill(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, keyed.schema, **options) as writer:
            if keyed.num_rows:  # `datasets` reads files without a row group, but none whose row group is empty
                writer.write_table(keyed)

    write_atomic(path, fill)


def with_counts(table: pa.Table, counts: Mapping[str, Any]) -> pa.Table:
    """Return a table whose shard will carry counts of its rows in the footer: see `read_counts`."""
    text = json.dumps(counts, sort_keys=True, separators=(",", ":"))
    return table.replace_schema_metadata({**(table.schema.metadata or {}), COUNTS: text.encode()})


def read_counts(path: Path) -> dict[str, Any]:
    """Return the counts in the footer of a Parquet shard that was written from `with_counts`."""
    counts: dict[str, Any] = json.loads((pq.read_schema(opened(path)).metadata or {})[COUNTS])
    return counts


def write_text(text: str, path: Path, key: str | None = None) -> None:
    """Write a text file atomically, and then its sidecar if a `key` is given."""

    def fill(temporary: Path) -> None:
        _put(temporary, text)
        _sidecar(path).unlink(missing_ok=True)  # a kill before the new key must not leave new text under an old one

    write_atomic(path, fill)
    if key is not None:
        write_atomic(_sidecar(path), lambda temporary: _put(temporary, key))


def write_lines(lines: Iterable[str], path: Path) -> None:
    """Write texts, each with its line end, to a text file atomically; one at a time is in memory."""

    def fill(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)

    write_atomic(path, fill)


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def write_json(data: Any, path: Path) -> None:
    """Write JSON atomically, the same bytes for the same data: keys are sorted.

    Raises:
        ValueError: the data holds a number that is not finite.
    """
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomic(path, lambda temporary: _put(temporary, text + "\n"))


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _sidecar(path: Path) -> Path:
    return path.parent / "_keys" / path.name


def read_table(path: Path, columns: list[str] | None = None, dictionaries: list[str] | None = None) -> pa.Table:
    """Return all or some columns of a Parquet file as a table.

    Args:
        path: the file.
        columns: names; None for all.
        dictionaries: Parquet paths of columns to read as dictionaries.

    Raises:
        FileNotFoundError: it does not exist.
    """
    source = opened(path, whole=columns is None)
    # pq.read_table reads a file as a dataset, which takes twice as long for a small one
    with pq.ParquetFile(source, memory_map=isinstance(source, Path), read_dictionary=dictionaries) as file:
        return file.read(columns)


def count_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file, from its footer. The footer of a local file is read only once."""
    if isinstance(path, RemotePath):
        return int(pq.read_metadata(opened(path)).num_rows)
    found = path.stat()
    return _rows(str(path), (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))


@lru_cache(maxsize=1 << 16)
def _rows(path: str, stamp: tuple[int, ...]) -> int:
    return int(pq.read_metadata(path).num_rows)


def write_npy(path: Path, values: np.ndarray) -> None:
    """Write an array atomically as a .npy file."""

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a name, numpy would append an ending of its own
            np.save(file, values, allow_pickle=False)

    write_atomic(path, save)


def read_npy(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """Return the array of a .npy file; with `mmap_mode` "r" it stays on disk and is read on access."""
    with local_copy(path) as file:
        return np.asanyarray(np.load(file, mmap_mode=mmap_mode))


def read_key(path: Path) -> str | None:
    """Return the content key of a file; None if the file is missing, damaged or not written by hnmine."""
    try:
        if path.suffix == ".parquet":
            metadata = pq.read_schema(opened(path)).metadata or {}
            return metadata.get(KEY, b"").decode() or None
        return _sidecar(path).read_text(encoding="utf-8") if path.exists() else None
    except (OSError, ValueError, pa.ArrowException):
        return None


def clear_temporaries(folder: Path) -> None:
    """Remove half-written and half-removed files of killed runs. The caller must hold the folder's lock."""
    for path in list(folder.rglob(f"{TEMPORARY}*")):
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)


def remove_folder(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove a stage's folder, if it exists. It is renamed first, so a kill leaves nothing under its name.

    With `keep`, folders inside of it by their relative paths, these stay, as does the note of the key: what is left is
    an incomplete stage. The note then stays as it was until the stage is begun again.

    An object store cannot rename folders. There the manifest is removed first and the note of the key last: what a kill
    leaves is an incomplete stage of a known key.
    """
    if not folder.exists():
        return
    kept = [folder / name for name in keep if (folder / name).exists()]
    if kept:
        (folder / MANIFEST).unlink(missing_ok=True)
        found = [path for path in folder.rglob("*") if not any(one == path or one in path.parents for one in kept)]
        map_paths(lambda path: path.unlink(missing_ok=True), [p for p in found if p.is_file() and p.name != STARTED])
        for path in [] if isinstance(folder, RemotePath) else reversed(found):  # folders after what is in them
            with suppress(OSError):  # one that holds what is kept
                path.rmdir()
        return
    if not isinstance(folder, RemotePath):
        folder = folder.rename(folder.with_name(f"{TEMPORARY}{folder.name}"))
    remove_tree(folder, first=MANIFEST, last=STARTED)


class Tables(Protocol):
    """One table in parts: `Shards`, or parts that are held in memory."""

    def __len__(self) -> int:
        """Return the number of parts."""
        ...

    def read(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """Return all or some columns of a part."""
        ...


@dataclass(frozen=True)
class InMemory:
    """A table in memory, as one part."""

    table: pa.Table

    def __len__(self) -> int:
        """Return 1."""
        return 1

    def read(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """Return all or some columns."""
        return self.table if columns is None else self.table.select(columns)


class Shards:
    """The shards of one table, in order: part-00000.parquet, part-00001.parquet, ...

    Args:
        folder: their folder.
        schema: that of the table; every shard must conform to it.
        keep_bytes: bytes of read tables kept in memory; the others are read again each time.

    Attributes:
        offsets: int64, shape (shards + 1,): shard i holds rows offsets[i] to offsets[i + 1] - 1 of the table.
    """

    def __init__(self, folder: Path, schema: pa.Schema, keep_bytes: int = 0) -> None:
        self.folder, self.schema = folder, schema
        self._free_bytes = keep_bytes
        self._cached: dict[tuple[int, tuple[str, ...]], pa.Table] = {}
        # by number: part-100000 comes after part-99999
        self.paths = sorted(folder.glob("part-*.parquet"), key=lambda path: (len(path.name), path.name))
        rows = map_paths(count_rows, self.paths)
        self.offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def rows(self) -> int:
        """Number of rows of all shards."""
        return int(self.offsets[-1])

    def read(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """Return all or some columns of a shard, conformed to the schema."""
        names = tuple(self.schema.names if columns is None else columns)
        if (number, names) in self._cached:
            return self._cached[number, names]
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        path = self.paths[number]
        coded = leaves(schema, pa.types.is_dictionary)
        table = conform(read_table(path, columns, coded or None), schema, f"{self.folder.name}/{path.name}")
        if table.nbytes <= self._free_bytes:
            self._free_bytes -= table.nbytes
            self._cached[number, names] = table
        return table

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column of all shards."""
        parts = [self.read(number, [name]).column(0) for number in range(len(self))]
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], self.schema.field(name).type)

    def take(self, rows: np.ndarray, columns: list[str]) -> pa.Table:
        """Return the given rows (int64, repeats allowed), in the given order.

        Only shards that hold one of them are read, one at a time.
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
        if self._rows is not None:
            return list(self._shards.take(self._rows[first:last], ["text"]).column(0).to_pylist())
        found: list[str] = []
        for number, start in enumerate(self._shards.offsets[:-1].tolist()):
            if start < last and first < self._shards.offsets[number + 1]:
                if number != self._number:
                    self._number, self._texts = number, self._shards.read(number, ["text"]).column(0).to_pylist()
                found += self._texts[max(0, first - start) : last - start]
        return found


def digest(data: Any) -> str:
    """Return the sha256 of a value's canonical JSON, as hex digits.

    Raises:
        ValueError: it holds a number that is not finite.
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_texts(texts: Iterable[str]) -> str:
    """Return the blake2b of texts in their order, as hex digits; no two lists of texts share one."""
    total = hashlib.blake2b()
    for text in texts:
        encoded = text.encode()
        total.update(len(encoded).to_bytes(8, "little") + encoded)
    return total.hexdigest()


def item_key(stage_key: str, name: str, first: int, rows: int) -> str:
    """Return the key of a shard: a hash of the stage's key, the shard's table and the rows that it covers."""
    return digest([stage_key, name, first, rows])


def recorded(folder: Path) -> Mapping[str, Any] | None:
    """Return a stage's manifest, or the note that it was started, or None."""
    found: Mapping[str, Any] | None = read_json(folder / MANIFEST) or read_json(folder / STARTED)
    return found


def is_done(folder: Path, key: str) -> bool:
    """Return whether a stage's folder is complete under this key."""
    manifest = read_json(folder / MANIFEST)
    return bool(manifest) and manifest["key"] == key
