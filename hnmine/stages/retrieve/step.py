"""The stage retrieve: every query's candidates, with all numbers that filters need, so that none reads vectors."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import dots, indexed_dots, unit
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_rows
from hnmine.config.tables import TeacherTable
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, no_setup, shard_items, write_lists
from hnmine.runtime.threads import run_concurrently
from hnmine.runtime.worker_slot import TORCH_BYTES, cache_bytes
from hnmine.science.z_scores import background
from hnmine.search.byte_products import byte_budget
from hnmine.search.candidate_pool import CandidateLimits, Hits, no_source_columns
from hnmine.search.dense_search import DenseSearch, StoredKeys
from hnmine.search.exact import QUERY_BLOCK, IndexProposer, Proposer
from hnmine.search.ivf import IVFProposer, open_lists
from hnmine.search.metadata_filter import MetadataFilter, filter_summary, plan_field_values, read_field_values
from hnmine.search.pair_scores import Guide, no_guide_columns, pair_cosines
from hnmine.search.sources import CandidateSource, QueryBatch, open_sources, pool_sources, write_source_names
from hnmine.search.split_search import FOLDER, MERGES, STEPS, merged_searches, plan_level
from hnmine.search.word_overlap import CorpusWords
from hnmine.storage.paths import local_copy
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards, read_table, remove_folder
from hnmine.storage.vectors import VectorStore


@dataclass(frozen=True)
class _State:
    context: RunContext
    queries: Shards
    query_vectors: VectorStore
    corpus: VectorStore
    index: Any
    sample: np.ndarray
    sample_vectors: np.ndarray
    words: CorpusWords
    guide: Guide | None
    where: MetadataFilter | None
    byte_room: int | None
    cache: int
    before: dict[TeacherTable, StoredKeys]

    @cached_property
    def sources(self) -> list[CandidateSource]:
        """The sources of candidates; empty where the teacher alone finds them."""
        left = self.cache - self.corpus.nbytes - (self.guide.corpus.nbytes if self.guide is not None else 0)
        return open_sources(self.context, partial(_search, self), left, self.where, stored=self.before)

    @cached_property
    def dense(self) -> DenseSearch:
        """The search for the teacher's best documents."""
        device, stored = self.context.config.index.device, self.before.get("embed")
        return DenseSearch(self.corpus, self.where, self.corpus.held, device, self.byte_room, stored)

    @cached_property
    def most_positives(self) -> int:
        """The largest number of positives of any query of the run."""
        return int(Ragged.from_arrow(self.queries.column("positive_rows")).lengths.max(initial=0))


def _parts(context: RunContext) -> dict[str, Any]:
    index, retrieve = context.config.index.semantic(), context.config.retrieve
    parts: dict[str, Any] = {
        "retrieve": {key: value for key, value in retrieve.semantic().items() if key not in ("source", "where")},
        "index": {key: value for key, value in index.items() if key != "kind"},
        "seed": context.config.seed,
    }
    if retrieve.source:  # in their order, which is that of the columns
        parts["sources"] = [source.part() for source in retrieve.source]
    if retrieve.where:
        parts["where"] = [one.part() for one in retrieve.where]
    return parts


def _plan(context: RunContext, key: str) -> list[Item]:
    plan_level(MERGES + 1, context, key)  # no items, but removes what has been merged
    return shard_items(Shards(context.reading("ingest") / "queries", QUERIES), context.folder("retrieve"), key)


