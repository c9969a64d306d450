from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.groups import first_n
from hnmine.arrays.random_numbers import random_numbers
from hnmine.science.sampling import (
    best_kept,
    choose,
    choose_capped,
    count_used,
    first_refused,
    is_easy,
    select_capped,
    simans_priority,
)
from tests import oracles
from tests.strategies import f32


def ints(values):
    return np.array(values, dtype=np.int64)


groups_of = st.lists(st.integers(0, 4), max_size=20).map(sorted)


@given(groups_of, st.integers(0, 5))
def test_without_priority_the_first_n_of_each_group_are_chosen(groups, n):
    assert choose(ints(groups), None, n).tolist() == oracles.choose(groups, None, n)
    assert np.flatnonzero(first_n(ints(groups), n)).tolist() == oracles.choose(groups, None, n)


@given(groups_of, st.integers(0, 5), st.data())
def test_choose_is_the_double_loop_ties_by_position(groups, n, data):
    values = st.sampled_from([0, 1, 2**63, 2**64 - 1])
    priority = data.draw(st.lists(values, min_size=len(groups), max_size=len(groups)))
    found = choose(ints(groups), np.array(priority, dtype=np.uint64), n)
    assert found.tolist() == oracles.choose(groups, priority, n)


@given(groups_of, st.integers(0, 4), st.integers(1, 3), st.data())
def test_choose_capped_is_the_double_loop(groups, n, cap, data):
    documents = data.draw(st.lists(st.integers(0, 5), min_size=len(groups), max_size=len(groups)))
    used = data.draw(st.dictionaries(st.integers(0, 5), st.integers(0, 3), max_size=4))
    expected = oracles.choose_capped(groups, documents, n, cap, used)
    after = dict(used)
    assert choose_capped(ints(groups), ints(documents), n, cap, after).tolist() == expected
    counts = Counter(documents[place] for place in expected)
    assert after == {d: used.get(d, 0) + counts[d] for d in used.keys() | counts.keys()}


@given(groups_of, st.integers(0, 4), st.data())
def test_a_cap_that_nothing_reaches_changes_nothing(groups, n, data):
    documents = data.draw(st.lists(st.integers(0, 5), min_size=len(groups), max_size=len(groups)))
    found = choose_capped(ints(groups), ints(documents), n, len(groups) + 1, {})
    assert found.tolist() == choose(ints(groups), None, n).tolist()


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


@pytest.mark.parametrize("n", [1, 2])
def test_samples_are_roughly_uniform_over_seeds(n):
    trials, items = 6000, 4
    seeds = np.repeat(np.arange(trials, dtype=np.uint64), items)
    documents = np.tile(ints([3, 4, 5, 1000]), trials)
    groups = np.repeat(np.arange(trials), items)
    chosen = choose(groups, random_numbers(seeds, documents), n)
    drawn = documents[chosen].reshape(trials, n)
    sets = Counter(map(tuple, drawn.tolist()))
    number = 4 if n == 1 else 6
    assert len(sets) == number
    p = 1 / number
    deviation = (trials * p * (1 - p)) ** 0.5
    assert max(abs(count - trials * p) for count in sets.values()) < 4.5 * deviation


def test_all_orders_of_three_items_are_about_equally_frequent():
    trials = 6000
    numbers = random_numbers(np.repeat(np.arange(trials, dtype=np.uint64), 3), np.tile(ints([10, 11, 12]), trials))
    orders = Counter(map(tuple, np.argsort(numbers.reshape(trials, 3), axis=1).tolist()))
    assert len(orders) == 6
    assert max(abs(count - 1000) for count in orders.values()) < 4.5 * (6000 * (1 / 6) * (5 / 6)) ** 0.5


def test_no_elements_give_no_choice():
    assert choose(ints([]), None, 3).tolist() == []
    assert choose(ints([]), np.zeros(0, dtype=np.uint64), 3).tolist() == []
    assert choose_capped(ints([]), ints([]), 3, 1, {}).tolist() == []
    assert random_numbers(np.zeros(0, dtype=np.uint64), ints([])).tolist() == []


