"""`hnmine plan`: what a run would do and need, without doing it; for a cluster also hours and limits."""

from pathlib import Path
from typing import Any

from hnmine.commands.plan.cluster import ClusterConfig
from hnmine.commands.plan.cost_model import cluster_plan
from hnmine.commands.plan.memory import LEFT_BEHIND, peaks
from hnmine.commands.plan.warnings import warnings_of
from hnmine.commands.plan.workload import STORED_INPUT, Workload, counted_workload
from hnmine.config.tables import Config
from hnmine.errors import InputError, Problems
from hnmine.pipeline.keys import changes, expected_keys
from hnmine.pipeline.stages import STAGES
from hnmine.readers.collection import split_warning
from hnmine.readers.metadata import check_fields
from hnmine.runtime.stage import RunContext
from hnmine.runtime.worker_slot import cores, thread_share
from hnmine.search.search_plan import choose_index
from hnmine.search.split_search import split_bytes
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.rescore.rescored import uses_rescored
from hnmine.storage.digest_cache import DigestCache
from hnmine.storage.paths import disk_free
from hnmine.storage.store import is_done, recorded


def make_plan(config: Config, source: Path | None = None, cluster: ClusterConfig | None = None) -> dict[str, Any]:
    """Return what a run of this config would do. Reads input sizes and the manifests of stages; loads no model.

    Args:
        config: the whole config.
        source: output folder of another run to read finished stages from.
        cluster: machines to plan for, which adds the key `scale`. If it describes a collection, that one is planned
            and no input file is read.

    Raises:
        InputError: input files, or columns named in `retrieve.where`, are missing.
        ModelError: the model cannot be found.
    """
    collection = cluster.collection if cluster is not None else None
    digests = DigestCache.read(config.out_folder) if collection is None else DigestCache()
    context = RunContext(config, config.out_folder, source.resolve() if source else None, digests)
    if collection is not None:
        work, counted = Workload.of(config, collection), "by the cluster file"
    else:
        problems = Problems()
        check_fields(config, problems)
        problems.raise_if_any()
        work, counted = counted_workload(context)
    if cluster is not None and not (work.documents and work.queries and work.document_bytes):
        raise InputError("the input holds no documents, no text or no queries: there is nothing to plan for machines")
    kind, why = choose_index(config, work.documents, work.queries, work.dim)
    expected = {} if collection is not None else expected_keys(list(STAGES.values()), context)
    tasks = _work(work, f"{kind} ({why})")
    disk, free, memory = _disk(work), disk_free(config.out_folder), peaks(work, kind, _threads(work))
    warnings = list(warnings_of(config, work.documents, kind))
    if collection is None and (warning := split_warning(config)):
        warnings.append(warning)
    if free is not None and disk > free and collection is None:
        warnings.append(f"the disk has {free / 1e9:.1f} GB free, the run may need {disk / 1e9:.1f} GB")
    names = [stage.name for stage in STAGES.values() if stage.applies(config)]
    return {
        "out": str(config.out_folder),
        "documents": work.documents,
        "queries": work.queries,
        "dim": work.dim,
        "counted": counted,
        "stages": [{"stage": name, "state": _state(name, context, expected), "work": tasks[name]} for name in names],
        "disk_bytes": disk,
        "disk_free_bytes": free,
        "memory_bytes": round(max(memory.values()) + (0 if work.pooled else LEFT_BEHIND)),
        "memory_of_stages": {stage: round(value) for stage, value in memory.items()},
        "workers": config.workers,
        "warnings": warnings,
        **({"scale": cluster_plan(work, cluster)} if cluster is not None else {}),
    }


def _state(name: str, context: RunContext, expected: dict[str, Any]) -> str:
    """Return the state of a stage: done, begun, stale (and why) or to do, as is one without an expected key."""
    if name not in expected:
        return "to do"
    folder, own, keys = context.reading(name), context.folder(name), expected[name]
    if is_done(folder, keys["key"]):
        return "done" if folder == own else f"done in {folder.parent}"
    old = recorded(own)
    if old is None:
        return "to do"
    if old["key"] == keys["key"]:
        return f"begun, {len(list(own.rglob('part-*')))} shards done"
    return f"stale: {'; '.join(changes(old, keys))}"


def _work(work: Workload, index: str) -> dict[str, str]:
    """Return in words what each stage does; `index` says how the corpus is searched and why."""
    config, emit, documents, queries = work.config, work.config.emit, work.documents, work.queries
    bad = f", suspected positives: {emit.bad_positives}" if emit.bad_positives != "keep" else ""
    ensemble = f" ({emit.ensemble}, {len(config.retrieve.source)} sources)" if emit.ensemble != "none" else ""
    probable = ", with P(false negative)" if config.filter.gives_probabilities else ""
    probable += ", by rescored percentiles" if uses_rescored(config) else ""
    in_parts = f", in {config.index.splits} parts of the corpus" if config.index.splits > 1 else ""
    rescored, rules = "", " + ".join(rule_names(config.filter)) or "none"
    if config.rescore is not None:
        each = min(config.rescore.top_n, config.retrieve.max_candidates)
        rescored = f"{queries * each:,} pairs ({each} a query), and the positives, with {config.rescore.model}"
    return {
        "ingest": f"read about {documents:,} documents and {queries:,} queries",
        "embed": _embedded(work),
        "index": index,
        "retrieve": f"{_sought(config)} of {documents:,} for {queries:,} queries{in_parts}",
        "rescore": rescored,
        "filter": f"rules: {rules}, anchor {config.filter.anchor}{probable}",
        "emit": f"{emit.num_negatives} negatives, {emit.choose}{ensemble}, {', '.join(emit.formats)}{bad}",
        "report": "report.json",
    }


def _embedded(work: Workload) -> str:
    config, documents, queries = work.config, work.documents, work.queries
    texts = f"{documents + queries:,} texts with "
    if not config.embeds_candidates_only:
        return texts + " and with ".join(teacher.model for teacher in config.teachers.values())
    others = [teacher.model for table, teacher in config.teachers.items() if table != "embed"]
    also = f"; {texts}{' and with '.join(others)}" if others else ""
    line = f"at most {work.embedded():,} of {documents:,} documents, besides those labelled, and {queries:,} queries"
    return f"{line} with {config.embed.model}{also}"


def _sought(config: Config) -> str:
    retrieve = config.retrieve
    if not retrieve.source:
        return f"top {retrieve.top_k}"
    parts = zip(retrieve.source, retrieve.depths, strict=True)
    fused = f", the best {retrieve.top_k} by rrf" if retrieve.fuse == "rrf" else ""
    return " and ".join(f"top {depth} by {source.label}" for source, depth in parts) + fused


def _disk(work: Workload) -> int:
    """Return about how many bytes all stages write."""
    config = work.config
    vectors = sum(work.stored_vectors(table) + work.queries * (8 + 4 * work.dims[table]) for table in config.teachers)
    words = work.text_bytes * sum(source.kind == "bm25" for source in config.retrieve.source)  # 8 bytes a word
    candidates = work.stored_candidates + work.stored_verdicts
    splits = split_bytes(config, work.queries)
    return int(STORED_INPUT * work.text_bytes + vectors + words + candidates + work.emitted_bytes + splits)


def _threads(work: Workload) -> int:
    """Return the threads of a process that searches: all of this machine's, or its share in a pool."""
    if work.config.engine == "ray":
        return max(1, int(work.config.task_cpus))
    return thread_share(cores(), min(work.config.workers, work.query_shards) if work.pooled else 1)
