"""Thresholds of the calibrated rule, on made candidates with known probabilities and hidden positives."""

from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.config.auto import AUTO
from hnmine.config.tables import Config
from hnmine.science.promised_rates import BOUND_Z
from hnmine.stages.filter import calibration
from hnmine.stages.filter.calibration import NOTHING, KeptCells, calibrate, set_threshold, threshold_within
from hnmine.stages.filter.hidden_positives import HiddenRows, ProtocolRows
from hnmine.stages.filter.verdicts import AUTO_RATE, give_verdicts
from tests import oracles
from tests.strategies import World, make_query

QUERIES, CANDIDATES, N = 60, 12, 3


@dataclass(frozen=True)
class Known:
    """A model that is given its probabilities, one a candidate."""

    values: np.ndarray
    threshold: float = np.inf

    def probabilities(self, batch, cells):
        return self.values[cells.candidate]


def rows_of(seed, low_positives=False):
    """Return (rows, probabilities): a hidden positive with the probability that the model says."""
    generator = np.random.default_rng(seed)
    queries = []
    for q in range(QUERIES):
        first = q * (CANDIDATES + 1)
        scores = np.sort(generator.uniform(0.2, 0.9, CANDIDATES))[::-1]
        positive = 0.25 if low_positives else 0.8
        queries.append(
            make_query(q, {first: positive}, {first + 1 + i: float(s) for i, s in enumerate(scores)}, key=10**6 + q)
        )
    world = World(list(range(QUERIES * (CANDIDATES + 1))), queries)
    batch = world.batch()
    # the higher the score, the likelier
    p = np.clip((batch.scores.astype(float) - 0.2) * generator.uniform(0.2, 1.2, len(batch.scores)), 0, 1)
    hidden = generator.random(len(p)) < p
    return [HiddenRows(batch, world.keys(), np.arange(QUERIES), hidden)], p


def config_of(**filter_table):
    return Config.model_validate({"filter": filter_table, "emit": {"num_negatives": N, "choose": "top"}})


def outcome(rows, p, threshold, rule="calibrated"):
    """Rate, fill and upper bound of the rate of the N best of each query under a rule and a threshold, by loops."""
    batch, chosen = rows[0].batch, []
    keep = give_verdicts(batch, config_of(rule=rule).filter, rows[0].keys, Known(p, threshold)).keep
    for q in range(QUERIES):
        chosen += [c for c in range(batch.candidates.offsets[q], batch.candidates.offsets[q + 1]) if keep[c]][:N]
    hits, trials = [0] * QUERIES, [0] * QUERIES
    for c in chosen:
        hits[batch.owners[c]] += int(rows[0].is_hidden[c])
        trials[batch.owners[c]] += 1
    pairs = zip(*[(h, t) for h, t in zip(hits, trials, strict=True) if t], strict=True)
    bound = oracles.clustered_upper_bound(*pairs, z=BOUND_Z)
    return sum(hits) / max(1, len(chosen)), len(chosen) / (N * QUERIES), bound


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rate", [0.05, 0.15, 0.3])
def test_a_stated_rate_is_met_and_nearly_used_up(seed, rate):
    rows, p = rows_of(seed)
    threshold, how = set_threshold(
        rows, Known(p), config_of(rule="calibrated", max_false_negative_rate=rate), measured=True
    )
    # 0 of 180 negatives have an upper bound of .027, 9 of them (.05) one of .1: only then is the rate itself taken
    bounded = "by its 95% upper bound" in how
    assert bounded or (rate == 0.05 and "no threshold has a 95% upper bound within it" in how)
    number = 2 if bounded else 0
    found = outcome(rows, p, threshold)
    assert found[number] <= rate
    looser = [outcome(rows, p, t) for t in np.unique(p) if t > threshold]
    if bounded:  # the thresholds beyond one that fails are not promised
        looser = list(takewhile(lambda one: one[2] <= rate, looser))
    assert all(one[1] <= found[1] + 0.05 for one in looser if one[number] <= rate)


