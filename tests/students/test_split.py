"""The split of queries: those that share a positive stay together."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.students.split import split_queries
from tests.students.tasks import ragged

LISTS = st.lists(st.lists(st.integers(0, 30), max_size=3), max_size=40)


def groups_of(lists):
    """Return each query's group by joining any two that share a positive until nothing changes."""
    group = list(range(len(lists)))
    changed = True
    while changed:
        changed = False
        for a in range(len(lists)):
            for b in range(len(lists)):
                if set(lists[a]) & set(lists[b]) and group[a] != group[b]:
                    group[a] = group[b] = min(group[a], group[b])
                    changed = True
    return group


@given(LISTS, st.sampled_from([0.3, 0.5, 0.7]), st.integers(0, 5))
def test_queries_that_share_a_positive_stay_on_one_side(lists, share, seed):
    train = split_queries(ragged(lists), share, seed)
    assert train.shape == (len(lists),)
    assert train.dtype == bool
    sides = {}
    for side, group in zip(train.tolist(), groups_of(lists), strict=True):
        assert sides.setdefault(group, side) == side


def test_the_sides_have_their_shares_and_the_seed_decides():
    lists = [[i] for i in range(100)]
    train = split_queries(ragged(lists), 0.7, 0)
    assert train.sum() == 70
    assert (train == split_queries(ragged(lists), 0.7, 0)).all()
    assert (train != split_queries(ragged(lists), 0.7, 1)).any()


def test_one_group_leaves_no_test_query_and_nothing_gives_nothing():
    assert split_queries(ragged([[0], [0, 1], [1]]), 0.5, 0).all()
    assert split_queries(ragged([]), 0.5, 0).shape == (0,)
    assert np.array_equal(np.sort(split_queries(ragged([[], []]), 0.5, 0)), [False, True])