def drawn(distances, n, a, b, trials=6000):
    """Return how often each set of places was drawn over many seeds."""
    size = len(distances)
    numbers = random_numbers(np.repeat(np.arange(trials, dtype=np.uint64), size), np.tile(np.arange(size), trials))
    groups = np.repeat(np.arange(trials), size)
    chosen = choose(groups, simans_priority(np.tile(np.array(distances), trials), numbers, a, b), n)
    return Counter(map(tuple, (chosen % size).reshape(trials, n).tolist()))


@given(
    st.lists(st.tuples(st.floats(-50, 50), st.integers(0, 2**64 - 1)), max_size=20),
    st.sampled_from([0.01, 0.5, 3.0]),
    st.sampled_from([0.0, -1.5, 2.0]),
)
def test_ambiguity_is_the_double_loop(pairs, a, b):
    numbers = np.array([number for _, number in pairs], dtype=np.uint64)
    found = simans_priority(np.array([distance for distance, _ in pairs], dtype=np.float64), numbers, a, b)
    assert found.tolist() == pytest.approx([oracles.simans_arrival(d, number, a, b) for d, number in pairs], rel=1e-12)


def test_the_extremes_of_the_random_numbers_give_finite_priorities():
    numbers = np.array([0, 1, 2**63, 2**64 - 1], dtype=np.uint64)
    found = simans_priority(np.array([0.0, 1e30, -1e30, 0.0]), numbers, 1.0, 0.0)
    assert np.isfinite(found).all()
    assert found.argmin() == 3


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.0), (1.0, -1.0), (0.2, 0.5)])
def test_one_is_drawn_in_proportion_to_its_probability(a, b):
    distances = [0.0, -0.5, -1.0, -2.0]
    weights = [np.exp(-a * (d - b) ** 2) for d in distances]
    counts = drawn(distances, 1, a, b)
    for place, weight in enumerate(weights):
        p = weight / sum(weights)
        assert abs(counts[(place,)] - 6000 * p) < 4.5 * (6000 * p * (1 - p)) ** 0.5


def test_two_are_drawn_one_after_another_without_replacement():
    weights = [np.exp(-0.5 * d**2) for d in (0.0, -1.0, -2.0)]
    counts, total = drawn([0.0, -1.0, -2.0], 2, 0.5, 0.0), sum(weights)
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        p = weights[i] / total * weights[j] / (total - weights[i]) + weights[j] / total * weights[i] / (
            total - weights[j]
        )
        assert abs(counts[(i, j)] - 6000 * p) < 4.5 * (6000 * p * (1 - p)) ** 0.5


def test_a_steep_fall_takes_the_nearest_and_equal_distances_are_uniform():
    assert drawn([-1.0, -0.1, -3.0], 1, 1e6, 0.0) == {(1,): 6000}
    counts = drawn([-2.0, -2.0, -2.0], 1, 5.0, 0.0)
    assert max(abs(count - 2000) for count in counts.values()) < 4.5 * (6000 * (1 / 3) * (2 / 3)) ** 0.5


@given(groups_of, st.data())
def test_ambiguity_does_not_depend_on_the_order_or_the_batch(groups, data):
    distance = np.array(data.draw(st.lists(st.floats(-9, 9), min_size=len(groups), max_size=len(groups))))
    numbers = random_numbers(np.ones(len(groups), dtype=np.uint64), np.arange(len(groups)))
    whole = simans_priority(distance, numbers, 0.5, 0.0)
    order = ints(data.draw(st.permutations(range(len(groups)))))
    np.testing.assert_array_equal(simans_priority(distance[order], numbers[order], 0.5, 0.0), whole[order])
    for place in range(len(groups)):
        one = slice(place, place + 1)
        assert simans_priority(distance[one], numbers[one], 0.5, 0.0)[0] == whole[place]


@st.composite
def elements(draw):
    """Groups in which no document stands twice."""
    rows = draw(st.lists(st.lists(st.integers(0, 5), max_size=5, unique=True), max_size=6))
    return [g for g, row in enumerate(rows) for _ in row], [document for row in rows for document in row]


