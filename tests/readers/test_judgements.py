"""Judgements of single candidates by file: what they add to the qrels, and what is refused."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.readers.helpers import CORPUS, QUERIES, ingest, refused, small
from tests.support import write_collection, write_jsonl

WITH: dict[str, Any] = {"input": {"judgements": "judge.jsonl"}}


def judge(folder: Path, *said: tuple[str, str, Any]) -> Path:
    """Write a judgement file of (query, document, judgement)."""
    lines = [{"query_id": q, "doc_id": d, "document": "text", "judgement": j} for q, d, j in said]
    write_jsonl(folder / "judge.jsonl", lines)
    return folder


@pytest.mark.parametrize(
    ("said", "column"),
    [
        ("relevant", "relevant_rows"),
        (" Relevant ", "relevant_rows"),
        (True, "relevant_rows"),
        ("true", "relevant_rows"),
        (2, "relevant_rows"),
        (2.5, "relevant_rows"),
        ("2", "relevant_rows"),
        ("irrelevant", "negative_rows"),
        (False, "negative_rows"),
        ("FALSE", "negative_rows"),
        (1, "negative_rows"),
        ("1.9", "negative_rows"),
        (-1, "negative_rows"),
        ("unsure", "unsure_rows"),
        ("", None),
        ("  ", None),
        (None, None),
    ],
)
def test_what_a_judgement_may_say(tmp_path: Path, said: Any, column: str | None) -> None:
    write_collection(tmp_path, CORPUS, QUERIES, [("q0", "d0", 2), ("q1", "d1", 2)])
    judge(tmp_path, ("q0", "d2", said))
    found = ingest(tmp_path, input={**WITH["input"], "relevant_from": 2})
    for name in ("relevant_rows", "negative_rows", "unsure_rows"):
        assert found.documents("q0", name) == (["d2"] if name == column else []), name
    assert found.positives == {"q0": ["d0"], "q1": ["d1"]}


def test_counts_say_what_was_read_and_are_absent_without_files(tmp_path: Path) -> None:
    small(tmp_path)
    judge(tmp_path, ("q0", "d1", "relevant"), ("q0", "d2", "unsure"), ("q1", "d0", ""), ("q1", "d0", "irrelevant"))
    counts = ingest(tmp_path, **WITH).counts
    names = ("relevant", "irrelevant", "unsure", "empty", "skipped")
    assert [counts[f"file_judgements_{name}"] for name in names] == [1, 1, 1, 1, 0]
    assert counts["judged_negatives"] == 1
    assert not [name for name in ingest(tmp_path, "plain").counts if name.startswith("file_")]


def test_tables_lists_and_globs_of_files_are_read(tmp_path: Path) -> None:
    small(tmp_path)
    judge(tmp_path, ("q0", "d1", "relevant"))
    (tmp_path / "more.csv").write_text("query_id,doc_id,judgement,note\nq0,d2,irrelevant,x\nq1,d0,0,\n")
    columns = {"query_id": ["q0"], "doc_id": ["d2"], "judgement": [False]}
    pq.write_table(pa.table(columns), tmp_path / "last.parquet")
    found = ingest(tmp_path, input={"judgements": ["judge.jsonl", "m*.csv", "last.parquet"]})
    assert found.documents("q0", "relevant_rows") == ["d1"]
    assert found.documents("q0", "negative_rows") == ["d2"]
    assert found.documents("q1", "negative_rows") == ["d0"]


def test_relevant_ones_become_positives_where_asked_for(tmp_path: Path) -> None:
    write_collection(tmp_path, CORPUS, QUERIES, [("q0", "d0", 3), ("q0", "d1", 0)])
    judge(tmp_path, ("q0", "d0", "relevant"), ("q0", "d1", "relevant"), ("q1", "d2", "relevant"))
    plain = ingest(tmp_path, "plain", **WITH)
    assert plain.positives == {"q0": ["d0"]}
    assert plain.documents("q0", "relevant_rows") == ["d1"]
    assert plain.documents("q0", "negative_rows") == []
    trained = ingest(tmp_path, input={**WITH["input"], "judged_positives": True, "relevant_from": 2})
    assert trained.positives == {"q0": ["d0", "d1"], "q1": ["d2"]}
    assert [row["positive_relevance"] for row in trained.queries] == [[3, 2], [2]]
    assert trained.documents("q0", "relevant_rows") == []


def test_queries_with_the_same_text_share_what_is_judged_relevant(tmp_path: Path) -> None:
    queries = {"q0": "which reef", "q1": "Which reef?"}
    write_collection(tmp_path, CORPUS, queries, [("q0", "d0", 1), ("q1", "d1", 1)])
    found = ingest(judge(tmp_path, ("q0", "d2", "relevant")), **WITH)
    assert found.documents("q0", "relevant_rows") == ["d2"]
    assert found.documents("q0", "sibling_rows") == ["d1"]
    assert found.documents("q1", "sibling_rows") == ["d0", "d2"]


def test_a_sure_judgement_replaces_an_unsure_one_whatever_their_order(tmp_path: Path) -> None:
    small(tmp_path)
    judge(
        tmp_path,
        ("q0", "d1", "unsure"), ("q0", "d1", "relevant"), ("q0", "d2", "irrelevant"), ("q0", "d2", "unsure"),
    )  # fmt: skip
    found = ingest(tmp_path, **WITH)
    assert found.documents("q0", "relevant_rows") == ["d1"]
    assert found.documents("q0", "negative_rows") == ["d2"]
    assert found.documents("q0", "unsure_rows") == []


def test_contradictions_are_reported_all_at_once(tmp_path: Path) -> None:
    write_collection(tmp_path, {**CORPUS, "copy": CORPUS["d2"]}, QUERIES, [("q0", "d0", 1), ("q1", "d1", 2)])
    judge(
        tmp_path,
        ("q0", "d1", "relevant"), ("q0", "d1", "irrelevant"), ("q0", "d0", False), ("q1", "d1", "irrelevant"),
        ("q1", "d2", "relevant"), ("q1", "copy", "irrelevant"),
    )  # fmt: skip
    assert refused(tmp_path, **WITH) == [
        "judge.jsonl line 2: query 'q0' and document 'd1': judged irrelevant here and relevant in judge.jsonl line 1; "
        "keep one of the two",
        "judge.jsonl line 6: query 'q1' and document 'copy', whose text is that of document 'd2': judged irrelevant "
        "here and relevant in judge.jsonl line 5; keep one of the two",
        "judge.jsonl line 3: query 'q0' and document 'd0': judged irrelevant, but the qrels call it relevant (1); "
        "correct either",
        "judge.jsonl line 4: query 'q1' and document 'd1': judged irrelevant, but the qrels call it relevant (2); "
        "correct either",
    ]


def test_unknown_ids_are_refused_or_skipped_and_listed(tmp_path: Path) -> None:
    judge(small(tmp_path), ("gone", "d0", "relevant"), ("q0", "away", "irrelevant"), ("q0", "d1", "irrelevant"))
    advice = 'not in the input; set input.unknown_ids = "skip" to leave such judgements out'
    assert refused(tmp_path, **WITH) == [
        f"judge.jsonl line 1: query 'gone' {advice}",
        f"judge.jsonl line 2: document 'away' {advice}",
    ]
    found = ingest(tmp_path, input={**WITH["input"], "unknown_ids": "skip"})
    assert found.documents("q0", "negative_rows") == ["d1"]
    assert found.counts["file_judgements_skipped"] == 2
    assert {("judgement", "gone d0", "unknown query"), ("judgement", "q0 away", "unknown document")} <= found.omitted


def test_bad_files_are_all_named(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"query_id": "q0", "doc_id": "d1", "judgement": "relevant"\n')
    (tmp_path / "b.jsonl").write_text('{"query_id": "q0", "label": 1}\n')
    judge(
        tmp_path,
        ("q0", "d1", "maybe"), ("q0", "", "relevant"), ("q0", "d1", float("nan")), ("q0", "d1", [1]),
        (None, "d2", "unsure"),  # type: ignore[arg-type]
    )  # fmt: skip
    with (tmp_path / "judge.jsonl").open("a") as file:
        file.write('{"query_id": "q0", "doc_id": "d2"}\n')
    (tmp_path / "empty.jsonl").write_text("")
    given = ["a.jsonl", "b.jsonl", "judge.jsonl", "empty.jsonl"]
    lines = refused(tmp_path, input={"judgements": given})
    wanted = "judgement: relevant, irrelevant, unsure, true, false or a number expected, found"
    assert lines[0].startswith("a.jsonl line 1: not valid JSON: ")
    assert lines[1:] == [
        "b.jsonl: no field doc_id, judgement; it has: query_id, label; `hnmine export-judgements` writes a file with "
        "all that is needed",
        "judge.jsonl line 5: a query id expected, found nothing (NoneType)",
        "judge.jsonl line 2: a document id expected, found '' (str)",
        *(f"judge.jsonl line {n}: {wanted} {what}" for n, what in ((1, "'maybe'"), (3, "'nan'"), (4, "'[1]'"))),
        'judge.jsonl line 6: the field judgement is missing; leave it "" if the pair was not judged',
        "empty.jsonl: the file is empty",
    ]


def test_a_missing_file_is_named_beside_others(tmp_path: Path) -> None:
    small(tmp_path)
    found = refused(tmp_path, input={"corpus": "gone.jsonl", "judgements": "judge.jsonl"})
    assert found == ["input.corpus: gone.jsonl: no such file", "input.judgements: judge.jsonl: no such file"]
