"""Thresholds of the calibrated rule, on made candidates with known probabilities and hidden positives."""

from dataclasses import dataclass

import numpy as np
import pytest

from hnmine.config.tables import Config
from hnmine.stages.filter.calibration import KeptCells, set_threshold
from hnmine.stages.filter.hidden_positives import HiddenRows
from hnmine.stages.filter.verdicts import AUTO_RATE, give_verdicts
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
    return Config.model_validate({"filter": filter_table, "emit": {"num_negatives": N}})


def outcome(rows, p, threshold, rule="calibrated"):
    """Rate and fill of the N best of each query under a rule and a threshold, by loops."""
    batch, chosen = rows[0].batch, []
    keep = give_verdicts(batch, config_of(rule=rule).filter, rows[0].keys, Known(p, threshold)).keep
    for q in range(QUERIES):
        chosen += [c for c in range(batch.candidates.offsets[q], batch.candidates.offsets[q + 1]) if keep[c]][:N]
    return sum(rows[0].is_hidden[c] for c in chosen) / max(1, len(chosen)), len(chosen) / (N * QUERIES)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rate", [0.05, 0.15, 0.3])
def test_a_stated_rate_is_met_and_nearly_used_up(seed, rate):
    rows, p = rows_of(seed)
    threshold, how = set_threshold(
        rows, Known(p), config_of(rule="calibrated", max_false_negative_rate=rate), measured=True
    )
    assert "measured rate" in how
    found, _ = outcome(rows, p, threshold)
    assert found <= rate
    looser = [t for t in np.unique(p) if t > threshold and outcome(rows, p, t)[0] <= rate]
    assert all(t > threshold + 0.02 or outcome(rows, p, t)[1] <= outcome(rows, p, threshold)[1] + 0.05 for t in looser)


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
    assert outcome(rows, p, threshold, "auto")[0] <= AUTO_RATE


def test_auto_never_fills_fewer_rows_than_a_margin_would():
    rows, p = rows_of(3)
    p = 0.5 + p / 2  # a model that fears everything
    threshold, how = set_threshold(rows, Known(p), config_of(rule="auto"), measured=False)
    assert "fills as many rows" in how
    margin = KeptCells.of(rows, config_of(rule="percent").filter, None).outcome(np.inf, N)
    fill = outcome(rows, p, threshold, "auto")[1]
    assert margin.fill <= fill < margin.fill + 0.1


def test_without_a_rate_the_negatives_are_as_hard_as_a_margins():
    rows, p = rows_of(4)
    threshold, how = set_threshold(rows, Known(p), config_of(rule="calibrated"), measured=True)
    assert "as hard" in how
    target = KeptCells.of(rows, config_of(rule="percent").filter, None).outcome(np.inf, N).score
    kept = KeptCells.of(rows, config_of(rule="none").filter, Known(p))
    reachable = [abs(kept.outcome(t, N).score - target) for t in np.unique(p)]
    assert abs(kept.outcome(threshold, N).score - target) <= min(reachable) + 0.01


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