@given(elements(), st.integers(1, 3), st.integers(1, 3), st.dictionaries(st.integers(0, 5), st.integers(0, 3)))
def test_selecting_the_first_under_a_cap_is_choose_capped(given_elements, n, cap, used):
    groups, documents = (ints(x) for x in given_elements)
    one, other = dict(used), dict(used)
    found = select_capped(lambda at: at[choose(groups[at], None, n)], groups, documents, cap, one)
    assert found.tolist() == choose_capped(groups, documents, n, cap, other).tolist()
    assert {k: v for k, v in one.items() if v} == {k: v for k, v in other.items() if v}


@given(elements(), st.integers(1, 3), st.dictionaries(st.integers(0, 5), st.integers(0, 3)))
def test_the_first_group_refused_is_the_first_one_too_many(given_elements, cap, used):
    groups, documents = given_elements
    count, expected = dict(used), None
    for group, document in zip(groups, documents, strict=True):
        count[document] = count.get(document, 0) + 1
        if count[document] > cap and expected is None:
            expected = group
    assert first_refused(ints(groups), ints(documents), cap, used) == expected
    after = dict(used)
    count_used(ints(documents), after)
    assert after == count


scores = st.floats(-2, 2, width=32).map(f32)
pairs = st.lists(st.tuples(scores, scores), max_size=12)
ratios, limits = st.floats(1, 3), st.floats(-1, 2)
rows = st.lists(st.lists(st.tuples(st.integers(0, 6), scores), max_size=6, unique_by=lambda one: one[0]), max_size=5)


def column(values):
    return np.array(values, dtype=np.float32)


def found(given, ratio, below):
    return is_easy(column([now for now, _ in given]), column([first for _, first in given]), ratio, below)


@given(pairs, ratios, limits)
def test_easy_is_what_fell_by_the_ratio_and_is_low(given, ratio, below):
    assert found(given, ratio, below).tolist() == [oracles.is_easy(*one, ratio, below) for one in given]


@given(pairs, ratios, ratios, limits, limits)
def test_a_stricter_setting_never_replaces_fewer(given, one, other, low, high):
    """A lower ratio or a higher limit asks more of a negative that is to stay."""
    strict = found(given, min(one, other), max(low, high))
    loose = found(given, max(one, other), min(low, high))
    assert not (loose & ~strict).any()


@given(pairs, ratios, limits)
def test_what_did_not_fall_is_never_easy(given, ratio, below):
    assert not any(
        is_easy and now >= first for is_easy, (now, first) in zip(found(given, ratio, below), given, strict=True)
    )


def test_the_published_setting_by_hand():
    # 1.15 * 0.6 = 0.69: below 0.7, not below 0.68; 0.8 and above is hard whatever it was
    given = [(0.6, 0.7), (0.6, 0.68), (0.8, 0.99), (0.79, 0.95)]
    assert found(given, 1.15, 0.8).tolist() == [True, False, False, True]
    # below 0 the same distance is asked for: -0.4 (2 - 1 / 1.25) = -0.48
    assert found([(-0.5, -0.4), (-0.45, -0.4)], 1.25, 0.8).tolist() == [True, False]


def flattened(lists):
    groups = np.array([i for i, row in enumerate(lists) for _ in row], dtype=np.int64)
    documents = np.array([document for row in lists for document, _ in row], dtype=np.int64)
    return groups, documents, column([score for row in lists for _, score in row])


@given(rows, st.lists(st.integers(0, 4), min_size=5, max_size=5), st.none() | st.integers(1, 3))
def test_the_hardest_stay_as_far_as_there_is_room(lists, room, cap):
    groups, documents, values = flattened(lists)
    wanted = np.array(room, dtype=np.int64)[groups]
    limit = None if cap is None else (cap, {2: 1})
    kept = best_kept(groups, documents, values, wanted, limit)
    assert kept.tolist() == oracles.best_kept(lists, room, cap, {2: 1})
    assert len(set(zip(groups[kept].tolist(), documents[kept].tolist(), strict=True))) == len(kept)
    assert (np.bincount(groups[kept], minlength=5) <= np.array(room)).all()
    if cap is not None:
        served = np.bincount(documents[kept], minlength=7)
        served[2] += 1
        assert served.max() <= cap
        assert limit == (cap, {d: int(n) for d, n in enumerate(served) if n})
