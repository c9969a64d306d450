"""Features of the P(false negative) model, one row a cell, on scales that do not depend on the collection."""

import numpy as np

from hnmine.science.z_scores import background_z_scores, group_z_scores
from hnmine.stages.filter.candidates import Batch, Cells

_PARTS: dict[str, tuple[str, int]] = {
    "score": ("score", 0),                       # s, in deviations of the query's background
    "score_to_anchor": ("score", -1),            # s - s+ on the same scale
    "anchor": ("", 1),                           # s+ on the same scale
    "similarity": ("similarity", 0),             # max over P of sim(d, d+), in deviations of the positive's background
    "log_rank": ("log_rank", 0),
    "score_in_list": ("score_in_list", 0),       # z(s) within the query's candidates
    "similarity_in_list": ("similarity_in_list", 0),
    "both_in_list": ("both_in_list", 0),         # z(s) z(sim)
    "similarity_to_anchor": ("similarity", -1),
    "query_words": ("query_words", 0),           # share of the query's word weight that the candidate holds
    "query_words_in_list": ("query_words_in_list", 0),
    "positive_words": ("positive_words", 0),     # largest weighted word overlap with a positive
    "positive_words_in_list": ("positive_words_in_list", 0),
    "near_label": ("near_label", 0),             # how near a query with the candidate as a positive is
    "near_label_share": ("near_label_share", 0),  # share of the near queries' weight that has it as a positive
    "near_label_share_in_list": ("near_label_share_in_list", 0),
}  # fmt: skip
"""Each feature as (measure of the candidate, or "" for none; factor of the anchor that is added to it)."""
NAMES = tuple(_PARTS)
"""The features of every run, which a model fitted on other collections has."""
_OF_OTHER_MODELS = {"guide_in_list": "has_guide", "teacher_in_list": "has_teacher"}
"""Scores of other models within the query's candidates, further features where a batch has them: see `names_of`."""
_ALL = _PARTS | {name: (name, 0) for name in _OF_OTHER_MODELS}

IN_LIST = {
    "score": "scores", "similarity": "similarity", "query_words": "query_overlaps", "positive_words": "overlap",
    "near_label_share": "near_label_shares",
}  # fmt: skip
"""The measures that are also standardised within a query's candidates, with their attribute of `Batch`."""


def two_sided(batch: Batch) -> np.ndarray:
    """Return z(s) + z(max over P of sim(d, d+)) of each candidate, float64, standardised within its query's candidates.

    Labelled positives are left out of mean and deviation. This project's rule: a candidate is compared with the
    positive document as well as with the query.
    """
    return np.asarray(_in_list(batch, batch.scores) + _in_list(batch, batch.similarity))


def _in_list(batch: Batch, values: np.ndarray) -> np.ndarray:
    """Return values standardised by each query's retrieved candidates, labelled positives left out; float64.

    A document that was not retrieved gets at least the lowest value of those candidates, since nothing is known of
    the ranking below them.
    """
    counted = batch.counted
    if batch.listed is not None:
        counted = counted & batch.listed
        least = np.full(len(batch), np.inf)
        np.minimum.at(least, batch.owners[counted], values[counted])
        floor = np.where(np.isinf(least), -np.inf, least)[batch.owners]
        values = np.where(batch.listed, values, np.maximum(values, floor))
    return np.asarray(group_z_scores(values, batch.owners, counted, len(batch)))


def names_of(batch: Batch) -> tuple[str, ...]:
    """Return the features of a batch: `NAMES`, a guide's, and the teacher's where rules use the cross-encoder's scores.

    A run's batches have the same ones, except that a batch without queries has `NAMES` alone.
    """
    return NAMES + tuple(name for name, there in _OF_OTHER_MODELS.items() if getattr(batch, there))


