"""What a run would do, before it does it: rows, memory, disk, what is done, and settings that look wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hnmine.config import Config, TeacherTable
from hnmine.config.partial import is_partial, most_embedded
from hnmine.errors import Problems
from hnmine.filtering.judging import rule_names
from hnmine.filtering.rescored import uses_rescored
from hnmine.models.encoders import HASH_DIM
from hnmine.models.modelfiles import find_model
from hnmine.models.precomputed import vector_sources
from hnmine.models.teachers import source_tables
from hnmine.plans.warnings import warnings_of
from hnmine.readers.collection import input_sources
from hnmine.readers.fields import check_fields
from hnmine.readers.files import Source
from hnmine.readers.tables import text_lines
from hnmine.running.keys import changes, expected_keys, is_done, recorded
from hnmine.running.memory import BASE_BYTES, MODEL_BYTES, cache_bytes
from hnmine.running.stage import RunContext
from hnmine.stages import STAGES
from hnmine.stages.index import settle
from hnmine.stages.retrieve import QUERY_BLOCK
from hnmine.storage.vectors import BLOCK_BYTES

UNKNOWN_DIM = 768


def make_plan(config: Config, source: Path | None = None) -> dict[str, Any]:
    """Return what a run of this config would do. Reads the input's sizes and the stages' manifests, loads no model.

    Raises:
        InputError: input files, or columns that `retrieve.where` asks for, are missing.
        ModelError: the model cannot be found.
    """
    context = RunContext(config, config.out_folder, source.resolve() if source else None)
    problems = Problems()
    check_fields(config, problems)
    problems.raise_if_any()
    sizes = _sizes(context)
    stages = _stages(context, sizes)
    disk, memory = _disk(config, sizes), _memory(config, sizes)
    free = shutil.disk_usage(_existing(config.out_folder)).free
    warnings = warnings_of(config, sizes)
    if disk > free:
        warnings.append(f"the disk has {free / 1e9:.1f} GB free, the run may need {disk / 1e9:.1f} GB")
    return {
        "out": str(config.out_folder),
        "documents": sizes["documents"],
        "queries": sizes["queries"],
        "dim": sizes["dim"],
        "counted": sizes["counted"],
        "stages": stages,
        "disk_bytes": disk,
        "disk_free_bytes": free,
        "memory_bytes": memory,
        "workers": config.workers,
        "warnings": warnings,
    }


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _sizes(context: RunContext) -> dict[str, Any]:
    """Return rows and dimension: exact where ingest and embed are done, else counted in the input's files."""
    sources = input_sources(context.config)
    size = sum(s.system.size(s.path) or 0 for role in ("corpus", "pairs") for s in sources.get(role, ()))
    ingest = (recorded(context.reading("ingest")) or {}).get("counts")
    embed = (recorded(context.reading("embed")) or {}).get("counts")
    documents, queries, counted = 0, 0, "in the input's files, before copies are collapsed"
    if ingest:
        documents, queries, counted = ingest["documents"], ingest["queries"], "by ingest"
    else:
        documents = sum(_count(s) for role in ("corpus", "pairs") for s in sources.get(role, ()))
        queries = sum(_count(s) for role in ("queries", "pairs") for s in sources.get(role, ()))
    dims = _dims(context.config, embed or {})
    return {
        "documents": documents, "queries": queries, "dim": dims["embed"], "dims": dims, "text_bytes": size,
        "counted": counted,
    }  # fmt: skip


def _dims(config: Config, embed: dict[str, Any]) -> dict[TeacherTable, int]:
    """Return the dimension of each teacher's vectors; `embed` is what that stage counted, if it is done."""
    labels, known = source_tables(config), embed.get("source_dims", {})
    counted = {"embed": embed.get("dim"), "guide": embed.get("guide_dim")}
    counted |= {table: known.get(label) for table, label in labels.items()}
    return {table: counted[table] or _dim(config, table) for table in config.teachers}


def _count(source: Source) -> int:
    if source.ending in (".parquet", ".pq"):
        with source.open() as file:
            return int(pq.read_metadata(file).num_rows)
    return sum(1 for _, line in text_lines(source) if line.strip())


