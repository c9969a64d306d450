import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.margins import (
    absolute,
    adaptive,
    at_or_above,
    below,
    easiest,
    guide,
    margin,
    multi_similarity,
    percent,
    rank_window,
)
from tests import oracles
from tests.strategies import f32, grid, scores

pairs = st.lists(st.tuples(scores, scores), max_size=12)
shares = st.floats(0.01, 1)
gaps = st.floats(0, 2)


def columns(rows):
    both = np.array(rows, dtype=np.float32).reshape(-1, 2)
    return both[:, 0], both[:, 1]


@given(pairs, gaps)
def test_margin_is_the_double_loop(rows, m):
    s, anchor = columns(rows)
    assert margin(s, anchor, m).tolist() == [oracles.keeps_margin(a, b, m) for a, b in rows]


@given(st.lists(st.tuples(*[st.floats(-1, 1, width=32) | st.sampled_from([math.nan, math.inf, -math.inf])] * 2)))
def test_at_or_above_is_the_double_loop(rows):
    s, positive = columns(rows)
    expected = [math.isfinite(a) and math.isfinite(b) and a >= b for a, b in rows]
    assert at_or_above(s, positive).tolist() == expected


@given(st.lists(st.tuples(scores, scores, scores), max_size=12), st.floats(0, 0.99))
def test_adaptive_is_the_double_loop(rows, m):
    s, anchor, floor = np.array(rows, dtype=np.float32).reshape(-1, 3).T
    assert adaptive(s, anchor, floor, m).tolist() == [oracles.keeps_adaptive(a, b, c, m) for a, b, c in rows]


@given(pairs, gaps)
def test_guide_is_the_double_loop(rows, m):
    g, anchor = columns(rows)
    assert guide(g, anchor, m).tolist() == [oracles.keeps_guide(a, b, m) for a, b in rows]


@given(pairs, gaps, gaps)
def test_a_wider_guide_margin_never_keeps_more_nor_what_is_above_the_anchor(rows, one, other):
    g, anchor = columns(rows)
    strict, loose = guide(g, anchor, max(one, other)), guide(g, anchor, min(one, other))
    assert not (strict & ~loose).any()
    assert not (loose & (g > anchor)).any()


def test_guide_masks_what_the_papers_code_masks():
    # sentence-transformers' GISTEmbedLoss, margin_strategy "absolute": masked where g > g+ - margin
    g = np.array([0.71, 0.6, 0.7, -0.9, 0.65], dtype=np.float32)
    assert guide(g, np.float32(0.7), 0.0).tolist() == [False, True, True, True, True]
    assert guide(g, np.float32(0.7), 0.0625).tolist() == [False, True, False, True, False]
    assert guide(np.array([-0.8, -0.2], dtype=np.float32), np.float32(-0.5), 0.25).tolist() == [True, False]


@given(st.lists(scores, max_size=12), st.lists(scores, min_size=1, max_size=4), gaps)
def test_multi_similarity_is_the_double_loop(candidates, positives, epsilon):
    s, lowest = np.array(candidates, dtype=np.float32), np.float32(min(positives))
    expected = [oracles.keeps_multi_similarity(one, positives, epsilon) for one in candidates]
    assert multi_similarity(s, lowest, epsilon).tolist() == expected


@given(pairs, gaps, gaps)
def test_a_smaller_epsilon_never_keeps_more_and_what_scores_above_the_positive_is_kept(rows, one, other):
    s, lowest = columns(rows)
    strict, loose = (multi_similarity(s, lowest, epsilon) for epsilon in (min(one, other), max(one, other)))
    assert not (strict & ~loose).any()
    assert strict[s > lowest].all()


def test_multi_similarity_by_hand():
    s = np.array([0.9, 0.75, 0.625, 0.5, -0.5], dtype=np.float32)
    assert multi_similarity(s, np.float32(0.75), 0.125).tolist() == [True, True, False, False, False]  # on the line: no
    assert multi_similarity(s, np.float32(-0.25), 0.5).tolist() == [True] * 5


@given(pairs, shares)
def test_percent_is_the_double_loop(rows, p):
    s, anchor = columns(rows)
    assert percent(s, anchor, p).tolist() == [oracles.keeps_percent(a, b, p) for a, b in rows]


