"""Lexical overlap: shared words of two texts, weighted by rarity."""

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.text_hashes import BUCKETS


def inverse_document_frequency(documents_with: np.ndarray, documents: int) -> np.ndarray:
    """Return idf = ln(1 + N / n) of each word; float64, the shape of n.

    Sparck Jones 1972, smoothed so that no weight is 0 or infinite. n is the number of documents with the word (0 counts
    as 1), N the number of documents of the corpus.
    """
    return np.asarray(np.log1p(documents / np.maximum(documents_with, 1)))


def shared_weights(
    wanted: tuple[np.ndarray, np.ndarray, np.ndarray],
    words: tuple[np.ndarray, np.ndarray],
    owners: np.ndarray,
    idf: np.ndarray,
    lists: int = 0,
) -> np.ndarray:
    """Return the summed idf of the words that each text shares with its owner's word lists; float64, (texts, lists).

    The number of lists is the largest list number + 1, or `lists` if that is more (the last ones may hold no word); an
    owner that lacks a list has 0 for it.

    Args:
        wanted: (owner, list, word) of each word of the lists, int64, int64 and int32; no word twice in a list.
        words: (text, word) of each word of the texts, int64 ascending and int32; no word twice in a text.
        owners: int64, shape (texts,): the owner of each text.
        idf: float64, shape (BUCKETS,).
        lists: least number of lists.
    """
    owner, column, word = wanted
    distinct, place = np.unique(word, return_inverse=True)
    slot = np.full(BUCKETS, -1, dtype=np.int32)
    slot[distinct] = np.arange(len(distinct), dtype=np.int32)
    count = int(max(owner.max(initial=-1), owners.max(initial=-1))) + 1
    table = np.zeros((count, len(distinct), max(lists, int(column.max(initial=0)) + 1)))
    table[owner, place, column] = idf[word]
    text, asked = words[0], slot[words[1]]
    known = np.flatnonzero(asked >= 0)
    out = np.zeros((len(owners), table.shape[2]))
    if len(known):
        text = text[known]
        starts = np.flatnonzero(np.diff(text, prepend=-1))
        out[text[starts]] = np.add.reduceat(table[owners[text], asked[known]], starts, axis=0)
    return out


def word_coverage(shared: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the share of a query's word weight that a text holds, in [0, 1]; 0 for a query without words.

    Both are summed idf, float64, of any one shape: of the query's words that the text holds, and of all of them.
    """
    return np.asarray(np.divide(shared, wanted, out=np.zeros(shared.shape), where=wanted > 0))


def query_coverage(queries: Ragged, texts: Ragged, pairs: tuple[np.ndarray, np.ndarray], idf: np.ndarray) -> np.ndarray:
    """Return `word_coverage` of (query, text) pairs: the share of the query's word weight that the text holds.

    Args:
        queries: distinct words of each query, ascending.
        texts: distinct words of each text, ascending.
        pairs: (query, text) of each pair, positions in `queries` and `texts`, int64, shape (n,) each.
        idf: float64, shape (BUCKETS,).

    Returns:
        float64, shape (n,).
    """
    asked = queries.take(pairs[0])
    held = texts.contains(pairs[1][asked.owners], asked.values)
    shared = np.bincount(asked.owners[held], weights=idf[asked.values[held]], minlength=len(asked))
    wanted = np.bincount(queries.owners, weights=idf[queries.values], minlength=len(queries))
    return word_coverage(shared, wanted[pairs[0]])


def weighted_jaccard(shared: np.ndarray, totals: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the weighted Jaccard overlap shared / (a + b - shared), in [0, 1]; 0 where neither text has a word.

    All are summed idf, float64, of any one shape: of the words that both texts hold, and of all words of each text.
    """
    union = totals + others - shared
    return np.asarray(np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0))
