"""Threads of a worker: writes in the background and prefetching, in order and without a lost error."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hnmine.runtime.threads import (
    BackgroundWriter,
    Prefetcher,
    each_alone,
    in_background,
    in_order,
    in_threads,
    prefetched,
)
from hnmine.runtime.worker_slot import WorkerSlot, set_slot


def test_a_result_or_an_error_comes_from_a_thread_that_the_process_does_not_wait_for():
    go = threading.Event()

    def work() -> bool:
        return go.wait(30) and threading.current_thread().daemon

    found = in_background(work)
    assert not found.done()
    go.set()
    assert found.result(30)
    with pytest.raises(ZeroDivisionError):
        in_background(lambda: 1 // 0).result(30)


def test_things_are_done_in_the_order_they_come_and_all_before_the_block_ends():
    done = []
    with BackgroundWriter() as writer:
        for number in range(20):
            writer.submit(lambda number=number: done.append(number))
    assert done == list(range(20))


def test_it_works_while_the_caller_does():
    go, done = threading.Event(), []
    with BackgroundWriter() as writer:
        writer.submit(lambda: done.append(go.wait(30)))
        assert not done
        go.set()
    assert done == [True]


def test_several_run_at_a_time_and_no_more_than_allowed():
    begun, go = [threading.Event() for _ in range(3)], threading.Event()

    def write(number: int) -> None:
        begun[number].set()
        assert go.wait(30)

    with BackgroundWriter(2) as writer:
        writer.submit(lambda: write(0))
        writer.submit(lambda: write(1))
        assert begun[0].wait(30)
        assert begun[1].wait(30)
        assert not begun[2].is_set()
        go.set()
        writer.submit(lambda: write(2))
    assert begun[2].is_set()


def test_all_errors_of_several_are_notes_to_that_of_the_block():
    def fail_three_times() -> None:
        with BackgroundWriter(2) as writer:
            writer.submit(fail)
            writer.submit(fail)
            raise ValueError("block")

    with pytest.raises(ValueError, match="block") as caught:
        fail_three_times()
    assert caught.value.__notes__ == ["a write in the background failed too: no room"] * 2


def fail():
    raise OSError("no room")


def test_an_error_is_raised_where_the_next_is_handed_over():
    done = []

    def hand_over_two() -> None:
        with BackgroundWriter() as writer:
            writer.submit(fail)
            writer.submit(lambda: done.append("the next"))
            done.append("the caller went on")

    with pytest.raises(OSError, match="no room"):
        hand_over_two()
    assert not done


def test_the_last_error_is_raised_at_the_end():
    with pytest.raises(OSError, match="no room"), BackgroundWriter() as writer:
        writer.submit(fail)


def test_an_error_of_the_block_goes_before_and_what_was_begun_is_finished():
    go, done = threading.Event(), []

    def fail_in_the_block() -> None:
        with BackgroundWriter() as writer:
            writer.submit(lambda: done.append(go.wait(30)))
            threading.Timer(0.05, go.set).start()
            raise ValueError("block")

    with pytest.raises(ValueError, match="block"):
        fail_in_the_block()
    assert done == [True]


def test_an_error_beside_one_of_the_block_is_a_note_to_it():
    def fail_twice() -> None:
        with BackgroundWriter() as writer:
            writer.submit(fail)
            raise ValueError("block")

    with pytest.raises(ValueError, match="block") as caught:
        fail_twice()
    assert caught.value.__notes__ == ["a write in the background failed too: no room"]


def test_the_next_is_made_while_the_last_is_worked_on():
    begun = {number: threading.Event() for number in range(3)}

    def make(number: int) -> int:
        begun[number].set()
        return number * 10

    prefetcher = Prefetcher(make)
    assert prefetcher.get(0, 1) == 0
    assert begun[1].wait(5)
    assert not begun[2].is_set()
    assert prefetcher.get(1, 2) == 10
    assert prefetcher.get(2, None) == 20


def test_another_than_expected_can_be_asked_for():
    prefetcher = Prefetcher(lambda number: number)
    assert [prefetcher.get(0, 1), prefetcher.get(5, 6), prefetcher.get(6, None)] == [0, 5, 6]


def test_an_error_ahead_shows_when_its_turn_comes():
    def make(number: int) -> int:
        if number == 1:
            raise ValueError("bad text")
        return number

    prefetcher = Prefetcher(make)
    assert prefetcher.get(0, 1) == 0
    with pytest.raises(ValueError, match="bad text"):
        prefetcher.get(1, 2)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_parts_come_in_order_and_all_of_them(count: int):
    assert list(prefetched(iter(range(count)))) == list(range(count))


def test_a_part_is_made_while_the_one_before_is_worked_on():
    begun = [threading.Event() for _ in range(3)]

    def parts():
        for number, event in enumerate(begun):
            event.set()
            yield number

    coming = prefetched(parts())
    assert next(coming) == 0
    assert begun[1].wait(5)
    assert not begun[2].is_set()
    assert list(coming) == [1, 2]


def test_an_error_shows_where_its_part_would_have_come():
    def parts():
        yield 1
        raise ValueError("bad part")

    coming = prefetched(parts())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="bad part"):
        next(coming)


@pytest.fixture
def two_cores():
    set_slot(WorkerSlot(shared_cores=2))
    yield
    set_slot(WorkerSlot())


@pytest.mark.usefixtures("two_cores")
def test_parts_that_are_each_alone_stay_in_one_thread_each():
    both = threading.Barrier(2, timeout=30)

    def part(number: int) -> tuple[int, set[int]]:
        both.wait()  # there are two threads
        return number, {threading.get_ident(), *each_alone(inner, range(3)), *in_threads(inner, range(3))}

    def inner(number: int) -> int:
        return threading.get_ident()

    found = each_alone(part, range(2))
    assert [number for number, _ in found] == [0, 1]
    assert [len(threads) for _, threads in found] == [1, 1]
    assert threading.get_ident() not in in_threads(inner, range(4))  # no longer within


@pytest.mark.usefixtures("two_cores")
def test_an_error_of_a_part_is_raised():
    with pytest.raises(OSError, match="no room"):
        each_alone(lambda part: fail(), range(3))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 23])
def test_results_come_in_the_order_of_the_parts(count: int, threads: int):
    assert list(in_order(lambda number: number * 10, iter(range(count)), threads)) == [n * 10 for n in range(count)]


def test_one_thread_is_the_callers():
    assert set(in_order(lambda _: threading.get_ident(), range(3), 1)) == {threading.get_ident()}


def test_as_many_are_computed_at_a_time_as_allowed_and_few_are_begun_ahead():
    both, begun = threading.Barrier(2), []

    def compute(number: int) -> int:
        begun.append(number)
        both.wait(60)
        return number

    found = in_order(compute, range(10), 2)
    assert next(found) == 0
    assert max(begun) < 5  # four before one is taken, and then another
    assert list(found) == list(range(1, 10))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_comes_in_its_parts_turn_and_what_is_not_begun_is_left_out(threads: int):
    begun = []

    def compute(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ValueError("bad text")
        return number

    found = in_order(compute, range(100), threads)
    assert next(found) == 0
    with pytest.raises(ValueError, match="bad text"):
        next(found)
    assert len(begun) <= 6


def test_what_no_thread_has_begun_is_left_out_where_the_caller_stops(monkeypatch: pytest.MonkeyPatch):
    begun, go, shutdown = [], threading.Event(), ThreadPoolExecutor.shutdown

    def compute(number: int) -> int:
        begun.append(number)
        assert number < 1 or go.wait(60)
        return number

    def let_go(pool: ThreadPoolExecutor, wait: bool = True) -> None:
        go.set()
        shutdown(pool, wait)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", let_go)
    found = in_order(compute, range(100), 2)
    assert next(found) == 0
    found.close()
    assert set(begun) <= {0, 1, 2}
