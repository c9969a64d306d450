"""What the page draws, against double loops over what the run left behind; and the verdict line."""

import copy

import numpy as np
import pytest

from hnmine.commands.sweep import sweep
from hnmine.config.tables import Config
from hnmine.pipeline.run import run
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.report.examples import EACH, pick_examples, texts_of
from hnmine.stages.report.expected import numbers_of
from hnmine.stages.report.false_negatives import mark_front
from hnmine.stages.report.headline import GOOD, NUMBERS, OTHER_NUMBERS, STOP, USABLE, conclude, judged_line
from hnmine.stages.report.negatives import read_negatives
from tests.pipeline.helpers import report, rows, table
from tests.stages.report.html.test_page import several_positives
from tests.support import config_for, make_collection


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """Return the context of a run with probabilities and random documents."""
    folder = several_positives(tmp_path_factory.mktemp("mined"), 60)
    config = config_for(
        folder,
        filter={"rule": "percent", "percent": 0.9, "probabilities": True},
        emit={"num_negatives": 4, "choose": "mixed", "random_share": 0.25},
        retrieve={"top_k": 15},
    )
    run(config)
    return RunContext(config, folder / "out")


def test_facts_of_every_negative_are_those_of_the_stored_tables(mined):
    facts = read_negatives(mined, read_chosen(mined.out / "emit"))[0]
    judged, place = rows(mined.out / "filter"), 0
    for number, chosen in enumerate(read_chosen(mined.out / "emit").to_pylist()):
        query = judged[chosen["query_row"]]
        width, anchor = len(query["positive_rows"]), query["anchor_scores"][chosen["anchor"]]
        for at, (position, document, score) in enumerate(
            zip(chosen["positions"], chosen["doc_rows"], chosen["scores"], strict=True)
        ):
            assert (facts.anchor[place], facts.query[place]) == (number, chosen["query_row"])
            assert (facts.document[place], facts.place[place]) == (document, at)
            assert facts.margin[place] == pytest.approx(anchor - score, abs=1e-6)
            span = anchor - query["background_mean"]
            expected = (score - query["background_mean"]) / span if span > 0 else float(score >= anchor)
            assert facts.hardness[place] == pytest.approx(min(1, max(0, expected)), abs=1e-5)
            if position < 0:
                assert facts.random[place]
                assert np.isnan([facts.overlap[place], facts.probability[place]]).all()
            else:
                similar = query["similarities"][position * width : (position + 1) * width]
                assert facts.similarity[place] == pytest.approx(max(similar))
                assert facts.overlap[place] == pytest.approx(query["query_overlaps"][position])
                stored = query["probabilities"][chosen["anchor"]][position]
                assert facts.probability[place] == pytest.approx(stored)
            place += 1
    assert place == len(facts.place) > 100
    assert 0 < facts.random.sum() < place


def test_overlap_of_positives_is_that_which_retrieve_stored_for_them(mined):
    stored = []
    for query in rows(mined.out / "filter"):
        for position, document in enumerate(query["doc_rows"]):
            if document in query["positive_rows"]:
                stored.append(query["query_overlaps"][position])
    found = report(mined.out)["biases"]["query_overlap"]
    assert len(stored) == 120  # every positive is among the candidates
    assert found["positive"] == pytest.approx(np.mean(stored), abs=1e-6)


def test_lengths_are_those_of_the_texts(mined):
    texts = table(mined.out / "ingest" / "corpus").column("text").to_pylist()
    chosen = read_chosen(mined.out / "emit").column("doc_rows").to_pylist()
    positives = table(mined.out / "ingest" / "queries").column("positive_rows").to_pylist()
    found = report(mined.out)["biases"]["length"]
    assert found["negative"] == np.median([len(texts[row]) for own in chosen for row in own])
    assert found["positive"] == np.median([len(texts[row]) for own in positives for row in own])


def test_hardness_by_place_and_sources_average_the_same_negatives(mined):
    found = report(mined.out)
    by_place, total = found["hardness_by_place"], found["counts"]["emit"]["negatives"]
    assert [row["place"] for row in by_place] == list(range(1, len(by_place) + 1))
    assert sum(row["negatives"] for row in by_place) == total
    mean = sum(row["negatives"] * row["hardness"] for row in by_place) / total
    parts = sum(one["negatives"] * (one["hardness"] or 0) for one in found["sources"].values()) / total
    assert mean == pytest.approx(parts)
    assert found["sources"]["random"]["negatives"] == found["counts"]["emit"]["negatives_random"] > 0


