"""Words of a text as hashed numbers."""

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
    return np.array(sorted({BUCKET_OF[word] for word in words(text)}), dtype=np.int32)


def words(text: str) -> set[str]:
    """Return the distinct words of a text: runs of letters, digits and underscores, case-folded."""
    return set(_WORD.findall(text.casefold()))


def bucket(word: str) -> int:
    """Return the hashed number of a case-folded word, in [0, BUCKETS)."""
    return zlib.crc32(word.encode()) % BUCKETS


class _Buckets(dict[str, int]):
    """The numbers of words met so far, begun anew when there are many: looking in it costs less than a cached call."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _MOST_WORDS:
            self.clear()
        self[word] = number = bucket(word)
        return number


_MOST_WORDS = 1 << 18


BUCKET_OF = _Buckets()
