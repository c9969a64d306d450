"""What is remembered of a file counts as long as the file is the same one, and no longer."""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hnmine.storage import digest_cache as digests
from hnmine.storage.digest_cache import DIGESTS, DigestCache
from hnmine.storage.input_files import Source, find_sources


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("one text\n")
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let files count as old enough at once, and say which were read."""
    monkeypatch.setattr(digests, "_MIN_AGE", 0)
    found: list[str] = []
    plain = Source.digest

    def digest(source: Source) -> dict[str, Any]:
        found.append(source.name)
        return plain(source)

    monkeypatch.setattr(Source, "digest", digest)
    time.sleep(0.02)  # the clock that stamps files ticks some times a second
    return found


def source(path: Path) -> Source:
    return find_sources(path.name, path.parent, "input.corpus", (".jsonl",))[0]


def asked(path: Path, out: Path) -> dict[str, Any]:
    """Return what a command of its own says of a file."""
    known = DigestCache.read(out)
    found = known.of(source(path))
    known.write(out)
    return found


def test_a_file_is_read_once(file: Path, reads: list[str], tmp_path: Path) -> None:
    first = asked(file, tmp_path)
    assert asked(file, tmp_path) == first == source(file).digest()
    assert reads == ["corpus.jsonl"] * 2  # the second is this test's own


def test_another_content_of_the_same_size_and_time_is_seen(file: Path, reads: list[str], tmp_path: Path) -> None:
    before, times = asked(file, tmp_path), file.stat()
    file.write_text("two text\n")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    time.sleep(0.02)
    assert file.stat().st_mtime_ns == times.st_mtime_ns
    assert asked(file, tmp_path)["blake2b"] != before["blake2b"]


def test_another_file_under_the_name_is_seen(file: Path, reads: list[str], tmp_path: Path) -> None:
    before = asked(file, tmp_path)
    other = tmp_path / "other.jsonl"
    other.write_text("two text\n")
    other.rename(file)
    time.sleep(0.02)
    assert asked(file, tmp_path)["blake2b"] != before["blake2b"]


def test_what_was_just_written_is_not_remembered(
    file: Path, reads: list[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(digests, "_MIN_AGE", 60_000_000_000)
    assert asked(file, tmp_path) == asked(file, tmp_path)
    assert len(reads) == 2
    assert not (tmp_path / DIGESTS).exists()


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    file: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Source.digest

    def digest(source: Source) -> dict[str, Any]:
        found = plain(source)
        file.write_text("two text\n")
        time.sleep(0.02)
        return found

    monkeypatch.setattr(Source, "digest", digest)
    asked(file, tmp_path)
    monkeypatch.setattr(Source, "digest", plain)
    assert asked(file, tmp_path) == source(file).digest()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"blake2b file://x": {}}', '{"x": 3}', "no json"])
def test_a_damaged_memory_is_none(file: Path, reads: list[str], tmp_path: Path, text: str) -> None:
    (tmp_path / DIGESTS).write_text(text)
    assert asked(file, tmp_path)["bytes"] == 9
    assert asked(file, tmp_path)["bytes"] == 9
    assert len(reads) == 1


class Store:
    """A store with one object, whose tag says what is in it."""

    protocol: Any = ("s3", "s3a")

    def __init__(self, info: dict[str, Any]) -> None:
        self.known, self.asked = info, 0

    def unstrip_protocol(self, path: str) -> str:
        return f"s3://{path}"

    def invalidate_cache(self) -> None:
        self.asked += 1

    def info(self, path: str) -> dict[str, Any]:
        return self.known


@pytest.mark.parametrize(
    ("protocol", "tag", "value", "reads"),
    [
        ("s3", "ETag", "abc", 2), (("gs", "gcs"), "etag", "abc", 2), ("s3", None, "", 3),
        ("s3", "ETag", 'W/"abc"', 3), (("http", "https"), "ETag", "abc", 3),
    ],
)  # fmt: skip
def test_an_object_is_known_by_the_tag_of_its_content(protocol: Any, tag: str | None, value: str, reads: int) -> None:
    store, count = Store({"size": 3} | ({tag: value} if tag else {})), [0]
    store.protocol = protocol

    def digest() -> dict[str, Any]:
        count[0] += 1
        return {"file": "corpus.jsonl", "bytes": 3, "blake2b": f"{count[0]}"}

    given: Any = SimpleNamespace(system=store, path="bucket/corpus.jsonl", digest=digest)
    known = DigestCache()
    known.of(given)
    known.of(given)
    if tag:
        store.known = {"size": 3, tag: "other"}
    known.of(given)
    assert count[0] == reads
    assert bool(store.asked) == ("http" not in protocol)  # what a listing said before does not count


def test_no_address_is_written(file: Path, reads: list[str], tmp_path: Path) -> None:
    asked(file, tmp_path)
    assert str(tmp_path) not in (tmp_path / DIGESTS).read_text()
