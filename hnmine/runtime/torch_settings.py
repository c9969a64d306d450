"""Settings of torch that hold for the whole process, changed for a block of code and restored afterwards."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from hnmine.arrays.single_thread import SharedSetting

_PRECISION, _THREADS = SharedSetting(), SharedSetting()


def full_float32() -> AbstractContextManager[None]:
    """Forbid TF32, whose products of float32 numbers have ten bits of mantissa, in matrix products.

    A caller may have allowed it, as does the environment of some containers (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE). The
    rounding of its products exceeds `hnmine.arrays.dots.error_bound`, so a search would miss documents.
    """
    return _PRECISION.changed(_full_float32)


def one_torch_thread() -> AbstractContextManager[None]:
    """Compute each of torch's operations in the thread that asks for it."""
    return _THREADS.changed(_one_torch_thread)


@contextmanager
def _full_float32() -> Iterator[None]:
    import torch

    backends: Any = torch.backends  # whose type hints lack mkldnn's setting
    places = [backend.matmul for backend in (backends.cuda, backends.mkldnn) if _has_precision(backend)]
    precisions = [place.fp32_precision for place in places]
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # torch says nothing where only the setting of a backend was changed
        before = None
    torch.set_float32_matmul_precision("highest")  # sets both
    try:
        yield
    finally:
        if before is not None:
            torch.set_float32_matmul_precision(before)
        for place, precision in zip(places, precisions, strict=True):
            place.fp32_precision = precision


def _has_precision(backend: Any) -> bool:
    """Return whether a backend has its own setting, which torch has from 2.9 on."""
    return hasattr(getattr(backend, "matmul", None), "fp32_precision")


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
