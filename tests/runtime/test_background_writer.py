"""Writing behind: in order, one at a time, and no error is lost."""

import threading

import pytest

from hnmine.runtime.background_writer import Behind


def test_things_are_done_in_the_order_they_come_and_all_before_the_block_ends():
    done = []
    with Behind() as behind:
        for number in range(20):
            behind(lambda number=number: done.append(number))
    assert done == list(range(20))


def test_it_works_while_the_caller_does():
    go, done = threading.Event(), []
    with Behind() as behind:
        behind(lambda: done.append(go.wait(30)))
        assert not done
        go.set()
    assert done == [True]


def fail():
    raise OSError("no room")


def test_an_error_is_raised_where_the_next_is_handed_over():
    done = []

    def hand_over_two() -> None:
        with Behind() as behind:
            behind(fail)
            behind(lambda: done.append("the next"))
            done.append("the caller went on")

    with pytest.raises(OSError, match="no room"):
        hand_over_two()
    assert not done


def test_the_last_error_is_raised_at_the_end():
    with pytest.raises(OSError, match="no room"), Behind() as behind:
        behind(fail)


def test_an_error_of_the_block_goes_before_and_what_was_begun_is_finished():
    go, done = threading.Event(), []

    def fail_in_the_block() -> None:
        with Behind() as behind:
            behind(lambda: done.append(go.wait(30)))
            threading.Timer(0.05, go.set).start()
            raise ValueError("block")

    with pytest.raises(ValueError, match="block"):
        fail_in_the_block()
    assert done == [True]


def test_an_error_beside_one_of_the_block_is_a_note_to_it():
    def fail_twice() -> None:
        with Behind() as behind:
            behind(fail)
            raise ValueError("block")

    with pytest.raises(ValueError, match="block") as caught:
        fail_twice()
    assert caught.value.__notes__ == ["what was written meanwhile failed too: no room"]
