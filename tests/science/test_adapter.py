import math

import numpy as np
import pytest

from hnmine.science.adapter import Adam, adapted, info_nce


def world(seed, b=3, m=7, d=5):
    generator = np.random.default_rng(seed)
    queries, documents = generator.normal(size=(b, d)), generator.normal(size=(m, d))
    adapter = 0.3 * generator.normal(size=(d, d))
    allowed = generator.random((b, m)) < 0.7
    allowed[np.arange(b), np.arange(b)] = True
    return [x.astype(np.float32) for x in (queries, documents)], allowed, adapter.astype(np.float32)


def unit(vector):
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def moved(vector, adapter):
    size = range(len(vector))
    return unit([vector[i] + sum(adapter[i][j] * vector[j] for j in size) for i in size])


def loss_by_loops(queries, documents, allowed, adapter, temperature):
    q = [moved(row, adapter) for row in queries.tolist()]
    d = [moved(row, adapter) for row in documents.tolist()]
    total = 0.0
    for i, query in enumerate(q):
        scores = [sum(a * b for a, b in zip(query, other, strict=True)) / temperature for other in d]
        total -= scores[i] - math.log(sum(math.exp(s) for s, ok in zip(scores, allowed[i], strict=True) if ok))
    return total / len(q)


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_that_of_a_double_loop(seed):
    (queries, documents), allowed, adapter = world(seed)
    found, _ = info_nce(queries, documents, allowed, adapter, 0.2)
    assert found == pytest.approx(loss_by_loops(queries, documents, allowed, adapter.tolist(), 0.2), rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_finite_differences(seed):
    (queries, documents), allowed, adapter = world(seed)
    _, slope = info_nce(queries, documents, allowed, adapter, 0.5)
    step = 1e-5
    for i, j in ((0, 0), (1, 3), (4, 2)):
        up, down = adapter.astype(float), adapter.astype(float)
        up[i, j] += step
        down[i, j] -= step
        sides = [loss_by_loops(queries, documents, allowed, side.tolist(), 0.5) for side in (up, down)]
        assert slope[i, j] == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-2, abs=1e-4)


def test_documents_that_do_not_count_change_nothing():
    (queries, documents), allowed, adapter = world(1)
    allowed[:, 5] = False
    loss, slope = info_nce(queries, documents, allowed, adapter, 0.2)
    documents[5] *= -3
    other, other_slope = info_nce(queries, documents, allowed, adapter, 0.2)
    assert loss == other
    np.testing.assert_allclose(slope, other_slope, rtol=1e-5, atol=1e-7)


def test_an_adapter_of_zeros_leaves_directions_and_a_zero_vector_stays():
    vectors = np.array([[3, 4], [0, 0]], dtype=np.float32)
    np.testing.assert_allclose(adapted(vectors, np.zeros((2, 2), np.float32)), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_adam_walks_down_to_the_minimum_and_its_first_step_is_the_rate():
    value = np.array([1.0, -2.0], dtype=np.float32)
    optimiser = Adam((2,), 0.05)
    first = optimiser.step(value, 2 * value)
    np.testing.assert_allclose(first, value - 0.05 * np.sign(value), rtol=1e-4)
    value = first
    for _ in range(400):
        value = optimiser.step(value, 2 * value)
    np.testing.assert_allclose(value, 0, atol=0.02)
