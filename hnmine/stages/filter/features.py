"""The evidence that a candidate is a false negative, cell by cell, on scales that do not depend on the collection."""

import numpy as np

from hnmine.science.standardise import against, within
from hnmine.stages.filter.candidates import Batch, Cells

_PARTS: dict[str, tuple[str, int]] = {
    "score": ("score", 0),                       # s against the query's random documents
    "score_to_anchor": ("score", -1),            # s - s+, the same scale
    "anchor": ("", 1),                           # s+ against the query's random documents
    "similarity": ("similarity", 0),             # largest sim(d, d+), against the positive's random documents
    "log_rank": ("log_rank", 0),
    "score_in_list": ("score_in_list", 0),       # z(s) among the query's own candidates
    "similarity_in_list": ("similarity_in_list", 0),  # z(sim) likewise
    "both_in_list": ("both_in_list", 0),         # z(s) z(sim)
    "similarity_to_anchor": ("similarity", -1),
    "query_words": ("query_words", 0),           # share of the query's word weight that the candidate holds
    "query_words_in_list": ("query_words_in_list", 0),
    "positive_words": ("positive_words", 0),     # largest weighted word overlap with a positive
    "positive_words_in_list": ("positive_words_in_list", 0),
}  # fmt: skip
"""Each feature of a cell: a measure of its candidate (none: 0), and how often its anchor is added to it."""
NAMES = tuple(_PARTS)


def two_sided(batch: Batch) -> np.ndarray:
    """Return z(s) + z(max_P sim(d, d+)) of each candidate, each standardised within its query's own candidates.

    Labelled positives do not count in mean and deviation. This project's rule: measured against the positive document
    as well as against the query.

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


IN_LIST = ("scores", "similarity", "query_overlaps", "overlap")
"""What is standardised within a query's candidates, by the names of `Batch`."""
InList = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def measures(batch: Batch) -> dict[str, np.ndarray]:
    """Return what the features of a cell are made of, one value a candidate, float64 or float32, by name."""
    owners = batch.owners
    place = batch.positives.places(owners)
    spread = against(batch.similarities, batch.positive_background_mean[place], batch.positive_background_std[place])
    score = against(batch.scores, batch.background_mean[owners], batch.background_std[owners])
    in_list = (
        _in_list(batch, batch.scores), _in_list(batch, batch.similarity),
        _in_list(batch, batch.query_overlaps), _in_list(batch, batch.overlap),
    )  # fmt: skip
    return _measures(score, batch.most(spread), batch.ranks, (batch.query_overlaps, batch.overlap), in_list)


def _measures(
    score: np.ndarray, similarity: np.ndarray, rank: np.ndarray, words: tuple[np.ndarray, np.ndarray], in_list: InList
) -> dict[str, np.ndarray]:
    z_score, z_similarity, z_query_words, z_positive_words = in_list
    return {
        "score": score,
        "similarity": similarity,
        "log_rank": np.log(rank),
        "score_in_list": z_score,
        "similarity_in_list": z_similarity,
        "both_in_list": z_score * z_similarity,
        "query_words": words[0],
        "query_words_in_list": z_query_words,
        "positive_words": words[1],
        "positive_words_in_list": z_positive_words,
    }


def _anchors(batch: Batch, cells: Cells) -> np.ndarray:
    """Return s+ of each anchor against its query's random documents."""
    query = cells.anchors.owners
    return against(cells.anchors.values, batch.background_mean[query], batch.background_std[query])


def features(batch: Batch, cells: Cells) -> np.ndarray:
    """Return the evidence of each cell, float64, shape (cells, len(NAMES))."""
    found = {name: values[cells.candidate] for name, values in measures(batch).items()}
    return _assembled(found, _anchors(batch, cells)[cells.anchor])


def columns(
    score: np.ndarray,
    anchor: np.ndarray,
    similarity: np.ndarray,
    rank: np.ndarray,
    words: tuple[np.ndarray, np.ndarray],
    in_list: InList,
) -> np.ndarray:
    """Return the evidence of some cells, float64, shape (cells, len(NAMES)); all arguments (cells,).

    Args:
        score: s against the query's random documents.
        anchor: s+ likewise.
        similarity: largest sim(d, d+), against the positive's random documents.
        rank: from 1.
        words: share of the query's word weight, and largest overlap with a positive.
        in_list: z of what `IN_LIST` names, within the query's own candidates.
    """
    return _assembled(_measures(score, similarity, rank, words, in_list), anchor)


def _assembled(found: dict[str, np.ndarray], anchor: np.ndarray) -> np.ndarray:
    """Return the features of cells out of their measures and anchors, all (cells,)."""
    out = np.zeros((len(NAMES), len(anchor)))
    for column, (measure, times) in zip(out, _PARTS.values(), strict=True):
        if measure:
            column += found[measure]
        if times:
            column += times * anchor
    return np.ascontiguousarray(out.T)


def weighted(batch: Batch, cells: Cells, slopes: np.ndarray) -> np.ndarray:
    """Return the weighted sum of each cell's features: slopes . features, without making the features cell by cell.

    Most features are of the candidate alone, whatever the anchor, and the others are sums: so the sum is one of the
    candidate plus one of the anchor.

    Args:
        batch: candidates.
        cells: its cells.
        slopes: float64, shape (queries, len(NAMES)), or (1, len(NAMES)) for all queries alike.

    Returns:
        float64, one a cell.
    """
    alike = len(slopes) == 1
    of_candidates, found = np.zeros(len(batch.scores)), measures(batch)
    for name, values in found.items():
        slope = slopes[:, [measure == name for measure, _ in _PARTS.values()]].sum(axis=1)
        of_candidates += values * (slope if alike else slope[batch.owners])
    slope = (slopes * [times for _, times in _PARTS.values()]).sum(axis=1)
    of_anchors = _anchors(batch, cells) * (slope if alike else slope[cells.anchors.owners])
    return np.asarray(of_candidates[cells.candidate] + of_anchors[cells.anchor])
