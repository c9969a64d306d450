"""Ray engine: one Ray task for each shard, whose result is a file that the task itself writes.

Only the function, the item and a number travel through Ray. Lost tasks are sent again from here and not by Ray, which
would restart a task that always runs out of memory for ever.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from hnmine.errors import ClusterError, HnmineError, WorkerDied, reason
from hnmine.runtime.engines import Engine
from hnmine.runtime.ray_cluster import TICK, Cluster
from hnmine.runtime.worker_slot import WorkerSlot, set_slot
from hnmine.storage.store import clear_temporaries

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

TRIES = 4
"""How often an item is sent whose worker or node dies every time."""

QUEUED = 2
"""Submitted tasks for each that can run: a worker that has finished finds the next one waiting."""

MIN_QUEUED = 8
"""Minimum number of submitted tasks: an autoscaler that starts without a node sees the demand and grows."""


class RayEngine(Engine):
    """Maps in worker processes that a Ray cluster starts on its nodes, and ends when it needs their resources.

    Args:
        cluster: the cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.used = False

    def map(
        self, fn: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, cpus: float = 1, gpus: float = 0
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield (index, result) as results come. An item whose worker or node dies is sent again.

        Args:
            fn: called with an item; it may be called twice for one.
            items: one task each.
            cpus: cores of a task.
            gpus: GPUs of a task.

        Raises:
            HnmineError: the error of `fn`, unchanged, or one of these two.
            WorkerDied: an item has ended its worker `TRIES` times.
            ClusterError: the cluster cannot be used, or no node has the resources of a task.
        """
        if not items:
            return
        self.used = True
        self.cluster.connect()
        tasks = _Tasks(self.cluster, fn, items, cpus, gpus)
        try:
            yield from tasks.results()
        finally:
            tasks.cancel()

    def close(self) -> None:
        """Leave the cluster, and remove half-written files of dead workers of this run and earlier ones."""
        self.cluster.close()
        if self.used:
            clear_temporaries(self.cluster.folder)


class _Tasks:
    """The tasks of one map: which items are still to be sent, which are submitted, and how often each was sent."""

    def __init__(
        self, cluster: Cluster, fn: Callable[[Any], Any], items: Sequence[Any], cpus: float, gpus: float
    ) -> None:
        import ray

        self.cluster, self.fn, self.items, self.cpus, self.gpus = cluster, fn, items, cpus, gpus
        self.home = ray.get_runtime_context().get_node_id()
        # max_calls=0: a worker with a GPU stays after its task too, with the model that it loaded
        self.task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, retry_exceptions=False, max_calls=0)(work)
        self.todo = deque(range(len(items)))
        self.submitted: dict[Any, int] = {}
        self.tries: Counter[int] = Counter()

    def results(self) -> Iterator[tuple[int, Any]]:
        """Yield (index, result) of every item."""
        import ray
        from ray import exceptions as fault

        while self.todo or self.submitted:
            most = max(MIN_QUEUED, QUEUED * self.cluster.slots(self.cpus, self.gpus))
            while self.todo and len(self.submitted) < most:
                index = self.todo.popleft()
                self.tries[index] += 1
                self.submitted[self.task.remote(self.fn, self.items[index], self.cpus, self.home)] = index
            done, _ = ray.wait(list(self.submitted), num_returns=1, timeout=TICK)
            for ref in done:
                index = self.submitted.pop(ref)
                try:
                    result = ray.get(ref)
                except fault.RayTaskError as error:  # raised by the function, as its cause
                    if isinstance(error.cause, Exception):
                        raise error.cause from error
                    raise
                except (
                    fault.WorkerCrashedError, fault.NodeDiedError, fault.OutOfMemoryError, fault.ObjectLostError
                ) as error:  # fmt: skip
                    self._retry(index, error)
                except fault.RayError as error:
                    raise ClusterError(f"the Ray cluster cannot run a task: {reason(error)}") from error
                else:
                    yield index, result

    def cancel(self) -> None:
        """Cancel submitted tasks, unless leaving the cluster will do that.

        Not by force: ray 2.60 ends the whole process if a task that is cancelled by force has just finished.
        """
        import ray

        if not self.cluster.ours:
            for ref in self.submitted:
                ray.cancel(ref)
        self.submitted.clear()

    def _retry(self, index: int, error: Exception) -> None:
        if self.tries[index] >= TRIES:
            raise WorkerDied(
                f"a task has ended its worker process {TRIES} times, the last time with: {reason(error)}. Finished "
                "shards are kept: run the same command again, with a smaller cache, batch_size or shard_rows if memory "
                "was short"
            ) from None
        self.cluster.note(f"a worker or node died; its shard is computed again (try {self.tries[index] + 1})")
        self.todo.append(index)


def work(fn: Callable[[ItemT], ResultT], item: ItemT, cpus: float, home: str) -> ResultT:
    """Return `fn(item)` in a worker process. An error on another node than `home` names the node.

    Args:
        fn: the function.
        item: its argument.
        cpus: cores of the task.
        home: id of the node of the run's process.
    """
    import ray

    # as one of two workers, so that the task uses the cores that it asked for
    set_slot(WorkerSlot(0, 2), shared_cores=2 * max(1, int(cpus)))
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
