"""How negatives differ from positives in what a model could learn instead of relevance: length and shared words."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from hnmine.arrays.histogram import counts
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_stable
from hnmine.runtime.stage import RunContext
from hnmine.science.effect_size import cohens_d
from hnmine.science.lexical import word_coverage
from hnmine.search.word_overlap import CorpusWords
from hnmine.stages.filter.hidden_positives import MOST_QUERIES
from hnmine.stages.report.negatives import Negatives
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards

LENGTH_BINS = 30


def measure_biases(context: RunContext, negatives: Negatives) -> dict[str, Any]:
    """Return length and word overlap of chosen negatives against labelled positives: means, effect sizes, histograms.

    Overlap is the share of the query's word weight (idf) that a document holds. It is measured on at most
    `MOST_QUERIES` queries, drawn by seed and row, and on retrieved negatives.
    """
    queries = Shards(context.reading("ingest") / "queries", QUERIES)
    positives = Ragged.from_arrow(queries.column("positive_rows"))
    lengths = character_lengths(Shards(context.reading("ingest") / "corpus", CORPUS))
    drawn = sample_stable(queries.rows, MOST_QUERIES, context.config.seed)
    own = overlaps_of(CorpusWords(context.reading("ingest")), queries, positives, drawn)
    theirs = negatives.overlap[np.isin(negatives.query, drawn) & negatives.retrieved]
    return {
        "length": _length(lengths[positives.values], lengths[negatives.document]),
        "query_overlap": _overlap(own, theirs) | {"queries": len(drawn)},
    }


def character_lengths(corpus: Shards) -> np.ndarray:
    """Return the number of characters of every document, int32; one shard's texts are read at a time."""
    parts = [np.zeros(0, dtype=np.int32)]
    for number in range(len(corpus)):
        parts.append(pc.utf8_length(corpus.read(number, ["text"]).column(0)).to_numpy())
    return np.concatenate(parts)


def overlaps_of(words: CorpusWords, queries: Shards, positives: Ragged, rows: np.ndarray) -> np.ndarray:
    """Return the share of the query's word weight that each positive of the given queries holds, float64.

    Args:
        words: of the corpus.
        queries: the queries' table.
        positives: rows of every query's positives.
        rows: int64, the queries wanted.
    """
    asked = Ragged.from_arrow(queries.take(rows, ["terms"]).column(0))
    own = positives.take(rows)
    documents, inverse = np.unique(own.values, return_inverse=True)
    terms = words.of(documents).take(inverse)
    pairs = asked.take(own.owners)
    shared = pairs.contains(terms.owners, terms.values.astype(np.int64))
    weight = np.bincount(terms.owners[shared], weights=words.idf[terms.values[shared]], minlength=len(own.values))
    total = np.bincount(pairs.owners, weights=words.idf[pairs.values], minlength=len(own.values))
    return word_coverage(weight, total)


def _length(positive: np.ndarray, negative: np.ndarray) -> dict[str, Any]:
    """Return what is to be said of lengths; the effect size is of their logarithms, as lengths are skewed."""
    series = {"positive": positive, "negative": negative}
    every = np.concatenate([positive, negative, [1, 2] if not len(positive) else []])
    low, high = max(1.0, float(every.min())), max(2.0, float(every.max()))
    edges = np.unique(np.geomspace(low, max(high, 1.5 * low), LENGTH_BINS + 1).round())
    return {
        **_means(series, np.median),
        "effect": cohens_d(np.log1p(negative), np.log1p(positive)),
        "histogram": {"edges": edges.tolist()}
        | {name: counts(values, edges).tolist() for name, values in series.items()},
    }


def _overlap(positive: np.ndarray, negative: np.ndarray) -> dict[str, Any]:
    series = {"positive": positive, "negative": negative}
    edges = np.linspace(0, 1, 21).round(2)
    clipped = {name: counts(np.clip(values, 0, 1), edges).tolist() for name, values in series.items()}
    return {
        **_means(series, np.mean),
        "effect": cohens_d(negative, positive),
        "histogram": {"edges": edges.tolist()} | clipped,
    }


def _means(series: dict[str, np.ndarray], middle: Any) -> dict[str, Any]:
    return {name: float(middle(values)) if len(values) else None for name, values in series.items()}