@given(pairs, st.none() | grid, st.none() | grid)
def test_absolute_is_the_double_loop(rows, low, high):
    s, _ = columns(rows)
    assert absolute(s, low, high).tolist() == [oracles.keeps_absolute(a, low, high) for a, _ in rows]


@given(st.lists(st.integers(1, 30), max_size=12), st.integers(1, 30), st.integers(0, 30))
def test_rank_window_is_the_double_loop(ranks, first, length):
    found = rank_window(np.array(ranks, dtype=np.int32), first, first + length)
    assert found.tolist() == [oracles.keeps_rank(rank, first, first + length) for rank in ranks]


@given(grid, grid, st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0]), st.sampled_from([0.0, 0.05, 0.1, 0.5]))
def test_rules_agree_with_exact_arithmetic_away_from_the_line(s, anchor, p, m):
    exact_s, exact_anchor = Fraction(s), Fraction(anchor)
    lines = {
        margin: (m, exact_anchor - Fraction(m)),
        percent: (p, exact_anchor - (1 - Fraction(p)) * abs(exact_anchor)),
    }
    for rule, (setting, line) in lines.items():
        if abs(exact_s - line) > Fraction(1, 10**6):
            assert bool(rule(np.float32(s), np.float32(anchor), setting)) == (exact_s < line)


@given(pairs, shares, shares)
def test_a_stricter_percent_never_keeps_more(rows, one, other):
    s, anchor = columns(rows)
    strict, loose = percent(s, anchor, min(one, other)), percent(s, anchor, max(one, other))
    assert not (strict & ~loose).any()


@given(pairs, gaps, gaps)
def test_a_wider_margin_never_keeps_more(rows, one, other):
    s, anchor = columns(rows)
    strict, loose = margin(s, anchor, max(one, other)), margin(s, anchor, min(one, other))
    assert not (strict & ~loose).any()


@given(pairs, scores, st.floats(0, 0.99), st.floats(0, 0.99))
def test_a_wider_adaptive_margin_never_keeps_more(rows, floor, one, other):
    s, anchor = columns(rows)
    strict, loose = (adaptive(s, anchor, np.float32(floor), m) for m in (max(one, other), min(one, other)))
    assert not (strict & ~loose).any()


@given(st.lists(st.tuples(grid, grid, grid), max_size=12), st.sampled_from([0.25, 0.5]), st.sampled_from([-4, 0, 2]))
def test_adaptive_takes_no_notice_of_where_scores_lie_nor_of_their_unit(rows, m, shift):
    s, anchor, floor = (np.round(column * 16) / 16 for column in np.array(rows, dtype=np.float32).reshape(-1, 3).T)
    moved = adaptive(2 * s + shift, 2 * anchor + shift, 2 * floor + shift, m)
    np.testing.assert_array_equal(moved, adaptive(s, anchor, floor, m))


def test_adaptive_by_hand():
    # s+ 0.75, random documents 0.25: a tenth of the lead of 0.5 is 0.05
    s = np.array([0.69, 0.71, 0.75, 0.8], dtype=np.float32)
    assert adaptive(s, np.float32(0.75), np.float32(0.25), 0.1).tolist() == [True, False, False, False]
    # a positive below random documents leaves no margin, and nothing above it is kept
    assert adaptive(s, np.float32(0.75), np.float32(0.9), 0.1).tolist() == [True, True, True, False]


@given(st.lists(scores, max_size=12), grid, grid)
def test_a_lower_similarity_limit_never_keeps_more(values, one, other):
    s = np.array(values, dtype=np.float32)
    assert not (below(s, min(one, other)) & ~below(s, max(one, other))).any()


@given(pairs, shares, gaps)
def test_no_rule_keeps_a_candidate_above_its_anchor(rows, p, m):
    s, anchor = columns(rows)
    above = s > anchor
    assert not (percent(s, anchor, p) & above).any()
    assert not (margin(s, anchor, m) & above).any()
    assert not (adaptive(s, anchor, np.float32(0), min(m, 0.99)) & above).any()


@given(pairs)
def test_percent_1_and_margin_0_keep_what_is_not_above_the_anchor(rows):
    s, anchor = columns(rows)
    np.testing.assert_array_equal(percent(s, anchor, 1.0), s <= anchor)
    np.testing.assert_array_equal(margin(s, anchor, 0.0), s <= anchor)


