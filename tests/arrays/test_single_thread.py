import threading
from contextlib import contextmanager

import faiss
import numpy as np  # noqa: F401 - so that a BLAS library is loaded
import pytest
from threadpoolctl import ThreadpoolController

from hnmine.arrays.single_thread import SharedSetting, single_thread


def threads():
    """Return the numbers of threads that the libraries would use in the calling thread."""
    return {library.num_threads for library in ThreadpoolController().lib_controllers}


def shared_threads():
    """Return the numbers of threads of those whose threads serve the whole process."""
    libraries = ThreadpoolController().lib_controllers
    return {each.num_threads for each in libraries if each.user_api == "blas" and each.threading_layer == "pthreads"}


@pytest.fixture
def three_threads():
    with ThreadpoolController().limit(limits=3):
        yield


def overlapping(block, first_leaves_first, inside=lambda: True):
    """Enter a block in a first thread, then in a second; leave them in the given order, and yield after each.

    `inside` is called in each thread right before its block ends, and must return true.
    """
    entered, leave = (threading.Event(), threading.Event()), (threading.Event(), threading.Event())
    errors = []

    def work(number):
        try:
            with block():
                entered[number].set()
                assert leave[number].wait(30)
                assert inside()
        except BaseException as error:
            errors.append(error)
            entered[number].set()

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread, event in zip(threads, entered, strict=True):
        thread.start()
        assert event.wait(30)
    for number in (0, 1) if first_leaves_first else (1, 0):
        leave[number].set()
        threads[number].join()
        yield
    assert not errors


@pytest.mark.parametrize("first_leaves_first", [True, False])
def test_blocks_that_overlap_restore_the_number_that_was_there_before_both(first_leaves_first, three_threads):
    assert shared_threads() == {3}
    seen = [shared_threads() for _ in overlapping(single_thread, first_leaves_first, lambda: threads() == {1})]
    assert seen == [{1}, {3}]  # still one thread while the other block runs
    assert threads() == {3}


def test_every_library_runs_on_one_thread_inside(three_threads):
    assert threads() == {3} == {faiss.omp_get_max_threads()}
    with single_thread():
        assert threads() == {1} == {faiss.omp_get_max_threads()}
        with single_thread():
            assert threads() == {1}
        assert threads() == {1} == {faiss.omp_get_max_threads()}
    assert threads() == {3} == {faiss.omp_get_max_threads()}


def test_a_block_that_fails_restores_the_number(three_threads):
    with pytest.raises(ZeroDivisionError), single_thread():
        _ = 1 / 0
    assert threads() == {3}


def test_a_change_that_fails_changes_nothing():
    setting, value = SharedSetting(), [5]

    @contextmanager
    def change():
        before, value[0] = value[0], 1
        try:
            yield
        finally:
            value[0] = before

    def fails():
        raise ValueError("no such setting")

    with pytest.raises(ValueError, match="no such"), setting.changed(fails):
        pass
    with setting.changed(change):
        assert value == [1]
        with pytest.raises(ValueError, match="no such"), setting.changed(fails):
            pass
        assert value == [1]
    assert value == [5]
