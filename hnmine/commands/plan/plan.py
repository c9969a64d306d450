"""`hnmine plan`: what a run would do and need, without doing it; for a cluster also hours and limits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hnmine.commands.plan.cluster import ClusterConfig
from hnmine.commands.plan.cost_model import cluster_plan
from hnmine.commands.plan.disk import disk_of_stages
from hnmine.commands.plan.judge_cost import judge_cost
from hnmine.commands.plan.memory import LEFT_BEHIND, peaks
from hnmine.commands.plan.warnings import warnings_of
from hnmine.commands.plan.workload import UNKNOWN_DIM, Workload, counted_workload
from hnmine.config.models import TeacherTable
from hnmine.config.served import is_served
from hnmine.config.tables import Config
from hnmine.errors import InputError
from hnmine.models.model_files import absent_models
from hnmine.pipeline.inputs import check_inputs
from hnmine.pipeline.keys import changes, expected_keys
from hnmine.pipeline.stages import STAGES
from hnmine.readers.collection import split_warning
from hnmine.runtime.stage import RunContext
from hnmine.runtime.worker_slot import cores, thread_share
from hnmine.search.search_plan import choose_index
from hnmine.search.sources import source_stage
from hnmine.stages.embed.served import known_identities, served_teachers
from hnmine.stages.emit.previous.previous_run import check_previous
from hnmine.stages.filter.deeper_search import max_depth, searches_deeper
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.hubs.normalised import normalises_hubs
from hnmine.stages.rescore.rescored import uses_rescored
from hnmine.stages.rescore.served import known_identities as known_rerankers
from hnmine.storage.digest_cache import DigestCache
from hnmine.storage.paths import disk_free
from hnmine.storage.store import is_done, recorded

_SPENT = ("requests", "tokens")


def make_plan(config: Config, source: Path | None = None, cluster: ClusterConfig | None = None) -> dict[str, Any]:
    """Return what a run of this config would do. Reads input sizes and the manifests of stages.

    Loads no model, and does not use the network for one, neither a hub nor the server of a model.

    Args:
        config: the whole config.
        source: output folder of another run to read finished stages from.
        cluster: machines to plan for, which adds the key `scale`. If it describes a collection, that one is planned
            and no input file is read.

    Raises:
        InputError: input files cannot be used, as far as their first rows show it; all problems are named.
        ModelError: a model's folder does not exist.
        OutputError: the previous run cannot be read.
    """
    collection = cluster.collection if cluster is not None else None
    digests = DigestCache.read(config.out_folder) if collection is None else DigestCache()
    folder = source.resolve() if source else None
    context = RunContext(config, config.out_folder, folder, digests, local_models=True)
    if collection is not None:
        work, counted = Workload.of(config, collection), "by the cluster file"
    else:
        check_inputs(config)
        work, counted = counted_workload(context)
    if cluster is not None and not (work.documents and work.queries and work.document_bytes):
        raise InputError("the input holds no documents, no text or no queries: there is nothing to plan for machines")
    kind, why = choose_index(config, work.documents, work.queries, work.dim)
    rescore = {} if config.rescore is None else {"rescore": config.rescore}
    absent = absent_models({**config.teachers, **config.encoders, **rescore})
    served = served_teachers(config)
    absent |= {t: config.teachers[t].model for t in served if not known_identities(context, t)}
    reranks = config.rescore is not None and is_served(config.rescore.model)
    if config.rescore is not None and reranks and not known_rerankers(context):
        absent["rescore"] = config.rescore.model
    requests = {table: work.requests(table) for table in served} | ({"rescore": work.reranks()} if reranks else {})
    expected = {} if collection is not None else _expected(context, absent)
    if config.previous is not None and "ingest" in expected:
        check_previous(context, expected["ingest"]["key"])
    tasks = _work(work, f"{kind} ({why})")
    stored, free, memory = disk_of_stages(work, kind), disk_free(config.out_folder), peaks(work, kind, _threads(work))
    disk = round(sum(stored.values()))
    warnings = [*_of_absent(absent, work), *_of_commands(work), *warnings_of(config, work.documents, kind)]
    if collection is None and (warning := split_warning(config)):
        warnings.append(warning)
    if free is not None and disk > free and collection is None:
        warnings.append(f"the disk has {free / 1e9:.1f} GB free, the run may need {disk / 1e9:.1f} GB")
    names = [stage.name for stage in STAGES.values() if stage.applies(config)]
    judge = judge_cost(work)
    return {
        "out": str(config.out_folder),
        "documents": work.documents,
        "queries": work.queries,
        "dim": work.dim,
        "counted": counted,
        "stages": [{"stage": name, "state": _state(name, context, expected), "work": tasks[name]} for name in names],
        "disk_bytes": disk,
        "disk_of_stages": {stage: round(value) for stage, value in stored.items()},
        "disk_free_bytes": free,
        "memory_bytes": round(max(memory.values()) + (0 if work.pooled else LEFT_BEHIND)),
        "memory_of_stages": {stage: round(value) for stage, value in memory.items()},
        "workers": config.workers,
        "warnings": warnings,
        **({"requests": {t: dict(zip(_SPENT, one, strict=True)) for t, one in requests.items()}} if requests else {}),
        **({"judge": judge} if judge else {}),
        **({"scale": cluster_plan(work, cluster)} if cluster is not None else {}),
    }


def _expected(context: RunContext, absent: dict[TeacherTable, str]) -> dict[str, Any]:
    """Return the keys of the stages before the first whose model is absent, as its key is a hash of the weights."""
    needed_by = {"rescore": "rescore"} | dict.fromkeys(context.config.encoders, source_stage(context.config))
    names = list(STAGES)
    first = min((needed_by.get(table, "embed") for table in absent), key=names.index, default=None)
    return expected_keys([STAGES[name] for name in names[: names.index(first) if first else None]], context)


def _of_absent(absent: dict[TeacherTable, str], work: Workload) -> Iterator[str]:
    """Yield a warning for each model that is not on this machine, or on a server that no run has asked yet."""
    for table, model in absent.items():
        if is_served(model):
            asked = f"{table}.model {model}: the server was not asked for its model"
            known = work.dims.get(table)
            yield f"{asked}; disk and memory are estimated with vectors of {known} numbers" if known else asked
            continue
        line = f"{table}.model {model!r} is not downloaded yet: "
        if work.dims.get(table) == UNKNOWN_DIM:
            yield (
                f"{line}its size and dimension are unknown, so disk and memory are estimated with vectors of "
                f"{UNKNOWN_DIM} numbers and a small model"
            )
        else:
            yield f"{line}its size is unknown, so memory is estimated with that of a small model"


def _of_commands(work: Workload) -> Iterator[str]:
    """Yield a warning for each encoder by command whose dimension no finished run says."""
    for table, teacher in work.config.teachers.items():
        if teacher.command is not None and work.dims[table] == UNKNOWN_DIM:
            yield (
                f"{table}.command: the dimension of its vectors is unknown before the first run, so disk and "
                f"memory are estimated with vectors of {UNKNOWN_DIM} numbers and a small model"
            )


def _state(name: str, context: RunContext, expected: dict[str, Any]) -> str:
    """Return the state of a stage: done, begun, stale (and why) or to do; one without a key cannot be compared."""
    folder, own = context.reading(name), context.folder(name)
    if name not in expected:
        kept = expected and recorded(folder) is not None
        unknown = "done before; whether it still fits is known once the models are downloaded or their servers asked"
        return unknown if kept else "to do"
    keys = expected[name]
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
    probable += ", by hub-normalised scores" if normalises_hubs(config) else ""
    deeper = f", up to {max_depth(config):,} candidates where too few are kept" if searches_deeper(config) else ""
    in_parts = f", in {config.index.splits} parts of the corpus" if config.index.splits > 1 else ""
    rescored, rules = "", " + ".join(rule_names(config.filter)) or "none"
    if config.rescore is not None:
        most, pairs = config.retrieve.max_candidates, f"{work.rescored:,.0f} pairs"
        if config.rescore.spend == "top":
            pairs += f" ({min(config.rescore.top_n, most)} a query)"
        else:
            pairs = f"at most {pairs} ({min(config.rescore.pairs, most)} for each positive)"
        rescored = f"{pairs}, and the positives, with {config.rescore.model}"
        if is_served(config.rescore.model):
            rescored += _requests("rescore", work.reranks())
    further = f", up to {emit.max_relabelled} further positives a query" if emit.relabels else ""
    further += f", {emit.mixing + emit.mixing_query} synthetic negatives of each example" if emit.mixes else ""
    found = {
        "ingest": f"read about {documents:,} documents and {queries:,} queries",
        "embed": _embedded(work),
        "index": index,
        "retrieve": f"{_sought(config)} of {documents:,} for {queries:,} queries{in_parts}",
        "rescore": rescored,
        "hubs": f"about {work.summed:,.0f} documents over {min(config.filter.hub_queries, queries):,} queries",
        "filter": f"rules: {rules}, anchor {config.filter.anchor}{probable}{deeper}",
        "emit": f"{emit.num_negatives} negatives, {emit.choose}{ensemble}, {', '.join(emit.formats)}{bad}{further}",
        "report": "report.json",
    }
    found[source_stage(config)] += _encoded(work)
    return found


def _embedded(work: Workload) -> str:
    return _texts_embedded(work) + "".join(
        _requests(table, work.requests(table)) for table in served_teachers(work.config)
    )


def _requests(table: str, spent: tuple[int, int]) -> str:
    """Return the end of a line on a model that a server computes; `spent` are requests and tokens."""
    return f"; {table}: about {spent[0]:,} requests with {spent[1]:,} tokens, a quarter of the texts' bytes"


def _texts_embedded(work: Workload) -> str:
    config, documents, queries = work.config, work.documents, work.queries
    texts = f"{documents + queries:,} texts with "
    if not config.embeds_candidates_only:
        return texts + " and with ".join(teacher.label for teacher in config.teachers.values())
    others = [teacher.label for table, teacher in config.teachers.items() if table != "embed"]
    also = f"; {texts}{' and with '.join(others)}" if others else ""
    line = f"at most {work.embedded():,} of {documents:,} documents, besides those labelled, and {queries:,} queries"
    return f"{line} with {config.embed.label}{also}"


def _encoded(work: Workload) -> str:
    texts = work.documents + work.queries
    sources = ((source.label, source.encoder) for source in work.config.retrieve.source)
    return "".join(f"; {texts:,} texts with {one.model} for {label}" for label, one in sources if one is not None)


def _sought(config: Config) -> str:
    retrieve = config.retrieve
    if not retrieve.source:
        return f"top {retrieve.top_k}"
    parts = zip(retrieve.source, retrieve.depths, strict=True)
    fused = f", the best {retrieve.top_k} by rrf" if retrieve.fuse == "rrf" else ""
    return " and ".join(f"top {depth} by {source.label}" for source, depth in parts) + fused


def _threads(work: Workload) -> int:
    """Return the threads of a process that searches: all of this machine's, or its share in a pool."""
    if work.config.engine == "ray":
        return max(1, int(work.config.task_cpus))
    return thread_share(cores(), min(work.config.workers, work.query_shards) if work.pooled else 1)
