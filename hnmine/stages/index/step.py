"""The stage index: an approximate index of the corpus, if configured or cheaper, and the files of sources."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from hnmine.arrays.random_numbers import sample_rows
from hnmine.arrays.single_thread import single_thread
from hnmine.config.tables import Config
from hnmine.errors import ConfigError
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, no_setup
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.search.ivf import NAME, SEED, build_lists, default_list_count, measure_recall, write_lists
from hnmine.search.search_plan import choose_index, choose_lists
from hnmine.search.sources import build_source, plan_sources, source_key_parts, source_stage
from hnmine.search.sparse_source import encoding_steps, side_folders, sparse_counts
from hnmine.search.split_search import split_problem
from hnmine.storage.schemas.index import INDEX
from hnmine.storage.store import item_key, read_table, write_atomic
from hnmine.storage.vectors import VectorStore

CHOICE_FILE, HNSW_FILE = "choice.parquet", "index.faiss"
_UNTRIED = dict.fromkeys(("lists", "probe", "share", "recall", "recall_depth", "recall_sample"))


@dataclass(frozen=True)
class _State:
    config: Config
    corpus: VectorStore
    queries: VectorStore


def _parts(context: RunContext) -> dict[str, Any]:
    # conditions do not change an index of kind "flat"
    exact = {"exact_for_where": True} if context.config.retrieve.where and context.config.index.kind != "flat" else {}
    return {"index": context.config.index.semantic(), **exact, **source_key_parts(context)}


def _also_reads(context: RunContext) -> tuple[str, ...]:
    return (
        ("ingest.corpus", "ingest.queries")
        if any(source.kind != "dense" for source in context.config.retrieve.source)
        else ()
    )


def _builds_sources(config: Config) -> bool:
    return source_stage(config) == "index"


def _plan_sources(context: RunContext, key: str) -> list[Item]:
    return plan_sources(context, key) if _builds_sources(context.config) else []


def _plan(context: RunContext, key: str) -> list[Item]:
    rows = VectorStore(context.reading("embed") / "corpus").rows
    return [Item(context.folder("index") / CHOICE_FILE, rows=rows, key=item_key(key, "choice", 0, rows))]


def _setup(context: RunContext) -> _State:
    embed = context.reading("embed")
    corpus = VectorStore(embed / "corpus", cache_bytes(context.config))
    return _State(context.config, corpus, VectorStore(embed / "queries"))


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    corpus, folder = state.corpus, item.output.parent
    kind, reason = choose_index(state.config, corpus.rows, state.queries.rows, corpus.dim)
    if problem := split_problem(state.config, kind):
        raise ConfigError(problem)
    row = {"kind": kind, "reason": reason, "file": "", "documents": corpus.rows, **_UNTRIED}
    if kind == "hnsw":
        _write_hnsw(state, folder, tick)
        row["file"] = HNSW_FILE
    elif kind == "ivf":
        row |= _try_lists(state, folder, reason, tick)
    else:
        tick(item.rows)
    return pa.Table.from_pylist([row], schema=INDEX)


def _try_lists(state: _State, folder: Path, reason: str, tick: Tick) -> dict[str, Any]:
    """Build inverted lists, measure their recall, write them if chosen; return the columns of the choice."""
    corpus, config = state.corpus, state.config.index
    lists = build_lists(corpus, config.ivf_lists or default_list_count(corpus.rows), tick)
    sample = sample_rows(state.queries.rows, config.recall_sample, SEED)
    measured = measure_recall(lists, corpus, state.queries.gather(sample), config.recall_depth)
    chosen = choose_lists(config, reason, measured, (corpus.rows, corpus.dim))
    if chosen["kind"] == "ivf":
        write_lists(lists, corpus, folder)
        chosen["file"] = NAME
    return chosen


def _write_hnsw(state: _State, folder: Path, tick: Tick) -> None:
    import faiss

    links = state.config.index.hnsw_links
    index = faiss.IndexHNSWFlat(state.corpus.dim, links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = max(40, 2 * links)
    with single_thread():  # the graph depends on the order of insertion
        for block in state.corpus.blocks():
            for start in range(0, len(block.vectors), 1024):
                part = block.vectors[start : start + 1024]
                index.add(part)
                tick(len(part))
    write_atomic(folder / HNSW_FILE, lambda path: faiss.write_index(index, str(path)))


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    choice: dict[str, Any] = read_table(context.folder("index") / CHOICE_FILE).to_pylist()[0]
    wanted = context.config.index.min_recall
    if choice["kind"] == "ivf" and choice["recall"] is not None and choice["recall"] < wanted:
        found = f"approximate search finds {choice['recall']:.4f} of the exact result, less than {wanted:g}"
        choice["warning"] = f"{found}; raise index.ivf_probe, or leave it out"
    return choice | (sparse_counts(context.config, context.folder("index")) if _builds_sources(context.config) else {})


def _reusable(context: RunContext) -> tuple[str, ...]:
    return tuple(side_folders(context.config)) if _builds_sources(context.config) else ()


STAGE = Stage(
    name="index",
    version=3,
    reads=("embed",),
    also_reads=_also_reads,
    parts=_parts,
    steps=(
        *encoding_steps("index", _builds_sources),
        Step("sources", "documents", _plan_sources, no_setup, build_source),
        Step("build", "documents", _plan, _setup, _process),
    ),
    finish=_finish,
    reusable=_reusable,
)
