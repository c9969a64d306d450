"""Every format that a collection may come in gives the same tables."""

import bz2
import csv
import gzip
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.readers.helpers import CORPUS, ONLY_PAIRS, QRELS, QUERIES, ingest, refused, small
from tests.support import write_jsonl

POSITIVES = {"q0": ["d0"], "q1": ["d1", "d2"]}


def records(name: str, texts: dict[str, str]) -> list[dict[str, Any]]:
    return [{name: key, "text" if name == "doc_id" else "query": text} for key, text in texts.items()]


def as_parquet(file: Path, table: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(table), file)


def as_jsonl(file: Path, table: list[dict[str, Any]]) -> None:
    write_jsonl(file, table)


def as_compressed(file: Path, table: list[dict[str, Any]]) -> None:
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[file.suffix]
    plain = file.with_suffix("")
    (as_jsonl if plain.suffix == ".jsonl" else as_separated)(plain, table)
    file.write_bytes(pack(plain.read_bytes()))
    plain.unlink()


def as_separated(file: Path, table: list[dict[str, Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(table[0]), delimiter="\t" if file.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(table)


FORMATS = [
    ("parquet", as_parquet),
    ("pq", as_parquet),
    ("jsonl", as_jsonl),
    ("ndjson", as_jsonl),
    ("csv", as_separated),
    ("tsv", as_separated),
    ("jsonl.gz", as_compressed),
    ("jsonl.bz2", as_compressed),
    ("tsv.xz", as_compressed),
    ("csv.gz", as_compressed),
]


@pytest.mark.parametrize(("ending", "write"), FORMATS, ids=[ending for ending, _ in FORMATS])
def test_a_collection_in_any_table_format(tmp_path: Path, ending: str, write: Callable[..., None]) -> None:
    judged = [{"query_id": q, "doc_id": d, "relevance": r} for q, d, r in QRELS]
    for name, table in (
        ("c", records("doc_id", CORPUS)),
        ("q", records("query_id", QUERIES)),
        ("r", judged),
    ):
        write(tmp_path / f"{name}.{ending}", table)
    found = ingest(tmp_path, input={"corpus": f"c.{ending}", "queries": f"q.{ending}", "qrels": f"r.{ending}"})
    assert found.texts == CORPUS
    assert found.asked == QUERIES
    assert found.positives == POSITIVES
    assert [row["source_row"] for row in found.corpus] == [0, 1, 2]
    assert found.queries[1]["positive_relevance"] == [1, 2]
    assert found.counts["documents"] == found.counts["documents_read"] == 3
    assert found.counts["judgements_read"] == found.counts["positives"] == 3
    assert found.left_out == []


QRELS_FILES = {
    "trec": ("q.trec", "q0 0 d0 1\nq1 0 d1 1\nq1 0 d2 2\n"),
    "trec in .txt, tabs, Q0, CRLF": ("q.txt", "q0\tQ0\td0\t1\r\nq1\tQ0\td1\t1\r\nq1\tQ0\td2\t2\r\n"),
    "trec in .tsv": ("q.tsv", "q0\t0\td0\t1\nq1\t0\td1\t1\nq1\t0\td2\t2\n"),
    "trec, spaces and empty lines": ("q.qrels", "\n  q0  0  d0  1\n\nq1 0 d1 1\nq1 0 d2 2"),
    "three columns": ("q.tsv", "q0\td0\t1\nq1\td1\t1\nq1\td2\t2\n"),
    "three columns, no ending of a table": ("q.qrel", "q0 d0 1\nq1 d1 1\nq1 d2 2\n"),
    "BEIR's header": ("q.tsv", "query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\nq1\td2\t2\n"),
    "a byte order mark": ("q.tsv", "\ufeffquery-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\nq1\td2\t2\n"),
    "columns in another order": ("q.csv", "rel,docid,qid\n1,d0,q0\n1,d1,q1\n2,d2,q1\n"),
    "whole numbers written as floats": ("q.tsv", "q0\td0\t1.0\nq1\td1\t1\nq1\td2\t2.0\n"),
}


@pytest.mark.parametrize(("name", "text"), QRELS_FILES.values(), ids=QRELS_FILES)
def test_judgements_in_any_shape(tmp_path: Path, name: str, text: str) -> None:
    small(tmp_path)
    (tmp_path / name).write_bytes(text.encode())
    found = ingest(tmp_path, input={"qrels": name})
    assert found.positives == POSITIVES
    assert found.queries[1]["positive_relevance"] == [1, 2]


def test_a_table_of_judgements_without_relevance_means_relevant(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "q.csv").write_text("query_id,doc_id\nq0,d2\n")
    found = ingest(tmp_path, input={"qrels": "q.csv"})
    assert found.positives == {"q0": ["d2"]}
    assert found.queries[0]["positive_relevance"] == [1]


def beir(folder: Path, *splits: str) -> Path:
    write_jsonl(folder / "corpus.jsonl", [{"_id": d, "title": "Title", "text": t} for d, t in CORPUS.items()])
    write_jsonl(folder / "queries.jsonl", [{"_id": q, "text": t, "metadata": {}} for q, t in QUERIES.items()])
    (folder / "qrels").mkdir()
    for number, split in enumerate(splits):
        lines = f"query-id\tcorpus-id\tscore\nq0\td{number}\t1\n"
        (folder / "qrels" / f"{split}.tsv").write_text(lines)
    return folder


@pytest.mark.parametrize(
    ("splits", "asked", "positive"),
    [
        (("test",), None, "d0"),
        (("test", "train"), None, "d1"),
        (("test", "train"), "test", "d0"),
        (("dev", "test", "train"), "dev", "d0"),
    ],
)
def test_a_beir_folder(tmp_path: Path, splits: tuple[str, ...], asked: str | None, positive: str) -> None:
    beir(tmp_path / "set", *splits)
    found = ingest(tmp_path, input={**ONLY_PAIRS, "beir": "set/", "split": asked})
    assert found.texts == {d: f"Title {t}" for d, t in CORPUS.items()}
    assert found.positives == {"q0": [positive]}
    assert found.omitted == {("query", "q1", "no positive")}


def test_a_beir_folder_may_be_compressed(tmp_path: Path) -> None:
    folder = beir(tmp_path / "set", "train")
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    assert ingest(tmp_path, input={**ONLY_PAIRS, "beir": "set"}).positives == {"q0": ["d0"]}


@pytest.mark.parametrize(
    ("splits", "asked", "message"),
    [
        (("dev", "test"), None, "input.split: set/qrels has dev, test; name one of them"),
        (("dev", "test"), "train", "input.split: set/qrels has dev, test; not train"),
        ((), None, "input.beir: set/qrels: the folder holds no .tsv file"),
    ],
)
def test_a_beir_folder_without_the_split(
    tmp_path: Path, splits: tuple[str, ...], asked: str | None, message: str
) -> None:
    beir(tmp_path / "set", *splits)
    assert refused(tmp_path, input={**ONLY_PAIRS, "beir": "set", "split": asked}) == [message]


def test_what_a_beir_folder_lacks_is_named_together(tmp_path: Path) -> None:
    folder = beir(tmp_path / "set", "train")
    (folder / "corpus.jsonl").unlink()
    (folder / "queries.jsonl").unlink()
    assert refused(tmp_path, input={**ONLY_PAIRS, "beir": "set"}) == [
        "input.beir: set/corpus.jsonl*: no file matches",
        "input.beir: set/queries.jsonl*: no file matches",
    ]


def test_a_split_column_of_the_judgements(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "q.csv").write_text("query_id,doc_id,fold\nq0,d0,train\nq0,d1,test\nq1,d2,train\n")
    mapped = {"qrels": "q.csv", "split": "train", "columns": {"split": "fold"}}
    assert ingest(tmp_path, input=mapped).positives == {"q0": ["d0"], "q1": ["d2"]}
    assert refused(tmp_path, out="out2", input={**mapped, "split": "dev"}) == [
        "input: no judgements to read in split 'dev'"
    ]


@pytest.mark.parametrize("text", ["q0\td0\t1\n", "q0 0 d0 1\n"])
def test_a_split_cannot_be_asked_of_judgements_without_columns(tmp_path: Path, text: str) -> None:
    small(tmp_path)
    (tmp_path / "q.tsv").write_text(text)
    assert refused(tmp_path, input={"qrels": "q.tsv", "split": "train"}) == [
        "q.tsv: has no header, so no column to compare with input.split = 'train'; leave input.split out"
    ]


PAIRS = [
    {"anchor": "which reef", "positive": "amber reef"},
    {"anchor": "which cliff", "positive": "basalt cliff"},
    {"anchor": "which reef", "positive": "basalt cliff"},
]
PAIRED = {"which reef": ["amber reef", "basalt cliff"], "which cliff": ["basalt cliff"]}


def by_text(folder: Path, **tables: Any) -> dict[str, list[str]]:
    found = ingest(folder, **tables)
    return {row["text"]: [found.corpus[d]["text"] for d in row["positive_rows"]] for row in found.queries}


@pytest.mark.parametrize(("ending", "write"), FORMATS, ids=[ending for ending, _ in FORMATS])
def test_pairs(tmp_path: Path, ending: str, write: Callable[..., None]) -> None:
    write(tmp_path / f"p.{ending}", PAIRS)
    assert by_text(tmp_path, input={**ONLY_PAIRS, "pairs": f"p.{ending}"}) == PAIRED


@pytest.mark.parametrize(("ending", "write"), FORMATS[:3], ids=[ending for ending, _ in FORMATS[:3]])
def test_pairs_with_lists_of_positives(tmp_path: Path, ending: str, write: Callable[..., None]) -> None:
    write(
        tmp_path / f"p.{ending}",
        [
            {"query": "which reef", "pos": ["amber reef", "basalt cliff"]},
            {"query": "which cliff", "pos": ["basalt cliff"]},
        ],
    )
    assert by_text(tmp_path, input={**ONLY_PAIRS, "pairs": f"p.{ending}"}) == PAIRED


def test_pairs_without_a_positive_are_listed(tmp_path: Path) -> None:
    table = [{"anchor": "a", "positive": ["x"]}, {"anchor": "b", "positive": []}, {"anchor": "c", "positive": None}]
    write_jsonl(tmp_path / "p.jsonl", table)
    found = ingest(tmp_path, input={**ONLY_PAIRS, "pairs": "p.jsonl"})
    assert list(found.asked.values()) == ["a"]
    without = [row for row in found.left_out if row["reason"] == "no positive"]
    assert [row["kind"] for row in without] == ["query", "query"]
    assert found.counts["queries_without_positive"] == 2


def test_pairs_and_a_corpus(tmp_path: Path) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "p.jsonl", [*PAIRS, {"anchor": "which dune", "positive": "a dune of its own"}])
    tables = {"queries": None, "qrels": None, "pairs": "p.jsonl"}
    found = ingest(tmp_path, input=tables)
    assert list(found.texts.values()) == [*CORPUS.values(), "a dune of its own"]
    assert [row["positive_rows"] for row in found.queries] == [[0, 1], [1], [3]]
    assert [row["doc_row"] for row in found.aliases] == [0, 1], "positives that the corpus has are no new documents"


def test_a_bad_pair_is_named(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", [*PAIRS, {"anchor": 5, "positive": ["x", 6]}])
    assert refused(tmp_path, input={**ONLY_PAIRS, "pairs": "p.jsonl"}) == [
        "p.jsonl line 4: text expected, found '5' (int)",
        "p.jsonl line 4: a text or a list of texts expected, found \"['x', 6]\" (list)",
    ]


def test_many_bad_pairs_are_counted_once_though_they_are_read_three_times(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", [*PAIRS, *({"anchor": n, "positive": "x"} for n in range(20))])
    lines = refused(tmp_path, input={**ONLY_PAIRS, "pairs": "p.jsonl"})
    assert len(lines) == 13
    assert lines[-1] == "... and 8 more problems"


@pytest.fixture
def in_memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/hnmine-test", recursive=True)


def test_urls(tmp_path: Path, in_memory: Any) -> None:
    small(tmp_path)
    for file in tmp_path.iterdir():
        in_memory.pipe(f"/hnmine-test/{file.name}", file.read_bytes())
    at = "memory://hnmine-test"
    urls = {"corpus": f"{at}/corp*.jsonl", "queries": f"{at}/queries.jsonl", "qrels": f"{at}/qrels.tsv"}
    assert ingest(tmp_path, input=urls).positives == POSITIVES
    assert refused(tmp_path, out="out2", input={"corpus": f"{at}/nothing.jsonl"}) == [
        "input.corpus: memory://hnmine-test/nothing.jsonl: no such file"
    ]


def test_an_unknown_protocol(tmp_path: Path) -> None:
    small(tmp_path)
    (line,) = refused(tmp_path, input={"corpus": "gopher://x/corpus.jsonl"})
    assert line == "input.corpus: gopher://x/corpus.jsonl: cannot be reached: Protocol not known: gopher"


@pytest.mark.parametrize(
    "given", ["parts", "parts/", "parts/*.jsonl", "part?/[ab]*", ["parts/a.jsonl", "parts/b.jsonl"]]
)
def test_a_folder_a_glob_or_a_list_in_a_fixed_order(tmp_path: Path, given: str | list[str]) -> None:
    small(tmp_path)
    lines = (tmp_path / "corpus.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "b.jsonl").write_text(lines[2])
    (tmp_path / "parts" / "a.jsonl").write_text("".join(lines[:2]))
    if given in ("parts", "parts/"):
        for name in (".hidden.jsonl", "_SUCCESS", "README.md"):
            (tmp_path / "parts" / name).write_text("not a document")
    found = ingest(tmp_path, input={"corpus": given})
    assert list(found.texts) == ["d0", "d1", "d2"]


def test_a_file_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "corpus.jsonl").rename(tmp_path / "corpus[1].jsonl")
    assert ingest(tmp_path, input={"corpus": "corpus[1].jsonl"}).texts == CORPUS


def test_all_that_is_missing_is_named_together(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    tables = {"corpus": ["empty", "no.jsonl"], "queries": "none*.jsonl", "qrels": "no.tsv"}
    assert refused(tmp_path, input=tables) == [
        "input.corpus: empty: the folder holds no .parquet, .pq, .arrow, .jsonl, .ndjson, .json, .csv, .tsv file",
        "input.corpus: no.jsonl: no such file",
        "input.queries: none*.jsonl: no file matches",
        "input.qrels: no.tsv: no such file",
    ]


@pytest.mark.parametrize(("name", "shown"), [("corpus", "a name without an ending"), ("corpus.xlsx", "'.xlsx'")])
def test_an_unknown_format(tmp_path: Path, name: str, shown: str) -> None:
    small(tmp_path)
    (tmp_path / name).write_text("x")
    assert refused(tmp_path, input={"corpus": name}) == [
        f"{name}: format not known from {shown}; known: .parquet, .arrow, .jsonl, .json, .csv, .tsv "
        "(and .gz of the last four)"
    ]
