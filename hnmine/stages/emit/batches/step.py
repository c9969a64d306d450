"""The step of emit that says which examples share a batch."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from hnmine.arrays.dots import dots
from hnmine.arrays.groups import rank_in_group
from hnmine.arrays.ragged import Ragged
from hnmine.config import Config
from hnmine.runtime.memory import cache_bytes
from hnmine.runtime.stage import Item, RunContext, Step, Tick
from hnmine.science.anchors import anchor_of_positive
from hnmine.science.batch_packing import off_diagonal_mean
from hnmine.search.word_overlap import CorpusWords
from hnmine.stages.emit.batches.clusters import clusters, target_size
from hnmine.stages.emit.batches.lists import Lists, column_of, rejected_candidates
from hnmine.stages.emit.batches.packing import pack
from hnmine.stages.emit.batches.pairs import Examples, Labels, Pairs, Texts, pair_filter
from hnmine.stages.emit.choose import read_chosen
from hnmine.stages.emit.formats import gets_rows
from hnmine.stages.filter.bad_positives import is_emitted
from hnmine.stages.filter.inputs import read_calibration
from hnmine.stages.rescore.rescored import uses_rescored
from hnmine.storage.keys import item_key
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.emit import BATCHES
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards, read_table
from hnmine.storage.vectors import VectorStore

BATCHES_FILE = "batches.parquet"


def read_batches(folder: Path) -> pa.Table:
    """Return the batch of each example, out of an emit folder: by query, then by its positives."""
    return conform(read_table(folder / "batches" / BATCHES_FILE), BATCHES, "emit/batches")


def column(batches: pa.Table | None, item: Item, lengths: np.ndarray, config: Config) -> dict[str, pa.Array]:
    """Return the batch of each emitted example of a shard, null where it gets no rows; nothing without batches.

    Args:
        batches: of all examples.
        item: the shard.
        lengths: int64, one an emitted example of the shard: its number of negatives.
        config: the whole config.
    """
    if batches is None:
        return {}
    low, high = np.searchsorted(batches.column("query_row").to_numpy(), [item.first, item.first + item.rows])
    own = batches.column("batch_id").slice(low, high - low)
    has = gets_rows(config.emit.format, lengths, config.emit.num_negatives)
    return {"batch_id": own.take(pa.array(np.cumsum(has) - 1, mask=~has))}


def counts_of(context: RunContext) -> dict[str, Any]:
    """Return how many batches there are, and how many of them are full; nothing without batches."""
    size = context.config.emit.batch_size
    if size is None:
        return {}
    sizes = np.bincount(read_batches(context.folder("emit")).column("batch_id").to_numpy())
    return {"batches": len(sizes), "batches_full": int((sizes == size).sum())}


def summary(context: RunContext) -> dict[str, Any]:
    """Return the report's section on batches; nothing without batches."""
    if context.config.emit.batch_size is None:
        return {}
    table = read_batches(context.reading("emit"))
    sizes = np.bincount(table.column("batch_id").to_numpy())
    found = {
        "count": len(sizes),
        "full": int((sizes == context.config.emit.batch_size).sum()),
        "examples": table.num_rows,
        "clusters": len(pc.unique(table.column("cluster"))),
        "score": pc.mean(table.column("score")).as_py(),
        "random_score": pc.mean(table.column("random_score")).as_py(),
        "conflicts": (pc.sum(table.column("conflicts")).as_py() or 0) // 2,
    }
    return {"batches": found}


@dataclass(frozen=True)
class _State:
    context: RunContext
    examples: Examples
    pairs: Pairs
    query_ids: list[str]
    doc_ids: list[str]


def _plan(context: RunContext, key: str) -> list[Item]:
    if context.config.emit.batch_size is None:
        return []
    rows = Shards(context.reading("filter"), JUDGED).rows
    output = context.folder("emit") / "batches" / BATCHES_FILE
    return [Item(output, rows=rows, key=item_key(key, "batches", 0, rows))]


