"""The seam between stages and processes: order, errors and deaths."""

import os
import pickle
from pathlib import Path
from typing import NoReturn

import pytest

from hnmine import run
from hnmine.errors import HnmineError, InputError, WorkerDied
from hnmine.pipeline.run import ShardWorker, make_engine
from hnmine.runtime.engines import Engine, PoolEngine, Progress
from hnmine.runtime.ray_engine import RayEngine
from hnmine.runtime.stage import RunContext
from hnmine.runtime.threads import BackgroundWriter
from hnmine.runtime.worker_slot import current_slot
from hnmine.storage.digest_cache import DigestCache
from tests.support import config_for, make_collection, write_jsonl

pytestmark = pytest.mark.spawn


def square(number: int) -> int:
    return number * number


def die(number: int) -> NoReturn:
    os._exit(3)


def refuse(number: int) -> NoReturn:
    raise InputError(f"corpus.jsonl line {number}: no text\nand a second line")


def test_a_pool_gives_every_result_once() -> None:
    assert dict(PoolEngine(2).map(square, list(range(9)))) == {n: n * n for n in range(9)}
    assert list(Engine().map(square, [3, 4])) == [(0, 9), (1, 16)]


def test_a_task_carries_nothing_that_belongs_to_the_parent(tmp_path: Path) -> None:
    config = config_for(make_collection(tmp_path))
    known = DigestCache({"a place": {"stamp": "s", "digest": "d"}})
    context = RunContext(config, config.out_folder, None, known)
    with BackgroundWriter() as writer:
        worker = ShardWorker("ingest", "read", context, "key", print, writer=writer)
        sent = pickle.loads(pickle.dumps(worker))  # noqa: S301 - made a moment ago
    assert (sent.tick, sent.writer, vars(sent.context.digests)) == (None, None, vars(DigestCache()))
    assert sent == worker


def where(number: int) -> tuple[int, int]:
    return os.getpid(), current_slot().count


def test_processes_stay_for_the_next_map_until_they_are_let_go() -> None:
    engine = PoolEngine(2)
    first = {pid for pid, _ in dict(engine.map(where, [0, 1, 2, 3])).values()}
    [(pid, count)] = dict(engine.map(where, [0])).values()
    assert pid in first
    assert count == 1, "alone it has all cores"
    engine.release()
    [(other, _)] = dict(engine.map(where, [0])).values()
    assert other not in first
    with pytest.raises(InputError):
        list(engine.map(refuse, [1]))
    assert dict(engine.map(square, [3, 4])) == {0: 9, 1: 16}, "an error ends no later map"
    engine.close()


def test_a_map_that_is_left_ends_its_processes() -> None:
    engine = PoolEngine(2)
    found = engine.map(where, list(range(50)))
    _, (pid, _) = next(found)
    found.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_nothing_to_do_starts_no_process() -> None:
    assert list(PoolEngine(2).map(square, [])) == []


def test_a_worker_that_dies_is_an_error_and_no_hang() -> None:
    with pytest.raises(WorkerDied, match="finished shards are kept"):
        list(PoolEngine(2).map(die, [1, 2, 3]))


def test_an_error_in_a_worker_arrives_as_it_is() -> None:
    with pytest.raises(InputError) as caught:
        list(PoolEngine(2).map(refuse, [7]))
    assert type(caught.value) is InputError
    assert str(caught.value) == "corpus.jsonl line 7: no text\nand a second line"


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, Engine),
        ({"workers": 3}, PoolEngine),
        ({"workers": 3, "engine": "inline"}, Engine),
        ({"engine": "pool"}, PoolEngine),
        ({"engine": "ray"}, RayEngine),
    ],
)
def test_one_worker_stays_in_this_process_unless_the_config_names_an_engine(tmp_path, settings, kind) -> None:
    config = config_for(tmp_path, **settings)
    assert type(make_engine(RunContext(config, config.out_folder), Progress())) is kind


def test_a_bad_input_reads_the_same_whatever_the_engine(tmp_path) -> None:
    make_collection(tmp_path, 8, 3)
    write_jsonl(tmp_path / "corpus.jsonl", [{"doc_id": "d0", "text": "one"}, {"doc_id": "d0", "text": "two"}])
    caught = []
    for workers in (1, 2):
        with pytest.raises(HnmineError) as error:
            run(config_for(tmp_path, f"out{workers}", workers=workers))
        caught.append((type(error.value), str(error.value)))
    assert caught[0] == caught[1]
    assert caught[0][0] is InputError
    assert "'d0' a second time" in caught[0][1]
