"""Damaged and wrong files: what is wrong, where, and nothing left behind."""

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.errors import SHOWN, StaleOutput
from tests.readers.helpers import CORPUS, ingest, refused, small

MANY = [{"doc_id": f"d{n}", "text": f"text {n} {n * 7919 % 1000}"} for n in range(3000)]
LINES = "".join(json.dumps(row) + "\n" for row in MANY).encode()


def parquet(folder: Path) -> bytes:
    pq.write_table(pa.Table.from_pylist(MANY), folder / "whole.parquet")
    return (folder / "whole.parquet").read_bytes()


def spoilt(data: bytes, at: int, count: int = 64) -> bytes:
    return data[:at] + bytes(255 - b for b in data[at : at + count]) + data[at + count :]


DAMAGED: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "truncated Parquet": ("c.parquet", lambda f: parquet(f)[:-100], "c.parquet: not a readable Parquet file (trunc"),
    "short Parquet": ("c.parquet", lambda f: b"PAR1", "c.parquet: not a readable Parquet file (truncated?): "),
    "empty Parquet": ("c.parquet", lambda f: b"", "c.parquet: not a readable Parquet file (truncated?): "),
    "no Parquet at all": ("c.parquet", lambda f: LINES, "c.parquet: not a readable Parquet file (truncated?): "),
    "Parquet with spoilt pages": (
        "c.parquet",
        lambda f: spoilt(parquet(f), 40, 4000),
        "c.parquet: damaged after row 0",
    ),
    "truncated gz": ("c.jsonl.gz", lambda f: gzip.compress(LINES)[:5000], "c.jsonl.gz: damaged after line "),
    "no gz at all": ("c.jsonl.gz", lambda f: LINES, "c.jsonl.gz: damaged after line 0: Not a gzipped file"),
    "gz with a wrong sum": ("c.jsonl.gz", lambda f: gzip.compress(LINES)[:-8] + bytes(8), "c.jsonl.gz: damaged after"),
    "spoilt gz": ("c.jsonl.gz", lambda f: b"\x1f\x8b\x08\0\0\0\0\0\0\3" + b"\xff" * 200, "c.jsonl.gz: damaged after"),
    "spoilt xz": ("c.jsonl.xz", lambda f: spoilt(lzma.compress(LINES), 40), "c.jsonl.xz: damaged after line "),
    "truncated xz": ("c.jsonl.xz", lambda f: lzma.compress(LINES)[:-50], "c.jsonl.xz: damaged after line "),
    "empty JSONL": ("c.jsonl", lambda f: b"", "c.jsonl: the file is empty"),
    "JSONL of empty lines": ("c.jsonl", lambda f: b"\n\n \n", "c.jsonl: the file is empty"),
    "broken JSON": (
        "c.jsonl",
        lambda f: LINES + b'\n{"doc_id": "x", "text": "y"\n',
        "c.jsonl line 3,002: not valid JSON: Expecting ',' delimiter",
    ),
    "broken JSON far down": ("c.jsonl", lambda f: LINES * 4 + b"{\n", "c.jsonl line 12,001: not valid JSON: "),
    "JSON that is no object": ("c.jsonl", lambda f: b"[1]\n", "c.jsonl line 1: a JSON object was expected, not list"),
    "deep JSON": ("c.jsonl", lambda f: LINES + b"[" * 100_000, "c.jsonl line 3,001: not valid JSON: "),
    "a JSON array of rows": ("c.jsonl", lambda f: b'[\n{"doc_id": 1}\n]', "c.jsonl line 1: not valid JSON: "),
    "Latin-1": ("c.jsonl", lambda f: LINES + "{'ä'}".encode("latin-1"), "c.jsonl: not UTF-8 after line "),
    "UTF-16": (
        "c.csv",
        lambda f: "doc_id,text\nd0,a\n".encode("utf-16"),
        "c.csv: not UTF-8 after line 0: invalid start byte; it is UTF-16: save it as UTF-8",
    ),
    "gzip without its ending": (
        "c.jsonl",
        lambda f: gzip.compress(LINES),
        "c.jsonl: not UTF-8 after line 0: invalid start byte; it is compressed by gzip: add .gz to its name",
    ),
    "empty CSV": ("c.csv", lambda f: b"", "c.csv: the file is empty"),
    "CSV with an open quote": (
        "c.csv",
        lambda f: b'doc_id,text\nd0,"a\nd1,c\n',
        "c.csv line 3: unexpected end of data",
    ),
    "CSV with a stray quote": ("c.csv", lambda f: b'doc_id,text\nd0,"a"b\n', "c.csv line 2: ',' expected after '\"'"),
    "CSV with a field too many": (
        "c.csv",
        lambda f: b"doc_id,text\nd0,a\nd1,b, c\n",
        "c.csv line 3: 3 fields where the header has 2; if double quotes are (or are not) meant to enclose fields, "
        "set input.quoting",
    ),
    "TSV with a field too few": ("c.tsv", lambda f: b"doc_id\ttext\nd0\n", "c.tsv line 2: 1 fields where the header"),
}


