"""Ray engine: one Ray task for each shard, whose result is a file that the task itself writes.

Only the function, the item and a number travel through Ray. Lost tasks are sent again from here and not by Ray, which
would restart a task that always runs out of memory for ever.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hnmine.errors import ClusterError, HnmineError, WorkerDied, reason
from hnmine.runtime.engines import Engine, ItemT, ResultT
from hnmine.runtime.ray_cluster import Cluster
from hnmine.runtime.worker_slot import WorkerSlot, set_slot
from hnmine.storage.store import clear_temporaries

TICK = 2.0
"""Seconds between two looks at the cluster's nodes."""

TRIES = 4
"""Maximum number of times that an item is sent, if its worker or node dies each time."""

QUEUED = 2
"""Submitted tasks per task that can run at once, so that a worker does not wait for its next one."""

MIN_QUEUED = 8
"""Minimum number of submitted tasks: an autoscaler that starts without a node sees the demand and grows."""


class RayEngine(Engine):
    """Engine that maps in worker processes on the nodes of a Ray cluster; Ray starts and ends them."""

    inline = False

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.used = False

    def map(
        self, fn: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, cpus: float = 1, gpus: float = 0
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield (index, result) as results come. An item whose worker or node dies is sent again: `fn` sees it twice.

        Raises:
            HnmineError: the error of `fn`, unchanged, or one of these two.
            WorkerDied: an item has ended its worker `TRIES` times.
            ClusterError: the cluster cannot be used, or no node has the resources of a task.
        """
        if not items:
            return
        self.used = True
        self.cluster.connect()
        import ray

        home = ray.get_runtime_context().get_node_id()
        # max_calls=0: a worker with a GPU stays after its task too, with the model that it loaded
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, retry_exceptions=False, max_calls=0)(work)
        todo, submitted = deque(range(len(items))), dict[Any, int]()
        tries = Counter[int]()
        most, counted = 0, -TICK
        try:
            while todo or submitted:
                if time.monotonic() - counted > TICK:
                    counted = time.monotonic()
                    most = max(MIN_QUEUED, QUEUED * self.cluster.slots(cpus, gpus))
                while todo and len(submitted) < most:
                    index = todo.popleft()
                    tries[index] += 1
                    submitted[task.remote(fn, items[index], cpus, home)] = index
                for ref in ray.wait(list(submitted), num_returns=1, timeout=TICK)[0]:
                    index = submitted.pop(ref)
                    result, death = _result(ref)
                    if death is None:
                        yield index, result
                    else:
                        self._note_death(death, tries[index])
                        todo.append(index)
        finally:
            # Not by force: ray 2.60 ends the whole process if a task that is cancelled by force has just finished.
            for ref in () if self.cluster.ours else submitted:  # leaving a cluster of our own cancels them
                ray.cancel(ref)

    def close(self) -> None:
        """Leave the cluster, and remove half-written files of dead workers of this run and earlier ones."""
        self.cluster.close()
        if self.used:
            clear_temporaries(self.cluster.folder)

    def _note_death(self, death: Exception, tries: int) -> None:
        if tries >= TRIES:
            raise WorkerDied(
                f"a task has ended its worker process {TRIES} times, the last time with: {reason(death)}. Finished "
                "shards are kept: run the same command again, with a smaller cache, batch_size or shard_rows if memory "
                "was short"
            )
        self.cluster.note(f"a worker or node died; its shard is computed again (try {tries + 1})")


def _result(ref: Any) -> tuple[Any, Exception | None]:
    """Return the result of a finished task, or the error of a worker or node that died under it."""
    import ray
    from ray import exceptions as fault

    try:
        return ray.get(ref), None
    except fault.RayTaskError as error:  # raised by the function, as its cause
        if isinstance(error.cause, Exception):
            raise error.cause from error
        raise
    except (fault.WorkerCrashedError, fault.NodeDiedError, fault.OutOfMemoryError, fault.ObjectLostError) as error:
        return None, error
    except fault.RayError as error:
        raise ClusterError(f"the Ray cluster cannot run a task: {reason(error)}") from error


def work(fn: Callable[[ItemT], ResultT], item: ItemT, cpus: float, home: str) -> ResultT:
    """Return `fn(item)` in a worker process with `cpus` cores. An error on another node than `home` names the node."""
    import ray

    # as one of two workers, so that the task uses the cores that it asked for
    set_slot(WorkerSlot(0, 2, shared_cores=2 * max(1, int(cpus))))
    try:
        return fn(item)
    except (HnmineError, OSError) as error:
        context = ray.get_runtime_context()
        if context.get_node_id() != home:
            where = f"(on node {ray.util.get_node_ip_address()}, which must reach the same files as the others)"
            if isinstance(error, HnmineError):
                error.args = (f"{error} {where}",)
            else:
                raise OSError(f"{error} {where}") from error
        raise
