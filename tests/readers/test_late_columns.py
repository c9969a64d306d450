"""Columns that only later rows of a JSON file have: read from there on, for every kind of input."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hnmine.errors import Problems
from hnmine.readers.metadata import read_fields
from hnmine.readers.tables import CHUNK_ROWS
from tests.readers.helpers import ONLY_PAIRS, ingest, refused, small
from tests.support import config_for, write_jsonl

MANY = CHUNK_ROWS + 8
LAST = f"d{MANY - 1}"


def corpus(last: dict[str, Any], count: int = MANY) -> list[dict[str, Any]]:
    """Return documents of an id and a text, the last of which is `last`."""
    return [{"doc_id": f"d{n}", "text": f"text {n}"} for n in range(count - 1)] + [last]


@pytest.mark.parametrize("count", [CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS + 5])
def test_a_title_that_only_the_last_line_has(tmp_path: Path, count: int) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "corpus.jsonl", corpus({"doc_id": "last", "title": "Reef", "text": "amber"}, count))
    found = ingest(tmp_path)
    assert found.texts["last"] == "Reef amber"
    assert found.texts["d0"] == "text 0"


def test_a_mapped_title_that_only_the_last_line_has(tmp_path: Path) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "corpus.jsonl", corpus({"doc_id": "last", "headline": "Reef", "text": "amber"}))
    assert ingest(tmp_path, input={"columns": {"title": "headline"}}).texts["last"] == "Reef amber"


def test_a_title_that_begins_in_the_second_block(tmp_path: Path) -> None:
    small(tmp_path)
    rows = [{"doc_id": f"d{n}", "text": f"text {n}"} for n in range(3 * CHUNK_ROWS)]
    for row in rows[CHUNK_ROWS + 5 :]:
        row["title"] = "Reef"
    write_jsonl(tmp_path / "corpus.jsonl", rows)
    texts = ingest(tmp_path).texts
    first = CHUNK_ROWS + 5
    assert [texts[f"d{n}"] for n in (0, first - 1, first, 3 * CHUNK_ROWS - 1)] == [
        "text 0",
        f"text {first - 1}",
        f"Reef text {first}",
        f"Reef text {3 * CHUNK_ROWS - 1}",
    ]


def test_each_file_of_a_corpus_has_its_own_columns(tmp_path: Path) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "c/a.jsonl", corpus({"doc_id": LAST, "title": "Reef", "text": "amber"}))
    write_jsonl(tmp_path / "c/b.jsonl", [{"_id": 7, "contents": "basalt"}, {"_id": "8", "contents": "x", "title": "T"}])
    texts = ingest(tmp_path, input={"corpus": "c"}).texts
    assert (texts[LAST], texts["7"], texts["8"]) == ("Reef amber", "basalt", "T x")


def test_a_text_that_only_the_last_line_has(tmp_path: Path) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "corpus.jsonl", [*({"doc_id": f"n{n}"} for n in range(MANY)), {"doc_id": "d0", "text": "x"}])
    found = ingest(tmp_path, input={"unknown_ids": "skip"})
    assert found.texts == {"d0": "x"}
    assert found.counts["empty_documents"] == MANY


def test_ids_and_types_that_change_in_a_later_block(tmp_path: Path) -> None:
    small(tmp_path)
    rows: list[dict[str, Any]] = [{"doc_id": n, "text": f"text {n}"} for n in range(MANY)]
    write_jsonl(tmp_path / "corpus.jsonl", [*rows, {"doc_id": "d0", "text": "amber"}, {"doc_id": "d1", "text": "b"}])
    write_jsonl(tmp_path / "qrels.jsonl", [
        *({"query_id": "q0", "doc_id": n, "score": 0} for n in range(MANY)),
        {"query_id": "q0", "doc_id": "d0", "score": "1", "title": "none"},
        {"query_id": "q1", "doc_id": str(MANY - 1), "score": 2.0},
    ])  # fmt: skip
    found = ingest(tmp_path, input={"qrels": "qrels.jsonl"})
    assert found.positives == {"q0": ["d0"], "q1": [str(MANY - 1)]}


def test_queries_pairs_and_judgements(tmp_path: Path) -> None:
    small(tmp_path)
    write_jsonl(
        tmp_path / "queries.jsonl", [*({"query_id": f"n{n}"} for n in range(MANY)), {"query_id": "q0", "text": "which"}]
    )
    write_jsonl(tmp_path / "judge.jsonl", [
        *({"query_id": "q0", "doc_id": "d1", "judgement": ""} for _ in range(MANY)),
        {"query_id": "q0", "doc_id": "d1", "judgement": "irrelevant", "note": "sure"},
    ])  # fmt: skip
    found = ingest(tmp_path, input={"judgements": "judge.jsonl", "unknown_ids": "skip"})
    assert found.asked == {"q0": "which"}
    assert found.documents("q0", "negative_rows") == ["d1"]
    write_jsonl(tmp_path / "pairs.jsonl", [
        *({"anchor": f"a{n}", "positive": f"p{n}"} for n in range(MANY)),
        {"anchor": "last", "positive": ["x", "y"], "note": 1},
    ])  # fmt: skip
    of_pairs = ingest(tmp_path, "out2", input={**ONLY_PAIRS, "pairs": "pairs.jsonl"})
    assert of_pairs.positives[f"anchor-{MANY}"] == [f"positive-{MANY}", f"positive-{MANY + 1}"]


def test_a_relevance_that_only_the_last_line_has(tmp_path: Path) -> None:
    small(tmp_path)
    rows: list[dict[str, Any]] = [{"query_id": "q0", "doc_id": "d0"} for _ in range(MANY)]
    write_jsonl(tmp_path / "qrels.jsonl", [*rows, {"query_id": "q1", "doc_id": "d1", "relevance": 0}])
    (first, *_) = refused(tmp_path, input={"qrels": "qrels.jsonl"})
    assert first == (
        f"qrels.jsonl line {MANY + 1:,}: the first with 'relevance', which the rows before it lack; give it to all "
        "rows of the file, or to none"
    )


@pytest.mark.parametrize("at", [1, MANY], ids=["in the first block", "later"])
def test_a_text_under_another_name_is_no_empty_text(tmp_path: Path, at: int) -> None:
    small(tmp_path)
    rows = [{"doc_id": f"d{n}", "text": f"text {n}"} for n in range(MANY + 1)]
    rows[at] = {"doc_id": f"d{at}", "contents": "amber"}
    write_jsonl(tmp_path / "corpus.jsonl", rows)
    assert refused(tmp_path) == [
        f"corpus.jsonl line {at + 1:,}: has 'contents' and no 'text', which the file has elsewhere; name one of them "
        "in input.columns.text, or rename it"
    ]
    named = ingest(tmp_path, input={"columns": {"text": "text"}})
    assert f"d{at}" not in named.texts
    assert named.counts["empty_documents"] == 1


def test_a_column_that_no_line_has(tmp_path: Path) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "corpus.jsonl", [{"doc_id": f"d{n}", "words": "x"} for n in range(MANY)])
    (line, *_) = refused(tmp_path)
    assert line.startswith("corpus.jsonl: no column for text (looked for text, contents,")


@pytest.mark.parametrize(
    "place", [lambda value: {"lang": value}, lambda value: {"metadata": {"lang": value}}], ids=["column", "nested"]
)
def test_metadata_that_only_the_last_line_has(tmp_path: Path, place: Callable[[str], dict[str, Any]]) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "corpus.jsonl", corpus({"doc_id": LAST, "text": "amber", **place("de")}))
    config = config_for(tmp_path, retrieve={"where": [{"field": "lang", "with": "positive"}]})
    problems = Problems()
    assert [held for held in read_fields(config, "corpus", problems) if held[2]] == [(LAST, "lang", ["de"])]
    assert problems.messages == []


def test_metadata_that_no_line_has(tmp_path: Path) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "corpus.jsonl", corpus({"doc_id": LAST, "text": "amber"}))
    problems = Problems()
    config = config_for(tmp_path, retrieve={"where": [{"field": "lang", "with": "positive"}]})
    assert not [held for held in read_fields(config, "corpus", problems) if held[2]]
    assert problems.messages == [
        "corpus.jsonl: no column 'lang' (retrieve.where), and no 'lang' in the objects of 'metadata'"
    ]
