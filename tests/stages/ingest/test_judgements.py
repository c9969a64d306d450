"""Judged negatives, from the qrels to training rows and the measured rate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from hnmine import run
from hnmine.commands.sweep import sweep
from hnmine.pipeline.run import RunOptions
from hnmine.runtime.stage import RunContext
from hnmine.stages.filter.hidden_positives import ProtocolRows, hidden_rows
from hnmine.stages.filter.inputs import FilterInputs
from hnmine.stages.report.false_negatives import measure
from hnmine.stages.report.headline import JUDGED, JUDGED_NOTE, judged_line
from tests.pipeline.helpers import doc_ids, emitted, report, rows, table
from tests.support import config_for, make_collection

EXTRA = ["query_id", "negative_id", "rank"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection whose qrels judge, for every query, two good candidates and a far document irrelevant."""
    folder = make_collection(tmp_path_factory.mktemp("judged"), 120, 280)
    run(settings(folder, "unjudged"))
    names, lines = doc_ids(folder / "unjudged"), []
    for row in rows(folder / "unjudged/retrieve"):
        others = [d for d in row["doc_rows"] if d not in row["positive_rows"]]
        far = next(d for d in range(len(names)) if d not in row["doc_rows"])
        lines += [f"{row['query_id']}\t{names[d]}\t0\n" for d in (others[1], others[4], far)]
    with (folder / "qrels.tsv").open("a") as file:
        file.writelines(lines)
    run(settings(folder, "judged"))
    return folder


def settings(base: Path, out: str, **tables: Any) -> Any:
    emit = {"extra_columns": EXTRA, **tables.pop("emit", {})}
    return config_for(base, out, emit=emit, shard_rows=256, retrieve={"max_top_k": 10}, **tables)


def mine(base: Path, out: str, **tables: Any) -> Path:
    run(settings(base, out, **tables), options=RunOptions(source=base / "judged"))
    return base / out


