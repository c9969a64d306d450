"""Hashes of texts: keys that copies of a text share, and distinct words as numbers.

`hash_texts` computes keys and words of many texts at once, since most of the cost of one text after another is calls.
A text is plain if it is ASCII without +, # and _: both its copy key and its words are then made of its runs of letters
and digits. Other texts are hashed one by one.
"""

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

BUCKETS = 1 << 20
"""Numbers that words are hashed to; bounds the memory of a table over all words."""

# In C++ and C# the signs belong to the word: + and # are kept after a letter, a digit or one another.
_NOISE = re.compile(r"(?:(?<![\w+#])[+#]+|[^\w+#]|_)+")
# The same for ASCII text with neither sign, which nearly all text is; ten times as fast.
_PLAIN = {code: " " for code in range(128) if not chr(code).isalnum()}
_FOLDED = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}
_WORD = re.compile(r"\w+")
_MOST_WORDS = 1 << 18
# Characters hashed at once: their words are Python objects meanwhile.
_CHARACTERS = 1 << 20


def same_text_key(text: str) -> bytes:
    """Return a 16-byte hash that is equal for texts that differ only in whitespace; they count as one document."""
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()


def copy_key(text: str) -> int:
    """Return a 64-bit hash that is equal for texts that differ only in case, punctuation and whitespace.

    The text is normalised (Unicode NFKC) and case-folded, and every run of characters other than letters, digits and
    combining marks (the vowels of many scripts) becomes one space, so 1.5 and 15 stay different. + and # after a letter
    or digit are kept. A text without letters and digits is hashed with its signs, so "?" and "!" stay different. Two of
    n texts have the same key by chance with a probability of about n^2 / 2^65: 3e-8 for a million texts.
    """
    return _key(_normalised(unicodedata.normalize("NFKC", text).casefold()), text)


def _key(words: str, text: str) -> int:
    """Return the copy key of a text from its normalised words, joined by spaces; "" if it has none."""
    kept = words or " ".join(text.split())
    return int.from_bytes(hashlib.blake2b(kept.encode(), digest_size=8).digest(), "little")


def _normalised(text: str) -> str:
    if text.isascii() and "+" not in text and "#" not in text:
        return " ".join(text.translate(_PLAIN).split())
    if text.isascii():
        return _NOISE.sub(" ", text).strip()

    def between(noise: re.Match[str]) -> str:
        signs = noise.group()
        if signs.isascii():
            return " "
        marks = "".join(c for c in signs if unicodedata.category(c)[0] == "M")
        return marks if len(marks) == len(signs) else f"{marks} "

    return " ".join(_NOISE.sub(between, text).split())


def words(text: str) -> set[str]:
    """Return the distinct words of a text: runs of letters, digits and underscores, case-folded."""
    return set(_WORD.findall(text.casefold()))


def bucket(word: str) -> int:
    """Return the number that a case-folded word is hashed to, in [0, BUCKETS)."""
    return zlib.crc32(word.encode()) % BUCKETS


class _Buckets(dict[str, int]):
    """A cache of `bucket`, emptied when it is full; a dict look-up costs less than a call of a cached function."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _MOST_WORDS:
            self.clear()
        self[word] = number = bucket(word)
        return number


_BUCKET_OF = _Buckets()


def terms(text: str) -> np.ndarray:
    """Return the distinct `words` of a text as ascending numbers, int32 in [0, BUCKETS).

    Two words share a number with a probability of about one in a million.
    """
    return np.array(sorted({_BUCKET_OF[word] for word in words(text)}), dtype=np.int32)


class TextHashes(NamedTuple):
    """Copy keys and terms of texts."""

    keys: np.ndarray  # `copy_key` of each text, uint64, shape (texts,)
    terms: np.ndarray  # `terms` of each, text after text, int32
    lengths: np.ndarray  # number of terms of each, int64, shape (texts,)


def hash_texts(texts: Sequence[str]) -> TextHashes:
    """Return the copy key and the terms of each text."""
    found = [_hash(texts[part]) for part in _portions(texts)] or [_hash([])]
    return TextHashes(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _portions(texts: Sequence[str]) -> Iterator[slice]:
    """Cut texts into runs of about `_CHARACTERS` characters, at least one text each."""
    first = size = 0
    for number, text in enumerate(texts):
        size += len(text)
        if size >= _CHARACTERS or number + 1 == len(texts):
            yield slice(first, number + 1)
            first, size = number + 1, 0


def _hash(texts: Sequence[str]) -> TextHashes:
    keys = np.zeros(len(texts), dtype=np.uint64)
    plain = np.fromiter(map(_is_plain, texts), dtype=bool, count=len(texts))
    which, others = np.flatnonzero(plain), np.flatnonzero(~plain).tolist()
    found, bounds = _plain_words([texts[number] for number in which.tolist()])
    spans = zip(which.tolist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    keys[which] = [_key(" ".join(found[first:last]), texts[number]) for number, first, last in spans]
    keys[others] = [copy_key(texts[number]) for number in others]
    numbers = np.fromiter(map(_BUCKET_OF.__getitem__, found), dtype=np.int64, count=len(found))
    cells = [np.repeat(which, np.diff(bounds)) * BUCKETS + numbers]
    cells += [number * BUCKETS + terms(texts[number]).astype(np.int64) for number in others]
    every = np.sort(np.concatenate(cells))
    own, terms_of = np.divmod(every[np.diff(every, prepend=-1) > 0], BUCKETS)
    return TextHashes(keys, terms_of.astype(np.int32), np.bincount(own, minlength=len(texts)))


def _is_plain(text: str) -> bool:
    return text.isascii() and "+" not in text and "#" not in text and "_" not in text


def _plain_words(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the words of plain texts, text after text, and each text's bounds in them (int64, shape (texts + 1,))."""
    joined = " ".join(texts).translate(_FOLDED)
    letters = np.frombuffer(joined.encode(), dtype=np.uint8) != ord(" ")
    begins = np.flatnonzero(np.diff(letters.astype(np.int8), prepend=np.int8(0)) == 1)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    return joined.split(), np.searchsorted(begins, np.cumsum([0, *(lengths + 1)]))
