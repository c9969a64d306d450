"""BM25: words of texts, the index on disk, and its search."""

import importlib.util
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.config.retrieve import SourceConfig
from hnmine.errors import MissingExtra
from hnmine.search.candidate_pool import Hits
from hnmine.search.postings import Postings, Query, postings_file
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.index import BM25
from hnmine.storage.store import read_table, write_npy

_WORD = re.compile(r"\b\w\w+\b")


def stems(source: SourceConfig) -> bool:
    """Return whether a source reduces words to their stems.

    Raises:
        MissingExtra: the config asks for stems, and PyStemmer is not installed.
    """
    installed = importlib.util.find_spec("Stemmer") is not None
    if source.stem and not installed:
        raise MissingExtra(
            f"retrieve.source {source.label!r}: stem = true needs PyStemmer: pip install 'hnmine[stemming]'; "
            "or leave stem out"
        )
    return source.language != "none" and (installed if source.stem is None else source.stem)


def words_of(source: SourceConfig) -> Callable[[str], list[str]]:
    """Return the function from a text to its words: lower case, two or more characters, without stop words."""
    stop: frozenset[str] = frozenset()
    if source.language != "none":
        import bm25s.stopwords

        name = "EN" if source.language == "english" else source.language.upper()
        stop = frozenset(getattr(bm25s.stopwords, f"STOPWORDS_{name}"))
    if not stems(source):
        return partial(_split, stop)
    import Stemmer

    stem = Stemmer.Stemmer(source.language).stemWords
    return lambda text: list(stem(_split(stop, text)))


def _split(stop: frozenset[str], text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in stop]


def build_index(texts: Iterable[list[str]], source: SourceConfig, path: Path, tick: Callable[[int], None]) -> pa.Table:
    """Return the index' table of words (`schemas.BM25`), and write its arrays beside `path`, where the table belongs.

    The arrays are, word by word, the documents with the word (int32, ascending) and its score in each (float32).
    A document's score for a query is the sum of its scores over the query's words:
    ln(1 + (N - n + 0.5) / (n + 0.5)) * tf / (tf + k1 (1 - b + b length / mean length)), "lucene" of bm25s.

    `texts` are those of the corpus, some documents at a time. The table is written last and has the key.
    """
    words, number, ids = words_of(source), dict[str, int](), list[list[int]]()
    for part in texts:
        tick(len(part))
        ids.extend([number.setdefault(word, len(number)) for word in words(text)] for text in part)
    documents, scores = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
    starts = np.zeros(1, dtype=np.int64)
    if number:
        import bm25s

        model = bm25s.BM25(k1=source.k1, b=source.b, method="lucene", backend="numpy", csc_backend="numpy")
        found = model.build_index_from_ids(list(range(len(number))), ids, show_progress=False)
        documents, scores, starts = found["indices"].astype(np.int32), found["data"], found["indptr"]
    write_npy(postings_file(path, "documents"), documents)
    write_npy(postings_file(path, "scores"), scores)
    columns = (list(number), starts[:-1], np.diff(starts))
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, BM25, strict=True)], schema=BM25)


class BM25Index:
    """An index on disk (`path`: its table of words), searched through a memory map that all workers share."""

    def __init__(self, path: Path, source: SourceConfig, documents: int) -> None:
        table = conform(read_table(path), BM25, f"index/bm25/{path.name}")
        self.words, self.documents = words_of(source), documents
        self.number = {word: place for place, word in enumerate(table.column("word").to_pylist())}
        self.postings = Postings(path, table.column("documents").to_numpy(), documents)

    def search(self, texts: list[str], wanted: np.ndarray, masks: Iterable[np.ndarray] | None = None) -> Hits:
        """Return the best documents of each query, ties by document row.

        Documents that share no word with the query are not found. A word that a query has twice counts twice. `wanted`
        is the most documents of each query (int64), `masks` which of them it may find (bool); None for all of them.
        """
        return self.postings.search(map(self._query, texts), wanted, masks)

    def _query(self, text: str) -> Query:
        known = [self.number[word] for word in self.words(text) if word in self.number]
        return np.array(known, dtype=np.int64), np.ones(len(known), dtype=np.float32)
