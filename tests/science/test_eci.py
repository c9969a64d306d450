import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.dots import unit
from hnmine.science.eci import DELTA, capacity, eci, eci_sem, hardness, residual_weight, safety
from tests import oracles
from tests.strategies import grid

triples = st.lists(st.tuples(grid, grid, grid), max_size=10)
shares = st.floats(0, 1)


def columns(rows, width=3):
    return np.array(rows, dtype=np.float64).reshape(-1, width).T


@given(st.lists(st.integers(0, 10_000), max_size=10))
def test_capacity_is_the_double_loop(counts):
    assert capacity(np.array(counts, dtype=np.int64)).tolist() == pytest.approx([oracles.capacity(k) for k in counts])


@given(triples)
def test_hardness_is_the_double_loop(rows):
    assert hardness(*columns(rows)).tolist() == pytest.approx([oracles.hardness(*row) for row in rows], abs=1e-12)


@given(triples, st.sampled_from([0.01, DELTA, 0.5]))
def test_safety_is_the_double_loop(rows, delta):
    expected = [oracles.safety(*row, delta) for row in rows]
    assert safety(*columns(rows), delta).tolist() == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 10), shares, shares), max_size=10))
def test_eci_is_the_double_loop(rows):
    assert eci(*columns(rows)).tolist() == pytest.approx([oracles.eci(*row) for row in rows], abs=1e-12)


@given(triples)
def test_hardness_and_safety_stay_in_0_to_1(rows):
    for values in (hardness(*columns(rows)), safety(*columns(rows))):
        assert ((values >= 0) & (values <= 1)).all()


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


@given(st.integers(1, 100), shares, shares, shares)
def test_eci_grows_with_each_of_its_parts(k, h, s, more):
    def value(k, h, s):
        return float(eci(capacity(np.array([k])), np.array([h]), np.array([s]))[0])

    base = value(k, h, s)
    assert value(k + 1, h, s) >= base
    assert value(k, h + (1 - h) * more, s) >= base - 1e-12
    assert value(k, h, s + (1 - s) * more) >= base - 1e-12
    assert base <= math.log(1 + k) + 1e-12


share = st.floats(0, 1)


seeds = st.integers(0, 2**32 - 1)


def world(seed, rows, k, dim=12):
    """Return residuals of unit vectors and weights, some of them 0."""
    random = np.random.default_rng(seed)
    positive, negatives = random.normal(size=(rows, 1, dim)), random.normal(size=(rows, k, dim))
    directions = [unit(x.reshape(-1, dim)).reshape(x.shape) for x in (negatives, positive)]
    return directions[0] - directions[1], random.random((rows, k)) * (random.random((rows, k)) < 0.8)


@given(st.lists(st.tuples(share, share, share), max_size=10))
def test_weights_are_the_double_loop_and_stay_in_0_to_1(rows):
    found = residual_weight(*np.array(rows).reshape(-1, 3).T)
    assert found.tolist() == pytest.approx([oracles.residual_weight(*row) for row in rows], abs=1e-12)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("part", [(0, 1, 0), (1, 0, 0), (1, 1, 1)])
def test_any_part_of_0_leaves_no_weight(part):
    assert residual_weight(*(np.array([float(x)]) for x in part)).tolist() == [0]
    assert residual_weight(np.array([1.0]), np.array([1.0]), np.array([0.0])).tolist() == [1]


@given(seeds, st.integers(1, 4), st.integers(0, 8), st.sampled_from([2, 5, 12]))
def test_it_is_the_determinant_of_the_large_matrix(seed, rows, k, dim):
    residuals, weights = world(seed, rows, k, dim)
    expected = [oracles.eci_sem(r.astype(np.float64), w) for r, w in zip(residuals, weights, strict=True)]
    assert eci_sem(residuals, weights).tolist() == pytest.approx(expected, abs=1e-9)


@given(seeds, st.integers(2, 6), st.floats(0.05, 1))
def test_copies_of_one_negative_score_less_than_as_many_different_ones(seed, n, weight):
    residuals, _ = world(seed, 1, n)
    residuals /= np.linalg.norm(residuals, axis=2, keepdims=True)  # the same length: they differ in direction alone
    weights = np.full((1, n), weight)
    copies = eci_sem(np.repeat(residuals[:, :1], n, axis=1), weights)[0]
    assert copies == pytest.approx(math.log(1 + n * weight), abs=1e-5)
    assert copies < eci_sem(residuals, weights)[0]


@given(seeds, st.integers(1, 4), st.integers(1, 6))
def test_it_lies_between_all_alike_and_all_at_right_angles(seed, rows, k):
    residuals, weights = world(seed, rows, k)
    own = weights * (residuals.astype(np.float64) ** 2).sum(axis=2)
    found = eci_sem(residuals, weights)
    assert (found >= np.log1p(own.sum(axis=1)) - 1e-9).all()
    assert (found <= np.log1p(own).sum(axis=1) + 1e-9).all()


@given(seeds, st.integers(1, 6), st.integers(0, 5))
def test_removing_a_negative_never_raises_it(seed, k, which):
    residuals, weights = world(seed, 3, k)
    fewer = np.delete(residuals, which % k, axis=1), np.delete(weights, which % k, axis=1)
    assert (eci_sem(*fewer) <= eci_sem(residuals, weights) + 1e-9).all()


@given(seeds, st.integers(1, 6))
def test_the_order_changes_nothing(seed, k):
    residuals, weights = world(seed, 2, k)
    order = np.random.default_rng(seed).permutation(k)
    moved = eci_sem(residuals[:, order], weights[:, order])
    assert moved.tolist() == pytest.approx(eci_sem(residuals, weights).tolist(), abs=1e-9)


@given(seeds, st.integers(1, 5), st.integers(1, 5), st.integers(0, 3))
def test_rows_beside_it_and_places_filled_up_change_no_bit(seed, rows, k, more):
    residuals, weights = world(seed, rows, k)
    whole = eci_sem(residuals, weights)
    padded = np.pad(residuals, ((0, 0), (0, more), (0, 0))), np.pad(weights, ((0, 0), (0, more)))
    assert eci_sem(*padded).tolist() == whole.tolist()
    assert [eci_sem(residuals[i : i + 1], weights[i : i + 1])[0] for i in range(rows)] == whole.tolist()


def test_by_hand():
    # residuals (1, 0) and (0, 2) with weights 1 and 0.5: det diag(2, 3); the same twice: det diag(3, 1)
    residuals = np.array([[[1.0, 0], [0, 2]], [[1, 0], [1, 0]]])
    assert eci_sem(residuals, np.array([[1, 0.5], [1, 1]])).tolist() == pytest.approx([math.log(6), math.log(3)])
    assert eci_sem(residuals, np.zeros((2, 2))).tolist() == [0, 0]
    assert eci_sem(np.zeros((2, 0, 3)), np.zeros((2, 0))).tolist() == [0, 0]
    assert eci_sem(np.zeros((0, 2, 3)), np.zeros((0, 2))).tolist() == []
