"""Words that texts of two sides share, every text of one side with every one of the other."""

from collections.abc import Sequence

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.science.lexical import weighted_jaccard, word_coverage


class SharedWords:
    """Words of some documents, to be compared with those of other texts.

    Args:
        documents: their words, no word twice in a text, int32.
        idf: of every word, float64.
    """

    def __init__(self, documents: Ragged, idf: np.ndarray) -> None:
        self._idf, self._words = idf, np.unique(documents.values)
        table = np.zeros((len(self._words), len(documents)))
        table[np.searchsorted(self._words, documents.values), documents.owners] = idf[documents.values]
        self._table, self._totals = table, table.sum(axis=0)

    def coverage(self, texts: Ragged) -> np.ndarray:
        """Return the share of each text's word weight that each document holds, float64, shape (texts, documents)."""
        wanted = np.broadcast_to(self._weights(texts)[:, None], (len(texts), len(self._totals)))
        return word_coverage(self._shared(texts), wanted)

    def overlap(self, texts: Ragged) -> np.ndarray:
        """Return the weighted overlap of each text with each document, float64, shape (texts, documents)."""
        return weighted_jaccard(self._shared(texts), self._totals[None, :], self._weights(texts)[:, None])

    def _weights(self, texts: Ragged) -> np.ndarray:
        return np.bincount(texts.owners, weights=self._idf[texts.values], minlength=len(texts))

    def _shared(self, texts: Ragged) -> np.ndarray:
        from scipy.sparse import csr_array

        place = np.searchsorted(self._words, texts.values)
        known = np.flatnonzero(place < len(self._words))
        known = known[self._words[place[known]] == texts.values[known]]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(texts.owners[known], minlength=len(texts)))])
        shape: Sequence[int] = (len(texts), len(self._words))
        return np.asarray(csr_array((np.ones(len(known)), place[known], offsets), shape=shape) @ self._table)
