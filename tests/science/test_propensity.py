"""Propensity: against counts of labelled and unlabelled documents, and its interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.propensity import false_rate, propensity, propensity_interval
from hnmine.science.statistics import wilson_interval


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50))
def test_it_is_the_share_of_labelled_among_relevant_ones(labelled, unlabelled, irrelevant):
    chosen = labelled + unlabelled + irrelevant
    hidden = labelled / chosen
    without = unlabelled + irrelevant  # what a set that knows the labels keeps
    false = unlabelled / without if without else 0.0
    c = propensity(hidden, false)
    assert c == pytest.approx(labelled / (labelled + unlabelled) if without else 1.0)
    if without:
        assert false_rate(hidden, c) == pytest.approx(false)


def test_ends():
    assert propensity(0, 0.3) is None
    assert propensity(0.2, 0) == 1
    assert false_rate(0.2, 1) == 0
    assert false_rate(1, 0.5) == 1
    assert false_rate(0.9, 0.01) == 1
    assert propensity_interval(0.1, (0.05, 0.2), 0.0, (0.0, 0.02))[1] == 1
    assert propensity_interval(0.0, (0.0, 0.02), 0.1, (0.05, 0.2))[0] == 0


@given(st.integers(1, 60), st.integers(1, 60))
def test_the_interval_holds_the_estimate_and_narrows_with_the_numbers(hits, found):
    h, r = hits / 100, found / 100
    low, high = propensity_interval(h, wilson_interval(hits, 100), r, wilson_interval(found, 100))
    assert low < propensity(h, r) < high
    many = propensity_interval(h, wilson_interval(100 * hits, 10_000), r, wilson_interval(100 * found, 10_000))
    assert low < many[0] < many[1] < high


def test_the_interval_covers_in_about_95_of_100_samples():
    generator, draws, covered = np.random.default_rng(0), 1000, 0
    h, r = 0.08, 0.05
    for _ in range(draws):
        hits, found = generator.binomial(400, h), generator.binomial(200, r)
        low, high = propensity_interval(
            hits / 400, wilson_interval(int(hits), 400), found / 200, wilson_interval(int(found), 200)
        )
        covered += low <= propensity(h, r) <= high
    assert 0.93 <= covered / draws <= 0.98
