from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.calibration import Logistic, logistic
from hnmine.stages.filter.candidates import Cells, Scores
from hnmine.stages.filter.features import NAMES, features, names_of, weighted
from tests.strategies import worlds


@given(worlds(), st.integers(0, 99), st.booleans())
def test_the_weighted_sum_is_that_of_the_features_cell_by_cell(world, seed, alike):
    batch = world.batch()
    cells = Cells.of(batch, batch.positive_scores)
    slopes = np.random.default_rng(seed).normal(size=(1 if alike else len(batch), len(names_of(batch))))
    found, x = weighted(batch, cells, slopes), features(batch, cells)
    query = cells.anchors.owners[cells.anchor]
    for cell, value in enumerate(found):
        row = slopes[0 if alike else query[cell]]
        terms = [a * b for a, b in zip(row, x[cell], strict=True)]
        assert value == pytest.approx(sum(terms), rel=1e-9, abs=1e-9 * (1 + max(map(abs, terms))))


def with_teacher(batch):
    """Return a batch whose scores are another model's, with a teacher that ranks the other way round."""
    teacher = Scores(-batch.scores, batch.positive_scores, batch.background_mean, batch.background_std)
    return replace(batch, teacher=teacher)


@given(worlds(min_queries=1))
def test_scores_of_other_models_are_further_features(world):
    batch = world.batch()
    cells = Cells.of(batch, batch.positive_scores)
    nothing = batch.positives.filter(np.zeros(len(batch.positives.values), dtype=bool))
    bare = replace(batch, guide_scores=batch.guide_scores[:0], guide_positive_scores=nothing)
    both = with_teacher(batch)
    assert names_of(bare) == NAMES
    assert names_of(both) == (*NAMES, "guide_in_list", "teacher_in_list")
    own, x = features(bare, cells), features(both, cells)
    assert x[:, : len(NAMES)].tolist() == own.tolist()
    place = {name: number for number, name in enumerate(names_of(both))}
    assert x[:, place["teacher_in_list"]] == pytest.approx(-x[:, place["score_in_list"]], abs=1e-4)
    # a model of other collections has none of them
    slopes = np.ones((1, len(NAMES)))
    assert weighted(both, cells, slopes).tolist() == weighted(bare, cells, slopes).tolist()


def test_lines_are_over_features_as_they_are():
    model = Logistic(np.array([[2.0]]), np.array([[4.0]]), np.array([[3.0]]), np.array([1.0]))
    slopes, offsets = model.lines
    assert slopes.tolist() == [[0.75]]
    assert offsets.tolist() == [-0.5]
    assert model.predict(np.array([[5.0]]), np.array([0])) == logistic(0.75 * 5 - 0.5)
    assert logistic(np.array([-1e6, 0.0, 1e6])).tolist() == [0.0, 0.5, 1.0]