def _setup(context: RunContext) -> _State:
    judged = Shards(context.reading("filter"), JUDGED)
    examples = _examples(judged, read_chosen(context.folder("emit")), context.config)
    queries = np.unique(examples.query_row)
    pairs = _pairs(context, judged, queries)
    ids = judged.column("query_id").take(pa.array(queries))
    corpus = Shards(context.reading("ingest") / "corpus", CORPUS)
    doc_ids = corpus.take(pairs.texts[1].rows, ["doc_id"]).column(0)
    return _State(context, examples, pairs, ids.to_pylist(), doc_ids.to_pylist())


def _pairs(context: RunContext, judged: Shards, queries: np.ndarray) -> Pairs:
    """Return what finds conflicts among examples of some queries (rows, ascending)."""
    config, ingest, embed = context.config, context.reading("ingest"), context.reading("embed")
    scorer = read_calibration(context.reading("filter"), config.seed)
    rule = pair_filter(config.filter, scorer, rescored=uses_rescored(config))
    scorer = scorer if rule.rule == "calibrated" else None
    lists = Lists.read(Shards(context.reading("retrieve"), CANDIDATES), config.filter)
    documents, asked, words = (
        np.unique(lists.positives.values),
        Shards(ingest / "queries", QUERIES),
        CorpusWords(ingest),
    )
    spare = config.filter.judged_negatives == "keep"
    negatives = column_of(asked, "negative_rows")
    nothing = Ragged(np.zeros(0, dtype=np.int64), np.zeros(lists.positives.offsets[-1] + 1, dtype=np.int64))
    return Pairs(
        rule,
        config.embed.similarity == "cosine",
        (
            Texts(queries, VectorStore(embed / "queries").gather(queries), column_of(asked, "terms").take(queries)),
            Texts(documents, VectorStore(embed / "corpus", cache_bytes(config)).gather(documents),
                  words.of(documents)),
        ),
        Shards(ingest / "corpus", CORPUS).column("text_key").to_numpy(),
        Labels(
            asked.column("text_key").to_numpy(),
            (lists.positives, column_of(asked, "sibling_rows"), column_of(asked, "relevant_rows")),
            negatives if spare else Ragged(negatives.values[:0], negatives.offsets * 0),
        ),
        lists,
        rejected_candidates(judged, scorer.threshold, spare_judged=spare) if scorer else nothing,
        scorer,
        words.idf,
    )  # fmt: skip


def _examples(judged: Shards, chosen: pa.Table, config: Config) -> Examples:
    """Return all (query, positive) that get rows, by query, then by its positives."""
    negatives = Ragged.from_arrow(chosen.column("doc_rows"))
    parts: list[tuple[np.ndarray, ...]] = []
    first = 0
    for number in range(len(judged)):
        table = judged.read(number, ["query_row", "positive_rows", "anchor_scores", "positive_standing"])
        positives = Ragged.from_arrow(table.column("positive_rows"))
        anchors = Ragged.from_arrow(table.column("anchor_scores"))
        which = np.flatnonzero(is_emitted(table, config))
        served = first + anchor_of_positive(anchors, positives)[which]
        has = gets_rows(config.emit.format, negatives.lengths[served], config.emit.num_negatives)
        which, served = which[has], served[has]
        owners = positives.owners[which]
        place = which - positives.starts[owners]
        parts.append((table.column("query_row").to_numpy()[owners], place, positives.values[which], served))
        first += len(anchors.values)
    none = (np.zeros(0, dtype=np.int64),) * 4
    query, place, positive, served = (np.concatenate(found) for found in zip(none, *parts, strict=True))
    return Examples(query, place, positive, negatives.take(served))


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    context, examples = state.context, state.examples
    config = context.config
    size = config.emit.batch_size
    if size is None or not len(examples):
        return BATCHES.empty_table()
    queries, documents = state.pairs.texts
    query, document = queries.at(examples.query_row), documents.at(examples.positive_row)
    order = _order(state, query, document)
    cluster = _clusters(state, size)[query]
    ordered = examples.take(order)
    with threadpool_limits(1):  # sums in another order would change the last bits
        found = pack(cluster[order], size, 2 * target_size(size), _compare(state, ordered, item, tick))
    batch, conflicts = np.empty_like(order), np.empty_like(order)
    batch[order], conflicts[order] = found.batch, found.conflicts
    random = np.empty_like(order)
    random[order] = np.arange(len(order)) // size
    pairs = (queries.vectors, query), (documents.vectors, document)
    columns = {
        "query_row": pa.array(examples.query_row),
        "positive_row": pa.array(examples.positive_row),
        "batch_id": pa.array(batch.astype(np.int32)),
        "cluster": pa.array(cluster.astype(np.int32)),
        "score": pa.array(_scores(batch, *pairs), from_pandas=True),
        "random_score": pa.array(_scores(random, *pairs), from_pandas=True),
        "conflicts": pa.array(conflicts.astype(np.int32)),
    }
    return pa.Table.from_arrays([columns[name] for name in BATCHES.names], schema=BATCHES)


