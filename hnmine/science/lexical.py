"""Shared words, weighted by how rare they are: what a candidate has in common with the query and with a positive."""

import numpy as np

from hnmine.arrays.words import BUCKETS


def rarity(documents_with: np.ndarray, documents: int) -> np.ndarray:
    """Return idf = ln(1 + N / n) of each word (Sparck Jones 1972, smoothed so that no weight is 0 or infinite).

    Args:
        documents_with: n, whole numbers: documents that hold the word; 0 counts as 1.
        documents: N, documents of the corpus.

    Returns:
        float64, same shape as n.
    """
    return np.asarray(np.log1p(documents / np.maximum(documents_with, 1)))


def shared_weights(
    wanted: tuple[np.ndarray, np.ndarray, np.ndarray],
    words: tuple[np.ndarray, np.ndarray],
    owners: np.ndarray,
    idf: np.ndarray,
) -> np.ndarray:
    """Return for each text the summed idf of its words that are among each of its owner's lists of wanted words.

    Args:
        wanted: (owner, list, word) of each wanted word, int64, int64 and int32; no word twice in a list.
        words: (text, word) of each word of the texts, int64 ascending and int32; no word twice in a text.
        owners: int64, shape (texts,): the owner of each text.
        idf: float64, shape (BUCKETS,).

    Returns:
        float64, shape (texts, lists), lists being the largest list number and 1; 0 where an owner has no such list.
    """
    owner, column, word = wanted
    distinct, place = np.unique(word, return_inverse=True)
    slot = np.full(BUCKETS, -1, dtype=np.int32)
    slot[distinct] = np.arange(len(distinct), dtype=np.int32)
    people = int(max(owner.max(initial=-1), owners.max(initial=-1))) + 1
    table = np.zeros((people, len(distinct), int(column.max(initial=0)) + 1))
    table[owner, place, column] = idf[word]
    text, asked = words[0], slot[words[1]]
    known = np.flatnonzero(asked >= 0)
    out = np.zeros((len(owners), table.shape[2]))
    if len(known):
        text = text[known]
        starts = np.flatnonzero(np.diff(text, prepend=-1))
        out[text[starts]] = np.add.reduceat(table[owners[text], asked[known]], starts, axis=0)
    return out


def coverage(shared: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the share of a query's word weight that a text holds, in [0, 1]; 0 for a query without words.

    Args:
        shared: float64, any shape: summed idf of the query's words that the text holds.
        wanted: float64, likewise: summed idf of all the query's words.
    """
    return np.asarray(np.divide(shared, wanted, out=np.zeros(shared.shape), where=wanted > 0))


def overlap(shared: np.ndarray, totals: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the weighted Jaccard overlap shared / (a + b - shared), in [0, 1]; 0 where neither has a word.

    Args:
        shared: float64, any shape: summed idf of the words that both texts hold.
        totals: a, float64, likewise: that of all words of the one.
        others: b, likewise of the other.
    """
    union = totals + others - shared
    return np.asarray(np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0))
