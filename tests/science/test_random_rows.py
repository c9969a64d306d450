import numpy as np
import pytest

from hnmine.science.random_rows import sample_rows


@pytest.mark.parametrize(("rows", "size", "expected"), [(1000, 32, 32), (5, 32, 5), (32, 32, 32), (1, 8, 1)])
def test_the_sample_is_ascending_distinct_and_inside_the_corpus(rows, size, expected):
    found = sample_rows(rows, size, 0)
    assert found.dtype == np.int64
    assert len(found) == expected
    assert (np.diff(found) > 0).all()
    assert found.min() >= 0
    assert found.max() < rows


def test_the_sample_depends_on_the_seed_and_on_nothing_else():
    one = sample_rows(1000, 50, 3)
    np.random.default_rng(0).random(10)
    np.testing.assert_array_equal(one, sample_rows(1000, 50, 3))
    assert not np.array_equal(one, sample_rows(1000, 50, 4))


def test_the_sample_is_roughly_uniform():
    counts = np.zeros(20)
    for seed in range(400):
        counts[sample_rows(20, 5, seed)] += 1
    # each row is drawn with p = 1/4: mean 100, standard deviation 8.7
    assert counts.sum() == 2000
    assert np.abs(counts - 100).max() < 4.5 * 8.7
