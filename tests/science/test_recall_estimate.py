"""Recall from a sample: the double loop, its properties, and the true recall on made vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.recall_estimate import (
    KNOWN,
    NOWHERE,
    Ranking,
    pooled_recall,
    weighted_recall,
)
from tests import oracles

documents = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 2.5, 7.0]), st.floats(0, 1)).map(lambda pair: (pair[0], pair[0] * pair[1])),
    min_size=1,
    max_size=9,
)
depths = st.integers(1, 12)


def arrays(lists):
    wide = max(len(one) for one in lists)
    padded = [[*one, *[(0.0, 0.0)] * (wide - len(one))] for one in lists]
    both = np.array(padded)
    return both[:, :, 0], both[:, :, 1]


def pooled(lists, k):
    return pooled_recall(*arrays(lists), k, np.ones(len(lists)))


@given(st.lists(documents, min_size=1, max_size=4), depths)
def test_it_is_the_walk_of_each_query(lists, k):
    expected = [oracles.weighted_recall(one, k) for one in lists]
    np.testing.assert_allclose(weighted_recall(*arrays(lists), k), expected, atol=1e-12)


@given(documents, depths)
def test_pooled_over_one_query_it_is_the_same(one, k):
    np.testing.assert_allclose(pooled([one], k), oracles.weighted_recall(one, k), atol=1e-12)


@given(st.lists(documents, min_size=1, max_size=4), depths, st.randoms())
def test_both_are_shares_that_no_order_of_queries_changes(lists, k, random):
    shuffled = random.sample(lists, len(lists))
    for values in (weighted_recall(*arrays(lists), k), np.array([pooled(lists, k)])):
        real = values[~np.isnan(values)]
        assert ((real >= 0) & (real <= 1 + 1e-12)).all()
    np.testing.assert_allclose(
        np.sort(weighted_recall(*arrays(shuffled), k)), np.sort(weighted_recall(*arrays(lists), k)), atol=1e-12
    )
    np.testing.assert_allclose(pooled(shuffled, k), pooled(lists, k), atol=1e-12)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.floats(1, 9), depths)
def test_it_is_one_where_no_drawn_document_stands_among_the_first(known, weight, k):
    one = [(1.0, 1.0)] * k + [(1.0, 1.0) if own else (weight, 0.0) for own in known]
    assert weighted_recall(*arrays([one]), k)[0] == pytest.approx(1)
    assert pooled([one], k) == pytest.approx(1)


@given(documents, depths, st.data())
def test_more_found_is_never_less(one, k, data):
    place = data.draw(st.integers(0, len(one) - 1))
    better = [(weight, weight if n == place else found) for n, (weight, found) in enumerate(one)]
    before, after = (weighted_recall(*arrays([x]), k)[0] for x in (one, better))
    assert np.isnan(before) or after >= before - 1e-12
    assert np.isnan(pooled([one], k)) or pooled([better], k) >= pooled([one], k) - 1e-12


@given(st.lists(st.booleans(), min_size=1, max_size=20), depths)
def test_with_weights_of_one_it_is_the_recall(found, k):
    one = [(1.0, float(own)) for own in found]
    assert weighted_recall(*arrays([one]), k)[0] == pytest.approx(np.mean(found[:k]))


def test_nothing_gives_no_number_and_what_reaches_beyond_k_counts_in_part():
    empty = np.zeros((2, 0))
    assert np.isnan(weighted_recall(empty, empty, 3)).all()
    assert np.isnan(pooled_recall(empty, empty, 3, np.ones(len(empty))))
    assert np.isnan(weighted_recall(np.zeros((1, 2)), np.zeros((1, 2)), 3)).all()
    # of the second document, 2 of its weight of 4 count, and half of the 1 that was found
    assert weighted_recall(np.array([[1.0, 4.0]]), np.array([[1.0, 1.0]]), 3).tolist() == [0.5]


def made(drawn, seed, queries=300, size=6000, k=50):
    """Return (true recall, walk, pooled) where a noisy view of the scores finds 150 documents a query."""
    generator = np.random.default_rng(seed)
    vectors, asked = generator.normal(size=(size, 8)), generator.normal(size=(queries, 8))
    scores = asked @ vectors.T
    found = np.argsort(-(scores + generator.normal(0, 1.5, scores.shape)), axis=1)[:, :150]
    own = np.zeros(scores.shape, dtype=bool)
    own[np.arange(queries)[:, None], found] = True
    known = np.zeros(size, dtype=bool)
    known[found[:6].ravel()] = True  # brought up by a few queries only, so that much is left to chance
    own &= known
    sample = np.zeros(size, dtype=bool)
    sample[generator.permutation(size)[:drawn]] = True
    chance = sample & ~known
    weight = np.where(known, 1.0, (~known).sum() / chance.sum())[known | chance]
    order = np.argsort(-scores[:, known | chance], axis=1)[:, :k]
    counted = np.take_along_axis(own[:, known | chance], order, 1).astype(float)
    true = np.take_along_axis(own, np.argsort(-scores, axis=1)[:, :k], 1).mean()
    walk = weighted_recall(weight[order], counted, k).mean()
    return true, walk, pooled_recall(weight[order], counted, k, np.ones(len(counted)))


def test_it_estimates_the_true_recall_where_the_sample_is_dense():
    found = np.array([made(1500, seed) for seed in range(6)])
    np.testing.assert_allclose(found[:, 1].mean(), found[:, 0].mean(), rtol=0.06)


def test_where_a_weight_is_large_the_walk_is_too_high_and_the_pooled_one_is_not():
    true, walk, together = np.array([made(60, seed) for seed in range(8)]).mean(axis=0)
    assert walk > 1.25 * true
    assert together < 1.1 * true


rankings = st.lists(
    st.lists(st.tuples(st.sampled_from([KNOWN, KNOWN, 0, 1, 2]), st.booleans()), min_size=1, max_size=8),
    min_size=1,
    max_size=4,
)


def ranking(lists, weight):
    wide = max(len(one) for one in lists)
    padded = [[*one, *[(NOWHERE, False)] * (wide - len(one))] for one in lists]
    both = np.array(padded, dtype=np.int64)
    return Ranking(both[:, :, 0], both[:, :, 1].astype(bool), 3, weight)


@given(rankings, st.floats(1, 6), depths, st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_a_document_drawn_twice_stands_for_twice_as_many(lists, weight, k, times):
    expected = []
    for one in lists:
        own = [(weight * times[d], found * times[d]) if d >= 0 else (1.0, float(found)) for d, found in one]
        expected.append(oracles.weighted_recall(own, k))
    found = ranking(lists, weight).recall(k, False, np.array(times, dtype=float))
    if np.isnan(expected).all():
        assert np.isnan(found)
    else:
        assert found == pytest.approx(np.nanmean(expected), abs=1e-12)


@given(rankings, st.floats(1, 6), depths, st.booleans())
def test_a_query_that_counts_twice_is_two_queries(lists, weight, k, pooled):
    counts = np.arange(len(lists)) % 3
    if not counts.any():
        return
    own = ranking([one for one, often in zip(lists, counts, strict=True) for _ in range(often)], weight)
    assert ranking(lists, weight).recall(k, pooled, None, counts) == pytest.approx(own.recall(k, pooled), abs=1e-12)


@given(rankings, st.floats(1, 6), depths, st.booleans(), st.integers(0, 3))
def test_resamples_are_shares_and_the_seed_decides_them(lists, weight, k, pooled, seed):
    own = ranking(lists, weight)
    found = own.resampled(k, pooled, seed, 9)
    real = found[~np.isnan(found)]
    assert ((real >= 0) & (real <= 1 + 1e-12)).all()
    np.testing.assert_array_equal(found, own.resampled(k, pooled, seed, 9))


def test_the_interval_knows_of_the_documents_drawn_not_of_the_queries_alone():
    alike = [[(KNOWN, True)] * 5 + [(0, False)] + [(KNOWN, True)] * 9] * 50  # no query differs from another
    found = ranking(alike, 5.0).resampled(10, False, 0)
    assert np.ptp(found) > 0.2
