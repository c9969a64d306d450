"""The stage hubs: candidates' scores, normalised by how high their documents score over a bank of queries."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import dots
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_rows
from hnmine.config.filter import FilterConfig
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, shard_items, write_lists
from hnmine.runtime.threads import in_threads
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.science.hub_normalisation import BankSums, bank_sums, hub_normalised
from hnmine.science.z_scores import background
from hnmine.storage.schemas.hubs import HUB_SCORES, HUBS
from hnmine.storage.schemas.ingest import CORPUS
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards
from hnmine.storage.vectors import VectorStore

SUMS_FOLDER = "documents"
_BANK = 0x62616E6B
"""Makes the bank independent of the other samples of a seed."""
# Scores of documents over the bank in memory at a time.
_SCORES = 1 << 20
_READ = ["query_row", "doc_rows", "scores", "positive_rows", "positive_scores"]


def bank_of(queries: int, config: FilterConfig, seed: int) -> np.ndarray:
    """Return the rows of the queries of the bank, ascending int64: all queries, or a random sample of them."""
    return sample_rows(queries, config.hub_queries, seed, _BANK)


def _parts(context: RunContext) -> dict[str, Any]:
    config = context.config
    own = {"hub_beta": config.filter.hub_beta, "hub_queries": config.filter.hub_queries}
    return {"filter": own, "background": config.retrieve.background, "seed": config.seed}


@dataclass(frozen=True)
class _Documents:
    """What the sums of documents are made of.

    Attributes:
        config: the table [filter].
        used: bool, one a row of the corpus: whether the document has a score that is normalised.
        corpus: the teacher's vectors.
        bank: rows of the queries of the bank.
        vectors: theirs.
    """

    config: FilterConfig
    used: np.ndarray
    corpus: VectorStore
    bank: np.ndarray
    vectors: np.ndarray


def _background(context: RunContext, documents: int) -> np.ndarray:
    """Return the rows of the random documents that retrieve scored for every query."""
    return sample_rows(documents, context.config.retrieve.background, context.config.seed)


def _open_documents(context: RunContext) -> _Documents:
    config, embed = context.config, context.reading("embed")
    candidates = Shards(context.reading("retrieve"), CANDIDATES)
    used = np.zeros(Shards(context.reading("ingest") / "corpus", CORPUS).rows, dtype=bool)
    used[_background(context, len(used))] = True

    def mark(number: int) -> None:
        for column in candidates.read(number, ["doc_rows", "positive_rows"]).columns:
            used[Ragged.from_arrow(column).values] = True

    in_threads(mark, range(len(candidates)))
    queries = VectorStore(embed / "queries")
    bank = bank_of(queries.rows, config.filter, config.seed)
    corpus = VectorStore(embed / "corpus", cache_bytes(config))
    return _Documents(config.filter, used, corpus, bank, queries.gather(bank))


def _plan_documents(context: RunContext, key: str) -> list[Item]:
    corpus = Shards(context.reading("ingest") / "corpus", CORPUS)
    return shard_items(corpus, context.folder("hubs") / SUMS_FOLDER, key)


def _sum_documents(state: _Documents, item: Item, tick: Tick) -> pa.Table:
    rows = item.first + np.flatnonzero(state.used[item.first : item.first + item.rows])
    parts, size = [HUBS.empty_table()], max(1, _SCORES // len(state.bank))
    for first in range(0, len(rows), size):
        own = rows[first : first + size]
        # each score by itself, as retrieve computes it, whatever the shards
        scores = dots(state.corpus.gather(own), state.vectors)
        columns = [own, *bank_sums(scores, state.bank, state.config.hub_beta)]
        parts.append(pa.Table.from_arrays([pa.array(column) for column in columns], schema=HUBS))
    tick(item.rows)
    return pa.concat_tables(parts)


@dataclass(frozen=True)
class _Queries:
    """What the scores of queries are made of.

    Attributes:
        config: the table [filter].
        candidates: of retrieve.
        rows: int64, ascending: the documents that have sums.
        sums: theirs.
        bank: rows of the queries of the bank.
        queries: the teacher's vectors of all queries.
        sample: rows of the random documents.
        vectors: theirs.
    """

    config: FilterConfig
    candidates: Shards
    rows: np.ndarray
    sums: BankSums
    bank: np.ndarray
    queries: VectorStore
    sample: np.ndarray
    vectors: np.ndarray

    def normalise(self, scores: np.ndarray, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the hub-normalised score of each (query, document); all of shape (m,), rows int64."""
        at = np.searchsorted(self.rows, documents)
        sums = BankSums(*(column[at] for column in self.sums))
        banked = np.isin(queries, self.bank)
        return hub_normalised(scores, queries, banked, sums, len(self.bank), self.config.hub_beta)


def _open_queries(context: RunContext) -> _Queries:
    config, embed = context.config, context.reading("embed")
    documents = Shards(context.folder("hubs") / SUMS_FOLDER, HUBS)
    rows, *sums = (documents.column(name).to_numpy() for name in HUBS.names)
    queries = VectorStore(embed / "queries")
    sample = _background(context, Shards(context.reading("ingest") / "corpus", CORPUS).rows)
    return _Queries(
        config.filter,
        Shards(context.reading("retrieve"), CANDIDATES),
        rows,
        BankSums(*sums),
        bank_of(queries.rows, config.filter, config.seed),
        queries,
        sample,
        VectorStore(embed / "corpus").gather(sample),
    )


def _plan_queries(context: RunContext, key: str) -> list[Item]:
    return shard_items(Shards(context.reading("retrieve"), CANDIDATES), context.folder("hubs"), key)


def _normalise(state: _Queries, item: Item, tick: Tick) -> pa.Table:
    table = state.candidates.read(item.number, _READ)
    rows = table.column("query_row").to_numpy()
    columns = [pa.array(rows)]
    positives = Ragged.from_arrow(table.column("positive_rows"))
    for documents, name in (("doc_rows", "scores"), ("positive_rows", "positive_scores")):
        lists = Ragged.from_arrow(table.column(documents))
        found = state.normalise(Ragged.from_arrow(table.column(name)).values, rows[lists.owners], lists.values)
        columns.append(lists.with_values(found).to_arrow(pa.float32()))
    count = len(state.sample)
    asked, shown = np.repeat(np.arange(len(rows)), count), np.tile(state.sample, len(rows))
    scores = dots(state.queries.gather(rows), state.vectors).ravel()
    normalised = state.normalise(scores, rows[asked], shown)
    own = positives.contains(asked, shown)
    columns += map(pa.array, background(normalised.reshape(-1, count), own.reshape(-1, count)))
    tick(item.rows)
    return pa.Table.from_arrays(columns, schema=HUB_SCORES)


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    folder = context.folder("hubs")
    queries = Shards(folder, HUB_SCORES)
    bank = bank_of(queries.rows, context.config.filter, context.config.seed)
    return {"documents": Shards(folder / SUMS_FOLDER, HUBS).rows, "queries": queries.rows, "bank": len(bank)}


STAGE = Stage(
    name="hubs",
    version=1,
    reads=("ingest.corpus", "ingest.queries", "embed", "retrieve"),
    parts=_parts,
    steps=(
        Step("documents", "documents", _plan_documents, _open_documents, _sum_documents),
        Step("queries", "queries", _plan_queries, _open_queries, _normalise, write_lists),
    ),
    finish=_finish,
    applies=lambda config: config.filter.score == "hub_normalised",
)
