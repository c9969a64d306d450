import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.random_numbers import permuted
from hnmine.science.random_documents import draw_documents
from tests import oracles


def seeds_of(values):
    return np.array(values, dtype=np.uint64)


def order_of(seed, size):
    return permuted(seeds_of([seed] * size), np.arange(size), size).tolist()


def ints(values):
    return np.array(values, dtype=np.int64)


@st.composite
def wishes(draw_value):
    size = draw_value(st.integers(1, 12))
    names = draw_value(st.lists(st.integers(0, size - 1), min_size=size, max_size=size))
    groups = draw_value(st.integers(0, 4))
    wanted = draw_value(st.lists(st.integers(0, 4), min_size=groups, max_size=groups))
    seeds = draw_value(st.lists(st.integers(0, 2**64 - 1), min_size=groups, max_size=groups))
    pairs = st.tuples(st.integers(0, max(0, groups - 1)), st.integers(0, size - 1))
    barred = draw_value(st.lists(pairs, max_size=20)) if groups else []
    return names, seeds, wanted, barred, draw_value(st.sets(st.integers(0, size - 1)))


def run(names, seeds, wanted, barred, closed=()):
    open_rows = np.ones(len(names), dtype=bool)
    open_rows[list(closed)] = False
    pairs = ints([g for g, _ in barred]), ints([name for _, name in barred])
    groups, rows = draw_documents(seeds_of(seeds), ints(wanted), ints(names), pairs, open_rows)
    return list(zip(groups.tolist(), rows.tolist(), strict=True))


@given(wishes())
def test_draw_is_the_double_loop(wish):
    names, seeds, wanted, barred, closed = wish
    orders = [order_of(seed, len(names)) for seed in seeds]
    assert run(names, seeds, wanted, barred, closed) == oracles.draw_documents(orders, wanted, names, barred, closed)
    assert run(names, seeds, wanted, barred) == oracles.draw_documents(orders, wanted, names, barred)


@given(wishes())
def test_a_group_draws_alone_as_among_others(wish):
    names, seeds, wanted, barred, closed = wish
    whole = run(names, seeds, wanted, barred, closed)
    for group in range(len(seeds)):
        own = [(0, name) for other, name in barred if other == group]
        alone = run(names, seeds[group : group + 1], wanted[group : group + 1], own, closed)
        assert [row for _, row in alone] == [row for other, row in whole if other == group]


@given(wishes(), st.data())
def test_what_is_barred_besides_changes_nothing_before_it(wish, data):
    """A document drawn stays drawn when another one that was not is barred too."""
    names, seeds, wanted, barred, _ = wish
    whole = run(names, seeds, wanted, barred)
    more = data.draw(st.lists(st.tuples(st.integers(0, max(0, len(seeds) - 1)), st.sampled_from(names)), max_size=3))
    if not seeds:
        return
    stricter = run(names, seeds, wanted, barred + more)
    for group, row in whole:
        if (group, names[row]) not in more:
            assert (group, row) in stricter
    assert len(stricter) <= len(whole)


def test_documents_of_a_large_corpus_are_drawn_in_one_go():
    size, groups = 10**6, 1000
    names = np.arange(size)
    barred = np.repeat(np.arange(groups), 100), np.tile(np.arange(100), groups)
    found, rows = draw_documents(np.arange(groups, dtype=np.uint64), np.full(groups, 3), names, barred)
    assert found.tolist() == np.repeat(np.arange(groups), 3).tolist()
    assert rows.min() >= 100
    assert abs(rows.mean() / size - 0.5) < 4.5 / (12 * 3000) ** 0.5