def _compare(state: _State, ordered: Examples, item: Item, tick: Tick) -> Callable[[np.ndarray], np.ndarray]:
    """Return what finds the conflicts among some of the examples, and counts them as done."""
    seen = [0]

    def compare(members: np.ndarray) -> np.ndarray:
        before = min(seen[0], len(ordered))
        seen[0] += len(members)
        after = min(seen[0], len(ordered))
        tick(after * item.rows // len(ordered) - before * item.rows // len(ordered))
        return state.pairs.conflicts(ordered.take(members))

    return compare


def _order(state: _State, query: np.ndarray, document: np.ndarray) -> np.ndarray:
    """Return the examples in an order that depends on seed and ids alone, not on the order of the input.

    Those of one query, which can share no batch, are spread over all of it evenly.
    """
    seed = state.context.config.seed
    texts = (f"{state.query_ids[q]} {state.doc_ids[d]}" for q, d in zip(query, document, strict=True))
    order = np.argsort(_numbers(seed, texts), kind="stable")
    first = _numbers(seed, state.query_ids).astype(np.float64) / 2.0**64
    share = (rank_in_group(query[order]) + first[query[order]]) / np.bincount(query)[query[order]]
    return np.asarray(order[np.argsort(share, kind="stable")])


def _clusters(state: _State, size: int) -> np.ndarray:
    """Return the cluster of each query that has an example."""
    config = state.context.config
    if config.emit.batch_by == "random":
        return np.zeros(len(state.query_ids), dtype=np.int64)
    order = np.argsort(_numbers(config.seed, state.query_ids), kind="stable")
    cluster = np.empty_like(order)
    cluster[order] = clusters(
        state.pairs.texts[0].vectors[order], max(1, round(len(order) / target_size(size))), config.seed
    )
    return cluster


def _numbers(seed: int, texts: Any) -> np.ndarray:
    """Return a random number for each text, from the seed and itself alone; uint64."""
    hashed = [hashlib.blake2b(f"{seed} batches {text}".encode(), digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(hashed), dtype="<u8")


Pointed = tuple[np.ndarray, np.ndarray]


def _scores(batch: np.ndarray, queries: Pointed, documents: Pointed) -> np.ndarray:
    """Return each example's mean score to the other positives of its batch, float32; NaN where it is alone.

    Args:
        batch: int64, one an example.
        queries: vectors, and for each example which of them is its query's.
        documents: likewise of its positive.
    """
    found = np.empty(len(batch), dtype=np.float32)
    order = np.argsort(batch, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(batch[order])) + 1):
        own = dots(queries[0][queries[1][members]], documents[0][documents[1][members]])
        found[members] = off_diagonal_mean(own)
    return found


STEP = Step("batches", "queries", _plan, _setup, _process)
