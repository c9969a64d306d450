"""What breaks first: the limits that the code has, and how near a run comes to each.

Each stands where it was read in the code, or measured; docs/scale.md says how. A use above 1 breaks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hnmine.commands.plan.cluster import ClusterConfig
from hnmine.commands.plan.schedule import Estimate
from hnmine.commands.plan.sizes import Sizes, held_terms, held_vectors, negatives
from hnmine.config import Config
from hnmine.config.sizes import format_size
from hnmine.runtime.memory import cache_bytes

ROWS, INT32 = 2**32 - 1, 2**31 - 1
"""Documents of a corpus: a key holds a row in 32 bits (science/topk.py). Values of one Arrow list or string array."""
LONG, START = 24.0, 120.0
"""Hours that a step in one process may take, and seconds until a process has begun, before they are called too long."""


@dataclass(frozen=True)
class Limit:
    """One limit.

    Attributes:
        name: what is limited.
        value, bound: how much of it the run needs, and how much there is, in words.
        use: the first over the second.
        then: what happens beyond, and what to do about it.
    """

    name: str
    value: str
    bound: str
    use: float
    then: str


def limits(
    config: Config, sizes: Sizes, cluster: ClusterConfig, memory: dict[str, float], estimates: Sequence[Estimate]
) -> list[Limit]:
    """Return every limit, the one that breaks first at the head.

    Args:
        config: the whole config.
        sizes: of the collection.
        cluster: the machines.
        memory: the peak of a process of each stage, bytes.
        estimates: of all steps.
    """
    found = [*_counts(config, sizes), *_memory(cluster, memory, estimates), *_time(cluster, estimates)]
    if config.engine == "ray" or config.workers > 1:
        found += _rereading(config, sizes)
    return sorted(found, key=lambda limit: -limit.use)


def _counts(config: Config, sizes: Sizes) -> Iterator[Limit]:
    """Yield what numbers are too narrow for."""
    yield Limit(
        "row numbers of documents", f"{sizes.documents:,}", f"{ROWS:,}", sizes.documents / ROWS,
        "retrieve refuses: a row does not fit into 32 bits; mine the corpus in parts",
    )  # fmt: skip
    listed = min(sizes.queries, config.shard_rows) * (config.retrieve.max_candidates + sizes.positives)
    yield Limit(
        "candidates of a shard", f"{listed:,.0f}", f"{INT32:,}", listed / INT32,
        "one Arrow list array holds no more values; lower shard_rows",
    )  # fmt: skip
    share = min(1.0, config.shard_rows / sizes.queries)
    texts = share * negatives(config, sizes) * sizes.document_bytes
    yield Limit(
        "texts of a shard's negatives", format_size(texts), format_size(INT32), texts / INT32,
        "emit fails: a string array holds no more bytes; lower shard_rows",
    )  # fmt: skip
    if any(teacher.model == "precomputed" for teacher in config.teachers.values()):
        ids = sizes.documents * sizes.id_bytes
        yield Limit(
            "ids of ready vectors", format_size(ids), format_size(INT32), ids / INT32,
            "embed fails: ids are looked up in one string array; give vectors as .npy in the order of the input",
        )  # fmt: skip


_KEEPING = ("retrieve", "measure")
"""What keeps as many vectors as `memory` allows."""


def _memory(cluster: ClusterConfig, memory: dict[str, float], estimates: Sequence[Estimate]) -> Iterator[Limit]:
    """Yield the memory that each stage takes of a node, with all its processes there."""
    names = [one.step.name if one.step.name in memory else one.step.stage for one in estimates]
    for stage, peak in memory.items():
        most = max((one.per_node for one, other in zip(estimates, names, strict=True) if other == stage), default=1)
        whole = most * peak
        several = f"{most} x {format_size(peak)}" if most > 1 else format_size(peak)
        advice = "lower memory, or take a larger node" if stage in _KEEPING else "take a larger node"
        advice = "fewer processes a node (task_cpus), or a lower memory" if most > 1 else advice
        name = "report: measure" if stage == "measure" else stage
        yield Limit(
            f"memory of {name}", several, format_size(cluster.memory_bytes), whole / cluster.memory_bytes,
            f"a process is killed; {advice}",
        )  # fmt: skip


def _time(cluster: ClusterConfig, estimates: Sequence[Estimate]) -> Iterator[Limit]:
    """Yield the hours of steps that no further node shortens, and the seconds before a process begins."""
    for one in estimates:
        if one.step.tasks == 1:
            yield Limit(
                f"hours of {one.step.stage}: {one.step.name}", f"{one.hours:.1f} h", f"{LONG:g} h", one.hours / LONG,
                "nothing breaks, but it is one process, and more nodes do not shorten it",
            )  # fmt: skip
    slowest = max(estimates, key=lambda one: one.step.once_files)
    begun = slowest.step.once_files * cluster.file_seconds
    yield Limit(
        f"seconds until a process of {slowest.step.stage} begins", f"{begun:,.0f} s", f"{START:g} s", begun / START,
        "nothing breaks, but every process opens every shard of the corpus first; raise shard_rows",
    )  # fmt: skip


def _rereading(config: Config, sizes: Sizes) -> Iterator[Limit]:
    """Yield what of the vectors and words a process of retrieve can keep."""
    whole = sum(held_vectors(config, sizes, table) for table in config.teachers) + held_terms(sizes)
    kept = max(1, cache_bytes(config))
    yield Limit(
        "vectors and words that a process of retrieve keeps", format_size(whole), format_size(kept), whole / kept,
        "nothing breaks, but the rest is read again for every 1,024 queries; raise memory, one task a node",
    )  # fmt: skip
