"""Findings from the scores in the files: of the scores alone, and compared with a model's."""

from typing import Any

import numpy as np

from hnmine.commands.audit.findings import EXAMPLES, Hits, json_number, location, of_negatives
from hnmine.commands.audit.mined import Mined
from hnmine.science.margins import at_or_above
from hnmine.stages.report.headline import AT_OR_ABOVE
from hnmine.stages.report.statistics import distribution

TOLERANCE = 0.02
"""Differences of cosines up to this are ignored."""
SAME_MODEL_TOLERANCE = 0.05
"""A score of the same model that differs by more than this is a contradiction."""


def score_findings(mined: Mined) -> dict[str, Hits]:
    """Return the findings of the file's own scores, by name; nothing where it has none."""
    positives, negatives = mined.positives, mined.negatives
    if not negatives.given.any() and not positives.given.any():
        return {}
    found = {"scores_not_finite": _not_finite(mined)}
    if negatives.given.any() and positives.given.any():
        found[AT_OR_ABOVE] = above_positive(mined, negatives.scores, positives.scores)
    return found


def score_distributions(mined: Mined) -> dict[str, Any]:
    """Return distributions of the file's own finite scores, and of their margins."""
    positives, negatives = mined.positives.scores, mined.negatives.scores
    with np.errstate(invalid="ignore"):
        margin = _lowest_positive(mined, positives) - negatives
    sides = {"positive_score": positives, "negative_score": negatives, "margin": margin}
    return {name: distribution(values[np.isfinite(values)]) for name, values in sides.items()}


def above_positive(mined: Mined, negatives: np.ndarray, positives: np.ndarray) -> Hits:
    """Return the negatives that score at or above the lowest positive of their example; one score for each.

    Scores that are not finite are left out.
    """
    anchor = _lowest_positive(mined, positives)
    over = at_or_above(negatives, anchor)
    excess = np.where(over, negatives, 0.0) - np.where(over, anchor, 0.0)
    return of_negatives(mined, over, excess, positive_score=anchor, negative_score=negatives)


def _lowest_positive(mined: Mined, scores: np.ndarray) -> np.ndarray:
    """Return for each negative the lowest finite score of its example's positives; infinity where there is none."""
    out = np.full(len(mined), np.inf)
    real = np.isfinite(scores)
    np.minimum.at(out, mined.positives.documents.owners[real], scores[real].astype(np.float64))
    return np.asarray(out[mined.negatives.documents.owners])


def _not_finite(mined: Mined) -> Hits:
    positives, negatives = (side.given & ~np.isfinite(side.scores) for side in (mined.positives, mined.negatives))
    hits = of_negatives(mined, negatives, score=mined.negatives.scores)
    return _with_positives(mined, hits, positives, int(mined.positives.given.sum() + mined.negatives.given.sum()))


def _with_positives(mined: Mined, hits: Hits, mask: np.ndarray, total: int, limit: float | None = None) -> Hits:
    """Return hits among negatives together with the positives where the mask holds."""
    owners, scores = mined.positives.documents.owners, mined.positives.scores
    shown = [
        location(mined, int(owners[at]), int(mined.positives.rows[at])) | {"score": json_number(scores[at])}
        for at in np.flatnonzero(mask)[:EXAMPLES]
    ]
    return Hits(hits.count + int(mask.sum()), total, [*hits.examples, *shown][:EXAMPLES], limit=limit)


def contradictions(mined: Mined, positives: np.ndarray, negatives: np.ndarray) -> Hits | None:
    """Return the file's scores that contradict a model's; None where the file has none.

    A score contradicts where it puts the negative on the other side of its positive than the model does, if the model's
    margin is more than `TOLERANCE`. Where at least half of the file's scores are within `TOLERANCE` of the model's, the
    file's scores are taken to be the model's own: then a difference of more than `SAME_MODEL_TOLERANCE` contradicts as
    well, and the limit is 0.

    `positives` and `negatives` are the model's scores, one for each of the examples'.
    """
    ours, theirs = (mined.positives.scores, mined.negatives.scores), (positives, negatives)
    off = [np.abs(own - other) for own, other in zip(ours, theirs, strict=True)]
    real = [np.isfinite(values) for values in off]
    every = np.concatenate([values[known] for values, known in zip(off, real, strict=True)])
    if not len(every):
        return None
    same = float(np.median(every)) <= TOLERANCE
    low, model_low = _lowest_positive(mined, ours[0]), _lowest_positive(mined, positives)
    known = real[1] & np.isfinite(low)
    margin = np.where(known, low, 0.0) - np.where(known, ours[1], 0.0)
    model_margin = np.where(known, model_low - negatives, 0.0)
    wrong = known & (margin * model_margin < 0) & (np.abs(model_margin) > TOLERANCE)
    if same:
        wrong |= real[1] & (off[1] > SAME_MODEL_TOLERANCE)
    hits = of_negatives(mined, wrong, np.where(real[1], off[1], 0.0), score=ours[1], model_score=negatives)
    bad = real[0] & (off[0] > SAME_MODEL_TOLERANCE) & same
    return _with_positives(mined, hits, bad, len(every), limit=0.0 if same else None)
