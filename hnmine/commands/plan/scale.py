"""A plan for given machines: every step's tasks, hours, memory and bytes, and what breaks first."""

from typing import Any

from hnmine.commands.plan import cost_model as work
from hnmine.commands.plan.cluster import ClusterConfig
from hnmine.commands.plan.limits import limits
from hnmine.commands.plan.memory import of_measure, of_together, peaks
from hnmine.commands.plan.schedule import Estimate, Places, estimate
from hnmine.commands.plan.sizes import Sizes
from hnmine.config import Config
from hnmine.search.search_plan import choose_index


def steps_of(config: Config, sizes: Sizes, kind: str) -> list[work.Step]:
    """Return the work of all steps, in order; that of [rescore] is not known and left out."""
    return [
        *work.ingest(config, sizes),
        *work.embed(config, sizes),
        *work.index(config, sizes, kind),
        *work.retrieve(config, sizes, kind, config.index.splits),
        *work.judging(config, sizes),
        *work.emit(config, sizes),
        *work.report(config, sizes),
    ]


def at_scale(config: Config, sizes: Sizes, cluster: ClusterConfig) -> dict[str, Any]:
    """Return what a run takes of some machines.

    Returns:
        steps (stage, step, tasks, at_once, hours, bound, memory_bytes, read_bytes, written_bytes), hours and
        moved_bytes in all, index (the kind), limits (what breaks first at the head) and warnings.
    """
    kind, why = choose_index(config, sizes.documents, sizes.queries, sizes.dim)
    places = Places.of(config, cluster)
    estimates = [estimate(step, places, cluster) for step in steps_of(config, sizes, kind)]
    memory = peaks(config, sizes, kind, places.threads)
    if config.engine == "ray" or config.workers > 1:  # then the process that was started puts the report together
        memory |= {"measure": of_measure(config, sizes), "report": of_together(config, sizes)}
    return {
        "steps": [_row(one, memory.get(one.step.name, memory[one.step.stage])) for one in estimates],
        "hours": sum(one.hours for one in estimates),
        "moved_bytes": round(sum(one.read + one.written for one in estimates)),
        "index": f"{kind} ({why})",
        "limits": [vars(limit) for limit in limits(config, sizes, cluster, memory, estimates)],
        "warnings": _warnings(config, cluster, places, kind),
    }


def _row(one: Estimate, memory: float) -> dict[str, Any]:
    return {
        "stage": one.step.stage,
        "step": one.step.name,
        "tasks": one.step.tasks,
        "at_once": one.at_once,
        "hours": one.hours,
        "bound": one.bound,
        "memory_bytes": round(memory),
        "read_bytes": round(one.read),
        "written_bytes": round(one.written),
    }


def _warnings(config: Config, cluster: ClusterConfig, places: Places, kind: str) -> list[str]:
    found = []
    if places.nodes < cluster.nodes:
        found.append(f"{cluster.nodes} nodes are given, but engine is {config.engine!r} and works on one; take ray")
    if config.model_gpus and places.models == 0 and config.engine == "ray":
        found.append(f"tasks with a model ask for {config.model_gpus:g} GPUs, and a node has {cluster.gpus}")
    if kind != "flat" and config.index.kind == "auto":
        found.append(f"index.kind = 'auto' tries {kind}: it counts one core, and knows neither of nodes nor of memory")
    if config.rescore is not None:
        found.append("[rescore] is not in the hours: nothing says how many pairs a second its model scores")
    return found
