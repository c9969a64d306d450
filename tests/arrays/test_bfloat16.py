import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.bfloat16 import product_error, round_to_bfloat16


def vectors(rows, dim, seed):
    generator = np.random.default_rng(seed)
    sizes = generator.choice([0, 1e-30, 1e-3, 1, 50], size=(rows, 1))
    return (generator.standard_normal((rows, dim)) * sizes).astype(np.float32)


def numbers_of(rounded):
    """Return the float32 numbers that bfloat16 stands for."""
    return (rounded.astype(np.uint32) << 16).view(np.float32)


def test_seven_bits_of_mantissa_stay_and_ties_round_to_even():
    found, _ = round_to_bfloat16(np.array([[1, -2.5, 1 + 2**-8, 1 + 3 * 2**-8, 0.1]], dtype=np.float32))
    assert numbers_of(found).tolist() == [[1, -2.5, 1, 1 + 2**-6, 0.10009765625]]


def test_zeros_stay_zeros_and_lose_nothing_that_matters():
    rounded, loss = round_to_bfloat16(np.zeros((2, 3), dtype=np.float32))
    assert not rounded.any()
    assert (loss < 1e-37).all()


def test_vectors_are_not_changed():
    found = vectors(4, 5, 0)
    before = found.copy()
    round_to_bfloat16(found)
    np.testing.assert_array_equal(found, before)


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 100))
def test_no_number_changes_by_more_than_its_256th_and_the_loss_is_no_less_than_by_hand(rows, dim, seed):
    found = vectors(rows, dim, seed)
    rounded, loss = round_to_bfloat16(found)
    exact, near = found.astype(float), numbers_of(rounded).astype(float)
    assert (np.abs(exact - near) <= np.abs(exact) * 2**-8).all()
    by_hand = [sum((x - b) ** 2 for x, b in zip(*pair, strict=True)) ** 0.5 for pair in zip(exact, near, strict=True)]
    assert (loss >= by_hand).all()
    np.testing.assert_allclose(loss, by_hand, rtol=1e-4, atol=1e-37)


@given(st.integers(1, 20), st.integers(1, 9), st.integers(1, 12), st.integers(0, 100))
def test_no_product_is_further_off_than_the_bound(rows, asked, dim, seed):
    documents, queries = vectors(rows, dim, seed), vectors(asked, dim, seed + 1)
    (left, left_loss), (right, right_loss) = round_to_bfloat16(queries), round_to_bfloat16(documents)
    longest = np.linalg.norm(documents.astype(float), axis=1).max()
    bound = product_error(left_loss, np.linalg.norm(queries.astype(float), axis=1), right_loss.max(), longest)
    for i, query in enumerate(queries.astype(float)):
        for j, document in enumerate(documents.astype(float)):
            pairs = zip(numbers_of(left[i]).tolist(), numbers_of(right[j]).tolist(), strict=True)
            assert abs(query @ document - sum(a * b for a, b in pairs)) <= bound[i] * (1 + 1e-9)
