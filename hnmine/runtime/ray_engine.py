"""Shards worked on by a Ray cluster: one Ray Core task for each, its result a file that the task itself writes.

Nothing but the function, the item and a number travels through Ray. Whether a lost task is sent out again is
decided here and not by Ray, so that a task which always ends its worker comes to an end too: Ray would start one
that runs out of memory for ever.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from hnmine.errors import ClusterError, HnmineError, WorkerDied
from hnmine.runtime.ray_cluster import TICK, Cluster
from hnmine.runtime.worker_slot import WorkerSlot, set_slot
from hnmine.storage.store import clear_temporaries

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

TRIES = 4
"""How often an item is sent out before the run ends, where its worker or node dies every time."""

AHEAD = 2
"""Tasks in flight for each that can run: a worker that is done finds the next one waiting."""

LEAST = 8
"""Tasks in flight at least, so that a cluster that starts with no node sees what is asked for and grows."""


class RayEngine:
    """Works on several items at a time, in processes that a Ray cluster starts on its nodes.

    Args:
        cluster: which cluster, and what its nodes must share.
    """

    inline = False

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.used = False

    def map(
        self, fn: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, cpus: float = 1, gpus: float = 0
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield (index, result) as results come; an item whose worker or node dies is sent out again.

        Args:
            fn: what is done with an item; it may be done twice.
            items: one task each.
            cpus: cores that a task asks for.
            gpus: GPUs that a task asks for.

        Raises:
            HnmineError: what `fn` raised, as it raised it; moreover:
            WorkerDied: an item has ended its worker `TRIES` times.
            ClusterError: the cluster cannot be used, or no node offers what a task asks for.
        """
        if not items:
            return
        self.used = True
        self.cluster.connect()
        flight = _Flight(self.cluster, fn, items, (cpus, gpus))
        try:
            yield from flight.results()
        finally:
            flight.cancel()

    def release(self) -> None:
        """Leave it to Ray, which ends idle workers where it needs their room."""

    def close(self) -> None:
        """Leave the cluster, and remove what workers that died, of this run or of one before, had half written."""
        self.cluster.close()
        if self.used:
            clear_temporaries(self.cluster.folder)


class _Flight:
    """The tasks of one map that are under way."""

    def __init__(
        self, cluster: Cluster, fn: Callable[[Any], Any], items: Sequence[Any], resources: tuple[float, float]
    ) -> None:
        import ray

        self.cluster, self.fn, self.items, self.resources = cluster, fn, items, resources
        self.home = ray.get_runtime_context().get_node_id()
        # max_calls=0: a worker lives on after a task that has a GPU too, with the model that it loaded
        self.task = ray.remote(
            num_cpus=resources[0], num_gpus=resources[1], max_retries=0, retry_exceptions=False, max_calls=0
        )(work)
        self.waiting: dict[Any, int] = {}
        self.todo = deque(range(len(items)))
        self.tries: Counter[int] = Counter()

    def results(self) -> Iterator[tuple[int, Any]]:
        """Yield (index, result) until all are there."""
        import ray

        while self.todo or self.waiting:
            most = max(LEAST, AHEAD * self.cluster.slots(*self.resources))
            while self.todo and len(self.waiting) < most:
                self._send(self.todo.popleft())
            done, _ = ray.wait(list(self.waiting), num_returns=1, timeout=TICK)
            for ref in done:
                index = self.waiting.pop(ref)
                result = self._take(ref, index)
                if result is not None:
                    yield index, result[0]

    def cancel(self) -> None:
        """End what is still under way.

        Leaving a cluster ends all of one's tasks, so only a connection that stays needs this. Not by force: ray
        2.60 ends the whole process where a task that is forced to end has just finished.
        """
        import ray

        if not self.cluster.ours:
            for ref in self.waiting:
                ray.cancel(ref)
        self.waiting.clear()

    def _send(self, index: int) -> None:
        self.tries[index] += 1
        self.waiting[self.task.remote(self.fn, self.items[index], self.resources[0], self.home)] = index

    def _take(self, ref: Any, index: int) -> tuple[Any] | None:
        """Return a task's result in a tuple, or None where it was lost and is to be done again."""
        import ray
        from ray import exceptions as ray_errors

        try:
            return (ray.get(ref),)
        except ray_errors.RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from error
            raise
        except (
            ray_errors.WorkerCrashedError,
            ray_errors.NodeDiedError,
            ray_errors.OutOfMemoryError,
            ray_errors.ObjectLostError,
        ) as error:
            self._lose(index, error)
            return None
        except ray_errors.RayError as error:
            raise ClusterError(f"the Ray cluster cannot run a task: {_first_line(error)}") from error

    def _lose(self, index: int, error: Exception) -> None:
        if self.tries[index] >= TRIES:
            raise WorkerDied(
                f"a task has ended its worker process {TRIES} times, at last so: {_first_line(error)} Finished shards "
                "are kept: run the same command again, with a smaller cache, batch_size or shard_rows if memory "
                "was short"
            ) from None
        self.cluster.note(f"a worker or node died; its shard is worked on again (try {self.tries[index] + 1})")
        self.todo.append(index)


def work(fn: Callable[[ItemT], ResultT], item: ItemT, cpus: float, home: str) -> ResultT:
    """Work on one item in a worker process; an error from another node than the caller's says which node it was."""
    import ray

    set_slot(
        WorkerSlot(0, 2), shared_cores=2 * max(1, int(cpus))
    )  # not alone, and with the cores that the task asked for
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


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
