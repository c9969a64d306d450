import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.eci import DELTA, capacity, eci, hardness, safety
from tests import oracles
from tests.strategies import grid, quick

triples = st.lists(st.tuples(grid, grid, grid), max_size=10)
unit = st.floats(0, 1)


def columns(rows, width=3):
    return np.array(rows, dtype=np.float64).reshape(-1, width).T


@quick
@given(st.lists(st.integers(0, 10_000), max_size=10))
def test_capacity_is_the_double_loop(counts):
    assert capacity(np.array(counts, dtype=np.int64)).tolist() == pytest.approx([oracles.capacity(k) for k in counts])


@quick
@given(triples)
def test_hardness_is_the_double_loop(rows):
    assert hardness(*columns(rows)).tolist() == pytest.approx([oracles.hardness(*row) for row in rows], abs=1e-12)


@quick
@given(triples, st.sampled_from([0.01, DELTA, 0.5]))
def test_safety_is_the_double_loop(rows, delta):
    expected = [oracles.safety(*row, delta) for row in rows]
    assert safety(*columns(rows), delta).tolist() == pytest.approx(expected, abs=1e-9)


@quick
@given(st.lists(st.tuples(st.floats(0, 10), unit, unit), max_size=10))
def test_eci_is_the_double_loop(rows):
    assert eci(*columns(rows)).tolist() == pytest.approx([oracles.eci(*row) for row in rows], abs=1e-12)


@quick
@given(triples)
def test_hardness_and_safety_stay_in_0_to_1(rows):
    for values in (hardness(*columns(rows)), safety(*columns(rows))):
        assert ((values >= 0) & (values <= 1)).all()


@quick
@given(triples, st.floats(-0.5, 0.5), st.floats(0.5, 4))
def test_hardness_and_safety_do_not_depend_on_the_encoders_scale(rows, shift, scale):
    # a span of one grid step at least: at a span of nothing, rounding decides
    rows = [row for row in rows if abs(row[1] - row[2]) > 0.01]
    s, anchor, s0 = columns(rows)
    moved = [x * scale + shift for x in (s, anchor, s0)]
    same = s != anchor  # at the anchor itself, rounding decides which side of it the moved score lies
    np.testing.assert_allclose(hardness(*moved)[same], hardness(s, anchor, s0)[same], atol=1e-9)
    np.testing.assert_allclose(safety(*moved), safety(s, anchor, s0), atol=1e-9)


def test_hardness_by_hand():
    # from s0 = 0.2 to s+ = 0.8: 0.2 is random, 0.5 half way, 0.8 and above as near as the positive
    s = np.array([0.1, 0.2, 0.5, 0.8, 0.9])
    assert hardness(s, np.full(5, 0.8), np.full(5, 0.2)).tolist() == pytest.approx([0, 0, 0.5, 1, 1])


def test_hardness_of_a_positive_no_better_than_random():
    s, anchor = np.array([0.1, 0.3, 0.5]), np.full(3, 0.3)
    assert hardness(s, anchor, np.full(3, 0.3)).tolist() == [0, 1, 1]
    assert hardness(s, anchor, np.full(3, 0.4)).tolist() == [0, 1, 1]


def test_safety_by_hand():
    # span 0.6, delta 0.05: full from a margin of 0.03 on, half at 0.015, none at or above the anchor
    hardest = np.array([0.5, 0.77, 0.785, 0.8, 0.9])
    assert safety(hardest, np.full(5, 0.8), np.full(5, 0.2)).tolist() == pytest.approx([1, 1, 0.5, 0, 0])


def test_safety_of_a_positive_no_better_than_random_is_0():
    assert safety(np.array([-1.0, -1.0]), np.array([0.3, 0.3]), np.array([0.3, 0.4])).tolist() == [0, 0]


def test_eci_by_hand():
    # K = 3, H = 0.5, S = 1: ln 4 * 2 * 0.5 / 1.5
    found = eci(capacity(np.array([3, 3, 0, 3])), np.array([0.5, 0, 0.5, 1]), np.array([1.0, 0, 1, 0]))
    assert found.tolist() == pytest.approx([math.log(4) * 2 / 3, 0, 0, 0])


@quick
@given(st.integers(1, 100), unit, unit, unit)
def test_eci_grows_with_each_of_its_parts(k, h, s, more):
    def value(k, h, s):
        return float(eci(capacity(np.array([k])), np.array([h]), np.array([s]))[0])

    base = value(k, h, s)
    assert value(k + 1, h, s) >= base
    assert value(k, h + (1 - h) * more, s) >= base - 1e-12
    assert value(k, h, s + (1 - s) * more) >= base - 1e-12
    assert base <= math.log(1 + k) + 1e-12