def _dim(config: Config, table: TeacherTable = "embed") -> int:
    """Return the dimension of a teacher's vectors as far as it can be known without loading the model."""
    teacher = config.teachers[table]
    if teacher.model == "hash":
        return HASH_DIM
    if teacher.model == "precomputed":
        source = vector_sources(config, table)["queries"][0]
        if source.ending in (".parquet", ".pq"):
            with source.open() as file:
                for field in pq.read_schema(file):
                    if hasattr(field.type, "list_size"):
                        return int(field.type.list_size)
        return UNKNOWN_DIM
    folder = Path(find_model(teacher, table))
    for name in ("config.json", "0_Transformer/config.json"):
        if (folder / name).exists():
            return int(json.loads((folder / name).read_text()).get("hidden_size", UNKNOWN_DIM))
    return UNKNOWN_DIM


def _stages(context: RunContext, sizes: dict[str, Any]) -> list[dict[str, str]]:
    expected = expected_keys(list(STAGES.values()), context)
    documents, queries = sizes["documents"], sizes["queries"]
    config = context.config
    kind, why = settle(config, documents, queries, sizes["dim"])
    how = config.emit.bad_positives
    treated = f", suspected positives: {how}" if how != "keep" else ""
    probable = ", with P(false negative)" if config.filter.gives_probabilities else ""
    probable += ", by rescored percentiles" if uses_rescored(config) else ""
    work = {
        "ingest": f"read about {documents:,} documents and {queries:,} queries",
        "embed": _embedded(config, documents, queries),
        "index": f"{kind} ({why})",
        "retrieve": f"{_sought(config)} of {documents:,} for {queries:,} queries",
        "rescore": _rescored(config, queries),
        "filter": f"rules: {' + '.join(rule_names(config.filter)) or 'none'}, anchor {config.filter.anchor}{probable}",
        "emit": f"{config.emit.num_negatives} negatives, {_chosen(config)}, {config.emit.format}{treated}",
        "report": "report.json",
    }
    return [{"stage": name, "state": _state(name, context, expected), "work": work[name]} for name in expected]


def _embedded(config: Config, documents: int, queries: int) -> str:
    models = " and with ".join(t.model for t in config.teachers.values())
    if not is_partial(config):
        return f"{documents + queries:,} texts with {models}"
    others = [t.model for table, t in config.teachers.items() if table != "embed"]
    most = most_embedded(config, documents, queries)
    line = f"at most {most:,} of {documents:,} documents, besides those labelled, and {queries:,} queries"
    also = f"; {documents + queries:,} texts with {' and with '.join(others)}" if others else ""
    return f"{line} with {config.embed.model}{also}"


def _rescored(config: Config, queries: int) -> str:
    if config.rescore is None:
        return ""
    each = min(config.rescore.top_n, config.retrieve.most)
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


def _disk(config: Config, sizes: dict[str, Any]) -> int:
    """Return an estimate of what all stages write."""
    rows, queries = sizes["documents"] + sizes["queries"], sizes["queries"]
    vectors = 0
    for table, teacher in config.teachers.items():
        embedded = most_embedded(config, sizes["documents"], queries) + queries if table == "embed" else rows
        vectors += embedded * (sizes["dims"][table] * (2 if teacher.dtype == "float16" else 4) + 8)
    sources = config.retrieve.source
    each = (28 if config.guide is not None else 24) + 8 * len(sources)
    candidates = queries * config.retrieve.most * each * 2
    words = sizes["text_bytes"] * sum(source.kind == "bm25" for source in sources)  # 8 bytes a word
    mean_text = sizes["text_bytes"] / max(1, sizes["documents"])
    emitted = queries * config.emit.num_negatives * mean_text
    return int(sizes["text_bytes"] + vectors + words + candidates + emitted)


def _memory(config: Config, sizes: dict[str, Any]) -> int:
    """Return an estimate of one worker's peak: the largest of embedding, searching and ingesting."""
    rows = {table: dim * 4 for table, dim in sizes["dims"].items()}
    every = sum(rows.values())
    kept = min(sizes["documents"] * every, cache_bytes(config))
    streamed = min(sizes["documents"] * max(rows.values()), BLOCK_BYTES)
    shard = config.shard_rows * (every + config.retrieve.most * 60)
    search = kept + 2 * streamed + QUERY_BLOCK * (every + config.retrieve.most * 40) + shard
    ids = sizes["documents"] * 400
    words = 4 * sizes["text_bytes"] if any(source.kind == "bm25" for source in config.retrieve.source) else 0
    models = [t.model for t in config.teachers.values()] + ([config.rescore.model] if config.rescore else [])
    # one model after the other, so the larger counts
    model = max(0 if name in ("hash", "precomputed") else MODEL_BYTES for name in models)
    return int(BASE_BYTES + max(search, ids, model, words))
