import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.calibration import Logistic, logistic
from hnmine.stages.filter.candidates import Cells
from hnmine.stages.filter.features import NAMES, features, weighted
from tests.strategies import quick, worlds


@quick
@given(worlds(), st.integers(0, 99), st.booleans())
def test_the_weighted_sum_is_that_of_the_features_cell_by_cell(world, seed, alike):
    batch = world.batch()
    cells = Cells.of(batch, batch.positive_scores)
    slopes = np.random.default_rng(seed).normal(size=(1 if alike else len(batch), len(NAMES)))
    found, x = weighted(batch, cells, slopes), features(batch, cells)
    query = cells.anchors.owners[cells.anchor]
    for cell, value in enumerate(found):
        row = slopes[0 if alike else query[cell]]
        terms = [a * b for a, b in zip(row, x[cell], strict=True)]
        assert value == pytest.approx(sum(terms), rel=1e-9, abs=1e-9 * (1 + max(map(abs, terms))))


def test_lines_are_over_features_as_they_are():
    model = Logistic(np.array([[2.0]]), np.array([[4.0]]), np.array([[3.0]]), np.array([1.0]))
    slopes, offsets = model.lines
    assert slopes.tolist() == [[0.75]]
    assert offsets.tolist() == [-0.5]
    assert model.predict(np.array([[5.0]]), np.array([0])) == logistic(0.75 * 5 - 0.5)
    assert logistic(np.array([-1e6, 0.0, 1e6])).tolist() == [0.0, 0.5, 1.0]
