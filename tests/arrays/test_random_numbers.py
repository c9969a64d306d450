from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.random_numbers import permuted, random_numbers, random_pairs, sample_rows


def ints(values):
    return np.array(values, dtype=np.int64)


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1)), min_size=1, max_size=20), st.data())
def test_a_random_number_depends_on_its_own_seed_and_item_only(pairs, data):
    seeds, items = np.array([s for s, _ in pairs], dtype=np.uint64), ints([i for _, i in pairs])
    numbers = random_numbers(seeds, items)
    order = ints(data.draw(st.permutations(range(len(pairs)))))
    np.testing.assert_array_equal(random_numbers(seeds[order], items[order]), numbers[order])
    for place in range(len(pairs)):
        assert random_numbers(seeds[place : place + 1], items[place : place + 1])[0] == numbers[place]


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
        found = random_numbers(np.array([seed], dtype=np.uint64), ints([item]))
        assert int(found[0]) == mix(mix(seed) ^ mix((item + 0x9E3779B97F4A7C15) & mask))


def test_a_seed_equal_to_its_item_is_no_special_case():
    same = np.arange(1000)
    assert len(np.unique(random_numbers(same.astype(np.uint64), same))) == 1000


def seeds_of(values):
    return np.array(values, dtype=np.uint64)


def order_of(seed, size):
    return permuted(seeds_of([seed] * size), np.arange(size), size).tolist()


@given(st.integers(1, 300), st.integers(0, 2**64 - 1))
def test_each_seed_shuffles_all_numbers(size, seed):
    assert sorted(order_of(seed, size)) == list(range(size))


@given(st.integers(1, 2**40), st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**40)), max_size=9))
def test_a_place_depends_on_its_own_seed_alone(size, pairs):
    seeds, places = seeds_of([s for s, _ in pairs]), ints([p % size for _, p in pairs])
    found = permuted(seeds, places, size)
    assert ((found >= 0) & (found < size)).all()
    for i in range(len(pairs)):
        assert permuted(seeds[i : i + 1], places[i : i + 1], size)[0] == found[i]


@pytest.mark.parametrize("size", [2, 3, 5, 16, 17])
@pytest.mark.parametrize("place", [0, 1])
def test_every_number_comes_to_a_place_about_equally_often(size, place):
    trials = 4000
    found = permuted(np.arange(trials, dtype=np.uint64), np.full(trials, place), size)
    p = 1 / size
    assert (
        max(abs(count - trials * p) for count in np.bincount(found, minlength=size))
        < 4.5 * (trials * p * (1 - p)) ** 0.5
    )


def test_pairs_of_places_are_about_uniform():
    trials, size = 20000, 5
    first = permuted(np.arange(trials, dtype=np.uint64), np.zeros(trials, np.int64), size)
    second = permuted(np.arange(trials, dtype=np.uint64), np.ones(trials, np.int64), size)
    counts = Counter(zip(first.tolist(), second.tolist(), strict=True))
    assert len(counts) == 20
    assert max(abs(count - 1000) for count in counts.values()) < 4.5 * (trials * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize(("rows", "size", "expected"), [(1000, 32, 32), (5, 32, 5), (32, 32, 32), (1, 8, 1)])
def test_the_sample_is_ascending_distinct_and_inside_the_corpus(rows, size, expected):
    found = sample_rows(rows, size, 0)
    assert found.dtype == np.int64
    assert len(found) == expected
    assert (np.diff(found) > 0).all()
    assert found.min() >= 0
    assert found.max() < rows


def test_the_sample_depends_on_the_seed_and_on_nothing_else():
    one = sample_rows(1000, 50, 3)
    np.random.default_rng(0).random(10)
    np.testing.assert_array_equal(one, sample_rows(1000, 50, 3))
    assert not np.array_equal(one, sample_rows(1000, 50, 4))


def test_the_sample_is_roughly_uniform():
    counts = np.zeros(20)
    for seed in range(400):
        counts[sample_rows(20, 5, seed)] += 1
    # each row is drawn with p = 1/4: mean 100, standard deviation 8.7
    assert counts.sum() == 2000
    assert np.abs(counts - 100).max() < 4.5 * 8.7


def test_random_pairs_depend_on_the_seed_alone_and_spread_over_all():
    queries, documents = random_pairs(10, 1000, 5000, 3)
    again = random_pairs(10, 1000, 100, 3)
    assert (queries[:100] == again[0]).all()
    assert (documents[:100] == again[1]).all()
    assert (random_pairs(10, 1000, 100, 4)[1] != again[1]).any()
    counts = np.bincount(queries, minlength=10)
    assert len(counts) == 10
    assert (np.abs(counts - 500) < 110).all()
    assert documents.min() >= 0
    assert documents.max() < 1000
    assert abs(np.corrcoef(queries, documents)[0, 1]) < 0.06
