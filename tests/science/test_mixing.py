"""Pairs and coefficients of synthetic negatives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.mixing import QUERY, draw_mixtures
from tests import oracles


def seeds(count):
    return np.arange(count, dtype=np.uint64) * np.uint64(7919) + np.uint64(1)


def drawn(some_seeds, counts, pairs, query_pairs):
    """Return the mixtures of each example as a list of (first, second, alpha)."""
    found = draw_mixtures(some_seeds, np.array(counts, dtype=np.int64), pairs, query_pairs)
    rows = list(zip(found.first.tolist(), found.second.tolist(), found.alpha.tolist(), strict=True))
    ends = np.cumsum(found.lengths)
    return [rows[end - length : end] for end, length in zip(ends.tolist(), found.lengths.tolist(), strict=True)]


counts_of = st.lists(st.integers(0, 6), max_size=8)


@given(counts_of, st.integers(0, 5), st.integers(0, 3))
def test_mixtures_are_the_double_loop(counts, pairs, query_pairs):
    expected = [
        oracles.mixtures(int(seed), count, pairs, query_pairs)
        for seed, count in zip(seeds(len(counts)), counts, strict=True)
    ]
    assert drawn(seeds(len(counts)), counts, pairs, query_pairs) == expected


@given(counts_of, st.integers(0, 5), st.integers(0, 3))
def test_pairs_are_of_two_of_the_examples_own_and_shares_are_within_bounds(counts, pairs, query_pairs):
    for count, own in zip(counts, drawn(seeds(len(counts)), counts, pairs, query_pairs), strict=True):
        assert len(own) == pairs * (count >= 2) + query_pairs * (count >= 1)
        for first, second, alpha in own:
            assert 0 <= second < count
            assert first != second
            assert first == QUERY or 0 <= first < count
            assert 0 < alpha < (0.5 if first == QUERY else 1)


@given(counts_of, st.data())
def test_an_examples_draw_does_not_depend_on_the_others(counts, data):
    order = data.draw(st.permutations(range(len(counts))))
    whole = drawn(seeds(len(counts)), counts, 3, 1)
    assert drawn(seeds(len(counts))[order], [counts[i] for i in order], 3, 1) == [whole[i] for i in order]


def test_draws_are_uniform():
    found = draw_mixtures(seeds(20_000), np.full(20_000, 4), 1, 0)
    counts = np.bincount(found.first * 4 + found.second, minlength=16).reshape(4, 4)
    assert (counts.diagonal() == 0).all()
    expected = 20_000 / 12
    off = counts[~np.eye(4, dtype=bool)]
    assert ((off - expected) ** 2 / expected).sum() < 37  # chi-square with 11 degrees of freedom: p < 1e-4
    assert abs(found.alpha.mean() - 0.5) < 4.5 * np.sqrt(1 / 12 / 20_000)
