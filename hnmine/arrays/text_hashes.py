"""Copy keys and hashed words of many texts in one go: what one text after another costs is mostly the calls.

A text is plain where it is ASCII and has none of the signs that words and copy keys treat each in its own way: then
its words are the runs of letters and digits, for both. What is not plain goes text by text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hnmine.arrays.text_keys import copy_key, key_of_words
from hnmine.arrays.words import BUCKET_OF, BUCKETS, terms

_FOLDED = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}
# This many characters at a time: their words are Python objects for a moment.
_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Hashes:
    """What is stored of texts besides themselves.

    Attributes:
        keys: uint64, shape (texts,): `copy_key` of each.
        terms: int32, `terms` of each, text after text.
        lengths: int64, shape (texts,): how many terms each has.
    """

    keys: np.ndarray
    terms: np.ndarray
    lengths: np.ndarray


def hash_texts(texts: Sequence[str]) -> Hashes:
    """Return the copy key and the terms of each text."""
    found = [_hash(texts[part]) for part in _portions(texts)]
    keys, values, lengths = zip(*found, strict=True) if found else ((), (), ())
    return Hashes(
        np.concatenate([np.zeros(0, dtype=np.uint64), *keys]),
        np.concatenate([np.zeros(0, dtype=np.int32), *values]),
        np.concatenate([np.zeros(0, dtype=np.int64), *lengths]),
    )


def _portions(texts: Sequence[str]) -> Iterator[slice]:
    """Yield runs of texts of about `_CHARACTERS` each, or one text."""
    first = size = 0
    for number, text in enumerate(texts):
        size += len(text)
        if size >= _CHARACTERS or number + 1 == len(texts):
            yield slice(first, number + 1)
            first, size = number + 1, 0


def _hash(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    keys = np.zeros(len(texts), dtype=np.uint64)
    plain = np.fromiter(map(_is_plain, texts), dtype=bool, count=len(texts))
    which, others = np.flatnonzero(plain), np.flatnonzero(~plain).tolist()
    words, bounds = _words([texts[number] for number in which.tolist()])
    spans = zip(which.tolist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    keys[which] = [key_of_words(" ".join(words[first:last]), texts[number]) for number, first, last in spans]
    keys[others] = [copy_key(texts[number]) for number in others]
    numbers = np.fromiter(map(BUCKET_OF.__getitem__, words), dtype=np.int64, count=len(words))
    cells = [np.repeat(which, np.diff(bounds)) * BUCKETS + numbers]
    cells += [number * BUCKETS + terms(texts[number]).astype(np.int64) for number in others]
    every = np.sort(np.concatenate(cells))
    own, terms_of = np.divmod(every[np.diff(every, prepend=-1) > 0], BUCKETS)
    return keys, terms_of.astype(np.int32), np.bincount(own, minlength=len(texts))


def _is_plain(text: str) -> bool:
    return text.isascii() and "+" not in text and "#" not in text and "_" not in text


def _words(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the words of plain texts, text after text, and the bounds of each text's (int64, shape (texts + 1,))."""
    joined = " ".join(texts).translate(_FOLDED)
    letters = np.frombuffer(joined.encode(), dtype=np.uint8) != ord(" ")
    begins = np.flatnonzero(np.diff(letters.astype(np.int8), prepend=np.int8(0)) == 1)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    return joined.split(), np.searchsorted(begins, np.cumsum([0, *(lengths + 1)]))
