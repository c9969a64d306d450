"""Runs of other retrievers: TREC lines under several endings, tables, and lines that cannot be read."""

from pathlib import Path

import pytest

from hnmine.config.tables import InputConfig
from hnmine.errors import Problems
from hnmine.readers.runs import RUN_ENDINGS, read_run
from hnmine.storage.input_files import find_sources

TREC = "q1\tQ0\td2\t1\t0.9\tbm25\nq1\tQ0\td3\t2\t0.5\tbm25\n"


def read(folder: Path, name: str, text: str) -> tuple[list[dict[str, object]], list[str]]:
    (folder / name).write_text(text)
    source, problems = find_sources(name, folder, "path", RUN_ENDINGS)[0], Problems()
    return read_run(source, InputConfig(), problems).to_pylist(), problems.messages


@pytest.mark.parametrize("name", ["a.run", "a.trec", "a.txt", "a.tsv"])
def test_a_trec_run_is_read_whatever_its_ending(tmp_path: Path, name: str) -> None:
    rows, problems = read(tmp_path, name, f"\n{TREC}")
    assert problems == []
    assert [tuple(row.values()) for row in rows] == [("q1", "d2", 0.9, 1.0), ("q1", "d3", 0.5, 2.0)]


def test_a_table_with_six_columns_is_no_trec_run(tmp_path: Path) -> None:
    text = "query_id\tdoc_id\tscore\trank\tname\tmore\nq1\td2\t0.9\t1\ta\tb\n"
    rows, problems = read(tmp_path, "a.tsv", text)
    assert problems == []
    assert [tuple(row.values()) for row in rows] == [("q1", "d2", 0.9, 1.0)]


def test_scores_that_are_no_numbers_are_named_with_their_line(tmp_path: Path) -> None:
    _, problems = read(tmp_path, "a.tsv", TREC.replace("0.5", "nan"))
    assert problems == [
        "a.tsv line 2: a TREC run has query, Q0, document, rank, score and name; found 'q1\\tQ0\\td3\\t2\\tnan\\tbm25'"
    ]