@pytest.mark.parametrize("measured", [True, False])
def test_a_stricter_rate_never_gives_a_higher_threshold(measured):
    rows, p = rows_of(1)
    found = [
        set_threshold(rows, Known(p), config_of(rule="calibrated", max_false_negative_rate=rate), measured=measured)[0]
        for rate in (0.01, 0.05, 0.1, 0.2, 0.4)
    ]
    assert found == sorted(found)


def test_where_nothing_can_be_measured_the_rate_is_the_one_that_the_model_expects():
    rows, p = rows_of(2)
    threshold, how = set_threshold(
        rows, Known(p), config_of(rule="calibrated", max_false_negative_rate=0.1), measured=False
    )
    assert "expected rate" in how
    kept = KeptCells.of(rows, config_of(rule="none").filter, Known(p))
    assert 0.08 < kept.outcome(threshold, N).expected <= 0.1


def test_auto_stays_within_its_rate_where_that_fills_as_many_rows_as_a_margin():
    rows, p = rows_of(3, low_positives=True)  # a margin from a low positive keeps little
    threshold, how = set_threshold(rows, Known(p), config_of(rule="auto"), measured=True)
    assert "measured rate of at most" in how
    assert "bound" not in how  # only a stated rate is promised
    assert outcome(rows, p, threshold, "auto")[0] <= AUTO_RATE


@pytest.mark.parametrize("rule", ["auto", "calibrated"])
def test_without_a_rate_no_fewer_rows_are_filled_than_by_a_margin(rule):
    rows, p = rows_of(3)
    p = 0.5 + p / 2  # a model that fears everything
    threshold, how = set_threshold(rows, Known(p), config_of(rule=rule), measured=False)
    assert "fills as many rows" in how
    margin = KeptCells.of(rows, config_of(rule="percent").filter, None).outcome(np.inf, N)
    others = {"rule": "none"} if rule == "calibrated" else {"rule": "percent", "easiest": AUTO["easiest"]}
    kept = KeptCells.of(rows, config_of(**others).filter, Known(p))
    lower = p[p < threshold].max(initial=0.0)
    assert kept.outcome(threshold, N).fill >= margin.fill
    assert kept.outcome(lower * 0.99, N).fill <= kept.outcome(threshold, N).fill


@pytest.mark.parametrize("measured", [True, False])
def test_without_a_rate_calibrated_takes_that_of_auto_unbounded(measured):
    rows, p = rows_of(4, low_positives=True)
    threshold, how = set_threshold(rows, Known(p), config_of(rule="calibrated"), measured=measured)
    assert "bound" not in how
    margin = KeptCells.of(rows, config_of(rule="percent").filter, None).outcome(np.inf, N)
    found = KeptCells.of(rows, config_of(rule="none").filter, Known(p)).outcome(threshold, N)
    assert (found.rate if measured else found.expected) <= AUTO_RATE or found.fill < margin.fill + 0.1


def test_a_stated_rate_never_gives_way():
    rows, p = rows_of(3)
    p = 0.5 + p / 2
    threshold, how = set_threshold(rows, Known(p), config_of(rule="auto", max_false_negative_rate=0.01), measured=False)
    assert threshold == NOTHING
    assert "every candidate is rejected" in how


def test_a_stated_rate_counts_what_the_other_rules_already_keep_out():
    rows, p = rows_of(5)
    both, alone = (
        set_threshold(rows, Known(p), config_of(rule=rule, max_false_negative_rate=0.2), measured=True)[0]
        for rule in (["calibrated", "percent"], "calibrated")
    )
    assert both >= alone


def test_no_candidates_set_a_threshold_without_failing():
    world = World([1, 2], [])
    rows = [HiddenRows(world.batch(), world.keys(), np.zeros(0, np.int64), np.zeros(0, bool))]
    for rule in ("auto", "calibrated"):
        threshold, _ = set_threshold(rows, Known(np.zeros(0)), config_of(rule=rule), measured=False)
        assert threshold >= 0


