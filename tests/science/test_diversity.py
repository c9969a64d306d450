import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.dots import pair_dots, unit
from hnmine.science.diversity import marginal_relevance
from hnmine.science.sampling import choose
from tests import oracles
from tests.strategies import f32


@st.composite
def lists(draw):
    """Return (groups, relevance in descending order of each group, vectors, which vector each element has)."""
    rows = draw(st.lists(st.lists(st.integers(-4, 4), max_size=5), max_size=4))
    groups = [g for g, row in enumerate(rows) for _ in row]
    relevance = [f32(value / 8) for row in rows for value in sorted(row, reverse=True)]
    angles = np.array([0.0, 0.4, 0.4, 1.3, 2.9])  # two vectors are the same
    vectors = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    at = draw(st.lists(st.integers(0, 4), min_size=len(groups), max_size=len(groups)))
    return np.array(groups, dtype=np.int64), np.array(relevance, np.float32), vectors, np.array(at, dtype=np.int64)


@given(lists(), st.integers(1, 4), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_it_is_the_double_loop(given_lists, n, diversity):
    groups, relevance, vectors, at = given_lists

    def similarity(i, j):
        return float(pair_dots(vectors[at[i : i + 1]], vectors[at[j : j + 1]])[0])

    found = marginal_relevance(groups, relevance, vectors, at, n, diversity)
    plain = [float(value) for value in relevance]
    assert found.tolist() == oracles.marginal_relevance(groups.tolist(), plain, similarity, n, diversity)


@given(lists(), st.integers(1, 4))
def test_without_diversity_it_is_top(given_lists, n):
    groups, relevance, vectors, at = given_lists
    assert marginal_relevance(groups, relevance, vectors, at, n, 0.0).tolist() == choose(groups, None, n).tolist()


@given(lists(), st.integers(1, 4), st.sampled_from([0.25, 0.5, 1.0]))
def test_a_group_by_itself_gets_what_it_gets_among_others(given_lists, n, diversity):
    groups, relevance, vectors, at = given_lists
    whole = marginal_relevance(groups, relevance, vectors, at, n, diversity)
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        found = own[marginal_relevance(groups[own], relevance[own], vectors, at[own], n, diversity)]
        assert found.tolist() == whole[groups[whole] == group].tolist()


@given(lists(), st.integers(1, 4), st.sampled_from([0.0, 0.3, 1.0]))
def test_a_larger_n_chooses_all_that_a_smaller_one_does_and_never_too_many(given_lists, n, diversity):
    groups, relevance, vectors, at = given_lists
    fewer = marginal_relevance(groups, relevance, vectors, at, n, diversity)
    more = marginal_relevance(groups, relevance, vectors, at, n + 1, diversity)
    assert set(fewer.tolist()) <= set(more.tolist())
    for group in np.unique(groups):
        assert (groups[fewer] == group).sum() == min(n, (groups == group).sum())


@pytest.mark.parametrize(("diversity", "expected"), [(0.0, [0, 1]), (0.1, [0, 1]), (0.3, [0, 2]), (1.0, [0, 2])])
def test_the_second_is_the_twin_until_diversity_counts(diversity, expected):
    # two documents at 0 degrees, scores 0.9 and 0.88, and one at 90 degrees with 0.7: 0.18 a step apart, cosine 1 and 0
    vectors = np.array([[1, 0], [0, 1]], dtype=np.float32)
    found = marginal_relevance(
        np.zeros(3, np.int64), np.array([0.9, 0.88, 0.7]), vectors, np.array([0, 0, 1]), 2, diversity
    )
    assert found.tolist() == expected


def test_nothing_gives_nothing():
    none = np.zeros(0, dtype=np.int64)
    assert marginal_relevance(none, none.astype(np.float32), np.zeros((0, 2), np.float32), none, 3, 0.5).tolist() == []


def test_unit_vectors_have_length_1_and_a_vector_of_zeros_stays():
    found = unit(np.array([[3, 4], [0, 0], [-0.5, 0]], dtype=np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [-1, 0]], rtol=1e-6)
