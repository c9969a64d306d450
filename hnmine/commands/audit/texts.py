"""What can be seen in the texts alone: false negatives by the file's own labels, copies, repeats, gaps, hubs."""

from typing import Any

import numpy as np

from hnmine.arrays.groups import repeated
from hnmine.commands.audit.findings import EXAMPLES, HUB_QUERIES, HUB_SHARE, Hits, cut, of_examples, of_negatives
from hnmine.commands.audit.mined import Mined


def among(groups: np.ndarray, values: np.ndarray, in_groups: np.ndarray, in_values: np.ndarray) -> np.ndarray:
    """Tell for each (group, value) whether it is among other (group, value) pairs; whole numbers from 0."""
    if not len(groups) or not len(in_groups):
        return np.zeros(len(groups), dtype=bool)
    span = int(max(values.max(), in_values.max())) + 1
    return np.isin(groups * span + values, in_groups * span + in_values)


def text_findings(mined: Mined) -> dict[str, Hits]:
    """Return what the texts of the examples show, by name."""
    return _false_negatives(mined) | _gaps(mined) | _repeats(mined) | {"hub": _hubs(mined)}


def _false_negatives(mined: Mined) -> dict[str, Hits]:
    negatives, positives = mined.negatives.documents, mined.positives.documents
    keys, empty = mined.keys[1], mined.empty[1][negatives.values]
    key, owner, query = keys[negatives.values], negatives.owners, mined.asked[negatives.owners]
    known = ~mined.empty[1][positives.values]
    of, right = positives.owners[known], keys[positives.values[known]]
    exact = among(owner, negatives.values, of, positives.values[known]) & ~empty
    own = among(owner, key, of, right) & ~empty
    any_row = among(query, key, mined.asked[of], right) & ~empty
    found = {
        "positive_as_negative": exact,
        "copy_of_positive": own & ~exact,
        "sibling_positive": any_row & ~own,
        "copy_of_query": (key == query) & ~empty,
        "positive_elsewhere": np.isin(key, right) & ~any_row & ~empty,
    }
    return {name: of_negatives(mined, mask) for name, mask in found.items()}


def by_qrels(mined: Mined, queries: np.ndarray, documents: np.ndarray) -> Hits:
    """Return the negatives that qrels judge relevant; `queries` and `documents` are the copy keys of judged pairs."""
    lists = mined.negatives.documents
    both = np.concatenate([mined.hashes[0], mined.hashes[1], queries, documents])
    _, small = np.unique(both, return_inverse=True)
    ends = np.cumsum([len(mined.queries), len(mined.documents), len(queries)])
    ours, texts, asked, judged = np.split(small.astype(np.int64), ends)
    return of_negatives(mined, among(ours[mined.anchors[lists.owners]], texts[lists.values], asked, judged))


def _gaps(mined: Mined) -> dict[str, Hits]:
    negatives, positives = mined.negatives.documents, mined.positives.documents
    without = mined.empty[0][mined.anchors].copy()
    for lists in (negatives, positives):
        without[lists.owners[mined.empty[1][lists.values]]] = True
    lengths = negatives.lengths
    some = lengths[lengths > 0]
    usual = usual_number(some)
    return {
        "empty_text": of_examples(mined, without),
        "without_positive": of_examples(mined, positives.lengths == 0),
        "without_negatives": of_examples(mined, lengths == 0),
        "fewer_negatives": of_examples(mined, (lengths > 0) & (lengths < usual), -lengths),
    }


def usual_number(lengths: np.ndarray) -> int:
    """Return the number of negatives that most examples have, of two equally common ones the larger; 0 for none."""
    counts = np.bincount(lengths) if len(lengths) else np.zeros(1, dtype=np.int64)
    return len(counts) - 1 - int(np.argmax(counts[::-1]))


def _repeats(mined: Mined) -> dict[str, Hits]:
    lists = mined.negatives.documents
    key, real = mined.keys[1][lists.values], ~mined.empty[1][lists.values]
    again = repeated(lists.owners, key.astype(np.uint64)) & real
    elsewhere = np.zeros(len(key), dtype=bool)
    first = np.flatnonzero(~again & real)
    elsewhere[first] = repeated(mined.asked[lists.owners[first]], key[first].astype(np.uint64))
    return {
        "repeated_negative": of_negatives(mined, again),
        "negative_of_other_rows": of_negatives(mined, elsewhere),
    }


def _hubs(mined: Mined) -> Hits:
    """Return documents that are a negative of very many queries."""
    served, number = served_queries(mined)
    queries = len(np.unique(mined.asked))
    hub = (number >= HUB_QUERIES) & (number > HUB_SHARE * queries)
    order = np.argsort(-number, kind="stable")
    worst = order[hub[order]][:EXAMPLES]
    shown: list[dict[str, Any]] = [
        {"negative": cut(mined.documents[served[place]]), "queries": int(number[place])} for place in worst
    ]
    return Hits(int(hub.sum()), len(served), shown)


def served_queries(mined: Mined) -> tuple[np.ndarray, np.ndarray]:
    """Return documents that are negatives, one of each set of copies, and of how many queries; two int64 arrays."""
    lists = mined.negatives.documents
    if not len(lists.values):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    key, query = mined.keys[1][lists.values], mined.asked[lists.owners]
    fresh = ~repeated(query, key.astype(np.uint64))
    _, first, counts = np.unique(key[fresh], return_index=True, return_counts=True)
    return lists.values[fresh][first], counts
