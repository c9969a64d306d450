import pytest

from hnmine.runtime.engines import PoolEngine
from hnmine.runtime.worker_slot import WorkerSlot, choose_device, current_slot, thread_share


@pytest.mark.parametrize(
    ("asked", "slot", "gpus", "device"),
    [
        (None, WorkerSlot(), 4, None),
        (None, WorkerSlot(3, 8), 0, None),
        (None, WorkerSlot(3, 8), 1, None),
        (None, WorkerSlot(0, 8), 4, "cuda:0"),
        (None, WorkerSlot(5, 8), 4, "cuda:1"),
        ("cuda", WorkerSlot(2, 3), 2, "cuda:0"),
        ("cuda:1", WorkerSlot(2, 3), 2, "cuda:1"),
        ("cpu", WorkerSlot(2, 3), 2, "cpu"),
        ("cuda", WorkerSlot(), 2, "cuda"),
    ],
)
def test_gpus_are_dealt_out_to_workers(asked, slot, gpus, device):
    assert choose_device(asked, slot, gpus) == device


def test_threads_are_shared_out():
    assert [thread_share(8, count) for count in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]


def slot_of(item: int) -> WorkerSlot:
    import time

    time.sleep(0.3)  # so that both workers get one
    return current_slot()


def test_each_worker_knows_its_slot():
    found = {slot for _, slot in PoolEngine(2).map(slot_of, list(range(8)))}
    assert found <= {WorkerSlot(0, 2), WorkerSlot(1, 2)}
    assert WorkerSlot(0, 2) in found
    assert current_slot() == WorkerSlot()
