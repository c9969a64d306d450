"""Encoders: the protocol that turns texts into vectors, the hash encoder, and checks of vectors."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Protocol

import numpy as np

from hnmine.config import EmbedConfig, TeacherTable
from hnmine.config.tables import Kind
from hnmine.errors import InputError
from hnmine.models.model_encoder import CELL_ROWS, EncodeTexts, ModelEncoder
from hnmine.models.quantised import Quantised

HASH_DIM, HASH_CELL_ROWS = 256, 256


class Encoder(Protocol):
    """Turns texts into vectors.

    Attributes:
        cell_rows: rows of a table that are encoded together, so that vectors do not depend on how it is sharded.
    """

    cell_rows: int

    def prepare(self, texts: Sequence[str], kind: Kind) -> EncodeTexts:
        """Return a function that encodes the texts; work that needs no model, as tokenising, is done beforehand."""
        ...

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors, shape (len(texts), dim), not normalised."""
        ...


def largest_cell_rows(config: EmbedConfig) -> int:
    """Return a number of rows that is a multiple of the encoder's `cell_rows`, without loading the encoder."""
    return HASH_CELL_ROWS if config.model == "hash" else CELL_ROWS


class HashEncoder:
    """Deterministic vectors of hashed words and letter trigrams; for tests and dry runs, never for training.

    Each feature of the text adds +1 or -1 (words: +2 or -2) at a place given by its hash, so texts that share words
    have similar vectors. Prompts are applied as for a model, and max_length is the number of words.

    Args:
        config: the teacher's table.
    """

    cell_rows = HASH_CELL_ROWS

    def __init__(self, config: EmbedConfig) -> None:
        self.config = config

    def prepare(self, texts: Sequence[str], kind: Kind) -> EncodeTexts:
        """Return a function that encodes the texts."""
        return partial(self._encode, texts, kind)

    def _encode(self, texts: Sequence[str], kind: Kind, tick: Callable[[int], None]) -> np.ndarray:
        vectors = self.encode(texts, kind)
        tick(len(texts))
        return vectors

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors, shape (len(texts), `HASH_DIM`); a text without a word is one feature."""
        out = np.zeros((len(texts), HASH_DIM), dtype=np.float32)
        prompt = self.config.prompt(kind)
        for row, text in enumerate(texts):
            words = re.findall(r"\w+", (prompt + text).casefold())[: self.config.max_length] or [text]
            for feature in words + [f"{w[i : i + 3]}*" for w in words for i in range(max(1, len(w) - 2))]:
                place, weight = _place(feature)
                out[row, place] += weight
            if not out[row].any():
                out[row, 0] = 1.0
        return out


@lru_cache(1 << 16)
def _place(feature: str) -> tuple[int, float]:
    """Return the place of a feature in the vector and its weight."""
    number = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
    weight = 1.0 if feature.endswith("*") else 2.0
    return number % HASH_DIM, weight if number >> 63 else -weight


def make_encoder(config: EmbedConfig, table: TeacherTable = "embed", quantised: Quantised | None = None) -> Encoder:
    """Return the encoder that the config names.

    Args:
        config: the teacher's table.
        table: its name, for messages.
        quantised: the model's transformer in 8-bit numbers, where `precision` asks for them.

    Raises:
        MissingExtra: OpenVINO is needed and not installed.
        ModelError: the model cannot be loaded.
    """
    return HashEncoder(config) if config.model == "hash" else ModelEncoder(config, table, quantised)


def check_vectors(vectors: np.ndarray, what: str, similarity: str) -> np.ndarray:
    """Return the vectors as float32, normalised for cosine.

    Args:
        vectors: shape (n, dim).
        what: names the vectors in messages.
        similarity: cosine or dot.

    Raises:
        InputError: a vector holds a number that is not finite, or is all zeros under cosine.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    for bad, fault in vector_faults(vectors, similarity):
        raise InputError(f"{what}: {len(bad):,} vectors {fault}, the first in row {bad[0]:,}")
    if similarity == "dot":
        return vectors
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def vector_faults(vectors: np.ndarray, similarity: str) -> Iterator[tuple[np.ndarray, str]]:
    """Yield (rows, fault) for the kinds of float32 vectors that cannot be compared; rows are int64 and not empty."""
    finite = np.isfinite(vectors).all(axis=1)
    faults = [(~finite, "hold numbers that are not finite")]
    if similarity == "cosine":
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(vectors, axis=1)
        faults += [(norms == 0, "are all zeros"), (finite & ~np.isfinite(norms), "are too long for float32")]
    yield from ((np.flatnonzero(bad), fault) for bad, fault in faults if bad.any())