def test_examples_are_the_worst_and_few(mined):
    chosen = read_chosen(mined.out / "emit")
    facts = read_negatives(mined, chosen)[0]
    found = pick_examples(mined, chosen, facts, [])
    eci = sorted((row["eci"], row["query_row"], row["query_id"]) for row in rows(mined.out / "report" / "queries"))
    assert [one["query_id"] for one in found["lowest_eci"]] == [name for _, _, name in eci[:EACH]]
    worst = [one["negatives"][0]["probability"] for one in found["suspicious"]]
    assert worst == sorted(worst, reverse=True)
    assert worst[0] == np.nanmax(facts.probability)
    assert all(len(group) <= EACH for group in found.values())
    texts = texts_of(mined, {"examples": found, "hubs": {"top": []}})
    for one in found["lowest_eci"]:
        assert texts.queries[one["query_id"]]
        assert all(texts.documents[d["doc_id"]] for side in ("positives", "negatives") for d in one[side])
        assert texts.words[one["query_id"]] <= set(texts.queries[one["query_id"]].split())


def test_a_shown_positive_is_that_of_the_negatives_anchor(mined):
    chosen = read_chosen(mined.out / "emit")
    found = pick_examples(mined, chosen, read_negatives(mined, chosen)[0], [])
    emitted = {(r["query_id"], r["positive_id"], r["negative_id"]) for r in _with_ids(mined)}
    for one in found["suspicious"]:
        assert len(one["positives"]) == 1
        assert (one["query_id"], one["positives"][0]["doc_id"], one["negatives"][0]["doc_id"]) in emitted


def _with_ids(context):
    config = context.config
    extra = ["query_id", "positive_id", "negative_id"]
    again = config.model_copy(update={"emit": config.emit.model_copy(update={"extra_columns": extra}), "out": "ids"})
    run(again.at(config.base))
    return rows(again.at(config.base).out_folder / "emit")


@pytest.fixture
def fine(tmp_path):
    make_collection(tmp_path)
    run(config_for(tmp_path))
    good = {"coverage": 1.0, "fill": 1.0, "hardness": 0.7, "safety": 1.0, "false_negative_rate": 0.01, "warnings": []}
    found = report(tmp_path / "out") | good
    found["biases"] = {name: {"effect": 0.0} for name in ("length", "query_overlap")}
    found["suspected_bad_positives"]["untreated_share"] = 0.0
    found["near_copies"]["chosen_share"] = 0.0
    found["sources"]["retrieved"]["hardness"] = 0.7
    return found


def test_a_set_within_its_limits_is_good(fine):
    assert conclude(fine) == {"level": GOOD, "line": "Good: every number is within its limit.", "reasons": []}


@pytest.mark.parametrize("number", [n for n in NUMBERS if n.flaw is not None], ids=lambda n: n.name)
def test_each_limit_of_the_headline_is_a_flaw_and_then_a_stop(fine, number):
    step = -0.001 if number.low_is_bad else 0.001
    limits = ((number.flaw, USABLE), (number.stop, STOP))
    for limit, level in (one for one in limits if one[0] is not None):
        assert conclude(fine | {number.name: limit + step})["level"] == level
        assert conclude(fine | {number.name: limit + step})["reasons"][0]["number"] == number.name
        below = {USABLE: GOOD, STOP: USABLE}[level]
        assert conclude(fine | {number.name: limit})["level"] == below


@pytest.mark.parametrize("path", sorted(OTHER_NUMBERS))
def test_each_limit_beside_the_headline_is_a_flaw(fine, path):
    found, keys = copy.deepcopy(fine), path.split(".")
    found["hubs"]["documents"] = 100
    inner = found
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = OTHER_NUMBERS[path].flaw + 0.01
    assert [reason["number"] for reason in conclude(found)["reasons"]] == [OTHER_NUMBERS[path].name]
    inner[keys[-1]] = OTHER_NUMBERS[path].flaw
    assert conclude(found)["level"] == GOOD


