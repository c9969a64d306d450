"""index: an approximate index over the corpus where one is asked for or pays, or nothing for exact search."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.config import Config, IndexConfig
from hnmine.retrieval.sources import plan_prepared, prepare, prepared_parts, preparing
from hnmine.retrieval.splits import refuse_approximate
from hnmine.running.keys import item_key
from hnmine.running.memory import cache_bytes
from hnmine.running.stage import Item, RunContext, Stage, Step, Tick
from hnmine.storage.schemas import INDEX
from hnmine.storage.store import write_atomic
from hnmine.storage.vectors import VectorStore

FILE = "index.faiss"

# Measured on two cores with 384 dimensions (docs/benchmarks.md): a core's matrix products, and HNSW building.
FLOPS = 100e9
HNSW_SECONDS_A_DOCUMENT = 5.4e-4
PAYS_FROM = 5.0


def choose_kind(documents: int, queries: int, dim: int) -> tuple[str, str]:
    """Return (kind, reason) for `kind = "auto"`: exact search unless it costs several times an index's building.

    Exact search takes about 2 * documents * queries * dim operations. An index must be built first, misses some
    documents, and on batches of queries gains little on a CPU; so it has to pay `PAYS_FROM` times over.
    """
    exact = 2.0 * documents * queries * dim / FLOPS
    build = HNSW_SECONDS_A_DOCUMENT * documents
    estimate = f"about {exact:,.0f} s of exact search against {build:,.0f} s to build an index"
    if exact > PAYS_FROM * build:
        return "hnsw", f"auto: {estimate}; more than {PAYS_FROM:g} times as much, so approximate search pays"
    return "flat", f"auto: {estimate}; exact search it is"


def settle(config: Config, documents: int, queries: int, dim: int) -> tuple[str, str]:
    """Return (kind, reason) for a config; conditions on candidates are held to by exact search alone."""
    if config.retrieve.where:
        asked = config.index.kind in ("hnsw", "ivf")
        return "flat", f"exact search{f', not {config.index.kind},' if asked else ''} because of retrieve.where"
    if config.index.kind == "auto":
        return choose_kind(documents, queries, dim)
    return str(config.index.kind), "asked for"


@dataclass(frozen=True)
class _State:
    whole: Config
    config: IndexConfig
    corpus: VectorStore
    queries: int


def _plan(context: RunContext, key: str) -> list[Item]:
    rows = VectorStore(context.reading("embed") / "corpus").rows
    return [Item(context.folder("index") / "choice.parquet", rows=rows, key=item_key(key, "choice", 0, rows))]


def _setup(context: RunContext) -> _State:
    embed = context.reading("embed")
    corpus = VectorStore(embed / "corpus", cache_bytes(context.config))
    return _State(context.config, context.config.index, corpus, VectorStore(embed / "queries").rows)


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    corpus = state.corpus
    kind, reason = settle(state.whole, corpus.rows, state.queries, corpus.dim)
    refuse_approximate(state.whole, kind)
    file = ""
    if kind != "flat":
        index, file = _BUILDERS[kind](state, tick), FILE
        import faiss

        write_atomic(item.output.parent / FILE, lambda path: faiss.write_index(index, str(path)))
    else:
        tick(item.rows)
    return pa.Table.from_pylist(
        [{"kind": kind, "reason": reason, "file": file, "documents": corpus.rows}], schema=INDEX
    )


def _build_hnsw(state: _State, tick: Tick) -> Any:
    import faiss

    index = faiss.IndexHNSWFlat(state.corpus.dim, state.config.hnsw_links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = max(40, 2 * state.config.hnsw_links)
    return _fill(index, state, tick)


def _build_ivf(state: _State, tick: Tick) -> Any:
    import faiss

    corpus = state.corpus
    lists = min(state.config.ivf_lists or max(1, int(4 * corpus.rows**0.5)), max(1, corpus.rows // 39))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(corpus.dim), corpus.dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = 1234
    rows = np.linspace(0, corpus.rows - 1, num=min(corpus.rows, 256 * lists)).astype(np.int64)
    index.train(corpus.gather(corpus.row_of(np.unique(rows))))
    return _fill(index, state, tick)


def _fill(index: Any, state: _State, tick: Tick) -> Any:
    import faiss
    from threadpoolctl import threadpool_limits

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # the order of insertion, and with it the graph, must be the same every time
    try:
        with threadpool_limits(1):
            for block in state.corpus.blocks():
                for start in range(0, len(block.vectors), 1024):
                    part = block.vectors[start : start + 1024]
                    index.add(part)
                    tick(len(part))
    finally:
        faiss.omp_set_num_threads(threads)
    return index


_BUILDERS: dict[str, Callable[[_State, Tick], Any]] = {"hnsw": _build_hnsw, "ivf": _build_ivf}


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    import pyarrow.parquet as pq

    choice: dict[str, Any] = pq.read_table(context.folder("index") / "choice.parquet").to_pylist()[0]
    return choice


def _parts(context: RunContext) -> dict[str, Any]:
    # an index asked for as flat stays as it is where conditions come or go
    exact = {"exact_for_where": True} if context.config.retrieve.where and context.config.index.kind != "flat" else {}
    return {"index": context.config.index.semantic(), **exact, **prepared_parts(context)}


def _plan_sources(context: RunContext, key: str) -> list[Item]:
    return plan_prepared(context, key) if preparing(context.config) == "index" else []


def _also_reads(context: RunContext) -> tuple[str, ...]:
    return ("ingest",) if any(source.kind != "dense" for source in context.config.retrieve.source) else ()


STAGE = Stage(
    name="index",
    version=1,
    reads=("embed",),
    also_reads=_also_reads,
    parts=_parts,
    steps=(
        Step("sources", "documents", _plan_sources, lambda context: context, prepare),
        Step("build", "documents", _plan, _setup, _process),
    ),
    finish=_finish,
)
