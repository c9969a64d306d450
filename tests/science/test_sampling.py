from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.sampling import choose, choose_capped, first_of_each, random_order
from tests import oracles
from tests.strategies import quick

groups_of = st.lists(st.integers(0, 4), max_size=20).map(sorted)


def ints(values):
    return np.array(values, dtype=np.int64)


@quick
@given(groups_of, st.integers(0, 5))
def test_without_priority_the_first_n_of_each_group_are_chosen(groups, n):
    assert choose(ints(groups), None, n).tolist() == oracles.choose(groups, None, n)
    assert np.flatnonzero(first_of_each(ints(groups), n)).tolist() == oracles.choose(groups, None, n)


@quick
@given(groups_of, st.integers(0, 5), st.data())
def test_choose_is_the_double_loop_ties_by_position(groups, n, data):
    values = st.sampled_from([0, 1, 2**63, 2**64 - 1])
    priority = data.draw(st.lists(values, min_size=len(groups), max_size=len(groups)))
    found = choose(ints(groups), np.array(priority, dtype=np.uint64), n)
    assert found.tolist() == oracles.choose(groups, priority, n)


@quick
@given(groups_of, st.integers(0, 4), st.integers(1, 3), st.data())
def test_choose_capped_is_the_double_loop(groups, n, cap, data):
    documents = data.draw(st.lists(st.integers(0, 5), min_size=len(groups), max_size=len(groups)))
    used = data.draw(st.dictionaries(st.integers(0, 5), st.integers(0, 3), max_size=4))
    expected = oracles.choose_capped(groups, documents, n, cap, used)
    after = dict(used)
    assert choose_capped(ints(groups), ints(documents), n, cap, after).tolist() == expected
    counts = Counter(documents[place] for place in expected)
    assert after == {d: used.get(d, 0) + counts[d] for d in used.keys() | counts.keys()}


@quick
@given(groups_of, st.integers(0, 4), st.data())
def test_a_cap_that_nothing_reaches_changes_nothing(groups, n, data):
    documents = data.draw(st.lists(st.integers(0, 5), min_size=len(groups), max_size=len(groups)))
    found = choose_capped(ints(groups), ints(documents), n, len(groups) + 1, {})
    assert found.tolist() == choose(ints(groups), None, n).tolist()


@quick
@given(groups_of, st.integers(1, 4), st.integers(1, 2), st.integers(0, 4), st.data())
def test_a_cap_counts_over_batches_as_over_the_whole(groups, n, cap, border, data):
    documents = data.draw(st.lists(st.integers(0, 5), min_size=len(groups), max_size=len(groups)))
    whole = choose_capped(ints(groups), ints(documents), n, cap, {}).tolist()
    cut, used = sum(group < border for group in groups), {}
    first = choose_capped(ints(groups[:cut]), ints(documents[:cut]), n, cap, used).tolist()
    second = choose_capped(ints(groups[cut:]), ints(documents[cut:]), n, cap, used).tolist()
    assert first + [cut + place for place in second] == whole


def test_a_used_up_document_makes_room_for_the_next_of_its_group():
    found = choose_capped(ints([0, 0, 1, 1, 2, 2]), ints([7, 8, 7, 8, 7, 8]), 1, 1, {})
    assert found.tolist() == [0, 3]


@quick
@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1)), min_size=1, max_size=20), st.data())
def test_a_random_number_depends_on_its_own_seed_and_item_only(pairs, data):
    seeds, items = np.array([s for s, _ in pairs], dtype=np.uint64), ints([i for _, i in pairs])
    numbers = random_order(seeds, items)
    order = ints(data.draw(st.permutations(range(len(pairs)))))
    np.testing.assert_array_equal(random_order(seeds[order], items[order]), numbers[order])
    for place in range(len(pairs)):
        assert random_order(seeds[place : place + 1], items[place : place + 1])[0] == numbers[place]


def test_random_numbers_are_splitmix64s():
    # first outputs of the reference generator for seeds 0 and 1234567, each mixed with item 0 as documented
    mask = 2**64 - 1

    def mix(x):
        z = (x + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    assert mix(0) == 0xE220A8397B1DCDAF  # the published first output for seed 0
    for seed, item in [(0, 0), (1234567, 3), (mask, 2**63 - 1)]:
        found = random_order(np.array([seed], dtype=np.uint64), ints([item]))
        assert int(found[0]) == mix(mix(seed) ^ mix((item + 0x9E3779B97F4A7C15) & mask))


def test_a_seed_equal_to_its_item_is_no_special_case():
    same = np.arange(1000)
    assert len(np.unique(random_order(same.astype(np.uint64), same))) == 1000


@pytest.mark.parametrize("n", [1, 2])
def test_samples_are_roughly_uniform_over_seeds(n):
    trials, items = 6000, 4
    seeds = np.repeat(np.arange(trials, dtype=np.uint64), items)
    documents = np.tile(ints([3, 4, 5, 1000]), trials)
    groups = np.repeat(np.arange(trials), items)
    chosen = choose(groups, random_order(seeds, documents), n)
    drawn = documents[chosen].reshape(trials, n)
    sets = Counter(map(tuple, drawn.tolist()))
    number = 4 if n == 1 else 6
    assert len(sets) == number
    p = 1 / number
    deviation = (trials * p * (1 - p)) ** 0.5
    assert max(abs(count - trials * p) for count in sets.values()) < 4.5 * deviation


def test_all_orders_of_three_items_are_about_equally_frequent():
    trials = 6000
    numbers = random_order(np.repeat(np.arange(trials, dtype=np.uint64), 3), np.tile(ints([10, 11, 12]), trials))
    orders = Counter(map(tuple, np.argsort(numbers.reshape(trials, 3), axis=1).tolist()))
    assert len(orders) == 6
    assert max(abs(count - 1000) for count in orders.values()) < 4.5 * (6000 * (1 / 6) * (5 / 6)) ** 0.5


def test_no_elements_give_no_choice():
    assert choose(ints([]), None, 3).tolist() == []
    assert choose(ints([]), np.zeros(0, dtype=np.uint64), 3).tolist() == []
    assert choose_capped(ints([]), ints([]), 3, 1, {}).tolist() == []
    assert random_order(np.zeros(0, dtype=np.uint64), ints([])).tolist() == []
