"""The teachers: what turns texts into vectors, behind one small protocol, and checks of what comes out."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Protocol

import numpy as np

from hnmine.config import EmbedConfig, TeacherTable
from hnmine.config.teacher import Kind as Kind
from hnmine.errors import InputError
from hnmine.models.model_encoder import CELL_ROWS, ModelEncoder
from hnmine.models.model_files import HASH_WARNING as HASH_WARNING
from hnmine.models.model_files import find_model as find_model
from hnmine.models.model_files import fingerprint as fingerprint
from hnmine.models.model_files import require_models as require_models
from hnmine.models.quantised import Quantised

HASH_DIM, HASH_CELL_ROWS = 256, 256

EncodeTexts = Callable[[Callable[[int], None]], np.ndarray]
"""Makes the vectors of texts that are ready for it; its argument is told how many more are done."""


class Encoder(Protocol):
    """Turns texts into vectors.

    Attributes:
        cell_rows: rows of a table that go to it together, so that no bit depends on how the table is cut.
    """

    cell_rows: int

    def prepare(self, texts: Sequence[str], kind: Kind) -> EncodeTexts:
        """Return what makes the texts' vectors; all that needs no model, as tokenising, is done by then."""
        ...

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors, shape (len(texts), dim), not normalised."""
        ...


def largest_cell_rows(config: EmbedConfig) -> int:
    """Return a number of rows that every encoder's `cell_rows` divides, before any encoder is loaded."""
    return HASH_CELL_ROWS if config.model == "hash" else CELL_ROWS


class HashEncoder:
    """Deterministic vectors from hashed words and letter trigrams; for tests and dry runs, never for training.

    Each feature of the text adds +1 or -1 at a place given by its hash. Texts that share words come out alike,
    which is enough to drive the whole pipeline without a model. Prompts and max_length count as they do for a
    model, a token being a word, so that two of them can differ.

    Args:
        config: the embed table, or the guide's.
    """

    cell_rows = HASH_CELL_ROWS

    def __init__(self, config: EmbedConfig) -> None:
        self.config = config

    def prepare(self, texts: Sequence[str], kind: Kind) -> EncodeTexts:
        """Return what makes the texts' vectors."""
        return partial(self._made, texts, kind)

    def _made(self, texts: Sequence[str], kind: Kind, tick: Callable[[int], None]) -> np.ndarray:
        vectors = self.encode(texts, kind)
        tick(len(texts))
        return vectors

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors of `HASH_DIM` numbers; a text without a letter or digit is hashed whole."""
        out = np.zeros((len(texts), HASH_DIM), dtype=np.float32)
        prompt = self.config.prompt(kind)
        for row, text in enumerate(texts):
            words = re.findall(r"\w+", (prompt + text).casefold())[: self.config.max_length] or [text]
            features = words + [f"{w[i : i + 3]}*" for w in words for i in range(max(1, len(w) - 2))]
            for feature in features:
                place, weight = _place(feature)
                out[row, place] += weight
            if not out[row].any():
                out[row, 0] = 1.0
        return out


@lru_cache(1 << 16)
def _place(feature: str) -> tuple[int, float]:
    """Return where a feature counts, and what it adds."""
    number = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
    weight = 1.0 if feature.endswith("*") else 2.0
    return number % HASH_DIM, weight if number >> 63 else -weight


def make_encoder(config: EmbedConfig, table: TeacherTable = "embed", quantised: Quantised | None = None) -> Encoder:
    """Return the encoder that the config names; `table` says in messages which table of the file it is.

    `quantised` is its transformer in 8-bit numbers, where `precision` asks for them.

    Raises:
        MissingExtra: the model needs a package that is not installed.
        ModelError: the model cannot be loaded.
    """
    return HashEncoder(config) if config.model == "hash" else ModelEncoder(config, table, quantised)


def check_vectors(vectors: np.ndarray, what: str, similarity: str) -> np.ndarray:
    """Return finite float32 vectors, normalised for cosine.

    Args:
        vectors: shape (n, dim).
        what: names the rows in the message.
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
    """Yield (rows, what is wrong with them) for float32 vectors that cannot be compared with others."""
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        yield np.flatnonzero(~finite), "hold numbers that are not finite"
    if similarity == "cosine":
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(vectors, axis=1)
        if (norms == 0).any():
            yield np.flatnonzero(norms == 0), "are all zeros"
        if (finite & ~np.isfinite(norms)).any():
            yield np.flatnonzero(finite & ~np.isfinite(norms)), "are too long for float32"
