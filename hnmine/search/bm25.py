"""BM25 over the canonical corpus: words, the index on disk, and its search."""

import importlib.util
import itertools
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import pack, unpack
from hnmine.config.tables import SourceConfig
from hnmine.errors import MissingExtra
from hnmine.search.candidate_pool import Hits
from hnmine.storage.paths import local_copy
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.index import BM25
from hnmine.storage.store import read_table, write_atomic

_WORD = re.compile(r"\b\w\w+\b")
Words = Callable[[str], list[str]]


def stems(source: SourceConfig) -> bool:
    """Tell whether a source reduces words to their stems.

    Raises:
        MissingExtra: it is asked to, and PyStemmer is not installed.
    """
    there = importlib.util.find_spec("Stemmer") is not None
    if source.stem and not there:
        raise MissingExtra(
            f"retrieve.source {source.label!r}: stem = true needs PyStemmer: pip install 'hnmine[stemming]'; "
            "or leave stem out"
        )
    return source.language != "none" and (there if source.stem is None else source.stem)


def words_of(source: SourceConfig) -> Words:
    """Return what takes a text apart: runs of two or more word characters in lower case, stop words left out."""
    stop = _stop_words(source.language)
    if not stems(source):
        return partial(_split, stop)
    import Stemmer

    stem = Stemmer.Stemmer(source.language).stemWords
    return lambda text: list(stem(_split(stop, text)))


def _split(stop: frozenset[str], text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in stop]


def _stop_words(language: str) -> frozenset[str]:
    import bm25s.stopwords

    name = "EN" if language == "english" else language.upper()
    return frozenset() if language == "none" else frozenset(getattr(bm25s.stopwords, f"STOPWORDS_{name}"))


def build(texts: Iterable[list[str]], source: SourceConfig, words: Words) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Return an index: its words, and for each word the documents that hold it with the scores it gives them.

    Args:
        texts: the corpus, some documents at a time.
        source: for k1 and b.
        words: takes a text apart.

    Returns:
        (table of `schemas.BM25`, document rows int32 ascending for each word, scores float32); a document's score for
        a query is the sum of its scores over the query's words:
        ln(1 + (N - n + 0.5) / (n + 0.5)) * tf / (tf + k1 (1 - b + b length / mean length)), "lucene" of bm25s.
    """
    number: dict[str, int] = {}
    ids = [[number.setdefault(word, len(number)) for word in words(text)] for part in texts for text in part]
    documents, scores = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
    starts = np.zeros(1, dtype=np.int64)
    if number:
        import bm25s

        model = bm25s.BM25(k1=source.k1, b=source.b, method="lucene", backend="numpy", csc_backend="numpy")
        found = model.build_index_from_ids(list(range(len(number))), ids, show_progress=False)
        documents, scores, starts = found["indices"].astype(np.int32), found["data"], found["indptr"]
    columns = [pa.array(list(number), pa.string()), pa.array(starts[:-1], pa.int64()), pa.array(np.diff(starts))]
    return pa.Table.from_arrays([c.cast(f.type) for c, f in zip(columns, BM25, strict=True)], schema=BM25), *(
        documents,
        scores,
    )


def write_arrays(path: Path, documents: np.ndarray, scores: np.ndarray) -> None:
    """Write the arrays beside the table of words at `path`, which comes last and carries the key."""
    for name, values in (("documents", documents), ("scores", scores)):
        write_atomic(_beside(path, name), partial(_save, values))


def _save(values: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def _load(path: Path) -> np.ndarray:
    with local_copy(path) as file:
        values: np.ndarray = np.load(file, mmap_mode="r")
    return values


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}.{name}.npy")


class BM25Index:
    """An index on disk, searched through a memory map that all workers share.

    Args:
        path: the table of words.
        source: its settings.
        documents: rows of the corpus.
    """

    def __init__(self, path: Path, source: SourceConfig, documents: int) -> None:
        import bm25s

        table = conform(read_table(path), BM25, f"index/bm25/{path.name}")
        self.words, self.documents = words_of(source), documents
        self.number = {word: place for place, word in enumerate(table.column("word").to_pylist())}
        arrays = {name: _load(_beside(path, name)) for name in ("documents", "scores")}
        starts = np.concatenate([[0], np.cumsum(table.column("documents").to_numpy())])
        self.model: Any = bm25s.BM25(k1=source.k1, b=source.b, method="lucene", backend="numpy")
        self.model.scores = {
            "data": arrays["scores"], "indices": arrays["documents"], "indptr": starts, "num_docs": documents,
        }  # fmt: skip
        self.model.nonoccurrence_array = None

    def search(self, texts: list[str], wanted: np.ndarray, masks: Iterable[np.ndarray] | None = None) -> Hits:
        """Return the best documents of each query, at most as many as wanted; ties by document row.

        A document that shares no word with the query is never found. A word that stands twice in a query counts twice.

        Args:
            texts: the queries.
            wanted: int64, shape (queries,).
            masks: for each query bool, shape (documents,): those that may be found; None for all of them.
        """
        given = itertools.repeat(None, len(texts)) if masks is None else masks
        parts = [self._best(text, int(k), mask) for text, k, mask in zip(texts, wanted, given, strict=True)]
        scores, rows = unpack(np.concatenate([np.zeros(0, dtype=np.uint64), *parts]))
        return Hits(Ragged.from_lengths(rows, np.array([len(part) for part in parts], dtype=np.int64)), scores)

    def _best(self, text: str, k: int, mask: np.ndarray | None) -> np.ndarray:
        ids = [self.number[word] for word in self.words(text) if word in self.number]
        if not ids:
            return np.zeros(0, dtype=np.uint64)
        scores = self.model.get_scores_from_ids(ids)
        rows = np.flatnonzero(scores > 0 if mask is None else (scores > 0) & mask)
        keys = pack(scores[rows], rows)
        if len(keys) > k:
            keys = np.partition(keys, k - 1)[:k]
        return np.sort(keys)