def test_shorter_negatives_are_a_flaw_and_fewer_shared_words_are_none(fine):
    fine["biases"] = {"length": {"effect": -0.9}, "query_overlap": {"effect": -2.0}}
    assert [reason["text"].split(":")[0] for reason in conclude(fine)["reasons"]] == [
        "negatives are shorter than positives"
    ]


def test_a_rate_that_is_tolerated_takes_the_limits_place(fine):
    found = fine | {"false_negative_rate": 0.15}
    assert conclude(found)["level"] == USABLE
    tolerated = {
        rate: numbers_of(Config.model_validate({"filter": {"max_false_negative_rate": rate}})) for rate in (0.2, 0.02)
    }
    assert conclude(found, tolerated[0.2])["level"] == GOOD
    assert conclude(fine | {"false_negative_rate": 0.04}, tolerated[0.02])["level"] == USABLE


def test_a_rate_that_was_not_measured_is_named_and_no_flaw(fine):
    unmeasured = {"false_negative_rate": None, "false_negative_rate_reason": "too few"}
    found = conclude(fine | unmeasured)
    line = "Good: every measured number is within its limit; the false-negative rate could not be measured (too few)."
    assert found == {"level": GOOD, "line": line, "reasons": []}
    flawed = conclude(fine | unmeasured | {"fill": 0.8})
    assert flawed["line"] == "Usable, with one flaw; the false-negative rate could not be measured (too few)."
    assert flawed["level"] == USABLE
    assert conclude(fine | unmeasured | {"fill": 0.1})["level"] == STOP


def test_what_was_judged_is_named_as_such_and_left_out_where_it_was_picked(mined):
    counts = {"chosen": 45, "hidden": 44, "rate": 44 / 45, "interval": [0.88, 1.0]}
    line = judged_line({"hidden_positives": {"this_filter": {"judged": counts}}})
    assert line.startswith("97.8% of 45 (88.0%-100.0%); documents are judged because they are doubtful")
    assert judged_line({"hidden_positives": {"this_filter": {"judged": counts | {"rate": None}}}}) == ""
    assert judged_line({}) == ""


def test_a_warning_stops(fine):
    assert conclude(fine | {"warnings": ["the hash encoder"]})["reasons"][0]["text"] == "the hash encoder"
    assert conclude(fine | {"warnings": ["the hash encoder"]})["level"] == STOP


def front_of(*settings):
    names = ("rate", "hardness", "fill", "chosen")
    return mark_front([dict(zip(names, one, strict=True)) for one in settings])


def test_the_front_is_what_nothing_beats_in_rate_hardness_and_fill():
    assert front_of((0.1, 0.5, 1, 9), (0.2, 0.5, 1, 9), (0.2, 0.6, 1, 9), (0.1, 0.5, 1, 9)) == [True, False, True, True]
    # safer and harder, but most rows are empty
    assert front_of((0.1, 0.5, 1.0, 9), (0.05, 0.6, 0.1, 1)) == [True, True]
    assert front_of() == []


def test_what_chose_nothing_or_only_hidden_positives_is_not_on_the_front_and_beats_nothing():
    assert front_of((0.0, 0.0, 0.0, 0), (0.3, 0.4, 0.5, 5)) == [False, True]
    assert front_of((1.0, 0.9, 1.0, 9), (0.3, 0.4, 0.5, 5)) == [False, True]
    assert front_of((0.0, 0.9, 1.0, 0), (1.0, 0.9, 1.0, 9)) == [False, False]


def test_a_default_that_is_written_out_changes_neither_the_key_nor_the_report(tmp_path):
    folder = several_positives(tmp_path, 60)
    written = config_for(folder).filter.model_dump() | {"rule": "percent", "percent": 0.95, "margin": 0.05}
    short, long = (
        config_for(folder, out, filter=given)
        for out, given in (("short", {"rule": "percent"}), ("long", {**written, "ranks": None}))
    )
    assert short.filter.model_fields_set != long.filter.model_fields_set
    run(short)
    run(long)
    first, second = report(folder / "short"), report(folder / "long")
    assert first["tradeoff"]["settings"][0]["settings"] == {"rule": "percent"}
    assert first == second
    keys = [(folder / out / "report/_started.json").read_bytes() for out in ("short", "long")]
    assert keys[0] == keys[1]
    assert sweep(short)["settings"] == sweep(long)["settings"]
