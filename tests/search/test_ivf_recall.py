import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.search.ivf import fewest_lists, recall_by_lists
from tests import oracles
from tests.strategies import quick


@st.composite
def ranked(draw):
    lists = draw(st.integers(1, 6))
    rows = draw(st.lists(st.lists(st.integers(0, lists - 1), max_size=5), min_size=1, max_size=5))
    width = max(map(len, rows))
    return np.array([row + [-1] * (width - len(row)) for row in rows], dtype=np.int64).reshape(len(rows), width), lists


@quick
@given(ranked())
def test_recall_by_lists_is_the_double_loop(case):
    ranks, lists = case
    found = recall_by_lists(ranks, lists)
    np.testing.assert_allclose(found, oracles.recall_by_lists(ranks.tolist(), lists), rtol=1e-12)


@quick
@given(ranked())
def test_more_lists_never_lower_recall_and_all_of_them_find_all(case):
    found = recall_by_lists(*case)
    if not np.isnan(found).any():
        assert (np.diff(found) >= 0).all()
        assert found[-1] == 1


def test_by_hand():
    found = recall_by_lists(np.array([[0, 0, 2, 2], [1, 1, -1, -1]]), 3)
    np.testing.assert_array_equal(found, [0.25, 0.75, 1])


def test_no_documents_have_no_recall():
    assert np.isnan(recall_by_lists(np.zeros((0, 3), np.int64), 2)).all()
    assert np.isnan(recall_by_lists(np.full((2, 3), -1), 2)).all()


@pytest.mark.parametrize(("wanted", "lists"), [(0.0, 1), (0.5, 1), (0.51, 2), (0.9, 2), (0.95, 4), (1.0, 4)])
def test_fewest_lists(wanted, lists):
    assert fewest_lists(np.array([0.5, 0.9, 0.9, 1]), wanted) == lists


def test_where_no_number_is_enough_all_lists_are_looked_at():
    assert fewest_lists(np.array([0.5, 0.9]), 0.95) == 2
    assert fewest_lists(np.full(3, np.nan), 0.95) == 3
