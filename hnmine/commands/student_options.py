"""What `hnmine tune` and `hnmine probe` share: checks of the student's options, its model, and the sides of a split."""

from collections.abc import Sequence
from typing import get_args

import numpy as np

from hnmine.config.models import EmbedConfig
from hnmine.config.tables import Config
from hnmine.errors import ModelError, Problems, TooFewQueries
from hnmine.students.batches import LossName
from hnmine.students.student import DEFAULTS

MAX_QUERIES, SEEDS = 2_000, 3
TRAIN_SHARE = 0.7
"""Share of the queries that train; the others are tested on."""
FEWEST_QUERIES, FEWEST_TESTED = 40, 10


def check_student(student: str, loss: str) -> Problems:
    """Return the problems of the options --student and --loss."""
    problems = Problems()
    if student not in DEFAULTS:
        problems.add(f"--student {student}: no such student; one of {', '.join(DEFAULTS)}")
    if loss not in get_args(LossName):
        problems.add(f"--loss {loss}: no such loss; one of {', '.join(get_args(LossName))}")
    return problems


def student_model(config: Config, student: str, model: str | None) -> EmbedConfig | None:
    """Return the model that a student begins with; None for a static student made from the run's vectors.

    Args:
        config: the whole config.
        student: its name.
        model: the option --model, in place of embed.model.

    Raises:
        ModelError: the student needs a model, and there is none.
    """
    embed = config.embed
    if config.input.uses_images:
        raise ModelError("students are trained on texts, and this run has images")
    if model is not None:
        return EmbedConfig(model=model, device=embed.device, trust_remote_code=embed.trust_remote_code)
    if embed.loads_model:
        return embed
    if student != "static":
        raise ModelError(
            f'embed.model = "{embed.model}" names no model that can be trained: name one with --model, or use '
            "--student static, which begins with word vectors made from the run's"
        )
    return None


def check_sides(splits: Sequence[np.ndarray], where: object) -> None:
    """Check that every split (bool, whether each query trains) leaves enough queries on both sides.

    Raises:
        TooFewQueries: one does not; the message begins with `where`.
    """
    tested = min(int((~trains).sum()) for trains in splits)
    trained = min(int(trains.sum()) for trains in splits)
    if tested < FEWEST_TESTED or trained < FEWEST_TESTED:
        raise TooFewQueries(
            f"{where}: queries that share a positive stay on one side of the split, which leaves {trained:,} to "
            f"train on and {tested:,} to test on; {FEWEST_TESTED} of each are needed"
        )
