"""The training loop: its learning rate, its steps, and what it leaves of torch's settings."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hnmine.students.training import minimise, schedule


@given(st.integers(1, 500))
def test_the_rate_rises_once_and_falls_and_stays_above_0(steps):
    factors = [schedule(step, steps) for step in range(steps)]
    assert max(factors) == 1
    assert min(factors) > 0
    top = factors.index(1)
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_a_step_is_that_of_adamw_and_rows_are_counted():
    weights = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    counted = []
    minimise([weights], [np.arange(4)], 1, 0.5, lambda rows: (weights**2).sum(), counted.append)
    # the first step of Adam moves each number by the learning rate towards the minimum
    assert weights.tolist() == pytest.approx([2.5, -1.5], abs=1e-4)
    assert counted == [4]


def test_a_loss_that_depends_on_nothing_changes_nothing():
    weights = torch.nn.Parameter(torch.ones(2))
    minimise([weights], [np.arange(1)], 1, 0.5, lambda rows: torch.tensor(0.0), lambda rows: None)
    assert weights.tolist() == [1, 1]