def test_a_positive_at_minus_0_50_does_not_keep_minus_0_49_at_95_percent():
    s = np.array([-0.49, -0.50, -0.52, -0.53, -0.60], dtype=np.float32)
    assert percent(s, np.float32(-0.50), 0.95).tolist() == [False, False, False, True, True]


def test_percent_of_a_positive_score_is_the_papers_rule():
    # NV-Retriever: s <= 0.9 * 0.8 = 0.72
    s = np.array([0.71, 0.73, 0.8, -1.0], dtype=np.float32)
    assert percent(s, np.float32(0.8), 0.9).tolist() == [True, False, False, True]


def test_percent_of_a_zero_anchor_keeps_up_to_zero():
    assert percent(np.array([-0.1, 0.0, 0.1], dtype=np.float32), np.float32(0), 0.5).tolist() == [True, True, False]


def test_margin_counts_the_line_itself_as_kept():
    s = np.array([0.25, np.nextafter(np.float32(0.25), np.float32(1))], dtype=np.float32)
    assert margin(s, np.float32(0.75), 0.5).tolist() == [True, False]


def test_ragged_positives_1_2_1_are_each_measured_from_their_own_score():
    # three queries with positives 0.75 | 0.75, 0.25 | 0.875, one candidate at 0.5 each, margin 0.25
    anchor = np.array([0.75, 0.75, 0.25, 0.875], dtype=np.float32)
    s = np.full(4, 0.5, dtype=np.float32)
    assert margin(s, anchor, 0.25).tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("low", "high", "kept"),
    [
        (None, None, [-1.0, 0.0, 0.5, 1.0]),
        (0.0, None, [0.0, 0.5, 1.0]),
        (None, 0.5, [-1.0, 0.0, 0.5]),
        (0.0, 0.5, [0.0, 0.5]),
        (0.6, 0.4, []),
    ],
)
def test_absolute_bounds_are_inclusive_and_each_may_be_open(low, high, kept):
    s = np.array([-1.0, 0.0, 0.5, 1.0], dtype=np.float32)
    assert s[absolute(s, low, high)].tolist() == kept


def test_a_limit_as_written_counts_as_equal_to_the_same_float32_score():
    # 0.1 as float32 is above 0.1 as float64: compared at one precision, a score of 0.1 passes a limit of 0.1
    assert f32(0.1) > 0.1
    tenth = np.array([0.1], dtype=np.float32)
    assert below(tenth, 0.1).tolist() == [True]
    assert absolute(tenth, None, 0.1).tolist() == [True]
    assert absolute(np.array([0.7], dtype=np.float32), 0.7, None).tolist() == [True]


def test_rank_window_includes_both_ends():
    assert rank_window(np.arange(1, 7), 2, 4).tolist() == [False, True, True, True, False, False]


groups_of_scores = st.lists(
    st.lists(st.tuples(st.sampled_from([-0.5, 0.0, 0.25, 0.5]), st.booleans()), max_size=6), max_size=5
)


def flat(groups):
    owners = np.array([g for g, group in enumerate(groups) for _ in group], dtype=np.int64)
    members = [member for group in groups for member in group]
    s = np.array([score for score, _ in members], dtype=np.float32)
    return s, owners, np.array([counts for _, counts in members], dtype=bool)


@given(groups_of_scores, st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0]))
def test_easiest_is_the_double_loop(groups, share):
    expected = []
    for group in groups:
        counted = sorted(score for score, counts in group if counts)
        number = math.ceil(Fraction(str(share)) * len(counted))
        limit = counted[number - 1] if number else -math.inf
        expected += [score <= limit for score, _ in group]
    assert easiest(*flat(groups), share).tolist() == expected


@given(groups_of_scores, st.floats(0, 1), st.floats(0, 1))
def test_a_smaller_share_of_the_easiest_never_keeps_more(groups, one, other):
    strict, loose = (easiest(*flat(groups), share) for share in (min(one, other), max(one, other)))
    assert not (strict & ~loose).any()


@given(groups_of_scores, st.permutations(range(8)))
def test_the_easiest_do_not_depend_on_order(groups, order):
    s, owners, counted = flat(groups)
    places = np.array([p for p in order if p < len(s)] + list(range(8, len(s))), dtype=np.int64)
    moved = easiest(s[places], owners[places], counted[places], 0.3)
    np.testing.assert_array_equal(moved, easiest(s, owners, counted, 0.3)[places])
