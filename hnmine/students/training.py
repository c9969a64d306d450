"""The training loop of all students: AdamW with warm-up and linear decay, on one thread, the same bits every time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hnmine.students.batches import LossName

Tick = Callable[[int], None]
"""Called with the number of examples trained on since the last call."""

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises from 0; then it falls linearly to 0."""
LARGEST_NORM = 1.0
"""Longer gradients are shortened to this, as sentence-transformers' trainer does."""


@dataclass(frozen=True)
class Training:
    """How a student is trained.

    Attributes:
        epochs: passes over the examples.
        batch: examples a step.
        rate: highest learning rate.
        max_tokens: tokens that a text is cut to, at most 128.
        loss: whose negatives a query is compared with.
        scale: factor of the cosines, the inverse of the temperature.
        layers: for "top-layers", the number of layers that are trained.
    """

    epochs: int
    batch: int
    rate: float
    max_tokens: int
    loss: LossName = "batch"
    scale: float = 20.0
    layers: int = 1


def minimise(
    parameters: Iterable[Any], rows: Iterable[np.ndarray], steps: int, rate: float, loss: Callable[[np.ndarray], Any],
    tick: Tick,
) -> None:  # fmt: skip
    """Train parameters in place by AdamW without weight decay (Loshchilov and Hutter, ICLR 2019).

    Args:
        parameters: torch parameters.
        rows: examples of each step.
        steps: number of steps.
        rate: highest learning rate.
        loss: returns the loss of some examples, a scalar tensor.
        tick: called after each step.
    """
    import torch

    trained = list(parameters)
    optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    for step, own in enumerate(rows):
        optimiser.param_groups[0]["lr"] = rate * schedule(step, steps)
        optimiser.zero_grad(set_to_none=True)
        value = loss(own)
        if value.requires_grad:
            value.backward()
            torch.nn.utils.clip_grad_norm_(trained, LARGEST_NORM)
            optimiser.step()
        tick(len(own))


def schedule(step: int, steps: int) -> float:
    """Return the factor of the learning rate at a step from 0: linear warm-up to 1, then linear decay to 0."""
    rising = max(1, round(WARM_UP * steps))
    return min((step + 1) / rising, (steps - step) / max(1, steps - rising + 1))
