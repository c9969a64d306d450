"""The choice among trained settings: an oracle of the one-standard-error rule, and what is told where nothing is."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.commands.tune.selection import FEWEST_COMPARED, Trial, front, select, told_apart, within_one_error

ROLES = ("own", "in_batch", "random", "tried", "tried", "tried")


def trials_of(gains, rates=None, hardness=None, roles=ROLES):
    """Return trials of some settings, each with its gains."""
    return [
        Trial(
            f"s{place}", role, np.asarray(own, dtype=float),
            None if role in ("in_batch", "random") else (rates[place] if rates else 0.1),
            None if role == "in_batch" else (hardness[place] if hardness else 0.5), 0 if role == "in_batch" else 5,
        )
        for place, (own, role) in enumerate(zip(gains, roles, strict=False))
    ]  # fmt: skip


def oracle(trials):
    """Return the names within one standard error of the best, by loops over queries."""
    means = {one.name: sum(one.gains.tolist()) / len(one.gains) for one in trials}
    best = max(means.values())
    top = min((one for one in trials if means[one.name] == best), key=lambda one: one.risk)
    found = []
    for one in trials:
        d = [a - b for a, b in zip(top.gains.tolist(), one.gains.tolist(), strict=True)]
        mean = sum(d) / len(d)
        error = math.sqrt(sum((x - mean) ** 2 for x in d) / (len(d) - 1) / len(d))
        if one is top or mean <= error:
            found.append(one.name)
    return top.name, found


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 6))
def test_within_one_error_is_what_loops_find(seed, queries, count):
    generator = np.random.default_rng(seed)
    gains = generator.normal(0, 0.1, (count, queries)) + generator.normal(0, 0.03, (count, 1))
    trials = trials_of(gains)
    best, near = within_one_error(trials)
    assert (best.name, [one.name for one in near]) == oracle(trials)


def normal(mean, seed=0, queries=200, spread=0.02):
    """Return gains around a mean; those of one seed differ by their means alone."""
    return mean + np.random.default_rng(seed).normal(0, spread, queries)


def test_the_safest_of_those_near_the_best_is_chosen_and_not_the_best():
    gains = [normal(0.05), normal(0.0), normal(0.02), normal(0.1), normal(0.1, 1), normal(0.0999, 2)]
    found = select(trials_of(gains, [0.3, 0, 0, 0.2, 0.05, 0.1]), learned=True, apart=True, seed=0)
    assert found.outcome == "setting"
    assert found.chosen == "s4"
    assert {"s3", "s4", "s5"} >= set(found.within)
    assert not found.random_is_enough
    assert not found.in_batch_is_enough


def test_a_setting_with_planted_false_negatives_is_not_chosen():
    # as good by gain as the safe one, within noise
    gains = [normal(0.02), normal(0.0), normal(0.02), normal(0.1001), normal(0.1, 1)]
    for rates in ([0.1, 0, 0, 0.5, 0.02], [0.1, 0, 0, 0.5, 0.49]):
        assert select(trials_of(gains, rates), learned=True, apart=True, seed=0).chosen == "s4"


def test_where_no_rate_tells_the_softest_is_chosen():
    gains = [normal(0.02), normal(0.0), normal(0.02), normal(0.1), normal(0.1, 1)]
    found = select(trials_of(gains, hardness=[0.9, 0, 0, 0.6, 0.4]), learned=True, apart=True, seed=0)
    assert found.chosen == "s4"


def test_random_documents_that_do_as_well_are_chosen_and_said_to():
    gains = [normal(0.05), normal(0.0), normal(0.1, 3), normal(0.1), normal(0.09)]
    found = select(trials_of(gains), learned=True, apart=True, seed=0)
    assert found.outcome == "random"
    assert found.random_is_enough
    assert not found.in_batch_is_enough


def test_no_mined_negatives_are_preferred_to_random_ones_that_gain_no_more():
    gains = [normal(0.05), normal(0.1, 4), normal(0.1, 3), normal(0.09)]
    found = select(trials_of(gains), learned=True, apart=True, seed=0)
    assert found.outcome == "in_batch"
    assert found.in_batch_is_enough


@pytest.mark.parametrize(("learned", "apart"), [(True, False), (False, True), (False, False)])
def test_the_configs_setting_is_kept_where_nothing_is_decided(learned, apart):
    gains = [normal(0.0), normal(0.01), normal(0.02), normal(0.03)]
    found = select(trials_of(gains), learned=learned, apart=apart, seed=0)
    assert found.outcome == "undecided"
    assert found.chosen == "s0"


def test_an_empty_set_is_not_safe():
    trials = trials_of([normal(0.0), normal(0.0), normal(0.0), normal(0.1), normal(0.1, 1)], [0.1, 0, 0, 0.2, None])
    trials[4] = replace(trials[4], empty=True)
    assert select(trials, learned=True, apart=True, seed=0).chosen == "s3"


def test_settings_are_told_apart_by_more_queries_or_larger_differences():
    few, many = FEWEST_COMPARED - 1, 400
    for queries, mean, expected in ((few, 0.5, False), (many, 0.02, True), (many, 0.0001, False)):
        best = normal(0.1, 0, queries)
        assert told_apart([(normal(0.1 - mean, 7, queries), best)] * 5, []) is expected
        assert told_apart([], [(normal(0.1 - mean, 7, queries), best)]) is expected


def test_controls_are_told_apart_by_less_than_the_best_of_many_is():
    one = normal(0.1, 0, 400)
    other = one - 0.003 + np.tile([-0.02, 0.02], 200)  # three standard errors
    assert not told_apart([(other, one)] * 15, [])
    assert told_apart([(other, one)] * 15, [(other, one)] * 3)


def test_noise_alone_seldom_tells_settings_apart():
    generator, hits = np.random.default_rng(0), 0
    for _ in range(200):
        gains = generator.normal(0, 1, (12, 60))
        best = int(gains.mean(axis=1).argmax())
        others = [(own, gains[best]) for place, own in enumerate(gains) if place != best]
        hits += told_apart(others, [(gains[a], gains[b]) for a, b in ((0, 1), (0, 2), (1, 2))])
    assert hits <= 200 * 0.05


def test_the_front_is_what_no_other_beats():
    assert front([1.0, 2.0, 3.0, 2.0], [0.0, 0.1, 0.5, 0.2]) == [True, True, True, False]
    assert front([1.0, 1.0], [0.1, 0.1]) == [True, True]
