"""The scale of rescored candidates: percentiles among the positives' scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.score_percentiles import ecdf, percentile_background
from tests import oracles
from tests.strategies import quick, wild

numbers = st.lists(wild | st.integers(-3, 3).map(float), min_size=1, max_size=30)


@quick
@given(numbers, numbers)
def test_ecdf_is_the_double_loop(scores, reference):
    found = ecdf(np.array(scores), np.array(reference))
    assert found.tolist() == pytest.approx([oracles.ecdf(s, reference) for s in scores], abs=1e-12)


@quick
@given(numbers, numbers)
def test_ecdf_never_falls_and_stays_between_0_and_1(scores, reference):
    found = ecdf(np.sort(np.array(scores)), np.array(reference))
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()


@quick
@given(st.lists(st.integers(-40, 40), min_size=1), st.lists(st.integers(-40, 40), min_size=1))
def test_a_strictly_increasing_transform_changes_nothing(scores, reference):
    s, r = np.array(scores, dtype=np.float64), np.array(reference, dtype=np.float64)
    before = ecdf(s, r)
    for transform in (lambda x: 3 * x - 7, lambda x: x**3, lambda x: np.tanh(x / 50)):
        assert (ecdf(transform(s), transform(r)) == before).all()


@quick
@given(numbers)
def test_the_references_own_percentiles_are_one_half_on_average(reference):
    own = np.array(reference)
    assert ecdf(own, own).mean() == pytest.approx(0.5)


def test_no_score_has_no_percentile_and_an_empty_reference_is_an_error():
    assert np.isnan(ecdf(np.array([np.nan, 1.0]), np.array([1.0]))).tolist() == [True, False]
    with pytest.raises(ValueError, match="holds no scores"):
        ecdf(np.ones(1), np.zeros(0))


def test_the_background_always_has_a_unit():
    assert percentile_background(np.zeros(5), 10) == (0.0, 0.05)
    assert percentile_background(np.zeros(0), 4) == (0.0, 0.125)
    assert percentile_background(np.array([0.0, 1.0]), 10) == (0.5, 0.5)
