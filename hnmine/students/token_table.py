"""Texts as lists of tokens with a vector for each token: a model's own table, or one made from given vectors."""

import re
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.errors import ModelError

SIZE = 0.2
"""Root mean square of the numbers of word vectors made from given vectors."""


class TokenTable(NamedTuple):
    """Tokens of texts, and a vector for each token.

    Attributes:
        tokens: rows of `vectors`, one list a text.
        vectors: float32, shape (tokens that occur, d).
    """

    tokens: Ragged
    vectors: np.ndarray


def model_table(model: Any, texts: list[str], max_tokens: int) -> TokenTable:
    """Return the texts' tokens with a model's input embeddings, without special tokens.

    Args:
        model: of sentence-transformers, with a transformer or a static table as its first module.
        texts: in any number.
        max_tokens: tokens that a text is cut to.

    Raises:
        ModelError: it has no table of token vectors.
    """
    first, tokenizer = model[0], model.tokenizer
    if hasattr(first, "auto_model"):
        weights = first.auto_model.get_input_embeddings().weight
        found = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=max_tokens, padding=False)
        lists = found["input_ids"]
    elif type(first).__name__ == "StaticEmbedding":
        weights = first.embedding.weight
        lists = [one.ids[:max_tokens] for one in tokenizer.encode_batch(texts, add_special_tokens=False)]
    else:
        raise ModelError(f"a model that begins with {type(first).__name__} has no table of token vectors")
    used, tokens = np.unique(ragged_of(lists).values, return_inverse=True)
    vectors = weights.detach().float().cpu().numpy()[used]
    return TokenTable(ragged_of(lists).with_values(tokens), np.ascontiguousarray(vectors, dtype=np.float32))


def word_tokens(texts: list[str], max_tokens: int) -> tuple[Ragged, int]:
    """Return the words of texts, regardless of case, as numbers from 0, one list a text, and how many words there are.

    Words are numbered in order of their first occurrence. Each text is cut to `max_tokens` words.
    """
    numbers: dict[str, int] = {}
    words = (re.findall(r"\w+", text.casefold())[:max_tokens] for text in texts)
    lists = ragged_of([[numbers.setdefault(word, len(numbers)) for word in own] for own in words])
    return lists, len(numbers)


def word_vectors(tokens: Ragged, count: int, vectors: np.ndarray) -> np.ndarray:
    """Return for each word the mean of the centred vectors of the n_w texts that hold it, times ln(n / n_w).

    W_w = ln(n / n_w) / (occurrences of w) * sum over occurrences of w in text i of (v_i - mean of v)

    The vectors' common part tells no text from another, and the logarithm is the inverse document frequency. Means of
    such word vectors rank documents nearly as the given vectors do: nDCG@10 .536 of .579 on perspectrum, .643 of .632
    on scifact; word vectors fitted by least squares gave .535 and .587 at best. All are scaled to a root mean square of
    `SIZE`, so that a learning rate means the same for given vectors of any length.

    Args:
        tokens: numbers of words in [0, count), one list a text.
        count: number of words.
        vectors: v, shape (texts, d).

    Returns:
        float32, shape (count, d).
    """
    from scipy.sparse import csr_array

    held = csr_array((np.ones(len(tokens.values)), tokens.values, tokens.offsets), shape=(len(tokens), count))
    sums = held.T @ np.asarray(vectors - vectors.mean(axis=0, keepdims=True), dtype=np.float64)
    _, words = np.unique(np.stack([tokens.owners, tokens.values]), axis=1)
    texts = np.bincount(words, minlength=count)
    weight = np.log(len(tokens) / np.maximum(texts, 1)) / np.maximum(held.sum(axis=0), 1)
    found = weight[:, None] * sums
    size = np.sqrt(np.mean(found**2)) if found.size else 0.0
    return np.asarray(found * (SIZE / size if size > 0 else 1.0), dtype=np.float32)


def ragged_of(lists: list[list[int]]) -> Ragged:
    """Return lists of numbers as a ragged array of int64."""
    lengths = np.array([len(own) for own in lists], dtype=np.int64)
    values = np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=int(lengths.sum()))
    return Ragged.from_lengths(values, lengths)
