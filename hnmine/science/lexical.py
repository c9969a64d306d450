"""Shared words, weighted by how rare they are: what a candidate has in common with the query and with a positive."""

import re
import zlib

import numpy as np

BUCKETS = 1 << 20
_WORD = re.compile(r"\w+")


def terms(text: str) -> np.ndarray:
    """Return the distinct words of a text as hashed numbers, ascending int32 in [0, BUCKETS).

    A word is a run of letters, digits and underscores, case-folded. Two words share a number with a probability of
    about one in a million; `BUCKETS` bounds the memory of a table over all words.
    """
    found = {bucket(word) for word in words(text)}
    return np.sort(np.fromiter(found, dtype=np.int32, count=len(found)))


def words(text: str) -> set[str]:
    """Return the distinct words of a text: runs of letters, digits and underscores, case-folded."""
    return set(_WORD.findall(text.casefold()))


def bucket(word: str) -> int:
    """Return the hashed number of a case-folded word, in [0, BUCKETS)."""
    return zlib.crc32(word.encode()) % BUCKETS


def rarity(documents_with: np.ndarray, documents: int) -> np.ndarray:
    """Return idf = ln(1 + N / n) of each word (Sparck Jones 1972, smoothed so that no weight is 0 or infinite).

    Args:
        documents_with: n, whole numbers: documents that hold the word; 0 counts as 1.
        documents: N, documents of the corpus.

    Returns:
        float64, same shape as n.
    """
    return np.asarray(np.log1p(documents / np.maximum(documents_with, 1)))


def shared_weight(wanted: np.ndarray, words: np.ndarray, owners: np.ndarray, count: int, idf: np.ndarray) -> np.ndarray:
    """Return for each text the summed idf of its words that are among `wanted`.

    Args:
        wanted: int32, distinct words of one text.
        words: int32, the words of several texts, one text after another, distinct within each.
        owners: int64, which text each word belongs to, in [0, count).
        count: number of texts.
        idf: float64, shape (BUCKETS,).

    Returns:
        float64, shape (count,).
    """
    if not len(wanted):
        return np.zeros(count)
    ordered = np.sort(wanted)
    place = np.minimum(np.searchsorted(ordered, words), len(ordered) - 1)
    hit = ordered[place] == words
    return np.bincount(owners[hit], weights=idf[words[hit]], minlength=count)


def coverage(shared: np.ndarray, wanted_total: float) -> np.ndarray:
    """Return the share of a query's word weight that a text holds, in [0, 1]; 0 for a query without words."""
    return np.asarray(shared / wanted_total if wanted_total > 0 else np.zeros(np.shape(shared)))


def overlap(shared: np.ndarray, totals: np.ndarray, other_total: float) -> np.ndarray:
    """Return the weighted Jaccard overlap shared / (a + b - shared), in [0, 1]; 0 where neither has a word."""
    union = totals + other_total - shared
    return np.asarray(np.divide(shared, union, out=np.zeros(np.shape(shared)), where=union > 0))
