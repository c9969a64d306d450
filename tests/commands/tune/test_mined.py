"""Sets that are mined for some queries: what filter and emit write, and nothing of the other queries' labels."""

import json

import numpy as np
import pytest

from hnmine.commands.finished_run import finished_run
from hnmine.commands.tune.grid import Setting, with_settings
from hnmine.commands.tune.mined import Candidates
from hnmine.commands.tune.pool import Labels
from hnmine.pipeline.run import RunOptions, run
from hnmine.students.split import split_queries
from tests.pipeline.helpers import doc_ids, rows
from tests.stages.report.html.test_page import several_positives
from tests.support import config_for, write_collection

ENTRIES = {
    "auto": {"rule": "auto"},
    "unfiltered": {"rule": "none"},
    "percent": {"rule": "percent", "percent": 0.7},
    "window": {"rule": "none", "ranks": (5, 15)},
    "calibrated": {"rule": "calibrated", "max_false_negative_rate": 0.2},
    "random choice": {"rule": "two_sided", "choose": "random"},
    "mixed": {"rule": "percent", "choose": "mixed", "random_share": 0.5},
    "random documents": {"choose": "mixed", "random_share": 1.0},
    "ten": {"rule": "none", "num_negatives": 6},
    "diverse": {"rule": "none", "choose": "diverse"},
    "capped": {"rule": "none", "max_per_document": 1},
    "mean": {"rule": "percent", "anchor": "mean", "fallback": "random"},
}
COLUMNS = ["query_id", "positive_id", "negative_id", "positive_score", "negative_score", "rank"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = several_positives(tmp_path_factory.mktemp("mined"))
    tables = {"retrieve": {"top_k": 20, "max_top_k": 60}, "emit": {"num_negatives": 3, "extra_columns": COLUMNS}}
    config = config_for(folder, **tables)
    run(config)
    return folder, config, tables


def of_run(config):
    context = finished_run(config, None, ("ingest", "embed", "retrieve")).context
    labels = np.arange(len(rows(config.out_folder / "ingest" / "queries")))
    return Candidates.read(context, labels), Labels.read(context, labels)


@pytest.mark.parametrize("name", list(ENTRIES))
def test_a_set_of_all_queries_is_what_emit_writes(made, name, tmp_path):
    folder, config, tables = made
    keys = ENTRIES[name]
    candidates, labels = of_run(config)
    tuned = with_settings(candidates.context.config, keys)
    found = candidates.side(labels.rows).mine(Setting("tried", tuned, name))
    flat = {k: list(v) if isinstance(v, tuple) else v for k, v in keys.items()}
    of_emit = {k: v for k, v in flat.items() if hasattr(config.emit, k)}
    other = config_for(
        folder, tmp_path / "other", retrieve=tables["retrieve"], emit=tables["emit"] | of_emit,
        filter={k: v for k, v in flat.items() if k not in of_emit} or {"rule": "auto"},
    )  # fmt: skip
    run(other, options=RunOptions(source=config.out_folder))
    names, queries = doc_ids(config.out_folder), [row["query_id"] for row in rows(config.out_folder / "ingest/queries")]
    ours = [
        (queries[q], names[p], names[n])
        for q, p, ns in zip(
            found.queries.tolist(), found.positives.tolist(),
            np.split(found.negatives.values, found.negatives.offsets[1:-1]), strict=True,
        )
        for n in ns.tolist()
    ]  # fmt: skip
    written = [(row["query_id"], row["positive_id"], row["negative_id"]) for row in rows(other.out_folder / "emit")]
    assert ours == written
    report = json.loads((other.out_folder / "report" / "report.json").read_text())
    assert found.numbers.fill == pytest.approx(report["fill"])


@pytest.mark.parametrize("name", ["auto", "calibrated", "percent"])
def test_labels_of_test_queries_change_nothing(made, name, tmp_path):
    folder, config, tables = made
    candidates, labels = of_run(config)
    trains = split_queries(labels.linked, 0.7, 3)
    queries = rows(config.out_folder / "ingest/queries")
    kept = {queries[place]["query_id"] for place in np.flatnonzero(trains)}
    names = doc_ids(config.out_folder)
    # the same collection in which every test query has one label only, and another one
    lines = [line.split("\t") for line in (folder / "qrels.tsv").read_text().splitlines()[1:]]
    qrels = [(query, document, 1) for query, document, _ in lines if query in kept]
    qrels += [(query, f"x{query[1:]}", 1) for query in sorted({line[0] for line in lines} - kept)]
    corpus, asked = (
        {row[key]: row["text"] for row in map(json.loads, (folder / file).read_text().splitlines())}
        for file, key in (("corpus.jsonl", "doc_id"), ("queries.jsonl", "query_id"))
    )
    other = write_collection(tmp_path / "fewer", corpus, asked, qrels)
    assert len(qrels) < len(lines)
    second = config_for(other, **tables)
    run(second)
    assert doc_ids(second.out_folder) == names
    fewer, _ = of_run(second)
    own = labels.rows[trains]
    results = []
    for one in (candidates, fewer):
        tuned = with_settings(one.context.config, ENTRIES[name])
        results.append(one.side(own).mine(Setting("tried", tuned, name)))
    for part in ("queries", "positives"):
        np.testing.assert_array_equal(getattr(results[0], part), getattr(results[1], part))
    np.testing.assert_array_equal(results[0].negatives.values, results[1].negatives.values)


def test_no_mined_negatives_are_all_pairs(made):
    _, config, _ = made
    candidates, labels = of_run(config)
    found = candidates.side(labels.rows).mine(Setting("in_batch", candidates.context.config, "none"))
    assert len(found.queries) == len(labels.relevant.values)
    assert not len(found.negatives.values)
    assert found.numbers == (None, None, None)


def test_a_deeper_list_is_found_once_for_all_settings(made, monkeypatch):
    _, config, _ = made
    candidates, labels = of_run(config)
    asked = []
    search = type(candidates.search).__mro__[1]
    find = search._find

    def noted(self, rows, depth):
        asked.extend((row, depth) for row in rows.tolist())
        return find(self, rows, depth)

    monkeypatch.setattr(search, "_find", noted)
    for value in (0.3, 0.31, 0.3):
        tuned = with_settings(candidates.context.config, {"rule": "percent", "percent": value})
        candidates.side(labels.rows).mine(Setting("tried", tuned, "strict"))
    assert asked
    assert len(asked) == len(set(asked))