@pytest.mark.parametrize("measured", [True, False])
def test_auto_halves_the_rate_of_a_margin_unless_a_rate_is_stated(measured):
    rows, p = rows_of(6)
    p = p / 3
    threshold, _ = set_threshold(rows, Known(p), config_of(rule="auto"), measured=measured)
    margin = KeptCells.of(rows, config_of(rule="percent").filter, Known(p)).outcome(np.inf, N)
    found = KeptCells.of(rows, config_of(rule="percent", easiest=0.2).filter, Known(p)).outcome(threshold, N)
    before, after = (margin.rate, found.rate) if measured else (margin.expected, found.expected)
    assert before > 0
    assert after <= before / 2 or found.fill < margin.fill + 0.1  # rows come first
    stated, _ = set_threshold(rows, Known(p), config_of(rule="auto", max_false_negative_rate=0.9), measured=measured)
    assert stated > threshold


def made(parts, wanted=1):
    """Return the kept cells of queries with `wanted` cells each: `parts` are (queries, P, hidden) from the best on."""
    p = np.concatenate([np.full(queries * wanted, value) for queries, value, _ in parts])
    hidden = np.concatenate([np.arange(queries * wanted) < share for queries, _, share in parts])
    queries = sum(count for count, _, _ in parts)
    anchor = np.repeat(np.arange(queries), wanted)
    return KeptCells(np.arange(queries), anchor, p, np.ones(len(p)), hidden)


def test_a_looser_threshold_is_found_where_the_strictest_is_above_the_rate():
    # the strictest 400 have 51 hidden positives (.1275), with 3,600 more it is 151 of 4,000 (.038)
    kept = made([(400, 0.1255, 51), (3600, 0.2, 100), (1000, 0.9, 900)])
    for rate in (0.05, 0.1, 0.12):
        threshold, how = threshold_within(kept, rate, 1, measured=True, bounded=True)
        found = kept.outcome(threshold, 1)
        assert found.chosen == 4000 or (rate > 0.05 and found.chosen > 4000)
        assert found.bound <= rate
        assert "by its 95% upper bound" in how


def test_a_threshold_beyond_one_that_breaks_the_promise_is_not_promised():
    # 0 of 200, then 30 of 400, then 30 of 3,000: only luck would make the last one safe
    kept = made([(200, 0.1, 0), (200, 0.2, 30), (2600, 0.3, 0)])
    assert kept.outcome(0.3, 1).bound <= 0.05 < kept.outcome(0.2, 1).bound
    assert threshold_within(kept, 0.05, 1, measured=True, bounded=True)[0] == pytest.approx(
        0.3
    )  # a start lies beyond the one that fails
    kept = made([(400, 0.1, 0), (30, 0.2, 30), (270, 0.3, 0)])  # no start does
    assert kept.outcome(0.3, 1).bound > 0.05
    assert kept.outcome(threshold_within(kept, 0.05, 1, measured=True, bounded=True)[0], 1).chosen == 400


def test_a_rate_is_bounded_from_above_only_where_that_is_asked_for():
    kept = made([(200, 0.1, 0), (40, 0.5, 10)])  # 10 of 240: .042, upper bound .083
    assert kept.outcome(0.5, 1).rate == pytest.approx(10 / 240)
    for bounded, chosen in ((True, 200), (False, 240)):
        threshold, _ = threshold_within(kept, 0.05, 1, measured=True, bounded=bounded)
        assert kept.outcome(threshold, 1).chosen == chosen


def test_too_few_negatives_to_bound_their_rate_are_kept_and_said_to_be():
    kept = made([(20, 0.1, 0), (20, 0.5, 20)])  # 0 of 20: upper bound .201
    threshold, how = threshold_within(kept, 0.05, 1, measured=True, bounded=True)
    assert kept.outcome(threshold, 1).chosen == 20
    assert "no threshold has a 95% upper bound within it" in how
    assert "0.201" in how


@pytest.mark.parametrize("measured", [True, False])
def test_where_every_threshold_is_above_the_rate_nothing_is_kept_and_the_lowest_rate_is_named(measured):
    kept = made([(100, 0.3, 30), (100, 0.5, 60)])
    threshold, how = threshold_within(kept, 0.05, 1, measured=measured, bounded=True)
    assert threshold == NOTHING
    assert kept.outcome(threshold, 1).chosen == 0
    assert f"no threshold has {'a measured' if measured else 'an expected'} rate of at most 0.05" in how
    assert "the lowest found is 0.3: every candidate is rejected" in how


