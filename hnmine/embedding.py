"""The report's section on a run that embeds some documents alone: how many, and what a full dense search would add."""

from typing import Any

import numpy as np

from hnmine.config.partial import is_partial
from hnmine.nearest import Nearest
from hnmine.ragged import Ragged
from hnmine.schemas import CANDIDATES, CORPUS
from hnmine.science.background import sample_rows
from hnmine.science.bootstrap import percentile_interval, resampled
from hnmine.science.recall import curves, pooled_recall, weighted_recall
from hnmine.selecting import Selection, read_selection
from hnmine.sizes import parse_size
from hnmine.stage import RunContext
from hnmine.store import Shards
from hnmine.vectors import VectorStore
from hnmine.where import Where

QUERIES = 500
"""Queries that the recall is measured on."""
LARGE = 5.0
"""A drawn document that stands for more than a k-th part of this is large: queries are then pooled."""


def embedding(context: RunContext) -> dict[str, Any]:
    """Return how many documents are embedded and the recall of the dense top k; nothing where all documents are."""
    if not is_partial(context.config):
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
    """Return the share of each query's best documents by the teacher, of all, that are its candidates."""
    k = context.config.retrieve.top_k
    if not chosen.weight and len(chosen.rows) < chosen.documents:
        reason = "no document was drawn at random besides what sources found; raise embed.sample"
        return {"top_k": k, "value": None, "reason": reason}
    weights, found = _ranking(context, chosen, k)
    low, high, value = (values[0] for values in recall_of(weights, found, k, chosen.weight, context.config.seed))
    if np.isnan(value):
        return {"top_k": k, "value": None, "reason": "no query has a document that is no positive"}
    how = "pooled" if chosen.weight > k / LARGE else "by query"
    ends = [float(low), float(high)]
    return {"top_k": k, "value": float(value), "interval": ends, "queries": len(weights), "how": how}


def recall_of(
    weights: np.ndarray, found: np.ndarray, k: int, weight: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (low, high, value), float64, shape (1,): mean recall over queries and its 95% bootstrap interval.

    Args:
        weights: as `hnmine.science.recall` takes them.
        found: likewise.
        k: how many documents count.
        weight: that of each document drawn at random.
        seed: of the resamples.
    """
    if weight > k / LARGE:
        lines = curves(weights, found)
        drawn = pooled_recall(resampled(lines, np.ones(lines.shape), seed), k)
        return *percentile_interval(drawn[:, None]), pooled_recall(lines.mean(axis=0, keepdims=True), k)
    values = weighted_recall(weights, found, k)
    real = ~np.isnan(values)
    drawn = resampled(np.nan_to_num(values)[:, None], real.astype(np.float64)[:, None], seed)
    return *percentile_interval(drawn), np.array([values[real].mean() if real.any() else np.nan])


def _ranking(context: RunContext, chosen: Selection, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (weights, found part) of the best k embedded documents of some queries, positives left out."""
    embed, retrieve = context.reading("embed"), context.reading("retrieve")
    candidates = Shards(retrieve, CANDIDATES)
    which = sample_rows(candidates.rows, QUERIES, context.config.seed)
    table = candidates.take(which, ["doc_rows", "positive_rows"])
    listed, positives = (Ragged.from_arrow(table.column(name)) for name in ("doc_rows", "positive_rows"))
    corpus = VectorStore(embed / "corpus", parse_size(context.config.cache))
    queries = VectorStore(embed / "queries").gather(which)
    hits = Nearest(corpus, Where.open(context, retrieve)).find(queries, which, positives, k).rows
    others = ~positives.contains(hits.owners, hits.values)
    owners, rows = hits.owners[others], hits.values[others]
    place = np.arange(len(rows)) - np.searchsorted(owners, owners)
    weights, found = np.zeros((len(which), k)), np.zeros((len(which), k))
    chance = chosen.by_chance[np.searchsorted(chosen.rows, rows)]
    weights[owners, place] = np.where(chance, chosen.weight, 1.0)
    found[owners, place] = listed.contains(owners, rows)
    return weights, found
