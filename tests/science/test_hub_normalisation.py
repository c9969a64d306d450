import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.hub_normalisation import bank_sums, hub_normalised
from tests import oracles

cosines = st.floats(-1, 1, width=32)
betas = st.sampled_from([0.5, 20.0, 200.0])


@st.composite
def banks(draw):
    """Scores of two documents to the queries of a bank, shape (2, bank), and the queries' numbers."""
    queries = sorted(draw(st.sets(st.integers(0, 9), min_size=1, max_size=6)))
    scores = draw(st.lists(cosines, min_size=2 * len(queries), max_size=2 * len(queries)))
    return np.array(scores, dtype=np.float32).reshape(2, -1), np.array(queries, dtype=np.int64)


def normalised(scores, queries, beta, s, query):
    sums = bank_sums(scores, queries, beta)
    asked = np.array([query, query])
    return hub_normalised(s, asked, np.isin(asked, queries), sums, len(queries), beta)


@given(banks(), betas, st.integers(0, 9), st.lists(cosines, min_size=2, max_size=2))
def test_scores_are_those_of_a_double_loop_that_leaves_the_query_out(bank, beta, query, given_scores):
    scores, queries = bank
    place = np.flatnonzero(queries == query)
    s = scores[:, place[0]] if len(place) else np.array(given_scores, dtype=np.float32)
    expected = [
        oracles.hub_normalised(
            float(s[d]), [float(x) for x, q in zip(scores[d], queries, strict=True) if q != query], beta
        )
        for d in range(2)
    ]
    np.testing.assert_allclose(normalised(scores, queries, beta, s, query), expected, rtol=1e-5, atol=1e-5)


@given(banks(), betas, cosines)
def test_the_hub_lies_between_mean_and_highest_score_and_order_of_the_bank_hardly_matters(bank, beta, s):
    scores, queries = bank
    both = np.full(2, s, dtype=np.float32)
    hub = both - normalised(scores, queries, beta, both, 99)
    assert (hub <= scores.max(axis=1) + 1e-5).all()
    assert (hub >= scores.mean(axis=1) - 1e-5).all()
    turned = both - normalised(scores[:, ::-1], queries[::-1], beta, both, 99)
    np.testing.assert_allclose(turned, hub, atol=1e-5)


def test_by_hand():
    scores, queries = np.float32([[0.5, 0.5, 0.0], [1.0, -1.0, -1.0]]), np.array([3, 5, 8])
    s = np.float32([0.5, 1.0])
    # query 3 is left out: of the others the first document has 0.5 and 0, the second -1 twice
    first = 0.5 - math.log((math.exp(0.5) + 1) / 2)
    assert normalised(scores, queries, 1.0, s, 3).tolist() == pytest.approx([first, 2.0])
    # a bank of the query alone says nothing
    assert normalised(scores[:, :1], queries[:1], 1.0, s, 3).tolist() == pytest.approx([0.5, 1.0])
    assert normalised(scores[:, :1], queries[:1], 1.0, s, 4).tolist() == pytest.approx([0.0, 0.0])


def test_a_score_far_above_all_others_is_left_out_exactly():
    scores = np.float32([[40.0, -40.0], [40.0, 40.0]])
    found = normalised(scores, np.array([0, 1]), 20.0, scores[:, 0], 0)
    assert found.tolist() == pytest.approx([80.0, 0.0])
