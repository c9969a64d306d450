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

    Labelled positives do not count in mean and deviation, nor do documents that were not retrieved. This project's
    rule: measured against the positive document as well as against the query.

    Returns:
        float64, shape (candidates,).
    """
    return np.asarray(_in_list(batch, batch.scores) + _in_list(batch, batch.similarity))


def _in_list(batch: Batch, values: np.ndarray) -> np.ndarray:
    """Return values standardised within each query's retrieved candidates, labelled positives not counted.

    What was not retrieved gets no lower a value than the least of those: further down nothing is known.
    """
    counted = batch.counted
    if batch.listed is None:
        return np.asarray(within(values, batch.owners, counted, len(batch)))
    counted = counted & batch.listed
    least = np.full(len(batch), np.inf)
    np.minimum.at(least, batch.owners[counted], values[counted])
    floor = np.where(np.isinf(least), -np.inf, least)[batch.owners]
    raised = np.where(batch.listed, values, np.maximum(values, floor))
    return np.asarray(within(raised, batch.owners, counted, len(batch)))


def features(batch: Batch, cells: Cells) -> np.ndarray:
    """Return the evidence of each cell, float64, shape (cells, len(NAMES))."""
    owners = batch.owners
    mean, std = batch.background_mean, batch.background_std
    widths = batch.positives.lengths[owners]
    place = np.repeat(batch.positives.offsets[:-1][owners] - (np.cumsum(widths) - widths), widths)
    place += np.arange(int(widths.sum()))
    spread = against(batch.similarities, batch.positive_background_mean[place], batch.positive_background_std[place])
    similarity = batch.most(spread)
    score = against(batch.scores, mean[owners], std[owners])
    z_score, z_similarity = _in_list(batch, batch.scores), _in_list(batch, batch.similarity)
    query = cells.anchors.owners
    anchor = against(cells.anchors.values, mean[query], std[query])[cells.anchor]
    at = cells.candidate
    columns = (
        score[at], score[at] - anchor, anchor, similarity[at], np.log(batch.ranks)[at],
        z_score[at], z_similarity[at], (z_score * z_similarity)[at], similarity[at] - anchor,
        batch.query_overlaps[at], _in_list(batch, batch.query_overlaps)[at],
        batch.overlap[at], _in_list(batch, batch.overlap)[at],
    )  # fmt: skip
    return np.stack(columns, axis=1)
