from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.significance import randomisation_test
from tests.strategies import quick

numbers = st.lists(st.integers(-4, 4).map(lambda x: x / 4), min_size=1, max_size=7)


@quick
@given(numbers)
def test_p_is_near_that_of_all_sign_assignments(values):
    real = abs(sum(values))
    exact = np.mean([abs(sum(s * v for s, v in zip(signs, values, strict=True))) >= real - 1e-9
                     for signs in product((-1, 1), repeat=len(values))])  # fmt: skip
    found = randomisation_test(np.array(values), seed=1, flips=1999)
    assert found == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 1999) + 1 / 1999)


@quick
@given(numbers, st.integers(0, 5))
def test_p_does_not_know_which_system_comes_first(values, seed):
    x = np.array(values)
    assert randomisation_test(x, seed, 199) == randomisation_test(-x, seed, 199)


def test_a_clear_difference_has_the_smallest_p_and_none_has_1():
    assert randomisation_test(np.full(40, 0.3), 0, 999) == 1 / 1000
    assert randomisation_test(np.zeros(10), 0, 999) == 1
    assert randomisation_test(np.zeros(0), 0) == 1