def judgements(base: Path) -> dict[str, set[str]]:
    """Return the ids that qrels judge irrelevant to each query."""
    found: dict[str, set[str]] = {}
    for line in (base / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, relevance = line.split("\t")
        if relevance == "0":
            found.setdefault(query, set()).add(document)
    return found


def test_filter_marks_what_is_judged(base: Path) -> None:
    names, known = doc_ids(base / "judged"), judgements(base)
    for row in rows(base / "judged/filter"):
        flags = [names[d] in known[row["query_id"]] for d in row["doc_rows"]]
        assert row["judged_negatives"] == flags
        assert sum(flags) == 2


def test_without_the_settings_judgements_change_no_row(base: Path) -> None:
    assert emitted(base / "judged") == emitted(base / "unjudged")
    assert report(base / "unjudged")["negatives_judged"] == 0


def test_judged_negatives_are_spared_by_rules_and_chosen_first(base: Path) -> None:
    strict = {"rule": "percent", "percent": 0.3, "max_positive_similarity": None, "max_query_similarity": None}
    plain = mine(base, "plain", filter=strict)
    out = mine(base, "kept", filter={**strict, "judged_negatives": "keep"}, emit={"prefer_judged": True})
    for row in rows(out / "filter"):
        for verdicts in row["verdicts"]:
            judged = {v for v, flag in zip(verdicts, row["judged_negatives"], strict=True) if flag}
            assert judged <= {"keep", "copy_of_negative"}
    names, known = doc_ids(base / "judged"), judgements(base)
    by_query: dict[str, set[str]] = {}
    for row in emitted(out):
        by_query.setdefault(row["query_id"], set()).add(row["negative_id"])
    for row in rows(out / "filter"):
        wanted = {names[d] for d, flag in zip(row["doc_rows"], row["judged_negatives"], strict=True) if flag}
        assert wanted <= by_query[row["query_id"]]
        assert wanted <= known[row["query_id"]]
    assert report(out)["negatives_judged"] > 3 * report(plain)["negatives_judged"]
    assert report(out)["coverage"] == 1


def test_the_calibrated_rule_spares_them_too(base: Path) -> None:
    def verdicts_of_judged(out: Path) -> set[str]:
        return {
            verdict
            for row in rows(out / "filter")
            for verdicts in row["verdicts"]
            for verdict, flag in zip(verdicts, row["judged_negatives"], strict=True)
            if flag
        }

    rule = {"rule": "calibrated", "max_false_negative_rate": 0.01}
    assert "calibrated" in verdicts_of_judged(mine(base, "calibrated", filter=rule))
    kept = mine(base, "calibrated-kept", filter={**rule, "judged_negatives": "keep"})
    assert "calibrated" not in verdicts_of_judged(kept)
    assert "calibrated" in {v for row in rows(kept / "filter") for verdicts in row["verdicts"] for v in verdicts}


def test_preferring_judged_negatives_overrides_no_verdict(base: Path) -> None:
    out = mine(base, "preferred", filter={"percent": 0.8}, emit={"prefer_judged": True, "num_negatives": 2})
    names = doc_ids(base / "judged")
    kept = {
        (row["query_id"], names[document])
        for row in rows(out / "filter")
        for verdicts in row["verdicts"]
        for document, verdict in zip(row["doc_rows"], verdicts, strict=True)
        if verdict == "keep"
    }
    found = emitted(out)
    assert found
    assert {(row["query_id"], row["negative_id"]) for row in found} <= kept


def test_the_rate_among_the_judged_is_that_of_a_double_loop(base: Path) -> None:
    made = settings(base, "judged")
    state = FilterInputs.open(RunContext(made, made.out_folder))
    names, known = doc_ids(base / "judged"), judgements(base)
    ids = table(base / "judged/ingest/queries").column("query_id").to_pylist()
    hidden = judged = 0
    for part in hidden_rows(state.batches, made, 1.0):
        batch = part.batch
        for row in range(len(batch)):
            anchor = batch.positive_scores.values[row]
            limit = anchor - np.float32(0.05) * abs(anchor)
            kept = [
                c for c in range(batch.candidates.offsets[row], batch.candidates.offsets[row + 1])
                if batch.candidates.values[c] != batch.positives.values[row] and batch.scores[c] <= limit
                and max(batch.similarities[c], batch.scores[c]) <= np.float32(0.98)
            ][:3]  # fmt: skip
            hidden += sum(bool(part.is_hidden[c]) for c in kept)
            own = known[ids[batch.query_rows[row]]]
            judged += sum(names[batch.candidates.values[c]] in own for c in kept)
    assert hidden > 0
    assert judged > 0
    measured = report(base / "judged")["hidden_positives"]["this_filter"]["judged"]
    assert (measured["hidden"], measured["chosen"]) == (hidden, hidden + judged)
    assert measured["rate"] == hidden / (hidden + judged)
    assert measured["interval"][0] < measured["rate"] < measured["interval"][1]


def test_where_qrels_judge_no_negatives_the_rate_is_null_with_a_reason(base: Path) -> None:
    measured = report(base / "unjudged")["hidden_positives"]["this_filter"]["judged"]
    assert measured["rate"] is None
    assert measured["reason"] == "qrels judge no negatives of these queries"


def test_a_sweep_shows_the_same_rate(base: Path) -> None:
    found = sweep(settings(base, "judged"))["settings"][0]
    assert found["judged"] == report(base / "judged")["hidden_positives"]["this_filter"]["judged"]


def test_terminal_and_page_say_what_the_rate_is_of(base: Path) -> None:
    out = mine(base, "page", report={"html": True})
    found = report(out)
    line, hidden = judged_line(found), found["hidden_positives"]["this_filter"]["judged"]["hidden"]
    assert JUDGED_NOTE in line
    assert f"<tr><td>{JUDGED}</td><td>{hidden}: {escape(line)}</td></tr>" in (out / "report/report.html").read_text()


def test_no_rate_is_given_of_what_was_picked_for_judging(base: Path) -> None:
    made = settings(base, "judged")
    made = made.model_copy(update={"input": made.input.model_copy(update={"judgements": "judged.jsonl"})})
    inputs = FilterInputs.open(RunContext(made, made.out_folder))
    found = measure(ProtocolRows.of(inputs.batches, made), made, None)["judged"]
    assert found["hidden"] > 0
    assert found["rate"] is None
    assert "picked for judging" in found["reason"]
