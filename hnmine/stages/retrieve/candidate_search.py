"""The search of retrieve: the candidates of some queries, with all numbers that filters need of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import dots, indexed_dots, unit
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_rows
from hnmine.config.models import TeacherTable
from hnmine.runtime.stage import RunContext, Tick
from hnmine.runtime.threads import each_alone
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.science.z_scores import background
from hnmine.search.bfloat16_products import bfloat16_budget
from hnmine.search.candidate_pool import CandidateLimits, Hits, no_source_columns
from hnmine.search.dense_search import DenseSearch, StoredKeys
from hnmine.search.exact import QUERY_BLOCK, IndexProposer, Proposer
from hnmine.search.ivf import IVFProposer, open_lists
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.search.near_queries import NearQueries
from hnmine.search.pair_scores import Guide, no_guide_columns, pair_cosines
from hnmine.search.sources import CandidateSource, QueryBatch, open_sources, pool_sources
from hnmine.search.word_overlap import CorpusWords
from hnmine.storage.paths import local_copy
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards, read_table
from hnmine.storage.vectors import VectorStore


@dataclass(frozen=True)
class CandidateSearch:
    """Finds the candidates of queries of a run, as the stage retrieve writes them.

    A query's candidates depend on its row and the depth alone, not on the queries that are searched with it.
    """

    context: RunContext
    queries: Shards
    query_vectors: VectorStore
    corpus: VectorStore
    index: Any
    sample: np.ndarray
    sample_vectors: np.ndarray
    words: CorpusWords
    near: NearQueries
    guide: Guide | None
    where: MetadataFilter | None
    rounded_room: int | None
    cache: int
    before: Mapping[TeacherTable, StoredKeys]

    @classmethod
    def open(
        cls, context: RunContext, retrieve: Path, stored: Mapping[TeacherTable, StoredKeys] | None = None
    ) -> "CandidateSearch":
        """Return the search of a run.

        Args:
            context: of the run; ingest, embed and index are complete.
            retrieve: folder of retrieve, where the values of `[[retrieve.where]]` are.
            stored: results of teachers that searched in parts; the others search here.
        """
        config, ingest, embed = context.config, context.reading("ingest"), context.reading("embed")
        cache = cache_bytes(config)
        queries = VectorStore(embed / "queries")
        documents, asked = Shards(ingest / "corpus", CORPUS).rows, Shards(ingest / "queries", QUERIES)
        index, before = _open_index(context), stored or {}
        searched = index is None and "embed" not in before
        room = bfloat16_budget(config, (documents, queries.rows, queries.dim)) if searched else None
        cache = max(0, cache - (room or 0))
        corpus = VectorStore(embed / "corpus", cache)
        sample = sample_rows(documents, config.retrieve.background, config.seed)
        return cls(
            context=context,
            queries=asked,
            query_vectors=queries,
            corpus=corpus,
            index=index,
            sample=sample,
            sample_vectors=corpus.gather(sample),
            words=CorpusWords(ingest, cache // 4),
            near=NearQueries.open(asked, queries, config),
            guide=Guide.open(embed, max(0, cache - corpus.nbytes)) if config.guide is not None else None,
            where=MetadataFilter.open(context, retrieve),
            rounded_room=room,
            cache=cache,
            before=before,
        )

    def find(
        self, table: pa.Table, rows: np.ndarray, depth: int | None = None, tick: Tick = lambda rows: None
    ) -> pa.Table:
        """Return the candidates of some queries, in their order, by the schema `CANDIDATES`.

        Args:
            table: the queries, by the schema `QUERIES`.
            rows: int64, their rows among all queries; consecutive where there are sources or stored results.
            depth: candidates a query of the teacher, labelled positives not counted, instead of `retrieve.top_k`; only
                where the teacher alone finds candidates.
            tick: counts finished queries.
        """
        vectors = self.query_vectors.gather(rows)
        guided = self.guide.queries.gather(rows) if self.guide is not None else np.zeros((len(rows), 0), np.float32)
        parts = [CANDIDATES.empty_table()]

        def part(start: int) -> pa.Table:
            block = slice(start, start + QUERY_BLOCK)
            queries = table.slice(start, QUERY_BLOCK)
            found = _retrieve(self, queries, (vectors[block], guided[block]), rows[block], depth)
            tick(found.num_rows)
            return found

        starts = list(range(0, table.num_rows, QUERY_BLOCK))
        while starts and not self._in_memory:
            parts.append(part(starts.pop(0)))
        return pa.concat_tables([*parts, *each_alone(part, starts)])

    @property
    def _in_memory(self) -> bool:
        """Whether only the teacher searches, and all of its vectors are in memory: several threads may then search."""
        alone = self.index is None and self.where is None and self.guide is None and not self.before
        return alone and self.corpus.in_memory and not self.sources

    @cached_property
    def sources(self) -> list[CandidateSource]:
        """The sources of candidates; empty where the teacher alone finds them."""
        left = self.cache - self.corpus.nbytes - (self.guide.corpus.nbytes if self.guide is not None else 0)
        return open_sources(self.context, partial(_search, self), left, self.where, stored=self.before)

    @cached_property
    def dense(self) -> DenseSearch:
        """The search for the teacher's best documents."""
        device, stored = self.context.config.index.device, self.before.get("embed")
        return DenseSearch(self.corpus, self.where, self.corpus.held, device, self.rounded_room, stored)

    @cached_property
    def most_positives(self) -> int:
        """The largest number of positives of any query of the run."""
        return int(Ragged.from_arrow(self.queries.column("positive_rows")).lengths.max(initial=0))


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
    return index


