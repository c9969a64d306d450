import numpy as np
import pytest
import torch

from hnmine.runtime.torch_settings import full_float32, one_torch_thread
from hnmine.search import exact
from hnmine.search.exact import TorchProposer, search
from tests.arrays.test_single_thread import overlapping
from tests.search.test_exact import InBlocks, exactly, random_vectors

CUDA = torch.backends.cuda.matmul
newer = pytest.mark.skipif(not hasattr(CUDA, "fp32_precision"), reason="this torch has no setting for each backend")


def precision():
    """Return all that says whether TF32 is allowed: the older setting, None where torch refuses to say it."""
    try:
        old = torch.get_float32_matmul_precision()
    except RuntimeError:
        old = None
    return old, getattr(CUDA, "fp32_precision", None)


@pytest.fixture
def restored():
    old, new = precision()
    yield
    torch.set_float32_matmul_precision(old)
    if new is not None:
        CUDA.fp32_precision = new


def allow_by_precision():
    torch.set_float32_matmul_precision("high")


def allow_by_flag():
    CUDA.allow_tf32 = True


def allow_by_backend():
    CUDA.fp32_precision = "tf32"


ALLOW = [allow_by_precision, allow_by_flag, pytest.param(allow_by_backend, marks=newer)]


@pytest.mark.parametrize("allow", ALLOW)
def test_tf32_is_forbidden_inside_and_allowed_again_afterwards(allow, restored):
    allow()
    before = precision()
    with full_float32():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not CUDA.allow_tf32  # what torch's CUDA product asks
    assert precision() == before


@pytest.mark.parametrize("first_leaves_first", [True, False])
def test_searches_that_overlap_restore_what_was_allowed_before_both(first_leaves_first, restored):
    allow_by_precision()
    seen = [torch.get_float32_matmul_precision() for _ in overlapping(full_float32, first_leaves_first)]
    assert seen == ["highest", "high"]


@pytest.mark.parametrize("allow", ALLOW)
def test_a_gpu_search_finds_the_same_documents_where_tf32_is_allowed(allow, restored, monkeypatch):
    """A CPU stands for a GPU: its product cuts numbers to TF32's ten bits of mantissa while TF32 is allowed."""
    corpus, queries = random_vectors(4000, 16, 1), random_vectors(60, 16, 2)
    allow()
    before, products = precision(), torch.Tensor.__matmul__

    def as_tf32(numbers):
        return (numbers.contiguous().view(torch.int32) & ~((1 << 13) - 1)).view(torch.float32)

    def product(left, right):
        if precision() == before:
            left, right = as_tf32(left), as_tf32(right)
        return products(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", product)
    monkeypatch.setattr(exact, "SLACK", 0)
    keys = search(InBlocks(corpus, [150]), queries, 40, TorchProposer(InBlocks(corpus, [150]), "cpu"))
    np.testing.assert_array_equal(keys, exactly(InBlocks(corpus), queries, 40))
    assert precision() == before


def test_torch_computes_in_the_calling_thread_and_the_number_comes_back():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_torch_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
