"""Promised rates: fixed-sequence testing against a loop, and how often a promise is broken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.promised_rates import BOUND_Z, STARTS, fixed_sequence, promised
from tests import oracles


def by_loop(passes, starts):
    reached = []
    for start in starts:
        place = start
        while place < len(passes) and passes[place]:
            reached.append(place)
            place += 1
    return max(reached, default=None)


sequences = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.booleans(), min_size=n, max_size=n), st.lists(st.integers(0, n - 1), min_size=1, max_size=4)
    )
)


@given(sequences)
def test_it_is_the_loop(sequence):
    passes, starts = sequence
    assert fixed_sequence(np.array(passes), np.array(starts)) == by_loop(passes, starts)


@given(sequences, st.integers(0, 11))
def test_a_further_pass_never_moves_the_end_back(sequence, place):
    passes, starts = sequence
    more = list(passes)
    more[place % len(more)] = True
    before, after = (fixed_sequence(np.array(one), np.array(starts)) for one in (passes, more))
    assert before is None or (after is not None and after >= before)


def test_known_sequences():
    assert fixed_sequence(np.array([True, True, False, True]), np.array([0])) == 1
    assert fixed_sequence(np.array([True, True, False, True]), np.array([0, 3])) == 3
    assert fixed_sequence(np.array([False, True]), np.array([0])) is None


@pytest.mark.parametrize("starts", [[0], [0, 10, 20, 30]])
def test_of_hypotheses_that_are_all_true_one_is_rejected_as_often_as_the_level_says(starts):
    generator = np.random.default_rng(1)
    level, draws, wrong = 0.05, 4000, 0
    for _ in range(draws):
        p = generator.random(40)  # independent tests, where trying all of them would be wrong in 87 of 100
        wrong += fixed_sequence(p <= level / len(starts), np.array(starts)) is not None
    assert wrong / draws <= level + 3 * np.sqrt(level * (1 - level) / draws)


def tallies(seed, queries, settings=12):
    """Return hits and trials of queries of which some have many hits, with rates that rise from setting to setting."""
    generator = np.random.default_rng(seed)
    p = 0.25 * np.linspace(0, 1, settings + 1)[1:] ** 2 * generator.gamma(0.5, 2, (queries, 1))
    hidden = generator.random(p.shape) < p
    return np.cumsum(hidden, axis=1), np.tile(np.arange(1, settings + 1), (queries, 1))


@given(st.integers(0, 10**6), st.integers(2, 60), st.sampled_from([0.02, 0.1, 0.3]))
def test_the_promised_setting_is_that_of_the_loops(seed, queries, rate):
    hits, trials = tallies(seed, queries)
    passes = [
        oracles.clustered_upper_bound(h.tolist(), t.tolist(), z=BOUND_Z) <= rate
        for h, t in zip(hits.T, trials.T, strict=True)
    ]
    sums = trials.sum(axis=0)
    starts = [next(i for i, one in enumerate(sums) if one >= share * sums[-1]) for share in STARTS]
    assert promised(hits, trials, rate) == by_loop(passes, starts)


@given(st.integers(0, 10**6), st.lists(st.floats(0.001, 0.9), min_size=2, max_size=4))
def test_a_lower_rate_never_gives_a_fuller_setting(seed, rates):
    found = [promised(*tallies(seed, 40), rate) for rate in sorted(rates)]
    reached = [-1 if one is None else one for one in found]
    assert reached == sorted(reached)


def test_nothing_is_promised_of_nothing():
    none = np.zeros((3, 2), dtype=np.int64)
    assert promised(none, none, 0.5) is None
    assert promised(none[:0], none[:0], 0.5) is None
    assert promised(none[:, :0], none[:, :0], 0.5) is None


@pytest.mark.parametrize(("sample", "rate"), [(60, 0.05), (60, 0.1), (200, 0.05)])
def test_a_promise_holds_in_95_of_100_samples_of_queries(sample, rate):
    """Samples of a population whose rates are known; the fullest setting within its own bound breaks more promises."""
    hits, trials = tallies(3, 4000)
    truth = hits.sum(axis=0) / trials.sum(axis=0)
    generator = np.random.default_rng(1)
    draws, broken, kept = 400, 0, []
    for _ in range(draws):
        rows = generator.integers(0, len(hits), sample)
        found = promised(hits[rows], trials[rows], rate)
        if found is not None:
            broken += truth[found] > rate
            kept.append(found)
    assert broken <= 0.05 * draws
    best = np.flatnonzero(truth <= rate)[-1]
    assert np.mean(kept) > best / 2
