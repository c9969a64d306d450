"""From the work of a step to hours on given machines."""

import math
from dataclasses import dataclass

from hnmine.commands.plan.cluster import ClusterConfig
from hnmine.commands.plan.cost_model import Step
from hnmine.config import Config


@dataclass(frozen=True)
class Places:
    """Where tasks are worked on.

    Attributes:
        nodes: that have work at all.
        per_node: tasks at once on a node.
        threads: of each task.
        models: tasks at once on a node where they run a model on a GPU.
    """

    nodes: int
    per_node: int
    threads: int
    models: int

    @classmethod
    def of(cls, config: Config, cluster: ClusterConfig) -> "Places":
        """Return the places that an engine has: one process, `workers` of one node, or Ray's of all nodes."""
        if config.engine == "ray":
            per_node = max(1, int(cluster.cores // config.task_cpus))
            gpus = config.model_gpus
            models = min(per_node, int(cluster.gpus // gpus)) if gpus else per_node
            return cls(cluster.nodes, per_node, max(1, int(config.task_cpus)), models)
        alone = config.engine == "inline" or config.workers == 1
        per_node = 1 if alone else config.workers
        return cls(1, per_node, max(1, cluster.cores // per_node), per_node)


@dataclass(frozen=True)
class Estimate:
    """What a step takes.

    Attributes:
        step: its work.
        at_once: processes that work on its tasks side by side.
        per_node: of them, on one node.
        computing, storage, files: seconds of one process: of computing, of reading and writing, of opening files.
    """

    step: Step
    at_once: int
    per_node: int
    computing: float
    storage: float
    files: float

    @property
    def hours(self) -> float:
        """Hours that the step takes: one after the other, since a task reads, computes and writes in turn."""
        return (self.computing + self.storage + self.files) / 3600

    @property
    def bound(self) -> str:
        """What takes the most of them: computing, storage or files."""
        parts = {"computing": self.computing, "storage": self.storage, "files": self.files}
        return max(parts, key=lambda name: parts[name])

    @property
    def read(self) -> float:
        """Bytes read by all processes."""
        return self.step.read + self.at_once * self.step.once_read

    @property
    def written(self) -> float:
        """Bytes written by all processes, temporary files among them."""
        return self.step.written + self.at_once * self.step.once_written


def estimate(step: Step, places: Places, cluster: ClusterConfig) -> Estimate:
    """Return what a step takes on some places.

    With T tasks and n at once there are ceil(T / n) rounds, each of one task's work; a process does what it does once
    before its first. The process that was started looks at every output file before a step and after it.

    Args:
        step: its work.
        places: where.
        cluster: how fast.
    """
    slots = places.models if step.passages else places.per_node
    at_once = max(1, min(step.tasks, places.nodes * slots))
    nodes = min(places.nodes, at_once)
    per_node = math.ceil(at_once / nodes)
    rounds = math.ceil(step.tasks / at_once) / step.tasks
    seconds = rounds * (step.single + step.threaded / places.threads) / cluster.core_speed
    seconds += rounds * step.flops / (cluster.gflops * 1e9 * (places.threads if step.tasks > 1 or step.threaded else 1))
    seconds += step.once_seconds / cluster.core_speed
    if step.passages:
        machines = min(at_once, nodes * cluster.gpus) if cluster.gpus else nodes
        seconds += step.passages / (cluster.passages_per_second * machines)
    speed = cluster.bandwidth(at_once, nodes)
    moved = rounds * (step.read + step.written) + step.once_read + step.once_written
    files = rounds * step.files + step.once_files + 2 * step.tasks
    return Estimate(step, at_once, per_node, seconds, moved / speed, files * cluster.file_seconds)
