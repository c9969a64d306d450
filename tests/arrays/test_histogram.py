import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.histogram import borders, counts
from tests import oracles

finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(finite, finite, st.integers(1, 60))
def test_borders_hold_both_ends_and_are_not_too_many(a, b, bins):
    low, high = min(a, b), max(a, b)
    edges = borders(low, high, bins)
    assert edges[0] <= low
    assert edges[-1] >= high
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= bins + 2


@pytest.mark.parametrize(
    ("low", "high", "bins", "expected"),
    [(0.0, 1.0, 4, [0, 0.25, 0.5, 0.75, 1]), (0.12, 0.38, 3, [0.1, 0.2, 0.3, 0.4]), (-3, 5, 4, [-4, -2, 0, 2, 4, 6])],
)
def test_borders_are_round(low, high, bins, expected):
    assert borders(low, high, bins).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (math.nan, 1.0), (0.0, math.inf)])
def test_borders_of_nothing_are_an_error(low, high):
    with pytest.raises(ValueError, match="no borders"):
        borders(low, high)


@given(st.lists(st.integers(-40, 40).map(lambda n: n / 8), max_size=30), st.integers(0, 30))
def test_counts_are_those_of_the_double_loop_and_add_up_over_pieces(values, cut):
    edges = borders(-2.0, 2.0, 7)
    found = counts(np.array(values), edges)
    assert found.tolist() == oracles.bin_counts(values, edges.tolist())
    np.testing.assert_array_equal(counts(np.array(values[:cut]), edges) + counts(np.array(values[cut:]), edges), found)


NUMBERS = st.floats(-1e6, 1e6, width=32)


@given(st.lists(st.one_of(NUMBERS, st.sampled_from([0.1, 0.3, math.nan, math.inf])), max_size=20), st.data())
def test_counts_are_those_of_the_double_loop_on_borders_of_any_width(values, data):
    edges = sorted(set(data.draw(st.lists(NUMBERS, min_size=2, max_size=9, unique=True))))
    edges += [value for value in values if value > edges[-1] and math.isfinite(value)][:1]  # a value on the last one
    given_values = np.array(values, dtype=np.float64)
    assert counts(given_values, np.array(edges)).tolist() == oracles.bin_counts(values, edges)


@given(st.lists(st.tuples(st.integers(-40, 40).map(lambda n: n / 8), st.integers(0, 3)), max_size=30))
def test_a_value_that_counts_several_times_is_as_many_values(pairs):
    edges = borders(-2.0, 2.0, 7)
    values, times = np.array([value for value, _ in pairs]), np.array([n for _, n in pairs], dtype=np.int64)
    assert counts(values, edges, times).tolist() == counts(np.repeat(values, times), edges).tolist()
