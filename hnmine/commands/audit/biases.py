"""Biases that tell negatives from positives without reading them: length, and words shared with the query."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.text_hashes import BUCKETS, hash_texts
from hnmine.commands.audit.findings import LARGE_EFFECT, Hits, of_negatives
from hnmine.commands.audit.mined import Mined, pick
from hnmine.science.effect_size import cohens_d
from hnmine.science.lexical import inverse_document_frequency, word_coverage

MEASURED_ON = 20_000


def biases(mined: Mined) -> tuple[dict[str, Any], dict[str, Hits]]:
    """Return the differences in length and in shared words as numbers and as findings.

    They are effect sizes (Cohen's d) of negatives against positives, as in the report, measured on at most
    `MEASURED_ON` examples: of ln(1 + characters), and of the share of the query's word weight that a text holds.
    """
    if len(mined) > MEASURED_ON:
        mined = pick(mined, np.linspace(0, len(mined) - 1, MEASURED_ON).astype(np.int64))
    lengths = np.fromiter((len(text) for text in mined.documents), dtype=np.float64, count=len(mined.documents))
    sides = {"length": [lengths[side.documents.values] for side in (mined.positives, mined.negatives)]}
    sides["overlap"] = _overlaps(mined)
    effects = {
        "length": cohens_d(np.log1p(sides["length"][1]), np.log1p(sides["length"][0])),
        "overlap": cohens_d(sides["overlap"][1], sides["overlap"][0]),
    }
    numbers: dict[str, Any] = {"examples": len(mined)}
    found = {}
    for name, (positive, negative) in sides.items():
        medians = {"positive_median": _median(positive), "negative_median": _median(negative)}
        numbers[name] = {"effect": effects[name], **medians}
        found[f"{name}_bias"] = _finding(mined, positive, negative, effects[name] or 0.0)
    return numbers, found


def _finding(mined: Mined, positive: np.ndarray, negative: np.ndarray, effect: float) -> Hits:
    """Return the negatives that differ from the mean of their example's positives in the direction of the effect."""
    right, lists = mined.positives.documents, mined.negatives.documents
    sums = np.bincount(right.owners, weights=positive, minlength=len(mined))
    mean = np.divide(sums, right.lengths, out=np.full(len(mined), np.nan), where=right.lengths > 0)[lists.owners]
    side = negative > mean if effect > 0 else negative < mean
    far = np.nan_to_num(np.abs(negative - mean))
    hits = of_negatives(mined, side, far, of_positive=mean, of_negative=negative)
    return replace(hits, effect=effect, limit=LARGE_EFFECT if effect > 0 else None)


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if len(values) else None


def _overlaps(mined: Mined) -> list[np.ndarray]:
    """Return the share of the query's word weight that each positive and each negative holds."""
    used = np.unique(np.concatenate([mined.positives.documents.values, mined.negatives.documents.values]))
    words = _words([mined.documents[number] for number in used])
    idf = inverse_document_frequency(np.bincount(words.values, minlength=BUCKETS), len(used))
    asked, inverse = np.unique(mined.anchors, return_inverse=True)
    wanted = _words([mined.queries[number] for number in asked])
    totals = np.bincount(wanted.owners, weights=idf[wanted.values], minlength=len(wanted))
    out = []
    for side in (mined.positives, mined.negatives):
        query, document = inverse[side.documents.owners], np.searchsorted(used, side.documents.values)
        of_pairs = wanted.take(query)
        hit = words.contains(document[of_pairs.owners], of_pairs.values)
        shared = np.bincount(of_pairs.owners[hit], weights=idf[of_pairs.values[hit]], minlength=len(query))
        out.append(word_coverage(shared, totals[query]))
    return out


def _words(texts: Sequence[str]) -> Ragged:
    hashes = hash_texts(texts)
    return Ragged.from_lengths(hashes.terms.astype(np.int64), hashes.lengths)
