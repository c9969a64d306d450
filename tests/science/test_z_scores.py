import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.z_scores import at_background, background, background_z_scores, group_z_scores
from tests import oracles
from tests.strategies import grid, scores

members = st.lists(st.tuples(st.integers(0, 3), grid, st.booleans()), max_size=20)


def arrays(rows):
    groups, values, counted = ([row[i] for row in rows] for i in range(3))
    return np.array(values, dtype=np.float32), np.array(groups, dtype=np.int64), np.array(counted, dtype=bool)


@given(members)
def test_within_is_the_double_loop(rows):
    found = group_z_scores(*arrays(rows), 4)
    for group in range(4):
        mine = [place for place, row in enumerate(rows) if row[0] == group]
        expected = oracles.group_z_scores([rows[i][1] for i in mine], [rows[i][2] for i in mine])
        assert found[mine].tolist() == pytest.approx(expected, abs=1e-9)


@given(members, st.data())
def test_a_group_has_the_same_bits_alone_and_among_others(rows, data):
    values, groups, counted = arrays(rows)
    whole = group_z_scores(values, groups, counted, 4)
    mine = groups == data.draw(st.integers(0, 3))
    alone = group_z_scores(values[mine], np.zeros(mine.sum(), dtype=np.int64), counted[mine], 1)
    np.testing.assert_array_equal(whole[mine], alone)


def test_a_group_of_equal_or_uncounted_members_is_0_and_not_nan():
    third = np.float32(1 / 3)
    values = np.array([third, third, third, 0.1, 0.9], dtype=np.float32)
    counted = np.array([True, True, True, False, False])
    assert group_z_scores(values, np.array([0, 0, 0, 1, 1]), counted, 3).tolist() == [0] * 5


def test_members_that_do_not_count_still_get_a_value():
    found = group_z_scores(
        np.array([1, 3, 7], dtype=np.float32), np.zeros(3, np.int64), np.array([True, True, False]), 1
    )
    assert found.tolist() == [-1, 1, 5]


def test_against_a_background_and_against_one_without_spread():
    found = background_z_scores(np.array([1.0, 1.0], np.float32), np.array([0.5, 0.5]), np.array([0.25, 0.0]))
    assert found.tolist() == [2, 0]


@given(st.data(), st.integers(0, 5), st.integers(1, 6))
def test_mean_and_deviation_are_the_double_loop(data, rows, width):
    row = st.lists(scores, min_size=width, max_size=width)
    mask = st.lists(st.booleans(), min_size=width, max_size=width)
    values = data.draw(st.lists(row, min_size=rows, max_size=rows))
    excluded = data.draw(st.lists(mask, min_size=rows, max_size=rows))
    shape = (rows, width)
    mean, std = background(
        np.array(values, dtype=np.float32).reshape(shape), np.array(excluded, dtype=bool).reshape(shape)
    )
    expected = [oracles.background(v, e) for v, e in zip(values, excluded, strict=True)]
    scale = max([abs(x) for v in values for x in v] + [1])
    np.testing.assert_allclose(mean, [m for m, _ in expected], rtol=1e-6, atol=1e-7 * scale)
    np.testing.assert_allclose(std, [s for _, s in expected], rtol=1e-6, atol=1e-7 * scale)


def test_excluded_places_do_not_count():
    scores_ = np.array([[1.0, 2.0, 9.0], [1.0, 2.0, 9.0]], dtype=np.float32)
    mean, std = background(scores_, np.array([[False, False, True], [False, False, False]]))
    assert mean.tolist() == [1.5, 4.0]
    assert std.tolist() == [0.5, pytest.approx((38 / 3) ** 0.5)]


def test_where_all_is_excluded_all_counts():
    mean, std = background(np.array([[1.0, 3.0]], dtype=np.float32), np.array([[True, True]]))
    assert (mean[0], std[0]) == (2.0, 1.0)


def test_large_equal_scores_have_no_deviation():
    mean, std = background(np.full((1, 256), 16_777_215, dtype=np.float32), np.zeros((1, 256), dtype=bool))
    assert (mean[0], std[0]) == (16_777_215.0, 0.0)


@given(st.lists(st.tuples(scores, scores, st.floats(0, 4, width=32)), max_size=8))
def test_at_background_is_within_one_deviation_of_the_mean(rows):
    s, mean, std = (np.array([row[i] for row in rows], dtype=np.float32) for i in range(3))
    expected = [float(a) <= float(b) + float(c) for a, b, c in zip(s, mean, std, strict=True)]
    assert at_background(s, mean, std).tolist() == expected


def test_of_random_scores_five_in_six_are_at_background_and_of_the_nearest_none():
    drawn = np.random.default_rng(3).normal(0.1, 0.05, 10_000).astype(np.float32)
    mean, std = background(drawn[None], np.zeros((1, len(drawn)), dtype=bool))
    share = at_background(drawn, np.repeat(mean, len(drawn)), np.repeat(std, len(drawn))).mean()
    assert 0.83 < share < 0.86
    assert not at_background(np.sort(drawn)[-100:], np.repeat(mean, 100), np.repeat(std, 100)).any()
    assert not at_background(np.array([np.nan]), mean, std).any()
