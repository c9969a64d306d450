"""What a run would do, before it does it: rows, memory, disk, what is done, and settings that look wrong."""

from pathlib import Path
from typing import Any

from hnmine.commands.plan.cluster import ClusterConfig
from hnmine.commands.plan.cost_model import shards
from hnmine.commands.plan.counting import count, imagined
from hnmine.commands.plan.memory import LEFT_BEHIND, peaks
from hnmine.commands.plan.scale import at_scale
from hnmine.commands.plan.sizes import (
    STORED_REST,
    STORED_TEXT,
    STORED_WORDS,
    Sizes,
    negatives,
    stored_candidates,
    stored_vectors,
    stored_verdicts,
)
from hnmine.commands.plan.warnings import warnings_of
from hnmine.config import Config
from hnmine.errors import InputError, Problems
from hnmine.pipeline.keys import changes, expected_keys
from hnmine.pipeline.stages import STAGES
from hnmine.readers.fields import check_fields
from hnmine.runtime.stage import RunContext
from hnmine.runtime.worker_slot import cores, thread_share
from hnmine.search.search_plan import choose_index
from hnmine.search.split_search import split_bytes, split_note, split_warnings
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.rescore.rescored import uses_rescored
from hnmine.storage.digest_cache import DigestCache
from hnmine.storage.keys import is_done, recorded
from hnmine.storage.paths import disk_free


def make_plan(config: Config, source: Path | None = None, cluster: ClusterConfig | None = None) -> dict[str, Any]:
    """Return what a run of this config would do. Reads the input's sizes and the stages' manifests, loads no model.

    Args:
        config: the whole config.
        source: another run's folder to read from.
        cluster: machines to plan for: tasks, hours and bytes of every step then come with it. Where it holds a
            collection, that one is planned and no file of the input looked at.

    Raises:
        InputError: input files, or columns that `retrieve.where` asks for, are missing.
        ModelError: the model cannot be found.
    """
    to_be = cluster.collection if cluster is not None else None
    digests = DigestCache.read(config.out_folder) if to_be is None else DigestCache()
    context = RunContext(config, config.out_folder, source.resolve() if source else None, digests)
    if to_be is None:
        problems = Problems()
        check_fields(config, problems)
        problems.raise_if_any()
    sizes, counted = count(context) if to_be is None else (imagined(config, to_be), "by the cluster file")
    if cluster is not None and not (sizes.documents and sizes.queries and sizes.document_bytes):
        raise InputError("the input holds no documents, no text or no queries: there is nothing to plan for machines")
    kind, _ = choose_index(config, sizes.documents, sizes.queries, sizes.dim)
    disk, memory = _disk(config, sizes), peaks(config, sizes, kind, _threads(config, sizes.queries))
    free = disk_free(config.out_folder)
    warnings = [*warnings_of(config, sizes.documents, kind), *split_warnings(config, kind)]
    if free is not None and disk > free and to_be is None:
        warnings.append(f"the disk has {free / 1e9:.1f} GB free, the run may need {disk / 1e9:.1f} GB")
    return {
        "out": str(config.out_folder),
        "documents": sizes.documents,
        "queries": sizes.queries,
        "dim": sizes.dim,
        "counted": counted,
        "stages": _stages(context, sizes, to_be is None),
        "disk_bytes": disk,
        "disk_free_bytes": free,
        "memory_bytes": round(max(memory.values()) + (0 if _pooled(config) else LEFT_BEHIND)),
        "memory_of_stages": {stage: round(value) for stage, value in memory.items()},
        "workers": config.workers,
        "warnings": warnings,
        **({"scale": at_scale(config, sizes, cluster)} if cluster is not None else {}),
    }


