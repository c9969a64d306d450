import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.near_queries import near_labels, near_query_weights, one_label
from tests import oracles
from tests.strategies import flat


@st.composite
def worlds(draw):
    """Return (candidates, near queries, their nearness, labels of every query), as lists of lists."""
    asked, known = draw(st.integers(0, 4)), draw(st.integers(1, 6))
    documents = st.integers(0, 8)
    candidates = draw(st.lists(st.lists(documents, unique=True, max_size=6), min_size=asked, max_size=asked))
    rows = st.lists(st.integers(0, known - 1), unique=True, max_size=known)
    near = draw(st.lists(rows, min_size=asked, max_size=asked))
    z = [draw(st.lists(st.integers(-3, 9), min_size=len(row), max_size=len(row))) for row in near]
    labels = draw(st.lists(st.lists(documents, max_size=4), min_size=known, max_size=known))
    return candidates, near, z, labels


def found(world):
    candidates, near, z, labels = world
    lists = (flat(candidates, np.int64), flat(near, np.int64), flat(z, np.float32).values, flat(labels, np.int64))
    return near_labels(*lists)


def test_near_labels_by_hand():
    nearest, share = found(([[7, 8, 9]], [[1, 2]], [[2, 1]], [[9], [7], [7, 8]]))
    e = np.exp(1)
    assert nearest.tolist() == [2, 1, 0]
    assert share == pytest.approx([1, 1 / (1 + e), 0])


@given(worlds())
def test_near_labels_are_those_of_a_double_loop(world):
    nearest, share = found(world)
    expected = oracles.near_labels(*world)
    assert nearest.tolist() == expected[0]
    assert share == pytest.approx(expected[1])


@given(worlds())
def test_share_is_at_most_1_and_nothing_is_said_without_labels(world):
    candidates, near, z, labels = world
    _, share = found(world)
    assert (share >= 0).all()
    assert (share <= 1 + 1e-12).all()
    nothing = found((candidates, near, z, [[] for _ in labels]))
    assert not np.concatenate(nothing).any()


@given(worlds())
def test_another_label_never_lowers_the_share(world):
    candidates, near, z, labels = world
    _, fewer = found(world)
    _, more = found((candidates, near, z, [[*row, 3] for row in labels]))
    assert (more >= fewer - 1e-12).all()


@given(worlds())
def test_weights_add_to_1_and_do_not_depend_on_the_zero_of_z(world):
    z = flat(world[2], np.float32)
    weights = near_query_weights(z)
    sums = np.bincount(z.owners, weights=weights, minlength=len(z))
    assert sums == pytest.approx((z.lengths > 0).astype(float))
    assert near_query_weights(z.with_values(z.values + 5)) == pytest.approx(weights)


@given(st.lists(st.lists(st.integers(0, 99), unique=True, max_size=4), min_size=1, max_size=5), st.integers(0, 99))
def test_consecutive_numbers_give_each_label_once(lists, seed):
    labels = flat(lists, np.int64)
    for row, own in enumerate(lists):
        numbers = np.arange(len(own))
        found = one_label(labels, np.full(len(own), row), numbers, seed)
        assert sorted(found.values.tolist()) == sorted(own)
        again = one_label(labels, np.array([row]), np.array([len(own)]), seed)
        assert again.values.tolist() == found.values[:1].tolist()
