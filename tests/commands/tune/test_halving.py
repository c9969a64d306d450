"""Successive halving: which settings go on, the controls that always do, and what a cut leaves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.commands.tune.halving import better_half, halve, query_means, rounds
from hnmine.commands.tune.tuner import planned

NAMES = ["own", "in batch", "random", *(f"s{i}" for i in range(9))]
CONTROLS = NAMES[:3]


def measure_of(quality, done=None, most=10**9):
    """Return a function that gives each setting its quality as gain, noted in `done`, up to a number of trainings."""

    def measure(names, seed):
        found = {}
        for name in names:
            if done is not None and len(done) >= most:
                break
            if done is not None:
                done.append((name, seed))
            gains = np.full(20, np.nan)
            gains[seed % 2 :: 2] = quality[name]
            found[name] = gains
        return found

    return measure


@given(st.lists(st.integers(0, 5), min_size=12, max_size=12), st.integers(1, 9))
def test_the_better_half_and_all_controls_go_on(qualities, seeds):
    quality, done = dict(zip(NAMES, qualities, strict=True)), []
    found = halve(NAMES, CONTROLS, seeds, measure_of(quality, done))
    assert not found.cut
    assert found.seeds == seeds
    assert set(CONTROLS) <= set(found.finalists)
    assert sorted(done) == sorted({*done})  # nothing is trained twice
    assert len(done) <= max(planned(12, 3, seeds), 12 * seeds)
    best = max(quality.values())
    assert {name for name in NAMES if quality[name] == best} <= set(found.finalists)
    for name in NAMES:
        assert len(found.gains[name]) == seeds or name not in found.finalists
    worst = min(quality[name] for name in found.finalists if name not in CONTROLS or quality[name] == best)
    for name in set(NAMES) - set(found.finalists):
        assert quality[name] < worst or quality[name] <= best


def test_rounds_double_the_seeds():
    assert [list(part) for part in rounds(6)] == [[0], [1], [2, 3], [4, 5]]
    assert [list(part) for part in rounds(1)] == [[0]]


def test_the_order_of_the_settings_changes_nothing():
    quality = {name: (place * 7) % 12 for place, name in enumerate(NAMES)}
    one = halve(NAMES, CONTROLS, 3, measure_of(quality))
    other = halve(NAMES[::-1], CONTROLS, 3, measure_of(quality))
    assert sorted(one.finalists) == sorted(other.finalists)
    assert {n: len(g) for n, g in one.gains.items()} == {n: len(g) for n, g in other.gains.items()}


def test_settings_with_the_same_set_count_as_one():
    gains = {name: [np.full(3, value)] for name, value in (("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 0.5), ("e", 0.1))}
    assert better_half(gains, []) == ["a", "b", "c", "d"]


def test_a_query_of_several_splits_counts_once():
    parts = [np.array([1.0, np.nan, 0.0]), np.array([3.0, np.nan, np.nan])]
    np.testing.assert_array_equal(query_means(parts), [2.0, np.nan, 0.0])


@pytest.mark.parametrize(("most", "finalists", "seeds"), [(5, 5, 1), (14, 8, 1), (0, 0, 0)])
def test_a_cut_leaves_what_was_compared_with_the_same_seeds(most, finalists, seeds):
    quality = {name: float(place) for place, name in enumerate(NAMES)}
    found = halve(NAMES, CONTROLS, 3, measure_of(quality, [], most))
    assert found.cut
    assert found.seeds == seeds
    assert all(len(own) == 1 for own in found.gains.values())
    assert set(found.finalists) <= set(found.gains)
    assert len(found.finalists) in (finalists, finalists + 1)