def _stages(context: RunContext, sizes: Sizes, there: bool) -> list[dict[str, str]]:
    """Return the state of each stage and its work; without a state where the input is not there to be looked at."""
    expected = expected_keys(list(STAGES.values()), context) if there else {}
    documents, queries = sizes.documents, sizes.queries
    config = context.config
    kind, why = choose_index(config, documents, queries, sizes.dim)
    how = config.emit.bad_positives
    treated = f", suspected positives: {how}" if how != "keep" else ""
    probable = ", with P(false negative)" if config.filter.gives_probabilities else ""
    probable += ", by rescored percentiles" if uses_rescored(config) else ""
    work = {
        "ingest": f"read about {documents:,} documents and {queries:,} queries",
        "embed": _embedded(config, documents, queries),
        "index": f"{kind} ({why})",
        "retrieve": f"{_sought(config)} of {documents:,} for {queries:,} queries{split_note(config)}",
        "rescore": _rescored(config, queries),
        "filter": f"rules: {' + '.join(rule_names(config.filter)) or 'none'}, anchor {config.filter.anchor}{probable}",
        "emit": f"{config.emit.num_negatives} negatives, {_chosen(config)}, {config.emit.format}{treated}",
        "report": "report.json",
    }
    names = [stage.name for stage in STAGES.values() if stage.applies(config)]
    states = {name: _state(name, context, expected) if there else "to do" for name in names}
    return [{"stage": name, "state": states[name], "work": work[name]} for name in names]


def _embedded(config: Config, documents: int, queries: int) -> str:
    models = " and with ".join(t.model for t in config.teachers.values())
    if not config.embeds_candidates_only:
        return f"{documents + queries:,} texts with {models}"
    others = [t.model for table, t in config.teachers.items() if table != "embed"]
    most = config.max_embedded(documents, queries)
    line = f"at most {most:,} of {documents:,} documents, besides those labelled, and {queries:,} queries"
    also = f"; {documents + queries:,} texts with {' and with '.join(others)}" if others else ""
    return f"{line} with {config.embed.model}{also}"


def _rescored(config: Config, queries: int) -> str:
    if config.rescore is None:
        return ""
    each = min(config.rescore.top_n, config.retrieve.max_candidates)
    return f"{queries * each:,} pairs ({each} a query), and the positives, with {config.rescore.model}"


def _chosen(config: Config) -> str:
    emit, sources = config.emit, len(config.retrieve.source)
    return emit.choose if emit.ensemble == "none" else f"{emit.choose} ({emit.ensemble}, {sources} sources)"


def _sought(config: Config) -> str:
    retrieve = config.retrieve
    if not retrieve.source:
        return f"top {retrieve.top_k}"
    parts = zip(retrieve.source, retrieve.depths, strict=True)
    fused = f", the best {retrieve.top_k} by rrf" if retrieve.fuse == "rrf" else ""
    return " and ".join(f"top {depth} by {source.label}" for source, depth in parts) + fused


def _state(name: str, context: RunContext, expected: dict[str, dict[str, Any]]) -> str:
    folder, key = context.reading(name), expected[name]["key"]
    if is_done(folder, key):
        return "done" if folder == context.folder(name) else f"done in {folder.parent}"
    old = recorded(context.folder(name))
    if old is None:
        return "to do"
    if old["key"] == key:
        done = len(list(context.folder(name).rglob("part-*")))
        return f"begun, {done} shards done"
    return f"stale: {'; '.join(changes(old, expected[name]))}"


def _disk(config: Config, sizes: Sizes) -> int:
    """Return an estimate of what all stages write."""
    vectors = sum(
        stored_vectors(config, sizes, table) + sizes.queries * (8 + 4 * sizes.dims[table]) for table in config.teachers
    )
    words = sizes.text_bytes * sum(source.kind == "bm25" for source in config.retrieve.source)  # 8 bytes a word
    candidates = stored_candidates(config, sizes) + stored_verdicts(config, sizes)
    text = (STORED_TEXT + STORED_WORDS + STORED_REST) * sizes.text_bytes
    emitted = (negatives(config, sizes) + 2 * sizes.queries * sizes.positives) * sizes.document_bytes * STORED_TEXT
    return int(text + vectors + words + candidates + emitted + split_bytes(config, sizes.queries))


def _pooled(config: Config) -> bool:
    """Tell whether every step has processes of its own."""
    return config.engine == "ray" or (config.engine != "inline" and config.workers > 1)


def _threads(config: Config, queries: int) -> int:
    """Return the threads of a process that searches: all of a single one's, its share of one of a pool."""
    if config.engine == "ray":
        return max(1, int(config.task_cpus))
    processes = min(config.workers, shards(queries, config.shard_rows)) if _pooled(config) else 1
    return thread_share(cores(), processes)
