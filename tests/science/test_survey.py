"""Estimates from stratified samples: allocation, the estimate against loops, and how often an interval covers."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hnmine.science.statistics import wilson_interval
from hnmine.science.survey import allocate, stratified_share

strata = st.lists(st.tuples(st.integers(1, 30), st.floats(0, 0.5)), min_size=1, max_size=6)


@given(strata, st.integers(0, 120))
def test_an_allocation_spends_the_number_and_no_more_than_there_is(given_strata, number):
    sizes, spreads = (np.array(part) for part in zip(*given_strata, strict=True))
    drawn = allocate(sizes, spreads, number)
    assert drawn.sum() == min(number, sizes.sum())
    assert (drawn >= 0).all()
    assert (drawn <= sizes).all()
    if number >= 2 * len(sizes):
        assert (drawn >= np.minimum(sizes, 2)).all()


def test_riskier_strata_get_more():
    drawn = allocate(np.array([100, 100, 100]), np.array([0.01, 0.1, 0.5]), 60)
    assert list(drawn) == sorted(drawn)
    assert drawn[2] > 2 * drawn[0] > 0
    assert list(allocate(np.array([100, 100]), np.zeros(2), 50)) == [25, 25]


def by_loop(values, counts, strata, sizes):
    """Share and variance of a domain, element by element, without the correction of small variances."""
    n = [strata.count(h) for h in range(len(sizes))]
    units = sum(sizes[h] / n[h] for h, d in zip(strata, counts, strict=True) if d)
    hits = sum(sizes[h] / n[h] * y for y, h, d in zip(values, strata, counts, strict=True) if d)
    return hits / units, units


samples = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), min_size=1, max_size=40
)


@given(samples, st.integers(0, 50))
@example([(0, 0.0, False)] * 4 + [(0, 1.0, True)], 1)  # one hit of one, whose variance is not 0 by rounding
def test_the_share_is_that_of_the_loop(lines, more):
    names = sorted({h for h, _, _ in lines})
    strata = [names.index(h) for h, _, _ in lines]
    values, counts = [y for _, y, _ in lines], [d for _, _, d in lines]
    sizes = [strata.count(h) + more for h in range(len(names))]
    found = stratified_share(np.array(values), np.array(counts), np.array(strata), np.array(sizes))
    if not any(counts):
        assert found is None
        return
    share, units = by_loop(values, counts, strata, sizes)
    assert found.value == pytest.approx(share)
    assert found.units == pytest.approx(units)
    assert -1e-12 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1 + 1e-12
    if not more:  # all units are sampled: nothing is left to chance
        assert found.high - found.low == pytest.approx(0, abs=1e-9)


def test_one_large_stratum_without_hits_has_wilsons_interval():
    found = stratified_share(np.zeros(100), np.ones(100, dtype=bool), np.zeros(100, dtype=int), np.array([10**9]))
    assert found[1:3] == pytest.approx(wilson_interval(0, 100), abs=1e-6)


def test_a_sampled_unit_stands_for_as_many_as_its_stratum_says():
    values = np.array([1.0, 0.0, 0.0, 0.0])
    found = stratified_share(values, np.ones(4, dtype=bool), np.array([0, 0, 1, 1]), np.array([10, 90]))
    assert found.value == pytest.approx(0.05)
    only = stratified_share(values, np.array([True, False, True, False]), np.array([0, 0, 1, 1]), np.array([10, 90]))
    assert only.value == pytest.approx(5 / 50)
    assert only.units == pytest.approx(50)


@pytest.mark.parametrize("kept", [1.0, 0.5])
@pytest.mark.parametrize("middle", [-5.0, -3.0])
def test_intervals_cover_the_truth_in_about_95_of_100_samples(middle, kept):
    generator = np.random.default_rng(3)
    size, number, draws = 1400, 200, 500
    p = 1 / (1 + np.exp(-generator.normal(middle, 1.6, size)))
    false, inside = (generator.random(size) < p).astype(float), generator.random(size) < kept
    strata = np.empty(size, dtype=int)
    strata[np.argsort(p, kind="stable")] = np.arange(size) * 5 // size
    sizes, mean = np.bincount(strata), np.bincount(strata, p) / np.bincount(strata)
    numbers, truth, covered, shares = allocate(sizes, np.sqrt(mean * (1 - mean)), number), false[inside].mean(), 0, []
    for _ in range(draws):
        drawn = np.concatenate([generator.permutation(np.flatnonzero(strata == h))[: numbers[h]] for h in range(5)])
        found = stratified_share(false[drawn], inside[drawn], strata[drawn], sizes)
        covered += found.low <= truth <= found.high
        shares.append(found.value)
    assert 0.92 <= covered / draws <= 0.99
    assert np.mean(shares) == pytest.approx(truth, abs=3 * np.std(shares) / np.sqrt(draws) + 1e-3)
