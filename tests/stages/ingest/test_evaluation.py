"""An evaluation set: nothing of it gets into a training row, and what was kept out is counted."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from hnmine import run
from hnmine.arrays.text_hashes import copy_key
from hnmine.commands.plan.plan import make_plan
from hnmine.config.tables import Config
from hnmine.errors import ConfigError
from hnmine.pipeline.run import RunOptions
from tests.pipeline.helpers import report, rows
from tests.readers.helpers import ONLY_PAIRS, ingest, refused
from tests.support import ROOT, config_for, make_collection, write_collection, write_jsonl

SAMPLE = ROOT / "sample_data"
HELD_OUT = 30
"""So many queries of the sample are its evaluation set."""


def sample_rows(name: str) -> list[dict[str, Any]]:
    if name == "qrels.tsv":
        with (SAMPLE / name).open() as file:
            return list(csv.DictReader(file, delimiter="\t"))
    return [json.loads(line) for line in (SAMPLE / name).read_text().splitlines()]


def text_of(row: dict[str, Any]) -> str:
    return " ".join(part for part in (row.get("title"), row["text"]) if part)


def with_evaluation(folder: Path, out: str, **tables: Any) -> Config:
    """Return a config over the sample whose first queries are an evaluation set, though the qrels have them too."""
    held = {row["query_id"] for row in sample_rows("queries.jsonl")[:HELD_OUT]}
    lines = ["query_id\tdoc_id\trelevance"]
    lines += ["\t".join(row.values()) for row in sample_rows("qrels.tsv") if row["query_id"] in held]
    (folder / "test.tsv").write_text("\n".join(lines) + "\n")
    given = {
        name: str(SAMPLE / f"{name}.{'tsv' if name == 'qrels' else 'jsonl'}") for name in ("corpus", "queries", "qrels")
    }
    columns = ["query_id", "positive_id", "negative_id"]
    base = {
        "filter": {"rule": "none"},
        "retrieve": {"top_k": 20},
        "emit": {"num_negatives": 5, "extra_columns": columns},
    }
    tables = {name: {**base.get(name, {}), **tables.get(name, {})} for name in base.keys() | tables.keys()}
    return config_for(folder, out, input={**given, "eval_qrels": "test.tsv"}, **tables)


class Forbidden:
    """What of the sample must be in no row: ids of queries and of documents, copies of their texts included."""

    def __init__(self) -> None:
        queries, corpus, self.qrels = (sample_rows(name) for name in ("queries.jsonl", "corpus.jsonl", "qrels.tsv"))
        id_of = "query_id" if "query_id" in queries[0] else "_id"
        doc_of = "doc_id" if "doc_id" in corpus[0] else "_id"
        held = {row[id_of] for row in queries[:HELD_OUT]}
        relevant = {row["doc_id"] for row in self.qrels if row["query_id"] in held and int(row["relevance"]) >= 1}
        keys = {copy_key(text_of(row)) for row in queries if row[id_of] in held}
        self.queries = {row[id_of] for row in queries if copy_key(text_of(row)) in keys}
        keys = {copy_key(text_of(row)) for row in corpus if row[doc_of] in relevant}
        self.documents = {row[doc_of] for row in corpus if copy_key(text_of(row)) in keys}


@pytest.mark.parametrize(
    "emit",
    [{}, {"choose": "mixed", "random_share": 0.6}, {"num_negatives": 40, "fallback": "random", "max_per_document": 40}],
    ids=["top", "mixed", "filled up"],
)
def test_nothing_of_the_evaluation_set_is_in_a_row(tmp_path: Path, emit: dict[str, Any]) -> None:
    run(with_evaluation(tmp_path, "out", emit=emit))
    without = Forbidden()
    found = rows(tmp_path / "out/emit")
    assert len(found) > 100
    for row in found:
        assert row["query_id"] not in without.queries
        assert row["positive_id"] not in without.documents
        assert row["negative_id"] not in without.documents
    labelled = {(row["query_id"], row["doc_id"]) for row in without.qrels if int(row["relevance"]) >= 1}
    data = report(tmp_path / "out")
    assert data["evaluation"]["queries_left_out"] == len({query for query, _ in labelled} & without.queries) > 0
    taken_out = {pair for pair in labelled if pair[0] not in without.queries and pair[1] in without.documents}
    assert 0 < data["evaluation"]["positives_left_out"] <= len(taken_out)  # copies of one text are one positive
    assert data["evaluation"]["candidates_rejected"] == data["verdicts"]["evaluation"] > 0
    left_out = [row for row in rows_of_left_out(tmp_path / "out") if row["reason"] == "in the evaluation set"]
    assert {row["id"] for row in left_out if row["kind"] == "query"} <= without.queries
    emptied = {query for query, _ in taken_out} - {query for query, _ in labelled - taken_out}
    assert data["evaluation"]["queries_without_positive"] == len(emptied)
    assert len([row for row in left_out if row["kind"] == "positive"]) == data["evaluation"]["positives_left_out"]


def rows_of_left_out(out: Path) -> list[dict[str, str]]:
    import pyarrow.parquet as pq

    found: list[dict[str, str]] = pq.read_table(out / "ingest/left_out.parquet").to_pylist()
    return found


def test_without_an_evaluation_set_the_rows_have_its_documents(tmp_path: Path) -> None:
    config = with_evaluation(tmp_path, "out")
    run(config.model_copy(update={"input": config.input.model_copy(update={"eval_qrels": None})}))
    without = Forbidden()
    assert any(row["negative_id"] in without.documents for row in rows(tmp_path / "out/emit"))
    data = report(tmp_path / "out")
    assert "evaluation" not in data
    assert "evaluation" not in data["verdicts"]


CORPUS = {"d0": "Amber reef", "d1": "amber, reef!", "d2": "basalt cliff", "d3": "cobalt dune", "d4": "delta"}
QUERIES = {
    "test": "Which reef?",
    "copy": "which  REEF",
    "both": "reef or cliff",
    "only": "the reef",
    "far": "which dune",
}
QRELS = [
    ("test", "d0", 1),
    ("copy", "d2", 1),
    ("both", "d0", 2),
    ("both", "d2", 1),
    ("only", "d1", 1),
    ("far", "d3", 1),
]


def copies(folder: Path) -> Path:
    (write_collection(folder, CORPUS, QUERIES, QRELS) / "test.tsv").write_text("test 0 d0 1\ntest 0 d3 0\n")
    return folder


def test_copies_by_text_belong_to_the_set(tmp_path: Path) -> None:
    found = ingest(copies(tmp_path), input={"eval_qrels": "test.tsv"})
    assert found.positives == {"both": ["d2"], "far": ["d3"]}
    assert found.omitted == {
        ("query", "test", "in the evaluation set"),
        ("query", "copy", "in the evaluation set"),
        ("positive", "both d0", "in the evaluation set"),
        ("positive", "only d1", "in the evaluation set"),
        ("query", "only", "all positives in the evaluation set"),
    }
    counted = {name: count for name, count in found.counts.items() if name.startswith("eval_")}
    assert counted == {
        "eval_queries": 2,
        "eval_queries_unknown": 0,
        "eval_documents": 2,
        "eval_queries_left_out": 2,
        "eval_positives_left_out": 2,
        "eval_queries_without_positive": 1,
    }


def test_an_id_that_is_not_in_the_input(tmp_path: Path) -> None:
    copies(tmp_path)
    (tmp_path / "test.tsv").write_text("test 0 d0 1\ntest 0 nowhere 1\nelsewhere 0 gone 0\n")
    assert refused(tmp_path, input={"eval_qrels": "test.tsv"}) == [
        "test.tsv line 2: the evaluation set names 1 relevant documents that are not in the input ('nowhere'); "
        'set input.unknown_ids = "skip" to leave them out'
    ]
    assert ingest(tmp_path, input={"eval_qrels": "test.tsv", "unknown_ids": "skip"}).counts["eval_queries_unknown"] == 1


def test_queries_that_are_all_unknown_are_warned_of(tmp_path: Path) -> None:
    copies(tmp_path)
    (tmp_path / "test.tsv").write_text("other 0 d4 1\n")
    config = config_for(tmp_path, input={"eval_qrels": "test.tsv"}, retrieve={"top_k": 4}, filter={"rule": "none"})
    run(config)
    (warning,) = [line for line in report(tmp_path / "out")["warnings"] if "eval_qrels" in line]
    assert warning.startswith("input.eval_qrels: none of the 1 queries of the evaluation set is in the input")


def test_a_set_that_is_everything_leaves_nothing(tmp_path: Path) -> None:
    copies(tmp_path)
    assert refused(tmp_path, input={"eval_qrels": "qrels.tsv"}) == [
        "input: no query has a text and a positive (relevance >= 1) that is outside the evaluation set"
    ]


def test_negatives_of_an_earlier_run_that_now_belong_to_the_set_go(tmp_path: Path) -> None:
    config = with_evaluation(tmp_path, "first")
    run(config.model_copy(update={"input": config.input.model_copy(update={"eval_qrels": None})}))
    without = Forbidden()
    assert any(row["negative_id"] in without.documents for row in rows(tmp_path / "first/emit"))
    run(with_evaluation(tmp_path, "again", previous={"run": "first", "replace": "easy"}, embed={"max_length": 16}))
    found = rows(tmp_path / "again/emit")
    assert len(found) > 100
    assert not any(row["negative_id"] in without.documents or row["query_id"] in without.queries for row in found)


def test_the_corpus_keeps_its_vectors_where_the_set_is_new(tmp_path: Path) -> None:
    make_collection(tmp_path)
    run(config_for(tmp_path))
    shards = sorted((tmp_path / "out/embed/corpus").glob("part-*"))
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in shards]
    (tmp_path / "test.tsv").write_text("q3 0 d3 1\n")
    run(config_for(tmp_path, input={"eval_qrels": "test.tsv"}), options=RunOptions(overwrite=True))
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in shards] == before


def beir(folder: Path, *splits: str) -> None:
    write_jsonl(folder / "corpus.jsonl", [{"_id": f"d{n}", "text": f"text {n}"} for n in range(12)])
    write_jsonl(folder / "queries.jsonl", [{"_id": f"q{n}", "text": f"asks {n}"} for n in range(4)])
    (folder / "qrels").mkdir()
    for split in splits:
        (folder / f"qrels/{split}.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\n")


@pytest.mark.parametrize(
    ("splits", "given", "reason"),
    [(("test",), {}, "the only split there is"), (("train", "test"), {"split": "test"}, "as input.split says")],
)
def test_the_test_split_of_a_beir_folder_is_warned_of(
    tmp_path: Path, splits: tuple[str, ...], given: dict[str, str], reason: str
) -> None:
    beir(tmp_path / "set", *splits)
    apart = {"corpus": None, "queries": None, "qrels": None}
    config = config_for(tmp_path, input={**apart, "beir": "set", **given}, filter={"rule": "none"})
    start = f"input.beir: the test split of set is mined, {reason}: a model trained on these rows must not be"
    assert any(line.startswith(start) for line in make_plan(config)["warnings"])
    run(config)
    assert any(line.startswith(start) for line in report(tmp_path / "out")["warnings"])


@pytest.mark.parametrize("given", [{"eval_qrels": "set/qrels/test.tsv"}, {"eval_split": "test"}], ids=["file", "split"])
def test_another_split_of_a_beir_folder_is_not_and_its_test_split_is_kept_out(
    tmp_path: Path, given: dict[str, str]
) -> None:
    beir(tmp_path / "set", "train", "test")
    (tmp_path / "set/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td5\t1\n")
    apart = {"corpus": None, "queries": None, "qrels": None}
    config = config_for(tmp_path, input={**apart, "beir": "set", **given}, filter={"rule": "none"})
    assert not any("test split" in line for line in make_plan(config)["warnings"])
    run(config)
    assert report(tmp_path / "out")["evaluation"]["documents"] == 1
    assert report(tmp_path / "out")["warnings"] == [w for w in report(tmp_path / "out")["warnings"] if "input" not in w]


def test_a_split_of_one_table_of_qrels_is_the_evaluation_set(tmp_path: Path) -> None:
    copies(tmp_path)
    rows = [{"query_id": q, "doc_id": d, "score": r, "split": "test" if q == "test" else "train"} for q, d, r in QRELS]
    write_jsonl(tmp_path / "qrels.jsonl", rows)
    for number, given in enumerate(({"split": "train"}, {})):
        found = ingest(tmp_path, f"out{number}", input={"qrels": "qrels.jsonl", "eval_split": "test", **given})
        assert found.positives == {"both": ["d2"], "far": ["d3"]}
    assert refused(tmp_path, input={"qrels": "qrels.jsonl", "split": "train", "eval_split": "dev"}) == [
        "input: the evaluation set has no judgements to read in split 'dev'"
    ]


def test_a_file_of_the_set_needs_no_column_for_the_split_that_is_mined(tmp_path: Path) -> None:
    copies(tmp_path)
    labels = [{"query_id": q, "doc_id": d, "score": r, "split": "train"} for q, d, r in QRELS]
    write_jsonl(tmp_path / "qrels.jsonl", labels)
    given = {"qrels": "qrels.jsonl", "split": "train", "eval_qrels": "test.tsv"}
    config = config_for(tmp_path, input=given, retrieve={"top_k": 3}, filter={"rule": "none"})
    make_plan(config)
    run(config, ("ingest",))
    assert {row["query_id"] for row in rows(tmp_path / "out/ingest/queries")} == {"both", "far"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": "test", "eval_split": "test"}, "input.eval_split: 'test' is also input.split, so nothing would be"),
        (
            {**ONLY_PAIRS, "pairs": "p.jsonl", "eval_split": "test"},
            "input.eval_split: pairs have no splits; name qrels",
        ),
    ],
)
def test_splits_that_cannot_be_kept_out(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        config_for(tmp_path, input=given)
