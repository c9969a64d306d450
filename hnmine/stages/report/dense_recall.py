"""The report's section `embedding`: how many documents a run embeds, and the estimated recall of its dense search."""

from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_rows
from hnmine.runtime.stage import RunContext
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.science.recall_estimate import KNOWN, NOWHERE, Ranking
from hnmine.science.statistics import basic_interval
from hnmine.search.dense_search import DenseSearch
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.stages.embed.selection import Selection, read_selection
from hnmine.storage.schemas.ingest import CORPUS
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards
from hnmine.storage.vectors import VectorStore

QUERIES = 500
"""Queries that the recall is measured on."""
LARGE = 5.0
"""Recall is pooled over queries where a drawn document represents more than top_k / this many documents."""


def embedding(context: RunContext) -> dict[str, Any]:
    """Return the section; nothing where all documents are embedded."""
    if not context.config.embeds_candidates_only:
        return {}
    documents = Shards(context.reading("ingest") / "corpus", CORPUS).rows
    chosen = read_selection(context.reading("embed"), documents)
    return {
        "embedding": {
            "documents": documents,
            "embedded": len(chosen.rows),
            "by_chance": int(chosen.by_chance.sum()),
            "weight": chosen.weight,
            "recall": _recall(context, chosen),
        }
    }


def _recall(context: RunContext, chosen: Selection) -> dict[str, Any]:
    """Return the estimated share of each query's top k by the teacher, among all documents, that are its candidates."""
    k = context.config.retrieve.top_k
    if not chosen.weight and len(chosen.rows) < chosen.documents:
        reason = "no document was drawn at random besides what sources found; raise embed.sample"
        return {"top_k": k, "value": None, "reason": reason}
    ranking = _ranking(context, chosen, k)
    pooled = chosen.weight > k / LARGE
    value = ranking.recall(k, pooled)
    if np.isnan(value):
        return {"top_k": k, "value": None, "reason": "no query has a document that is no positive"}
    ends = basic_interval(value, ranking.resampled(k, pooled, context.config.seed))
    how = "pooled" if pooled else "by query"
    return {"top_k": k, "value": value, "interval": ends, "queries": len(ranking.drawn), "how": how}


def _ranking(context: RunContext, chosen: Selection, k: int) -> Ranking:
    """Return the 2k best embedded documents of some queries, without their positives."""
    embed, retrieve = context.reading("embed"), context.reading("retrieve")
    candidates = Shards(retrieve, CANDIDATES)
    which = sample_rows(candidates.rows, QUERIES, context.config.seed)
    table = candidates.take(which, ["doc_rows", "positive_rows"])
    listed, positives = (Ragged.from_arrow(table.column(name)) for name in ("doc_rows", "positive_rows"))
    corpus = VectorStore(embed / "corpus", cache_bytes(context.config))
    queries = VectorStore(embed / "queries").gather(which)
    search = DenseSearch(corpus, MetadataFilter.open(context, retrieve), corpus.held)
    hits = search.find(queries, which, positives, 2 * k).rows
    others = ~positives.contains(hits.owners, hits.values)
    owners, rows = hits.owners[others], hits.values[others]
    place = np.arange(len(rows)) - np.searchsorted(owners, owners)
    at = np.searchsorted(chosen.rows, rows)
    number = np.where(chosen.by_chance, np.cumsum(chosen.by_chance) - 1, KNOWN)
    drawn = np.full((len(which), 2 * k), NOWHERE, dtype=np.int64)
    found = np.zeros(drawn.shape, dtype=bool)
    drawn[owners, place] = number[at]
    found[owners, place] = listed.contains(owners, rows)
    return Ranking(drawn, found, int(chosen.by_chance.sum()), max(1.0, chosen.weight))