def _measures(batch: Batch) -> dict[str, np.ndarray]:
    """Return the measures that features are computed from by name, one value a candidate: see `assemble_features`."""
    owners = batch.owners
    place = batch.positives.places(owners)
    mean, std = batch.positive_background_mean[place], batch.positive_background_std[place]
    in_list = {f"{name}_in_list": _in_list(batch, getattr(batch, attribute)) for name, attribute in IN_LIST.items()}
    if batch.has_guide:
        in_list["guide_in_list"] = _in_list(batch, batch.guide_scores)
    if batch.has_teacher:
        in_list["teacher_in_list"] = _in_list(batch, batch.teacher_scores)
    return {
        "score": background_z_scores(batch.scores, batch.background_mean[owners], batch.background_std[owners]),
        "similarity": batch.most(background_z_scores(batch.similarities, mean, std)),
        "rank": batch.ranks,
        "query_words": batch.query_overlaps,
        "positive_words": batch.overlap,
        "near_label": batch.near_labels,
        "near_label_share": batch.near_label_shares,
        **in_list,
    }


def _with_derived(measures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the measures with those that are computed from others."""
    both = measures["score_in_list"] * measures["similarity_in_list"]
    return measures | {"log_rank": np.log(measures["rank"]), "both_in_list": both}


def _anchors(batch: Batch, cells: Cells) -> np.ndarray:
    """Return each anchor score in deviations of its query's background, float64."""
    query = cells.anchors.owners
    return background_z_scores(cells.anchors.values, batch.background_mean[query], batch.background_std[query])


def features(batch: Batch, cells: Cells, which: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Return the features of some cells (int64), all by default; float64, shape (cells, len(names_of(batch)))."""
    candidate, anchor = cells.candidate[which], cells.anchor[which]
    measures = {name: values[candidate] for name, values in _measures(batch).items()}
    return assemble_features(measures, _anchors(batch, cells)[anchor], names_of(batch))


def assemble_features(
    measures: dict[str, np.ndarray], anchor: np.ndarray, names: tuple[str, ...] = NAMES
) -> np.ndarray:
    """Return the features of cells from their measures, float64, shape (cells, len(names)).

    Args:
        measures: arrays of shape (cells,): score (s in deviations of the query's background), similarity (max over P of
            sim(d, d+) in deviations of the positive's background), rank (from 1), query_words (share of the query's
            word weight), positive_words (largest overlap with a positive), near_label and near_label_share (see
            `near_labels`), and NAME_in_list for each name of `IN_LIST`.
        anchor: s+ in deviations of the query's background, shape (cells,).
        names: of the features.
    """
    measures, out = _with_derived(measures), np.zeros((len(names), len(anchor)))
    for column, name in zip(out, names, strict=True):
        measure, times = _ALL[name]
        if measure:
            column += measures[measure]
        if times:
            column += times * anchor
    return np.ascontiguousarray(out.T)


def weighted(batch: Batch, cells: Cells, slopes: np.ndarray) -> np.ndarray:
    """Return the weighted sum of each cell's features, slopes . features, float64, without building the features.

    Every feature is a measure of the candidate plus a multiple of the anchor, so the sum splits into one term a
    candidate and one term an anchor. `slopes` has shape (queries, n), or (1, n) for all queries: those of the first n
    features of `names_of`.
    """
    alike, parts = len(slopes) == 1, [_ALL[name] for name in names_of(batch)[: slopes.shape[1]]]
    slopes = slopes[:, : len(parts)]
    of_candidates, measures = np.zeros(len(batch.scores)), _with_derived(_measures(batch))
    for name in dict.fromkeys(measure for measure, _ in parts if measure):
        slope = slopes[:, [measure == name for measure, _ in parts]].sum(axis=1)
        of_candidates += measures[name] * (slope if alike else slope[batch.owners])
    slope = (slopes * [times for _, times in parts]).sum(axis=1)
    of_anchors = _anchors(batch, cells) * (slope if alike else slope[cells.anchors.owners])
    return np.asarray(of_candidates[cells.candidate] + of_anchors[cells.anchor])
