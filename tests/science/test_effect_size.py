import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.effect_size import cohens_d
from tests import oracles
from tests.strategies import quick

numbers = st.lists(st.integers(-50, 50).map(lambda n: n / 4), max_size=12)


def test_two_groups_one_deviation_apart():
    assert cohens_d(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0])) == pytest.approx(1.0)


@quick
@given(numbers, numbers)
def test_effect_size_is_that_of_the_double_loop(a, b):
    found, expected = cohens_d(np.array(a), np.array(b)), oracles.cohens_d(a, b)
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@quick
@given(numbers, numbers)
def test_swapping_the_groups_turns_the_sign(a, b):
    one, other = cohens_d(np.array(a), np.array(b)), cohens_d(np.array(b), np.array(a))
    assert (one is None and other is None) or one == pytest.approx(-other, abs=1e-12)


@quick
@given(numbers, numbers, st.sampled_from([0.5, 2.0, 1024.0]), st.integers(-5, 5))
def test_effect_size_knows_no_unit(a, b, scale, shift):
    one = cohens_d(np.array(a), np.array(b))
    other = cohens_d(np.array(a) * scale + shift, np.array(b) * scale + shift)
    assert one == (None if other is None else pytest.approx(other, rel=1e-6, abs=1e-6))


def test_nothing_that_varies_has_no_effect_size():
    assert cohens_d(np.ones(3), np.ones(4)) == 0
    assert cohens_d(np.ones(3), np.zeros(4)) is None
    assert cohens_d(np.ones(1), np.zeros(0)) is None
