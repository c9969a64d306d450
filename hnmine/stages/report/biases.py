"""Differences between negatives and positives that a model could learn instead of relevance: length, shared words."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from hnmine.arrays.histogram import counts
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_stable
from hnmine.runtime.stage import RunContext
from hnmine.science.lexical import query_coverage
from hnmine.science.statistics import cohens_d
from hnmine.search.word_overlap import CorpusWords
from hnmine.stages.filter.hidden_positives import MOST_QUERIES
from hnmine.stages.report.negatives import Negatives
from hnmine.stages.report.statistics import mean
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards

LENGTH_BINS, OVERLAP_BINS = 30, 20


def measure_biases(context: RunContext, negatives: Negatives) -> dict[str, Any]:
    """Return how chosen negatives differ from labelled positives in length and in words shared with the query.

    Shared words are measured on at most `MOST_QUERIES` queries, drawn by seed and row, and on retrieved negatives.

    Returns:
        length and query_overlap, each with `length_difference` or `overlap_difference`, and a histogram.
    """
    ingest = context.reading("ingest")
    queries, corpus = Shards(ingest / "queries", QUERIES), Shards(ingest / "corpus", CORPUS)
    positives = Ragged.from_arrow(queries.column("positive_rows"))
    lengths = [pc.utf8_length(corpus.read(n, ["text"]).column(0)).to_numpy() for n in range(len(corpus))]
    characters = np.concatenate([np.zeros(0, dtype=np.int32), *lengths])
    drawn = sample_stable(queries.rows, MOST_QUERIES, context.config.seed)
    of_length = characters[positives.values], characters[negatives.document]
    of_positives = _positive_overlaps(CorpusWords(ingest), queries, positives, drawn)
    of_negatives = negatives.overlap[np.isin(negatives.query, drawn) & negatives.retrieved]
    overlap_edges = np.linspace(0, 1, OVERLAP_BINS + 1).round(2)
    return {
        "length": length_difference(*of_length) | _histogram(*of_length, _length_edges(*of_length)),
        "query_overlap": overlap_difference(of_positives, of_negatives)
        | _histogram(np.clip(of_positives, 0, 1), np.clip(of_negatives, 0, 1), overlap_edges)
        | {"queries": len(drawn)},
    }


def length_difference(positive: np.ndarray, negative: np.ndarray) -> dict[str, float | None]:
    """Return the median lengths in characters of both sides, and Cohen's d of ln(1 + length), as lengths are skewed.

    The effect is above 0 where negatives are longer. Medians without values, and an effect that is not defined, are
    None.
    """
    return {
        "positive": float(np.median(positive)) if len(positive) else None,
        "negative": float(np.median(negative)) if len(negative) else None,
        "effect": cohens_d(np.log1p(negative), np.log1p(positive)),
    }


def overlap_difference(positive: np.ndarray, negative: np.ndarray) -> dict[str, float | None]:
    """Return the mean shares of the query's word weight on both sides, and Cohen's d, as `length_difference` does."""
    return {"positive": mean(positive), "negative": mean(negative), "effect": cohens_d(negative, positive)}


def _positive_overlaps(words: CorpusWords, queries: Shards, positives: Ragged, rows: np.ndarray) -> np.ndarray:
    """Return the share of the query's word weight that each positive of the queries `rows` holds, float64."""
    asked = Ragged.from_arrow(queries.take(rows, ["terms"]).column(0))
    own = positives.take(rows)
    documents, inverse = np.unique(own.values, return_inverse=True)
    return query_coverage(asked, words.of(documents), (own.owners, inverse), words.idf)


def _length_edges(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Return bin edges of constant ratio, rounded to whole characters, that cover all lengths."""
    every = np.concatenate([positive, negative, [1, 2] if not len(positive) else []])
    low, high = max(1.0, float(every.min())), max(2.0, float(every.max()))
    return np.unique(np.geomspace(low, max(high, 1.5 * low), LENGTH_BINS + 1).round())


def _histogram(positive: np.ndarray, negative: np.ndarray, edges: np.ndarray) -> dict[str, Any]:
    series = {"positive": positive, "negative": negative}
    counted = {name: counts(values, edges).tolist() for name, values in series.items()}
    return {"histogram": {"edges": edges.tolist(), **counted}}
