import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnmine.science.hidden_positives import fold_of, pick_known, wilson


def test_wilson_is_the_published_interval():
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29
    for hits, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_holds_the_share_and_stays_in_0_1(hits, extra):
    trials = hits + extra
    low, high = wilson(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1


def test_nothing_tried_means_nothing_known():
    assert wilson(0, 0) == (0.0, 1.0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(1, 4), st.integers(0, 99))
def test_known_positives_are_distinct_within_a_query_and_only_of_queries_with_several(positives, hidings, seed):
    counts = np.array(positives)
    query, known = pick_known(np.arange(len(counts)) + 7, counts, hidings, seed)
    assert len(set(zip(query.tolist(), known.tolist(), strict=True))) == len(query)
    for row, count in enumerate(positives):
        expected = min(hidings, count) if count > 1 else 0
        assert (query == row).sum() == expected
        assert (known[query == row] < count).all()


def test_picks_depend_on_the_row_and_not_on_the_batch():
    counts = np.array([3, 5, 2, 4])
    rows = np.array([10, 11, 12, 13])
    query, known = pick_known(rows, counts, 2, 0)
    for part in (slice(0, 2), slice(2, 4)):
        q, k = pick_known(rows[part], counts[part], 2, 0)
        inside = (query >= part.start) & (query < part.stop)
        assert (query[inside] - part.start).tolist() == q.tolist()
        assert known[inside].tolist() == k.tolist()


def test_folds_are_even_and_depend_on_the_seed():
    rows = np.arange(10_000)
    folds = fold_of(rows, 5, 0)
    assert np.bincount(folds).min() > 1800
    assert (folds != fold_of(rows, 5, 1)).mean() > 0.7
    assert fold_of(rows[77:99], 5, 0).tolist() == folds[77:99].tolist()
    assert math.isclose(folds.mean(), 2, abs_tol=0.1)
