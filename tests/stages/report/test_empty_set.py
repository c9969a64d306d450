"""The reason why a run has no row, and changes of settings that give some: each is applied and run."""

from pathlib import Path
from typing import Any

import pytest

from hnmine.pipeline.run import RunOptions, run
from hnmine.runtime.stage import RunContext
from hnmine.stages.report.empty_set import why_empty
from tests.pipeline.helpers import by_vectors, plane, report
from tests.stages.report.html.test_page import several_positives
from tests.support import config_for, write_collection

NEAR = {"max_query_similarity": None, "max_positive_similarity": None}


def why(config: Any) -> str:
    run(config)
    found = why_empty(RunContext(config, config.out_folder))
    assert found is not None
    assert report(config.out_folder)["counts"]["emit"]["rows"] == 0
    return found


@pytest.mark.parametrize(
    ("rules", "reason", "helps"),
    [
        ({"rule": "two_sided", "two_sided": -9.0}, "by two_sided", {"filter.rule": "auto"}),
        ({"rule": "absolute", "max_score": -0.9}, "by absolute", {"filter.rule": "auto"}),
        ({"rule": ["percent", "absolute"], "max_score": -0.9}, "by absolute", {"filter.rule": "percent"}),
        ({"rule": "margin", "margin": 3.0}, "by margin", {"filter.easiest": 0.2}),
    ],
)
def test_a_filter_that_rejects_all_names_settings_that_give_rows(
    tmp_path: Path, rules: dict[str, Any], reason: str, helps: dict[str, Any]
) -> None:
    several_positives(tmp_path, 20)
    text = why(config_for(tmp_path, filter=rules))
    assert reason in text.splitlines()[0]
    key, value = next(iter(helps.items()))
    line = next(line for line in text.splitlines() if f"{key} = " in line)
    assert str(value) in line
    config = config_for(tmp_path, "again", filter={**rules, key.removeprefix("filter."): value})
    run(config, options=RunOptions(source=tmp_path / "out"))
    assert why_empty(RunContext(config, tmp_path / "again", tmp_path / "out")) is None
    rows = report(tmp_path / "again")["counts"]["emit"]
    assert f": {rows['examples'] - rows['examples_without_negatives']:,} examples get rows" in line
    assert "top_k" not in text


def test_where_all_documents_are_positives_documents_are_missing_and_not_depth(tmp_path: Path) -> None:
    corpus = {f"d{i}": f"a text about {word}" for i, word in enumerate(("amber", "basalt", "cobalt"))}
    qrels = [(query, document, 1) for query in ("q0", "q1") for document in corpus]
    write_collection(tmp_path, corpus, {"q0": "stones", "q1": "metals"}, qrels)
    text = why(config_for(tmp_path))
    assert "no candidate can be a negative (verdicts: positive)" in text
    assert "add documents to the corpus (input.corpus): all of its 3 documents were retrieved already" in text
    assert "top_k" not in text


def test_where_the_list_is_all_near_copies_depth_is_missing(tmp_path: Path) -> None:
    documents = plane(0, *(number / 3 for number in range(1, 13)), *range(200, 220))
    text = why(by_vectors(tmp_path, documents, plane(40), [[0]], retrieve={"top_k": 10, "max_top_k": 10}))
    assert "retrieve.top_k = 20 (not tried: 1 of 1 rows" in text
    assert "add documents" not in text


def test_a_format_that_needs_more_negatives_than_there_are(tmp_path: Path) -> None:
    documents, rules = plane(0, 30, 40, 50, *range(10, 15)), {"rule": "margin", "margin": 0.1, **NEAR}
    emit = {"format": "n-tuple", "num_negatives": 5}
    text = why(by_vectors(tmp_path, documents, plane(0), [[0]], filter=rules, emit=emit))
    assert "n-tuple needs 5 negatives an example, and the fullest example has 3" in text
    assert "emit.num_negatives = 3: 1 examples get rows" in text
    assert 'emit.format = "triplet": 1 examples get rows' in text
    again = by_vectors(tmp_path, documents, plane(0), [[0]], filter=rules, emit=emit | {"num_negatives": 3}, out="3")
    run(again)
    assert report(tmp_path / "3")["counts"]["emit"]["rows"] == 1


def test_positives_that_are_all_left_out(tmp_path: Path) -> None:
    far = plane(10, 20, 30, 170)
    text = why(by_vectors(tmp_path, far, plane(0), [[3]], filter={"rule": "none"}, emit={"bad_positives": "leave_out"}))
    assert 'all 1 positives are suspected to be wrong, and emit.bad_positives = "leave_out"' in text
    assert 'emit.bad_positives = "keep": 1 examples get rows' in text
