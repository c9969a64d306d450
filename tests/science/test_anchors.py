import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.anchors import anchor_of_positive, positive_of_anchor, reduce_anchor
from tests import oracles
from tests.strategies import flat, ragged, scores

HOWS = ("min", "mean", "max", "quantile")


@given(ragged(scores, min_length=1), st.sampled_from(HOWS), st.floats(0, 1))
def test_each_anchor_is_that_of_the_double_loop(lists, how, quantile):
    positives = flat(lists, np.float32)
    found = reduce_anchor(positives, how, quantile)
    assert found.dtype == np.float32
    expected = [oracles.anchor(row, how, quantile) for row in lists]
    assert found.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6 * max([abs(x) for r in lists for x in r] + [0]))


@given(ragged(scores, min_length=1), st.floats(0, 1))
def test_the_quantile_is_numpys(lists, quantile):
    positives = flat(lists, np.float32)
    found = reduce_anchor(positives, "quantile", quantile)
    expected = [np.quantile(np.array(row, dtype=np.float64), quantile) for row in lists]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * max([abs(x) for r in lists for x in r] + [1]))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("min", [0.5, 0.25, 0.875]),
        ("mean", [0.5, 0.5, 0.875]),
        ("max", [0.5, 0.75, 0.875]),
        ("quantile", [0.5, 0.375, 0.875]),
    ],
)
def test_ragged_positives_1_2_1_get_their_own_anchors(how, expected):
    positives = flat([[0.5], [0.75, 0.25], [0.875]], np.float32)
    assert reduce_anchor(positives, how, 0.25).tolist() == expected


@given(st.lists(scores, min_size=1, max_size=5))
def test_the_order_of_positives_does_not_change_min_max_and_quantile(row):
    for how in ("min", "max", "quantile"):
        one, other = flat([row], np.float32), flat([row[::-1]], np.float32)
        assert reduce_anchor(one, how) == reduce_anchor(other, how)


@given(ragged(scores, min_length=1), st.integers(0, 6), st.sampled_from(HOWS), st.floats(0, 1))
def test_a_batch_split_in_two_gives_the_same_bits(lists, cut, how, quantile):
    def anchors(part):
        positives = flat(part, np.float32)
        return reduce_anchor(positives, how, quantile).tolist()

    assert anchors(lists[:cut]) + anchors(lists[cut:]) == anchors(lists)


def test_a_quantile_next_to_a_float32_midpoint_is_the_same_deep_inside_a_batch():
    quantile = 0.5 + 2**-25 + 2**-50
    positives = flat([[0.0, 1.0]] * 600, np.float32)
    found = reduce_anchor(positives, "quantile", quantile)
    assert set(found.tolist()) == {float(np.float32(quantile))}


def test_a_single_positive_is_its_own_anchor_whatever_the_choice():
    positives = flat([[-0.3]], np.float32)
    assert {float(reduce_anchor(positives, how, 0.9)[0]) for how in HOWS} == {float(np.float32(-0.3))}


@pytest.mark.parametrize("lists", [[[1.0], []], [[], [1.0]], [[1.0], [], [2.0]]])
def test_a_query_without_positives_is_refused_and_does_not_borrow_its_neighbours(lists):
    positives = flat(lists, np.float32)
    with pytest.raises(ValueError, match="without positives"):
        reduce_anchor(positives, "min")


def test_an_unknown_choice_is_named():
    positives = flat([[1.0]], np.float32)
    with pytest.raises(ValueError, match="median"):
        reduce_anchor(positives, "median")


def test_no_queries_give_no_anchors():
    found = reduce_anchor(flat([], np.float32), "mean")
    assert found.shape == (0,)
    assert found.dtype == np.float32


def test_positives_and_anchors_are_matched_one_to_one_or_all_to_one():
    positives = flat([[10, 11], [12], [13, 14, 15]], np.int64)
    anchors = flat([[0.1, 0.2], [0.3], [0.4]], np.float32)
    assert positive_of_anchor(anchors, positives).tolist() == [0, 1, -1, -1]
    assert anchor_of_positive(anchors, positives).tolist() == [0, 1, 2, 3, 3, 3]
