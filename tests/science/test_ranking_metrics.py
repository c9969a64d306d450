import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.ranking_metrics import ndcg

gain_lists = st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=6)


def dcg(gains):
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


@given(gain_lists, gain_lists)
def test_ndcg_is_the_double_loop(found, best):
    rows = min(len(found), len(best))
    ideal = [sorted(row, reverse=True) for row in best[:rows]]
    expected = [dcg(a) / dcg(b) if dcg(b) else 0.0 for a, b in zip(found, ideal, strict=False)]
    np.testing.assert_allclose(ndcg(np.array(found[:rows]), np.array(ideal)), expected)


@given(gain_lists)
def test_ndcg_of_the_best_order_is_1_and_of_no_order_more(rows):
    ideal = -np.sort(-np.array(rows), axis=1)
    some = ideal.sum(axis=1) > 0
    np.testing.assert_allclose(ndcg(ideal, ideal), some.astype(float))
    assert (ndcg(np.array(rows), ideal) <= 1 + 1e-12).all()
