"""Findings from the texts alone: false negatives by the file's own labels, copies, gaps, hubs, length and overlap."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hnmine.arrays.groups import repeated
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.text_hashes import BUCKETS, hash_texts
from hnmine.commands.audit.findings import (
    EXAMPLES,
    HUB_QUERIES,
    HUB_SHARE,
    LARGE_EFFECT,
    Hits,
    of_examples,
    of_negatives,
    shown_text,
)
from hnmine.commands.audit.mined import Mined, contains_pairs, pick
from hnmine.science.lexical import inverse_document_frequency, query_coverage
from hnmine.stages.report.biases import length_difference, overlap_difference
from hnmine.stages.report.quality import mean_by_group

BIAS_EXAMPLES = 20_000
"""Examples that the biases are measured on, at most."""


def text_findings(mined: Mined) -> dict[str, Hits]:
    """Return the findings of the texts of the examples, by name; those of `biases` apart."""
    return _false_negatives(mined) | _gaps(mined) | _repeats(mined) | {"hub": _hubs(mined)}


def _false_negatives(mined: Mined) -> dict[str, Hits]:
    negatives, positives = mined.negatives.documents, mined.positives.documents
    keys, empty = mined.keys[1], mined.empty[1][negatives.values]
    key, owner, query = keys[negatives.values], negatives.owners, mined.asked[negatives.owners]
    known = ~mined.empty[1][positives.values]
    example, positive = positives.owners[known], positives.values[known]
    exact = contains_pairs(example, positive, owner, negatives.values) & ~empty
    own = contains_pairs(example, keys[positive], owner, key) & ~empty
    any_row = contains_pairs(mined.asked[example], keys[positive], query, key) & ~empty
    found = {
        "positive_as_negative": exact,
        "copy_of_positive": own & ~exact,
        "sibling_positive": any_row & ~own,
        "copy_of_query": (key == query) & ~empty,
        "positive_elsewhere": np.isin(key, keys[positive]) & ~any_row & ~empty,
    }
    return {name: of_negatives(mined, mask) for name, mask in found.items()}


def copies(mined: Mined) -> np.ndarray:
    """Return whether each negative is a copy of its positive or query by its text, or empty; bool."""
    negatives, positives, keys = mined.negatives.documents, mined.positives.documents, mined.keys[1]
    key = keys[negatives.values]
    of_positive = contains_pairs(positives.owners, keys[positives.values], negatives.owners, key)
    return np.asarray(of_positive | (key == mined.asked[negatives.owners]) | mined.empty[1][negatives.values])


def judged_relevant(mined: Mined, queries: np.ndarray, documents: np.ndarray) -> Hits:
    """Return the negatives that the qrels judge relevant, given the copy keys of the relevant pairs (uint64)."""
    lists = mined.negatives.documents
    ours, texts, asked, judged = mined.keys_with(queries, documents)
    pairs = ours[mined.anchors[lists.owners]], texts[lists.values]
    return of_negatives(mined, contains_pairs(asked, judged, *pairs))


def _gaps(mined: Mined) -> dict[str, Hits]:
    negatives, positives = mined.negatives.documents, mined.positives.documents
    empty = mined.empty[0][mined.anchors].copy()
    for lists in (negatives, positives):
        empty[lists.owners[mined.empty[1][lists.values]]] = True
    lengths = negatives.lengths
    usual = usual_number(lengths[lengths > 0])
    return {
        "empty_text": of_examples(mined, empty),
        "without_positive": of_examples(mined, positives.lengths == 0),
        "without_negatives": of_examples(mined, lengths == 0),
        "fewer_negatives": of_examples(mined, (lengths > 0) & (lengths < usual), -lengths),
    }


def usual_number(lengths: np.ndarray) -> int:
    """Return the commonest number, the larger of two equally common ones; 0 without any."""
    counts = np.bincount(lengths, minlength=1)
    return len(counts) - 1 - int(np.argmax(counts[::-1]))


def _repeats(mined: Mined) -> dict[str, Hits]:
    lists = mined.negatives.documents
    key, real = mined.keys[1][lists.values], ~mined.empty[1][lists.values]
    again = repeated(lists.owners, key) & real
    elsewhere = np.zeros(len(key), dtype=bool)
    first = np.flatnonzero(~again & real)
    elsewhere[first] = repeated(mined.asked[lists.owners[first]], key[first])
    return {
        "repeated_negative": of_negatives(mined, again),
        "negative_of_other_rows": of_negatives(mined, elsewhere),
    }


def _hubs(mined: Mined) -> Hits:
    """Return the documents that are a negative of very many queries."""
    documents, counts = queries_served(mined)
    hub = (counts >= HUB_QUERIES) & (counts > HUB_SHARE * len(np.unique(mined.asked)))
    order = np.argsort(-counts, kind="stable")
    shown: list[dict[str, Any]] = [
        {"negative": shown_text(mined.documents[documents[at]]), "queries": int(counts[at])}
        for at in order[hub[order]][:EXAMPLES]
    ]
    return Hits(int(hub.sum()), len(documents), shown)


def queries_served(mined: Mined) -> tuple[np.ndarray, np.ndarray]:
    """Return the documents that are negatives, one of each set of copies, and their numbers of queries; int64."""
    lists = mined.negatives.documents
    key = mined.keys[1][lists.values]
    fresh = ~repeated(mined.asked[lists.owners], key)
    _, first, counts = np.unique(key[fresh], return_index=True, return_counts=True)
    return lists.values[fresh][first], counts


def biases(mined: Mined) -> tuple[dict[str, Any], dict[str, Hits]]:
    """Return how negatives differ from positives in length and in words shared with the query, as in the report.

    Returns:
        (numbers, findings): `length_difference` and `overlap_difference`, on at most `BIAS_EXAMPLES` examples; and the
        negatives that differ from their positives in the direction of the effect.
    """
    if len(mined) > BIAS_EXAMPLES:
        mined = pick(mined, np.linspace(0, len(mined) - 1, BIAS_EXAMPLES).astype(np.int64))
    lengths = np.array([len(text) for text in mined.documents], dtype=np.float64)
    of_length = [lengths[side.documents.values] for side in (mined.positives, mined.negatives)]
    of_overlap = _overlaps(mined)
    numbers = {"length": length_difference(*of_length), "query_overlap": overlap_difference(*of_overlap)}
    return {"examples": len(mined), **numbers}, {
        "length_bias": _bias(mined, of_length, numbers["length"]["effect"] or 0.0),
        "overlap_bias": _bias(mined, of_overlap, numbers["query_overlap"]["effect"] or 0.0),
    }


def _bias(mined: Mined, sides: Sequence[np.ndarray], effect: float) -> Hits:
    """Return the negatives that differ from the mean of their example's positives in the direction of the effect.

    `sides` are the numbers of the positives, and of the negatives.
    """
    positive, negative = sides
    mean = mean_by_group(positive, mined.positives.documents.owners, len(mined))[mined.negatives.documents.owners]
    side = negative > mean if effect > 0 else negative < mean
    hits = of_negatives(mined, side, np.nan_to_num(np.abs(negative - mean)), of_positive=mean, of_negative=negative)
    return replace(hits, effect=effect, limit=LARGE_EFFECT if effect > 0 else None)


def _overlaps(mined: Mined) -> list[np.ndarray]:
    """Return the share of the query's word weight that each positive and each negative holds."""
    used = np.unique(np.concatenate([mined.positives.documents.values, mined.negatives.documents.values]))
    words = _words([mined.documents[number] for number in used])
    idf = inverse_document_frequency(np.bincount(words.values, minlength=BUCKETS), len(used))
    asked, query = np.unique(mined.anchors, return_inverse=True)
    queries = _words([mined.queries[number] for number in asked])
    return [
        query_coverage(queries, words, (query[side.owners], np.searchsorted(used, side.values)), idf)
        for side in (mined.positives.documents, mined.negatives.documents)
    ]


def _words(texts: Sequence[str]) -> Ragged:
    hashes = hash_texts(texts)
    return Ragged.from_lengths(hashes.terms.astype(np.int64), hashes.lengths)
