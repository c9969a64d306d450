"""Context managers that run faiss and BLAS on one thread: sums have one order, and results the same last bits."""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def faiss_single_thread() -> Iterator[None]:
    """Run faiss calls of this thread on one OpenMP thread, and restore the number afterwards."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


@contextmanager
def single_thread() -> Iterator[None]:
    """Run faiss and the process' BLAS and OpenMP libraries on one thread, and restore the numbers afterwards."""
    with faiss_single_thread(), threadpool_limits(1):
        yield
