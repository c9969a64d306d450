"""Files are written whole or not at all, carry their key, and are read back row by row."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.errors import OutputError
from hnmine.storage import store
from hnmine.storage.schemas.base import SchemaMismatch, conform
from hnmine.storage.store import (
    Shards,
    TextReader,
    clear_temporaries,
    count_rows,
    part_name,
    read_json,
    read_key,
    remove_folder,
    write_atomic,
    write_json,
    write_table,
    write_text,
)

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("list", pa.list_(pa.field("item", pa.int32(), nullable=False)), nullable=False),
    ]
)


def table(first: int, rows: int) -> pa.Table:
    numbers = range(first, first + rows)
    columns = {"row": list(numbers), "text": [f"t{n}" for n in numbers], "list": [[n] * (n % 4) for n in numbers]}
    return pa.table(columns, schema=SCHEMA)


def raising(code: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text("half of i")
        raise OSError(code, os.strerror(code))

    return write


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "No space left on device; free some space and run the same command again"),
        (errno.EIO, "Input/output error; check the path"),
    ],
)
def test_a_disk_that_fails_leaves_nothing(tmp_path: Path, code: int, message: str) -> None:
    file = tmp_path / "a" / "b" / "file.txt"
    with pytest.raises(OutputError) as caught:
        write_atomic(file, raising(code))
    assert str(caught.value) == f"{file}: cannot be written: {message}"
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_any_failure_keeps_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    def write(path: Path) -> None:
        path.write_text("new")
        raise error

    file = tmp_path / "file.txt"
    write_text("old", file)
    with pytest.raises(error):
        write_atomic(file, write)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_after_writing_leaves_nothing(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*(("os.fsync", fail) if step == "fsync" else (Path, "replace", fail)))
    with pytest.raises(OutputError, match="free some space"):
        write_table(table(0, 3), tmp_path / "part-00000.parquet", "k")
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(OutputError, match=r"a/b\.txt: cannot be written: .*; check the path"):
        write_text("x", tmp_path / "a" / "b.txt")


def test_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    sync, replace = os.fsync, Path.replace

    def note_sync(handle: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def note_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_atomic(tmp_path / "file", lambda path: path.write_text("x") and None)
    assert events == ["file", "rename", "folder"]


def test_files_get_the_rights_that_the_user_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text("x", tmp_path / "file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("plain", [False, True])
def test_the_key_is_in_the_footer(tmp_path: Path, plain: bool) -> None:
    file = tmp_path / "part-00000.parquet"
    write_table(table(0, 5), file, "abc", plain=plain)
    assert read_key(file) == "abc"
    assert pq.read_schema(file).metadata[b"hnmine.key"] == b"abc"
    assert pq.read_table(file).to_pylist() == table(0, 5).to_pylist()
    assert pq.read_metadata(file).row_group(0).column(0).compression == ("UNCOMPRESSED" if plain else "ZSTD")


def test_the_same_table_and_key_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        write_table(table(0, 500), tmp_path / name, "abc")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("keep", [0, 3, 100, -20, -1])
def test_a_truncated_shard_has_no_key(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "part-00000.parquet"
    write_table(table(0, 500), file, "abc")
    file.write_bytes(file.read_bytes()[:keep])
    assert read_key(file) is None


def test_what_is_not_ours_has_no_key(tmp_path: Path) -> None:
    pq.write_table(table(0, 3), tmp_path / "theirs.parquet")
    (tmp_path / "text.txt").write_text("x")
    for name in ("theirs.parquet", "text.txt", "nothing.parquet", "nothing.txt"):
        assert read_key(tmp_path / name) is None


def test_sidecar_keys(tmp_path: Path) -> None:
    file = tmp_path / "part-00000.jsonl"
    write_text("ä\n", file, "abc")
    assert file.read_bytes() == "ä\n".encode()
    assert read_key(file) == "abc"
    assert (tmp_path / "_keys" / "part-00000.jsonl").read_text() == "abc"
    (tmp_path / "_keys" / "part-00000.jsonl").write_bytes(b"\xff")
    assert read_key(file) is None
    write_text("ä\n", file, "abc")
    file.unlink()
    assert read_key(file) is None, "a key without its file is no key"


def test_new_text_never_stands_under_an_old_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "part-00000.jsonl"
    write_text("old", file, "old key")

    def killed_before_the_key(path: Path, write: Callable[[Path], None]) -> None:
        if path.parent.name == "_keys":
            raise KeyboardInterrupt
        write_atomic(path, write)

    monkeypatch.setattr(store, "write_atomic", killed_before_the_key)
    with pytest.raises(KeyboardInterrupt):
        write_text("new", file, "new key")
    assert file.read_text() == "new"
    assert read_key(file) is None


def test_json_is_sorted_and_finite(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json({"b": 1, "a": "é"}, file)
    assert file.read_text(encoding="utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'
    assert read_json(file) == {"a": "é", "b": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": float("nan")}, file)
    assert read_json(file) == {"a": "é", "b": 1}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", None])
def test_damaged_json_is_none(tmp_path: Path, data: bytes | None) -> None:
    file = tmp_path / "a.json"
    if data is not None:
        file.write_bytes(data)
    assert read_json(file) is None


def test_temporaries_of_a_killed_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("emit/.tmp-abcpart-00000.parquet", ".tmp-x", ".tmp-ingest/corpus/part-00000.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("half")
    write_text("x", tmp_path / "emit" / "part-00000.jsonl", "k")
    (tmp_path / "notes.tmp-").write_text("the user's")
    clear_temporaries(tmp_path)
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["emit/_keys/part-00000.jsonl", "emit/part-00000.jsonl", "notes.tmp-"]
    remove_folder(tmp_path / "emit")
    remove_folder(tmp_path / "never there")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.tmp-"]


def test_folders_that_are_kept_stay_with_the_key(tmp_path: Path) -> None:
    names = ("_manifest.json", "_started.json", "a", "corpus/part-00000.parquet", "corpus-int8.parquet", "b/corpus/x")
    for name in names:
        (tmp_path / "embed" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "embed" / name).write_text("x")
    remove_folder(tmp_path / "embed", keep=("corpus", "gone"))
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {"embed", "embed/_started.json", "embed/corpus", "embed/corpus/part-00000.parquet"}
    remove_folder(tmp_path / "embed", keep=("gone",))
    assert not (tmp_path / "embed").exists()


SIZES = (4, 0, 1, 7, 3)


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    first = 0
    for number, rows in enumerate(SIZES):
        write_table(table(first, rows), tmp_path / part_name(number), "k")
        first += rows
    (tmp_path / "_manifest.json").write_text("{}")
    return Shards(tmp_path, SCHEMA)


def test_shards_are_one_table_in_order(shards: Shards) -> None:
    assert len(shards) == 5
    assert shards.rows == 15
    assert shards.offsets.tolist() == [0, 4, 4, 5, 12, 15]
    assert shards.offsets.dtype == np.int64
    assert pa.concat_tables(shards).equals(table(0, 15))
    assert shards.read(3).equals(table(5, 7))
    assert shards.read(1).num_rows == 0
    assert shards.read(3, ["text", "row"]).column_names == ["text", "row"]
    assert shards.column("row").to_pylist() == list(range(15))
    assert shards.column("list").to_pylist() == table(0, 15).column("list").to_pylist()


@pytest.mark.parametrize(
    "rows",
    [[], [0], [14], [3, 4], [14, 0, 7], [5, 5, 5], [11, 4, 11, 0, 0, 14, 4], list(range(15)), list(range(14, -1, -1))],
)
def test_take_gives_rows_in_the_order_asked_for(shards: Shards, rows: list[int]) -> None:
    taken = shards.take(np.array(rows, dtype=np.int64), ["row", "list"])
    assert taken.column_names == ["row", "list"]
    assert taken.schema.field("row").type == pa.int64()
    assert taken.column("row").to_pylist() == rows
    assert taken.column("list").to_pylist() == [[n] * (n % 4) for n in rows]


def test_take_reads_only_the_shards_it_needs(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    real = Shards.read
    monkeypatch.setattr(Shards, "read", lambda self, n, columns=None: read.append(n) or real(self, n, columns))
    shards.take(np.array([14, 0, 13, 0]), ["row"])
    assert read == [0, 4]


@pytest.mark.parametrize(("keep", "again"), [(0, 4), (1, 4), (10**6, 0)])
def test_what_is_kept_is_read_once(shards: Shards, monkeypatch: pytest.MonkeyPatch, keep: int, again: int) -> None:
    kept, rows = Shards(shards.folder, SCHEMA, keep), np.array([14, 0, 5, 4])
    first, read = kept.take(rows, ["row", "list"]), []
    real = store.read_table
    monkeypatch.setattr(store, "read_table", lambda *given: read.append(given) or real(*given))
    assert kept.take(rows, ["row", "list"]).equals(first)
    assert len(read) == again
    assert kept.take(rows, ["row"]).equals(first.select(["row"]))  # other columns are read
    assert len(read) == again + 4


def test_rows_are_those_of_the_file_that_is_there_now(tmp_path: Path) -> None:
    path = tmp_path / part_name(0)
    for rows in (3, 5, 5, 0):
        write_table(table(0, rows), path, "k")
        assert count_rows(path) == rows


def test_no_shards(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        empty = Shards(folder, SCHEMA)
        assert (len(empty), empty.rows) == (0, 0)
        assert empty.column("text").to_pylist() == []
        assert empty.column("text").type == pa.string()
        assert empty.take(np.array([], dtype=np.int64), ["text"]).num_rows == 0
        assert list(empty) == []


def test_a_shard_changed_by_hand_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    wrong = pa.table({"row": ["x"], "list": pa.array([None], pa.list_(pa.int32()))})
    pq.write_table(wrong, folder / "part-00000.parquet")
    shards = Shards(folder, SCHEMA)
    with pytest.raises(SchemaMismatch) as caught:
        conform(pq.read_table(folder / "part-00000.parquet"), SCHEMA, "corpus/part-00000.parquet")
    assert str(caught.value).splitlines() == [
        "corpus/part-00000.parquet: column row is string, not int64",
        "corpus/part-00000.parquet: column text is missing",
        "corpus/part-00000.parquet: column list has 1 nulls",
    ]
    with pytest.raises(SchemaMismatch, match=r"^corpus/part-00000\.parquet: column row is string, not int64$"):
        shards.read(0, ["row"])


def test_conform_orders_and_casts_without_loss() -> None:
    given = pa.table({"extra": [1], "list": [[1]], "text": ["a"], "row": pa.array([3], pa.int32())})
    assert conform(given, SCHEMA, "x").equals(pa.table({"row": [3], "text": ["a"], "list": [[1]]}, schema=SCHEMA))
    with pytest.raises(SchemaMismatch, match="column row is double, not int64"):
        conform(given.set_column(3, "row", pa.array([3.5])), SCHEMA, "x")


@pytest.mark.parametrize("lists", [False, True])
def test_strings_in_lists_are_read_as_strings_or_by_dictionary_as_the_schema_says(tmp_path: Path, lists: bool) -> None:
    kind = pa.list_(pa.list_(pa.string()))
    rows = [[["keep", "margin"], ["keep"]], [], [[]], [["margin"]]]
    found = pa.table({"verdicts": pa.array(rows, kind), "scores": pa.array([[0.5], [], [1.0], []])})
    write_table(found, tmp_path / "part-00000.parquet", "abc", lists=lists)
    assert pq.read_table(tmp_path / "part-00000.parquet").schema.field("verdicts").type == kind
    coded = pa.list_(pa.list_(pa.dictionary(pa.int32(), pa.string())))
    for schema in (found.schema, found.schema.set(0, pa.field("verdicts", coded))):
        read = Shards(tmp_path, schema).read(0)
        assert read.schema.equals(schema)
        assert read.to_pylist() == found.to_pylist()


def test_shards_beyond_the_hundred_thousandth_stand_in_order(tmp_path):
    numbers = [9_999, 10_000, 10_001, 99_999, 100_000, 100_001]
    schema = pa.schema([pa.field("row", pa.int64(), nullable=False)])
    for number in numbers:
        write_table(pa.table({"row": [number]}, schema=schema), tmp_path / part_name(number), "key")
    assert Shards(tmp_path, schema).column("row").to_pylist() == numbers


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_texts_are_the_same_over_any_shards(tmp_path: Path, size: int):
    schema = pa.schema([("text", pa.string())])
    texts = [f"t{row}" for row in range(10)]
    for number, first in enumerate(range(0, 10, size)):
        write_table(pa.table({"text": texts[first : first + size]}), tmp_path / f"part-{number:05}.parquet", "k")
    read = TextReader(Shards(tmp_path, schema)).read
    some = TextReader(Shards(tmp_path, schema), np.arange(1, 10, 3))
    for first in range(11):
        for last in range(first, 13):
            assert read(first, last) == texts[first:last]
            assert some.read(first, last) == texts[1::3][first:last]