@pytest.mark.parametrize(("name", "data", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_corpus(tmp_path: Path, name: str, data: Callable[[Path], bytes], message: str) -> None:
    small(tmp_path)
    (tmp_path / name).write_bytes(data(tmp_path))
    (line,) = refused(tmp_path, input={"corpus": name})
    assert line.startswith(message)
    assert ingest(tmp_path).texts == CORPUS, "the corrected input runs without --overwrite"


def test_parquet_that_is_not_utf8(tmp_path: Path) -> None:
    small(tmp_path)
    offsets = pa.py_buffer(b"\0\0\0\0\2\0\0\0")
    text = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    pq.write_table(pa.table({"doc_id": ["d0"], "text": text}), tmp_path / "c.parquet")
    (line,) = refused(tmp_path, input={"corpus": "c.parquet"})
    assert line.startswith("c.parquet: damaged after row 0: 'utf-8' codec can't decode")


def test_zst_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(tmp_path)
    (tmp_path / "c.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    monkeypatch.setattr("fsspec.utils.infer_compression", lambda path: None if path.endswith("zst") else "infer")
    (line,) = refused(tmp_path, input={"corpus": "c.jsonl.zst"})
    assert line == "c.jsonl.zst: reading .zst needs a package: pip install zstandard; or decompress it"


BAD_QRELS = {
    "empty": ("q.tsv", "", "q.tsv: the file is empty"),
    "a header alone": ("q.tsv", "query_id\tdoc_id\trelevance\n", "input: no judgements to read"),
    "a line too short": ("q.trec", "q0 0 d0 1\nq0 d0 1\n", "q.trec line 2: 4 fields ending in a whole relevance"),
    "a word for a number": ("q.tsv", "q0\td0\t1\nq1\td1\tyes\n", "q.tsv line 2: 3 fields ending in a whole relevance"),
    "half a relevance": (
        "q.csv",
        "qid,docid,rel\nq0,d0,0.5\n",
        "q.csv line 2: a whole relevance expected, found '0.5'",
    ),
    "no relevance": ("q.csv", "qid,docid,rel\nq0,d0,\n", "q.csv line 2: a whole relevance expected, found '' (str)"),
    "not a number": ("q.csv", "qid,docid,rel\nq0,d0,nan\n", "q.csv line 2: a whole relevance expected, found 'nan'"),
    "too large": (
        "q.csv",
        f"qid,docid,rel\nq0,d0,{10**400}\n",
        "q.csv line 2: a whole relevance expected, found '1000",
    ),
    "too large in JSON": ("q.jsonl", f'{{"qid":"q0","docid":"d0","rel":{10**400}}}', "q.jsonl line 1: a whole relev"),
    "no table": ("q.trec", "query document\n", "q.trec: neither TREC qrels (query 0 document relevance) nor a known"),
}


@pytest.mark.parametrize(("name", "text", "message"), BAD_QRELS.values(), ids=BAD_QRELS)
def test_damaged_judgements(tmp_path: Path, name: str, text: str, message: str) -> None:
    small(tmp_path)
    (tmp_path / name).write_text(text)
    assert refused(tmp_path, input={"qrels": name})[0].startswith(message)


def test_problems_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    small(tmp_path)
    with (tmp_path / "corpus.jsonl").open("a") as file:
        file.write('{"doc_id": null, "text": "x"}\n{"doc_id": "d0", "text": "another"}\n')
    with (tmp_path / "queries.jsonl").open("a") as file:
        file.write('{"query_id": "q9", "text": 7}\nnonsense\n')
    with (tmp_path / "qrels.tsv").open("a") as file:
        file.write("q0\td0\tx\n")
    lines = refused(tmp_path)
    assert lines == [
        "corpus.jsonl line 4: a document id expected, found nothing (NoneType)",
        "corpus.jsonl line 5: document id 'd0' a second time, with another text",
        "queries.jsonl line 4: not valid JSON: Expecting value: line 1 column 1 (char 0)",
        "qrels.tsv line 5: a whole relevance expected, found 'x' (str)",
    ]


def test_many_problems_are_cut_short_and_counted(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "corpus.jsonl").write_text('{"doc_id": true, "text": "x"}\n' * 20_000)
    lines = refused(tmp_path)
    assert len(lines) == SHOWN + 1
    assert lines[0] == "corpus.jsonl line 1: a document id expected, found 'True' (bool)"
    assert lines[-1] == "... and 19,989 more problems", "19,988 lines, and that no document is left"


def test_a_refused_second_corpus_leaves_the_first_result_alone(tmp_path: Path) -> None:
    small(tmp_path)
    ingest(tmp_path)
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*.parquet")}
    whole = (tmp_path / "corpus.jsonl").read_text()
    (tmp_path / "corpus.jsonl").write_text(whole + "{")
    with pytest.raises(StaleOutput, match=r"files\.corpus was .*, now .*"):
        ingest(tmp_path)
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*.parquet")} == before
    (tmp_path / "corpus.jsonl").write_text(whole)
    assert ingest(tmp_path).texts == CORPUS


@pytest.mark.parametrize("value", [[1], {"a": 1}, True, 3.5, None])
def test_what_is_no_text(tmp_path: Path, value: Any) -> None:
    small(tmp_path)
    with (tmp_path / "queries.jsonl").open("a") as file:
        file.write(json.dumps({"query_id": "q9", "text": value}) + "\n")
    if value is None:
        assert ("query", "q9", "empty text") in ingest(tmp_path).omitted
        return
    assert refused(tmp_path) == [f"queries.jsonl line 3: text expected, found {str(value)!r} ({type(value).__name__})"]
