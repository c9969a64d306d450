import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.quantisation import LIMIT, product_error, rounding_loss, step_for, to_bytes
from tests.strategies import quick


def vectors(rows, dim, seed):
    generator = np.random.default_rng(seed)
    sizes = generator.choice([0, 1e-3, 1, 50], size=(rows, 1))
    return (generator.standard_normal((rows, dim)) * sizes).astype(np.float32)


def test_a_step_reaches_the_largest_number_in_127():
    numbers = np.array([[-2.54, 1.27, 0.0, 0.014, 0.015]], dtype=np.float32)
    step = step_for(np.abs(numbers).max())
    assert to_bytes(numbers, step).tolist() == [[-127, 64, 0, 1, 1]]  # 63.5 and 0.7, 0.75 steps


def test_zeros_stay_zeros():
    zeros = np.zeros((2, 3), dtype=np.float32)
    assert step_for(0.0) == 1
    assert not to_bytes(zeros, step_for(0.0)).any()
    assert rounding_loss(zeros, to_bytes(zeros, step_for(0.0)), step_for(0.0)).tolist() == [0, 0]


@quick
@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 100))
def test_no_number_is_off_by_more_than_half_a_step(rows, dim, seed):
    found = vectors(rows, dim, seed)
    step = step_for(np.abs(found).max(axis=1, keepdims=True))
    numbers = to_bytes(found, step)
    assert np.abs(numbers.astype(int)).max() <= LIMIT
    assert (np.abs(found - numbers * step) <= step * 0.5001).all()
    by_hand = [sum(float(x - n * s) ** 2 for x, n in zip(row, b, strict=True)) ** 0.5
               for row, b, s in zip(found.astype(float), numbers, step[:, 0].astype(float), strict=True)]  # fmt: skip
    np.testing.assert_allclose(rounding_loss(found, numbers, step), by_hand, rtol=1e-3, atol=1e-5)


@quick
@given(st.integers(1, 20), st.integers(1, 9), st.integers(1, 12), st.integers(0, 100))
def test_no_product_is_further_off_than_the_bound(rows, asked, dim, seed):
    documents, queries = vectors(rows, dim, seed), vectors(asked, dim, seed + 1)
    one, own = step_for(np.abs(documents).max()), step_for(np.abs(queries).max(axis=1, keepdims=True))
    left, right = to_bytes(queries, own), to_bytes(documents, one)
    lengths = np.linalg.norm(documents, axis=1).max()
    lost = rounding_loss(documents, right, one).max()
    bound = product_error(rounding_loss(queries, left, own), np.linalg.norm(queries, axis=1), lost, lengths)
    for i, query in enumerate(queries.astype(float)):
        for j, document in enumerate(documents.astype(float)):
            rounded = sum(int(a) * int(b) for a, b in zip(left[i], right[j], strict=True)) * float(own[i, 0] * one)
            assert abs(query @ document - rounded) <= bound[i] * 1.001 + 1e-4 * lengths * np.linalg.norm(query)
