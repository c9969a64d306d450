"""What tells negatives from positives without reading them: their length, and the words they share with the query."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.text_hashes import hash_texts
from hnmine.arrays.words import BUCKETS
from hnmine.commands.audit.findings import Hits, of_negatives
from hnmine.commands.audit.mined import Mined, pick
from hnmine.science.dominance import dominance
from hnmine.science.lexical import coverage, rarity

MEASURED_ON = 20_000


def biases(mined: Mined) -> tuple[dict[str, Any], dict[str, Hits]]:
    """Return both biases as numbers and as findings, measured on at most `MEASURED_ON` examples."""
    if len(mined) > MEASURED_ON:
        mined = pick(mined, np.linspace(0, len(mined) - 1, MEASURED_ON).astype(np.int64))
    lengths = np.fromiter((len(text) for text in mined.documents), dtype=np.float64, count=len(mined.documents))
    sides = {"length": [lengths[side.documents.values] for side in (mined.positives, mined.negatives)]}
    sides["overlap"] = _overlaps(mined)
    numbers: dict[str, Any] = {"examples": len(mined)}
    found = {}
    for name, (positive, negative) in sides.items():
        numbers[name], found[f"{name}_bias"] = _bias(mined, positive, negative)
    return numbers, found


def _bias(mined: Mined, positive: np.ndarray, negative: np.ndarray) -> tuple[dict[str, Any], Hits]:
    """Compare each negative's number with the mean over its example's positives."""
    right, lists = mined.positives.documents, mined.negatives.documents
    sums = np.bincount(right.owners, weights=positive, minlength=len(mined))
    mean = np.divide(sums, right.lengths, out=np.full(len(mined), np.nan), where=right.lengths > 0)[lists.owners]
    value = dominance(negative, mean)
    side = negative > mean if value > 0 else negative < mean
    far = np.nan_to_num(np.abs(negative - mean))
    hits = of_negatives(mined, side, far, of_positive=mean, of_negative=negative)
    numbers = {"dominance": value, "positive_median": _median(positive), "negative_median": _median(negative)}
    return numbers, Hits(hits.count, hits.total, hits.examples, share=abs(value))


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if len(values) else None


def _overlaps(mined: Mined) -> list[np.ndarray]:
    """Return the share of the query's word weight that each positive and each negative holds."""
    used = np.unique(np.concatenate([mined.positives.documents.values, mined.negatives.documents.values]))
    words = _words([mined.documents[number] for number in used])
    idf = rarity(np.bincount(words.values, minlength=BUCKETS), len(used))
    asked, inverse = np.unique(mined.anchors, return_inverse=True)
    wanted = _words([mined.queries[number] for number in asked])
    totals = np.bincount(wanted.owners, weights=idf[wanted.values], minlength=len(wanted))
    out = []
    for side in (mined.positives, mined.negatives):
        query, document = inverse[side.documents.owners], np.searchsorted(used, side.documents.values)
        of_pairs = wanted.take(query)
        hit = words.contains(document[of_pairs.owners], of_pairs.values)
        shared = np.bincount(of_pairs.owners[hit], weights=idf[of_pairs.values[hit]], minlength=len(query))
        out.append(coverage(shared, totals[query]))
    return out


def _words(texts: Sequence[str]) -> Ragged:
    hashes = hash_texts(texts)
    return Ragged.from_lengths(hashes.terms.astype(np.int64), hashes.lengths)
