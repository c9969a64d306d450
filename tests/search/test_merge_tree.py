from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.topk import NOTHING, merge, pack, unpack, within
from hnmine.search.split_search import children, even_spans, tree_levels
from tests import oracles
from tests.strategies import grid, quick


@st.composite
def any_cut(draw, rows):
    """Consecutive spans over rows, of any sizes, none empty."""
    cuts = sorted(draw(st.sets(st.integers(1, max(1, rows - 1)), max_size=9)) - {rows})
    return list(zip([0, *cuts], [*cuts, rows], strict=True))


def rows_of(spans):
    return [row for first, last in spans for row in range(first, last)]


@quick
@given(st.integers(1, 300), st.integers(1, 40))
def test_spans_hold_every_row_once_in_order_and_are_even(rows, parts):
    spans = even_spans(rows, parts)
    assert len(spans) == min(rows, parts)
    assert rows_of(spans) == list(range(rows))
    sizes = {last - first for first, last in spans}
    assert max(sizes) - min(sizes) <= 1


@quick
@given(st.integers(1, 200).flatmap(any_cut), st.integers(2, 9))
def test_a_tree_has_the_whole_on_top_and_each_node_is_its_children(leaves, fan_in):
    levels = tree_levels(leaves, fan_in)
    assert levels[0] == leaves
    assert levels[-1] == [(0, leaves[-1][1])]
    for below, above in pairwise(levels):
        assert rows_of(below) == rows_of(above)
        assert sum(len(children(parent, below)) for parent in above) == len(below)
        for parent in above:
            mine = children(parent, below)
            assert rows_of(mine) == rows_of([parent])
            assert len(mine) <= fan_in
            assert len(mine) > 1 or fan_in == 2
    lowest = 0
    while fan_in**lowest < len(leaves):
        lowest += 1
    assert len(levels) == lowest + 1


@quick
@given(
    st.lists(st.lists(grid, min_size=24, max_size=24), min_size=1, max_size=4),
    any_cut(24),
    st.integers(2, 9),
    st.lists(st.integers(1, 30), min_size=4, max_size=4),
)
def test_any_cut_merged_in_any_tree_is_one_sort_of_the_whole(scores, leaves, fan_in, depths):
    """Each query has a depth of its own, and what lies below it is cut off at every node."""
    depths = np.array(depths[: len(scores)])
    values = np.array(scores, dtype=np.float32)

    def cut(keys):
        return np.where(within(keys, depths), keys, NOTHING)

    found = {}
    for first, last in leaves:
        keys = np.sort(
            pack(values[:, first:last], np.broadcast_to(np.arange(first, last), (len(scores), last - first)))
        )
        found[first, last] = cut(keys)
    levels = tree_levels(leaves, fan_in)
    for below, above in pairwise(levels):
        for parent in above:
            running = np.zeros((len(scores), 0), dtype=np.uint64)
            for child in children(parent, below):
                running = cut(merge(running, found[child], int(depths.max())))
            found[parent] = running
    whole = found[levels[-1][0]]
    for query, own in enumerate(scores):
        _, rows = unpack(whole[query][whole[query] != NOTHING])
        assert rows.tolist() == oracles.topk(own, depths[query])


@quick
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.data())
def test_within_is_a_double_loop(lengths, data):
    width = max(lengths)
    depths = data.draw(st.lists(st.integers(0, 8), min_size=len(lengths), max_size=len(lengths)))
    keys = np.full((len(lengths), width), NOTHING, dtype=np.uint64)
    for query, length in enumerate(lengths):
        keys[query, :length] = np.arange(length)
    expected = [[p < n and p < d for p in range(width)] for n, d in zip(lengths, depths, strict=True)]
    assert within(keys, np.array(depths)).tolist() == expected


def test_more_parts_than_rows_are_one_a_row_and_no_rows_are_one_empty_span():
    assert even_spans(3, 9) == [(0, 1), (1, 2), (2, 3)]
    assert even_spans(0, 4) == [(0, 0)]


def test_a_tree_of_nine_has_no_node_of_one_child():
    assert tree_levels(even_spans(90, 9), 8) == [
        [(i, i + 10) for i in range(0, 90, 10)],
        [(0, 40), (40, 90)],
        [(0, 90)],
    ]


@pytest.mark.parametrize(("leaves", "fan_in"), [([], 2), ([(0, 3)], 1)])
def test_no_leaf_or_no_fan_is_refused(leaves, fan_in):
    with pytest.raises(ValueError, match="fan-in"):
        tree_levels(leaves, fan_in)


def test_no_part_is_refused():
    with pytest.raises(ValueError, match="0 parts"):
        even_spans(3, 0)
