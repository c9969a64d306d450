"""One step ahead: what is made, in which order, and where errors show; texts across shards; places of workers."""

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from hnmine.runtime.engines import PoolEngine
from hnmine.runtime.prefetch import Ahead, Texts, one_ahead
from hnmine.runtime.worker_slot import Place, choose_device, my_place, thread_share
from hnmine.storage.store import Shards, write_table

SCHEMA = pa.schema([("text", pa.string())])


def test_the_next_is_made_while_the_last_is_worked_on():
    begun = {number: threading.Event() for number in range(3)}

    def make(number: int) -> int:
        begun[number].set()
        return number * 10

    ahead = Ahead(make)
    assert ahead.get(0, 1) == 0
    assert begun[1].wait(5)
    assert not begun[2].is_set()
    assert ahead.get(1, 2) == 10
    assert ahead.get(2, None) == 20


def test_another_than_expected_can_be_asked_for():
    ahead = Ahead(lambda number: number)
    assert [ahead.get(0, 1), ahead.get(5, 6), ahead.get(6, None)] == [0, 5, 6]


def test_an_error_ahead_shows_when_its_turn_comes():
    def make(number: int) -> int:
        if number == 1:
            raise ValueError("bad text")
        return number

    ahead = Ahead(make)
    assert ahead.get(0, 1) == 0
    with pytest.raises(ValueError, match="bad text"):
        ahead.get(1, 2)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_parts_come_in_order_and_all_of_them(count: int):
    assert list(one_ahead(iter(range(count)))) == list(range(count))


def test_a_part_is_made_while_the_one_before_is_worked_on():
    begun = [threading.Event() for _ in range(3)]

    def parts():
        for number, event in enumerate(begun):
            event.set()
            yield number

    coming = one_ahead(parts())
    assert next(coming) == 0
    assert begun[1].wait(5)
    assert not begun[2].is_set()
    assert list(coming) == [1, 2]


def test_an_error_shows_where_its_part_would_have_come():
    def parts():
        yield 1
        raise ValueError("bad part")

    coming = one_ahead(parts())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="bad part"):
        next(coming)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_texts_are_the_same_over_any_shards(tmp_path: Path, size: int):
    texts = [f"t{row}" for row in range(10)]
    for number, first in enumerate(range(0, 10, size)):
        write_table(pa.table({"text": texts[first : first + size]}), tmp_path / f"part-{number:05}.parquet", "k")
    read = Texts(Shards(tmp_path, SCHEMA)).read
    for first in range(11):
        for last in range(first, 13):
            assert read(first, last) == texts[first:last]


@pytest.mark.parametrize(
    ("asked", "place", "gpus", "device"),
    [
        (None, Place(), 4, None),
        (None, Place(3, 8), 0, None),
        (None, Place(3, 8), 1, None),
        (None, Place(0, 8), 4, "cuda:0"),
        (None, Place(5, 8), 4, "cuda:1"),
        ("cuda", Place(2, 3), 2, "cuda:0"),
        ("cuda:1", Place(2, 3), 2, "cuda:1"),
        ("cpu", Place(2, 3), 2, "cpu"),
        ("cuda", Place(), 2, "cuda"),
    ],
)
def test_gpus_are_dealt_out_to_workers(asked, place, gpus, device):
    assert choose_device(asked, place, gpus) == device


def test_threads_are_shared_out():
    assert [thread_share(8, count) for count in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]


def place_of(item: int) -> Place:
    import time

    time.sleep(0.3)  # so that both workers get one
    return my_place()


@pytest.mark.timeout(120)
def test_each_worker_knows_its_place():
    found = {place for _, place in PoolEngine(2).map(place_of, list(range(8)))}
    assert found <= {Place(0, 2), Place(1, 2)}
    assert Place(0, 2) in found
    assert my_place() == Place()
