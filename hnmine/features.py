"""The evidence that a candidate is a false negative, cell by cell, on scales that do not depend on the collection."""

import numpy as np

from hnmine.candidates import Batch, Cells
from hnmine.science.standardise import against, within

NAMES = (
    "score",              # s against the query's random documents
    "score_to_anchor",    # s - s+, the same scale
    "anchor",             # s+ against the query's random documents
    "similarity",         # largest sim(d, d+), against the positive's random documents
    "log_rank",
    "score_in_list",      # z(s) among the query's own candidates
    "similarity_in_list", # z(sim) likewise
    "both_in_list",       # z(s) z(sim)
    "similarity_to_anchor",
    "query_words",        # share of the query's word weight that the candidate holds
    "query_words_in_list",
    "positive_words",     # largest weighted word overlap with a positive
    "positive_words_in_list",
)  # fmt: skip


def two_sided(batch: Batch) -> np.ndarray:
    """Return z(s) + z(max_P sim(d, d+)) of each candidate, each standardised within its query's own candidates.

    Labelled positives do not count in mean and deviation. This project's rule: measured against the positive document
    as well as against the query.

    Returns:
        float64, shape (candidates,).
    """
    return np.asarray(_in_list(batch, batch.scores) + _in_list(batch, batch.similarity))


def _in_list(batch: Batch, values: np.ndarray) -> np.ndarray:
    """Return values standardised within each query's candidates, labelled positives not counted."""
    return np.asarray(within(values, batch.owners, batch.counted, len(batch)))


def features(batch: Batch, cells: Cells) -> np.ndarray:
    """Return the evidence of each cell, float64, shape (cells, len(NAMES))."""
    owners = batch.owners
    mean, std = batch.background_mean, batch.background_std
    widths = batch.positives.lengths[owners]
    place = np.repeat(batch.positives.offsets[:-1][owners] - (np.cumsum(widths) - widths), widths)
    place += np.arange(int(widths.sum()))
    spread = against(batch.similarities, batch.positive_background_mean[place], batch.positive_background_std[place])
    query, at = cells.anchors.owners, cells.candidate
    listed = [_in_list(batch, getattr(batch, name)) for name in IN_LIST]
    return columns(
        against(batch.scores, mean[owners], std[owners])[at],
        against(cells.anchors.values, mean[query], std[query])[cells.anchor],
        batch.most(spread)[at],
        batch.ranks[at],
        (batch.query_overlaps[at], batch.overlap[at]),
        (listed[0][at], listed[1][at], listed[2][at], listed[3][at]),
    )


IN_LIST = ("scores", "similarity", "query_overlaps", "overlap")
"""What is standardised within a query's candidates, by the names of `Batch`."""
InList = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def columns(
    score: np.ndarray,
    anchor: np.ndarray,
    similarity: np.ndarray,
    rank: np.ndarray,
    words: tuple[np.ndarray, np.ndarray],
    in_list: InList,
) -> np.ndarray:
    """Return the evidence of some cells as columns, float64, shape (cells, len(NAMES)); all arguments (cells,).

    Args:
        score: s against the query's random documents.
        anchor: s+ likewise.
        similarity: largest sim(d, d+), against the positive's random documents.
        rank: from 1.
        words: share of the query's word weight, and largest overlap with a positive.
        in_list: z of what `IN_LIST` names, within the query's own candidates.
    """
    z_score, z_similarity, z_query_words, z_positive_words = in_list
    found = (
        score, score - anchor, anchor, similarity, np.log(rank),
        z_score, z_similarity, z_score * z_similarity, similarity - anchor,
        words[0], z_query_words, words[1], z_positive_words,
    )  # fmt: skip
    return np.stack(found, axis=1)