def _retrieve(
    search: CandidateSearch,
    table: pa.Table,
    vectors_of: tuple[np.ndarray, np.ndarray],
    rows: np.ndarray,
    depth: int | None,
) -> pa.Table:
    """Return the candidates of the queries with these rows; `vectors_of` are those of the teacher and the guide."""
    queries, guided = vectors_of
    positives = Ragged.from_arrow(table.column("positive_rows"))
    unique, inverse = np.unique(positives.values, return_inverse=True)
    vectors = search.corpus.gather(unique)
    asked = QueryBatch(rows, table.column("text").to_pylist() if search.sources else [], queries, positives)
    candidates, scores, by_source = _find(search, asked, depth)
    places = candidates.with_values(search.corpus.positions(candidates.values))
    terms = Ragged.from_arrow(table.column("terms"))
    similar = pair_cosines(search.corpus, places, positives.with_values(inverse), vectors)
    with_query, with_positives = search.words.overlaps(terms, candidates, positives)
    positive_scores = indexed_dots(vectors, inverse, queries, positives.owners)
    columns: dict[str, Any] = {
        "query_id": table.column("query_id"),
        "query_row": pa.array(rows.astype(np.int64)),
        "positive_rows": positives.to_arrow(pa.int64()),
        "positive_scores": positives.with_values(positive_scores).to_arrow(pa.float32()),
        "doc_rows": candidates.to_arrow(pa.int64()),
        "scores": candidates.with_values(scores).to_arrow(pa.float32()),
        "ranks": candidates.with_values(candidates.positions + 1).to_arrow(pa.int32()),
        "similarities": similar.to_arrow(pa.float32()),
        "query_overlaps": candidates.with_values(with_query).to_arrow(pa.float32()),
        "positive_overlaps": similar.with_values(with_positives).to_arrow(pa.float32()),
        **_backgrounds(search, queries, positives, (unique, vectors, inverse)),
        **search.near.columns(queries, table.column("text_key").to_numpy(), candidates),
        **(search.guide.columns(guided, candidates, positives) if search.guide else no_guide_columns(len(queries))),
        **by_source,
    }
    return pa.Table.from_arrays([columns[name] for name in CANDIDATES.names], schema=CANDIDATES)


def _find(
    search: CandidateSearch, asked: QueryBatch, depth: int | None
) -> tuple[Ragged, np.ndarray, dict[str, pa.Array]]:
    """Return the candidates by descending score of the teacher, these scores, and the columns of the sources."""
    queries, limits = len(asked.vectors), CandidateLimits.of(search.context.config.retrieve)
    if not search.sources:
        hits = _search(search, asked, depth or limits.top_k)
        return hits.rows, hits.scores, no_source_columns(queries)
    found, scores = pool_sources(search.sources, limits, search.corpus, asked)
    candidates = Ragged.from_lengths(found.rows, np.bincount(found.owners, minlength=queries))
    return candidates, scores, found.columns(queries)


def _search(search: CandidateSearch, asked: QueryBatch, depth: int) -> Hits:
    """Return the teacher's best documents, down to each query's `depth`-th that is no positive."""
    proposer: Proposer | None = None
    if isinstance(search.index, IVFProposer):
        proposer = search.index
    elif search.index is not None:
        search.index.hnsw.efSearch = max(search.context.config.index.hnsw_search, depth)
        # hnsw finds other documents for another k, so k is the same for every query, whatever its shard
        proposer = IndexProposer(search.index, asked.vectors, min(depth + search.most_positives, search.corpus.rows))
    return search.dense.find(asked.vectors, asked.rows, asked.positives, depth, proposer)


def _backgrounds(
    search: CandidateSearch, queries: np.ndarray, positives: Ragged, distinct: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> dict[str, pa.Array]:
    """Return the columns of scores to random documents, a query's own positives left out.

    `distinct` is (rows of the distinct positives, their vectors, the position of each positive among them).
    """
    place = np.minimum(np.searchsorted(search.sample, positives.values), len(search.sample) - 1)
    of = np.flatnonzero(search.sample[place] == positives.values)
    own = np.zeros((len(queries), len(search.sample)), dtype=bool)
    own[positives.owners[of], place[of]] = True
    mean, std = background(dots(queries, search.sample_vectors), own)
    rows, vectors, which = distinct
    found = positive_backgrounds(rows, vectors, (search.sample, search.sample_vectors))
    positive_mean, positive_std = (values[which] for values in found)
    return {
        "background_mean": pa.array(mean),
        "background_std": pa.array(std),
        "positive_background_mean": positives.with_values(positive_mean).to_arrow(pa.float32()),
        "positive_background_std": positives.with_values(positive_std).to_arrow(pa.float32()),
    }


def positive_backgrounds(
    rows: np.ndarray, vectors: np.ndarray, sample: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each positive's cosines to random documents, float32, itself left out.

    Args:
        rows: int64, shape (n,): document rows of the positives.
        vectors: theirs.
        sample: rows and vectors of the random documents.
    """
    return background(dots(unit(vectors), unit(sample[1])), rows[:, None] == sample[0])
