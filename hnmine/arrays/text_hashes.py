"""Hashes of texts: keys that copies of a text share, and distinct words as numbers.

`hash_texts` computes keys and words of many texts at once, since most of the cost of one text after another is calls.
A text is plain if it is ASCII without +, # and _: both its copy key and its words are then made of its runs of letters
and digits, which are found in the bytes of all texts. Other texts are hashed one by one.
"""

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import text_bytes

BUCKETS = 1 << 20
"""Numbers that words are hashed to; bounds the memory of a table over all words."""

# In C++ and C# the signs belong to the word: + and # are kept after a letter, a digit or one another.
_NOISE = re.compile(r"(?:(?<![\w+#])[+#]+|[^\w+#]|_)+")
# The same for text with neither sign and no mark, which nearly all text is: its letters and digits.
_LETTERS = re.compile(r"[^\W_]+")
_NO_ASCII_SIGN = re.compile(r"[^\w\x00-\x7f]")
# And for such ASCII text; ten times as fast.
_PLAIN = {code: " " for code in range(128) if not chr(code).isalnum()}
_SPACE, _OTHER = 32, 0
# Of each byte: the lower-case letter or digit, a space for other signs, `_OTHER` for what no plain text has.
_FOLDED = bytes(
    _OTHER if code > 127 or chr(code) in "+#_" else ord(chr(code).lower()) if chr(code).isalnum() else _SPACE
    for code in range(256)
)
_WORD = re.compile(r"\w+")
_MOST_WORDS = 1 << 18
_blake2b = hashlib.blake2b
# Texts, and about as many bytes of them, that are hashed at once: of some, words are Python objects meanwhile.
_TEXTS, _BYTES = 1 << 12, 1 << 18


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
    signs = "+" in text or "#" in text
    if text.isascii():
        return _NOISE.sub(" ", text).strip() if signs else " ".join(text.translate(_PLAIN).split())
    if not signs and not any(map(_is_mark, set(_NO_ASCII_SIGN.findall(text)))):
        return " ".join(_LETTERS.findall(text))

    def between(noise: re.Match[str]) -> str:
        marks = "".join(filter(_is_mark, noise.group()))
        return marks if len(marks) == len(noise.group()) else f"{marks} "

    return " ".join(_NOISE.sub(between, text).split())


def _is_mark(sign: str) -> bool:
    return unicodedata.category(sign)[0] == "M"


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


def hash_texts(texts: Sequence[str] | pa.Array) -> TextHashes:
    """Return the copy key and the terms of each text; an array has the type string and no nulls."""
    found = [_hash(part) for part in _portions(texts)]
    return TextHashes(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _portions(texts: Sequence[str] | pa.Array) -> Iterator[pa.Array]:
    """Yield runs of texts, one run at least."""
    for first in range(0, max(1, len(texts)), _TEXTS):
        some = pa.array(texts[first : first + _TEXTS], pa.string())
        offsets = text_bytes(some)[1]
        cuts = np.unique(np.searchsorted(offsets[:-1], np.arange(_BYTES, offsets[-1], _BYTES)))
        yield from (some[start:end] for start, end in pairwise([0, *cuts[cuts > 0].tolist(), len(some)]))


def _hash(texts: pa.Array) -> TextHashes:
    data, offsets = text_bytes(texts)
    folded = np.frombuffer(data.tobytes().translate(_FOLDED), dtype=np.uint8)
    plain = np.ones(len(texts), dtype=bool)
    plain[np.searchsorted(offsets, np.flatnonzero(folded == _OTHER), side="right") - 1] = False
    which, others = np.flatnonzero(plain), np.flatnonzero(~plain)
    if len(others):
        lengths = np.diff(offsets)
        folded, offsets = folded[np.repeat(plain, lengths)], np.concatenate([[0], np.cumsum(lengths[plain])])
    keys = np.zeros(len(texts), dtype=np.uint64)
    keys[which], words_of, bounds = _plain_words(folded, offsets)
    for number in which[np.diff(bounds) == 0].tolist():
        keys[number] = _key("", texts[number].as_py())
    cells = [np.repeat(which, np.diff(bounds)) * BUCKETS + _numbers(words_of)]
    if len(others):
        rest = texts.take(pa.array(others)).to_pylist()
        keys[others] = [copy_key(text) for text in rest]
        found = [_WORD.findall(text.casefold()) for text in rest]
        numbers = np.fromiter(map(_BUCKET_OF.__getitem__, chain.from_iterable(found)), dtype=np.int64)
        cells.append(np.repeat(others, list(map(len, found))) * BUCKETS + numbers)
    every = np.sort(np.concatenate(cells))
    own, terms_of = np.divmod(every[np.diff(every, prepend=-1) > 0], BUCKETS)
    return TextHashes(keys, terms_of.astype(np.int32), np.bincount(own, minlength=len(texts)))


def _numbers(words_of: pa.Array) -> np.ndarray:
    """Return the `bucket` of each word, int64; each distinct word is looked up once."""
    coded = words_of.dictionary_encode()
    looked_up = map(_BUCKET_OF.__getitem__, coded.dictionary.to_pylist())
    numbers = np.fromiter(looked_up, dtype=np.int64, count=len(coded.dictionary))
    return np.asarray(numbers[coded.indices.to_numpy()])


def _plain_words(folded: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, pa.Array, np.ndarray]:
    """Return the copy key of each plain text, the words of all texts, and each text's bounds in them.

    Args:
        folded: the bytes of the texts in lower case with spaces for signs, uint8.
        offsets: each text's bounds in them, int64, shape (texts + 1,).

    Returns:
        Keys of the texts that have words (uint64, shape (texts,)), strings, and bounds (int64, shape (texts + 1,)).
    """
    letters = folded != _SPACE
    begins, ends = letters.copy(), letters.copy()
    begins[1:] &= ~letters[:-1]
    ends[:-1] &= ~letters[1:]
    filled = offsets[:-1] < offsets[1:]
    for edge, at in ((begins, offsets[:-1][filled]), (ends, offsets[1:][filled] - 1)):
        edge[at] = letters[at]  # no word goes on into the next text
    starts, stops = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    bounds, edges = np.searchsorted(starts, offsets), np.concatenate([[0], np.cumsum(stops - starts)])
    buffers = [None, pa.py_buffer(edges.astype(np.int32)), pa.py_buffer(folded[letters])]
    words_of, counts = pa.Array.from_buffers(pa.string(), len(starts), buffers), np.diff(bounds)
    # words joined by spaces: the sign after each is one, but that of a text's last word belongs to no key
    followed = np.ones(len(starts), dtype=bool)
    followed[bounds[1:][counts > 0] - 1] = False
    letters[stops[followed]] = True
    joined, lengths = folded[letters].tobytes(), np.diff(edges[bounds]) + np.maximum(counts - 1, 0)
    spans = np.concatenate([[0], np.cumsum(lengths)]).tolist()
    keys = [_blake2b(joined[first:last], digest_size=8).digest() for first, last in pairwise(spans)]
    return np.frombuffer(b"".join(keys), dtype="<u8").astype(np.uint64), words_of, bounds