def _setup(context: RunContext) -> _State:
    config, ingest, embed = context.config, context.reading("ingest"), context.reading("embed")
    cache = cache_bytes(config)
    queries = VectorStore(embed / "queries")
    documents = Shards(ingest / "corpus", CORPUS).rows
    index, before = _open_index(context), merged_searches(context)
    searched = index is None and "embed" not in before
    room = byte_budget(config, (documents, queries.rows, queries.dim)) if searched else None
    cache = max(0, cache - (0 if room is None else room + TORCH_BYTES))
    corpus = VectorStore(embed / "corpus", cache)
    sample = sample_rows(documents, config.retrieve.background, config.seed)
    return _State(
        context=context,
        queries=Shards(ingest / "queries", QUERIES),
        query_vectors=queries,
        corpus=corpus,
        index=index,
        sample=sample,
        sample_vectors=corpus.gather(sample),
        words=CorpusWords(ingest, cache // 4),
        guide=Guide.open(embed, max(0, cache - corpus.nbytes)) if config.guide is not None else None,
        where=MetadataFilter.open(context, context.folder("retrieve")),
        byte_room=room,
        cache=cache,
        before=before,
    )


def _open_index(context: RunContext) -> Any:
    """Return the proposer of inverted lists, a faiss index, or None where search is exact."""
    folder = context.reading("index")
    choice = read_table(folder / "choice.parquet").to_pylist()[0]
    if not choice["file"]:
        return None
    if choice["kind"] == "ivf":
        return IVFProposer(open_lists(folder), choice["probe"])
    import faiss

    with local_copy(folder / choice["file"]) as file:
        index: Any = faiss.read_index(str(file))
    retrieve = context.config.retrieve
    pairs = zip(retrieve.source, retrieve.depths, strict=True)
    own = (depth for source, depth in pairs if source.kind == "dense" and source.teacher is None)
    index.hnsw.efSearch = max(context.config.index.hnsw_search, next(own, retrieve.top_k))
    return index


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    table = state.queries.read(item.number)
    # by row and not by shard: vectors may have been made under another shard size than the queries now have
    rows = np.arange(item.first, item.first + table.num_rows)
    vectors = state.query_vectors.gather(rows)
    guided = state.guide.queries.gather(rows) if state.guide is not None else np.zeros((len(rows), 0), np.float32)
    parts = [CANDIDATES.empty_table()]
    for start in range(0, table.num_rows, QUERY_BLOCK):
        block = slice(start, start + QUERY_BLOCK)
        queries = table.slice(start, QUERY_BLOCK)
        parts.append(_retrieve(state, queries, vectors[block], guided[block], item.first + start))
        tick(queries.num_rows)
    return pa.concat_tables(parts)


def _retrieve(state: _State, table: pa.Table, queries: np.ndarray, guided: np.ndarray, first: int) -> pa.Table:
    """Return the candidates of the queries from row `first` on, given their vectors by the teacher and the guide."""
    positives = Ragged.from_arrow(table.column("positive_rows"))
    unique, inverse = np.unique(positives.values, return_inverse=True)
    vectors = state.corpus.gather(unique)
    asked = QueryBatch(first, table.column("text").to_pylist() if state.sources else [], queries, positives)
    candidates, scores, by_source = _find(state, asked)
    places = candidates.with_values(state.corpus.positions(candidates.values))
    terms = Ragged.from_arrow(table.column("terms"))
    similar, (with_query, with_positives), background_of = run_concurrently(
        lambda: pair_cosines(state.corpus, places, positives.with_values(inverse), vectors),
        lambda: state.words.overlaps(terms, candidates, positives),
        lambda: _backgrounds(state, queries, positives, (vectors, inverse)),
    )
    positive_scores = indexed_dots(vectors, inverse, queries, positives.owners)
    columns: dict[str, Any] = {
        "query_id": table.column("query_id"),
        "query_row": pa.array(np.arange(first, first + len(queries), dtype=np.int64)),
        "positive_rows": positives.to_arrow(pa.int64()),
        "positive_scores": positives.with_values(positive_scores).to_arrow(pa.float32()),
        "doc_rows": candidates.to_arrow(pa.int64()),
        "scores": candidates.with_values(scores).to_arrow(pa.float32()),
        "ranks": candidates.with_values(candidates.positions + 1).to_arrow(pa.int32()),
        "similarities": similar.to_arrow(pa.float32()),
        "query_overlaps": candidates.with_values(with_query).to_arrow(pa.float32()),
        "positive_overlaps": similar.with_values(with_positives).to_arrow(pa.float32()),
        **background_of,
        **(state.guide.columns(guided, candidates, positives) if state.guide else no_guide_columns(len(queries))),
        **by_source,
    }
    return pa.Table.from_arrays([columns[name] for name in CANDIDATES.names], schema=CANDIDATES)


def _find(state: _State, asked: QueryBatch) -> tuple[Ragged, np.ndarray, dict[str, pa.Array]]:
    """Return the candidates by descending score of the teacher, these scores, and the columns of the sources."""
    queries, limits = len(asked.vectors), CandidateLimits.of(state.context.config.retrieve)
    if not state.sources:
        hits = _search(state, asked, limits.top_k)
        return hits.rows, hits.scores, no_source_columns(queries)
    found, scores = pool_sources(state.sources, limits, state.corpus, asked)
    candidates = Ragged.from_lengths(found.rows, np.bincount(found.owners, minlength=queries))
    return candidates, scores, found.columns(queries)


def _search(state: _State, asked: QueryBatch, depth: int) -> Hits:
    """Return the teacher's best documents, down to each query's `depth`-th that is no positive."""
    proposer: Proposer | None = None
    if isinstance(state.index, IVFProposer):
        proposer = state.index
    elif state.index is not None:
        # hnsw finds other documents for another k, so k is the same for every query, whatever its shard
        proposer = IndexProposer(state.index, asked.vectors, min(depth + state.most_positives, state.corpus.rows))
    rows = asked.first + np.arange(len(asked.vectors))
    return state.dense.find(asked.vectors, rows, asked.positives, depth, proposer)


def _backgrounds(
    state: _State, queries: np.ndarray, positives: Ragged, vectors: tuple[np.ndarray, np.ndarray]
) -> dict[str, pa.Array]:
    """Return the columns of scores to random documents, a query's own positives left out.

    `vectors` is (vectors of the distinct positives, the position of each positive among them).
    """
    is_positive = positives.values[:, None] == state.sample
    of, place = np.nonzero(is_positive)
    own = np.zeros((len(queries), len(state.sample)), dtype=bool)
    own[positives.owners[of], place] = True
    mean, std = background(dots(queries, state.sample_vectors), own)
    to_sample = dots(unit(vectors[0]), unit(state.sample_vectors))[vectors[1]]
    positive_mean, positive_std = background(to_sample, is_positive)
    return {
        "background_mean": pa.array(mean),
        "background_std": pa.array(std),
        "positive_background_mean": positives.with_values(positive_mean).to_arrow(pa.float32()),
        "positive_background_std": positives.with_values(positive_std).to_arrow(pa.float32()),
    }


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    folder, retrieve = context.folder("retrieve"), context.config.retrieve
    shards = Shards(folder, CANDIDATES)
    read = (shards.read(number, ["doc_rows"]).column(0) for number in range(len(shards)))
    lengths = np.concatenate([Ragged.from_arrow(column).lengths for column in read])
    write_source_names(context.config, folder, key)
    remove_folder(folder / FOLDER)  # all candidates are written
    short = int((lengths < min(retrieve.top_k, retrieve.max_candidates)).sum())
    counts = {"queries": shards.rows, "candidates": int(lengths.sum()), "queries_with_fewer_than_top_k": short}
    where = MetadataFilter.open(context, folder)
    return counts if where is None else counts | filter_summary(where, shards.rows)


STAGE = Stage(
    name="retrieve",
    version=6,
    reads=("ingest.corpus", "ingest.queries", "embed", "index"),
    parts=_parts,
    steps=(
        Step("fields", "rows", plan_field_values, no_setup, read_field_values),
        *STEPS,
        Step("search", "queries", _plan, _setup, _process, write_lists),
    ),
    finish=_finish,
)
