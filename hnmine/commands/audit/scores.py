"""What the scores that a file brings show, alone and beside a model's."""

from typing import Any

import numpy as np

from hnmine.commands.audit.findings import EXAMPLES, SAME_MODEL, TOLERANCE, Hits, of_negatives, plain, row
from hnmine.commands.audit.mined import Mined
from hnmine.stages.report.statistics import distribution


def score_findings(mined: Mined) -> dict[str, Hits]:
    """Return what the file's own scores show, by name; nothing where it has none."""
    positives, negatives = mined.positives, mined.negatives
    if not negatives.given.any() and not positives.given.any():
        return {}
    found = {"scores_not_finite": _not_finite(mined)}
    if negatives.given.any() and positives.given.any():
        found["scores_at_or_above_positive"] = above_positive(mined, negatives.scores, positives.scores)
    return found


def stored(mined: Mined) -> dict[str, Any]:
    """Return distributions of the file's own scores, of what is finite."""
    sides = {"positive_score": mined.positives.scores, "negative_score": mined.negatives.scores}
    lists = mined.negatives.documents
    low = lowest(mined, mined.positives.scores)[lists.owners]
    with np.errstate(invalid="ignore"):
        sides["margin"] = low - mined.negatives.scores
    return {name: distribution(values[np.isfinite(values)]) for name, values in sides.items()}


def above_positive(mined: Mined, negatives: np.ndarray, positives: np.ndarray) -> Hits:
    """Return negatives that score at or above their example's lowest positive.

    Args:
        mined: examples.
        negatives: scores, one a negative; those that are not finite do not count.
        positives: scores, one a positive.
    """
    anchor = lowest(mined, positives)[mined.negatives.documents.owners]
    real = np.isfinite(negatives) & np.isfinite(anchor)
    over = np.where(real, negatives, 0.0) - np.where(real, anchor, 0.0)
    return of_negatives(mined, real & (over >= 0), over, positive_score=anchor, negative_score=negatives)


def lowest(mined: Mined, scores: np.ndarray) -> np.ndarray:
    """Return each example's lowest score of a positive, float64; infinity where there is none."""
    out = np.full(len(mined), np.inf)
    real = np.isfinite(scores)
    np.minimum.at(out, mined.positives.documents.owners[real], scores[real].astype(np.float64))
    return out


def _not_finite(mined: Mined) -> Hits:
    bad = [side.given & ~np.isfinite(side.scores) for side in (mined.positives, mined.negatives)]
    hits = of_negatives(mined, bad[1], score=mined.negatives.scores)
    shown = hits.examples + _of_positives(mined, bad[0], mined.positives.scores)
    total = int(mined.positives.given.sum() + mined.negatives.given.sum())
    return Hits(int(bad[0].sum()) + hits.count, total, shown[:EXAMPLES])


def _of_positives(mined: Mined, mask: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
    owners, rows = mined.positives.documents.owners, mined.positives.rows
    places = np.flatnonzero(mask)[:EXAMPLES]
    return [row(mined, int(owners[at]), int(rows[at])) | {"score": plain(scores[at])} for at in places]


def contradictions(mined: Mined, positives: np.ndarray, negatives: np.ndarray) -> Hits | None:
    """Return the file's scores that a model's contradict; None where the file has none.

    A score contradicts where it puts the negative on the other side of its positive, by more than `TOLERANCE` of the
    model's scores. Where half of the file's scores are the model's own within `TOLERANCE`, each that is off by more
    than `SAME_MODEL` does too, and none is to be expected.

    Args:
        mined: examples.
        positives: the model's scores, one a positive.
        negatives: the model's scores, one a negative.
    """
    ours = (mined.positives.scores, mined.negatives.scores)
    off = [np.abs(mine - theirs) for mine, theirs in zip(ours, (positives, negatives), strict=True)]
    real = [np.isfinite(values) for values in off]
    every = np.concatenate([values[kept] for values, kept in zip(off, real, strict=True)])
    if not len(every):
        return None
    same = float(np.median(every)) <= TOLERANCE
    owners = mined.negatives.documents.owners
    low, model_low = lowest(mined, ours[0])[owners], lowest(mined, positives)[owners]
    known = real[1] & np.isfinite(low)
    margin = np.where(known, low, 0.0) - np.where(known, ours[1], 0.0)
    model_margin = np.where(known, model_low - negatives, 0.0)
    wrong = known & (margin * model_margin < 0) & (np.abs(model_margin) > TOLERANCE)
    if same:
        wrong |= real[1] & (off[1] > SAME_MODEL)
    hits = of_negatives(mined, wrong, np.where(real[1], off[1], 0.0), score=ours[1], model_score=negatives)
    bad = real[0] & (off[0] > SAME_MODEL) if same else np.zeros(len(positives), dtype=bool)
    shown = hits.examples + _of_positives(mined, bad, ours[0])
    return Hits(hits.count + int(bad.sum()), len(every), shown[:EXAMPLES], limit=0.0 if same else None)