@st.composite
def kept_cells(draw):
    """Kept cells of some queries, each hidden once or more, with probabilities that say little of what is hidden."""
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    queries = np.sort(generator.integers(0, draw(st.integers(1, 60)), draw(st.integers(1, 150))))
    anchor = np.repeat(np.arange(len(queries)), generator.integers(0, 6, len(queries)))
    p = generator.random(len(anchor))
    hidden = generator.random(len(anchor)) < draw(st.floats(0, 0.5)) * generator.random(len(anchor)) * (0.3 + p)
    return KeptCells(queries, anchor, p, generator.random(len(anchor)), hidden)


@given(kept_cells(), st.lists(st.floats(0.001, 0.9), min_size=2, max_size=5), st.booleans(), st.booleans())
def test_a_lower_rate_never_gives_a_higher_threshold_and_the_rate_is_kept_to(kept, rates, measured, bounded):
    previous = -1.0
    for rate in sorted(rates):
        threshold, how = threshold_within(kept, rate, 2, measured=measured, bounded=bounded)
        found = kept.outcome(threshold, 2)
        assert threshold == NOTHING or (found.rate if measured else found.expected) <= rate
        assert "by its 95% upper bound" not in how or found.bound <= rate
        if "by its 95% upper bound" in how:
            assert threshold >= previous
            previous = threshold


@given(kept_cells(), st.floats(0.01, 0.5), st.integers(0, 10))
def test_the_order_of_the_rows_changes_no_threshold(kept, rate, seed):
    order = np.random.default_rng(seed).permutation(len(kept.queries))
    place = np.argsort(order)  # the new place of each anchor
    cells = np.argsort(place[kept.anchor], kind="stable")
    moved = KeptCells(
        kept.queries[order],
        place[kept.anchor][cells],
        *(getattr(kept, name)[cells] for name in ("probability", "score", "is_hidden")),
    )
    assert threshold_within(moved, rate, 2, measured=True, bounded=True) == threshold_within(
        kept, rate, 2, measured=True, bounded=True
    )


def halves(rows):
    """Return the same rows in two parts, the later queries first."""
    part, parts = rows[0], []
    for which in (np.arange(QUERIES // 2, QUERIES), np.arange(QUERIES // 2)):
        places = part.batch.candidates.with_values(np.arange(len(part.batch.scores))).take(which)
        own = part.batch.positives.with_values(np.arange(QUERIES)).take(which)
        batch = part.batch.select(which, own, places)
        parts.append(HiddenRows(batch, part.keys.take(which), which, part.is_hidden[places.values]))
    return parts


def test_the_sample_of_the_fit_depends_on_no_order_and_weighs_what_it_stands_for(monkeypatch):
    rows, _ = rows_of(6)
    fitted = lambda own: calibrate(ProtocolRows(own, True, 0, 0, ""), config_of(rule="calibrated")).models  # noqa: E731 - short
    whole = fitted(rows)
    monkeypatch.setattr(calibration, "FIT_CELLS", 150)
    counts = []
    plain = calibration.fit

    def counted(x, y, weights):
        counts.append((len(y), weights[y].sum() / weights.sum()))
        return plain(x, y, weights)

    monkeypatch.setattr(calibration, "fit", counted)
    sampled, again = fitted(rows), fitted(halves(rows))
    assert counts[5][0] < 330 < QUERIES * CANDIDATES
    assert counts[5][1] == pytest.approx(rows[0].is_hidden[rows[0].batch.counted].mean(), abs=0.05)
    for name in ("mean", "scale", "weights", "bias"):
        assert getattr(again, name) == pytest.approx(getattr(sampled, name), rel=1e-6, abs=1e-9)
    assert sampled.weights[5] != pytest.approx(whole.weights[5], abs=1e-6)
