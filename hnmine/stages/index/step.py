"""index: an approximate index over the corpus where one is asked for or pays, or nothing for exact search."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from hnmine.arrays.random_numbers import sample_rows
from hnmine.arrays.single_thread import single_thread
from hnmine.config import Config, IndexConfig
from hnmine.runtime.memory import cache_bytes
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick
from hnmine.search.ivf import NAME, SEED, build_lists, default_list_count, measure_recall, write_lists
from hnmine.search.search_plan import choose_index, choose_lists
from hnmine.search.sources import build_source, plan_sources, source_key_parts, source_stage
from hnmine.search.split_search import refuse_approximate
from hnmine.storage.keys import item_key
from hnmine.storage.schemas.index import INDEX
from hnmine.storage.store import read_table, write_atomic
from hnmine.storage.vectors import VectorStore

FILE = "index.faiss"

_UNTRIED = dict.fromkeys(("lists", "probe", "share", "recall", "recall_depth", "recall_sample"))


@dataclass(frozen=True)
class _State:
    whole: Config
    config: IndexConfig
    corpus: VectorStore
    queries: VectorStore


def _plan(context: RunContext, key: str) -> list[Item]:
    rows = VectorStore(context.reading("embed") / "corpus").rows
    return [Item(context.folder("index") / "choice.parquet", rows=rows, key=item_key(key, "choice", 0, rows))]


def _setup(context: RunContext) -> _State:
    embed = context.reading("embed")
    corpus = VectorStore(embed / "corpus", cache_bytes(context.config))
    return _State(context.config, context.config.index, corpus, VectorStore(embed / "queries"))


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    corpus = state.corpus
    kind, reason = choose_index(state.whole, corpus.rows, state.queries.rows, corpus.dim)
    refuse_approximate(state.whole, kind)
    row = {"kind": kind, "reason": reason, "file": "", "documents": corpus.rows, **_UNTRIED}
    if kind == "hnsw":
        row["file"] = _write_hnsw(state, item.output.parent, tick)
    elif kind == "ivf":
        row |= _lists(state, item.output.parent, reason, tick)
    else:
        tick(item.rows)
    return pa.Table.from_pylist([row], schema=INDEX)


def _lists(state: _State, folder: Path, reason: str, tick: Tick) -> dict[str, Any]:
    """Make lists, measure them and keep them where they pay; return what `choice.parquet` says of it."""
    corpus, config = state.corpus, state.config
    lists = build_lists(corpus, config.ivf_lists or default_list_count(corpus.rows), tick)
    sample = sample_rows(state.queries.rows, config.recall_sample, SEED)
    measured = measure_recall(lists, corpus, state.queries.gather(sample), config.recall_depth)
    chosen = choose_lists(config, reason, measured, (corpus.rows, corpus.dim))
    if chosen["kind"] == "ivf":
        write_lists(lists, corpus, folder)
    return chosen | {"file": NAME if chosen["kind"] == "ivf" else ""}


def _write_hnsw(state: _State, folder: Path, tick: Tick) -> str:
    import faiss

    index = faiss.IndexHNSWFlat(state.corpus.dim, state.config.hnsw_links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = max(40, 2 * state.config.hnsw_links)
    with single_thread():  # the order of insertion, and with it the graph, must be the same every time
        for block in state.corpus.blocks():
            for start in range(0, len(block.vectors), 1024):
                part = block.vectors[start : start + 1024]
                index.add(part)
                tick(len(part))
    write_atomic(folder / FILE, lambda path: faiss.write_index(index, str(path)))
    return FILE


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    choice: dict[str, Any] = read_table(context.folder("index") / "choice.parquet").to_pylist()[0]
    wanted = context.config.index.min_recall
    if choice["kind"] == "ivf" and choice["recall"] is not None and choice["recall"] < wanted:
        found = f"approximate search finds {choice['recall']:.4f} of the exact result, less than {wanted:g}"
        choice["warning"] = f"{found}; raise index.ivf_probe, or leave it out"
    return choice


def _parts(context: RunContext) -> dict[str, Any]:
    # an index asked for as flat stays as it is where conditions come or go
    exact = {"exact_for_where": True} if context.config.retrieve.where and context.config.index.kind != "flat" else {}
    return {"index": context.config.index.semantic(), **exact, **source_key_parts(context)}


def _plan_sources(context: RunContext, key: str) -> list[Item]:
    return plan_sources(context, key) if source_stage(context.config) == "index" else []


def _also_reads(context: RunContext) -> tuple[str, ...]:
    return ("ingest",) if any(source.kind != "dense" for source in context.config.retrieve.source) else ()


STAGE = Stage(
    name="index",
    version=3,
    reads=("embed",),
    also_reads=_also_reads,
    parts=_parts,
    steps=(
        Step("sources", "documents", _plan_sources, lambda context: context, build_source),
        Step("build", "documents", _plan, _setup, _process),
    ),
    finish=_finish,
)
