"""The collection beside mined files, where there is one: judged pairs, texts of ids, random documents."""

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.arrays.text_hashes import copy_key
from hnmine.commands.audit.mined import Mined, text_hashes
from hnmine.config import Config
from hnmine.errors import ConfigError, InputError, Problems, few
from hnmine.readers.collection import Collection
from hnmine.storage.input_files import QRELS_ENDINGS, TABLE_ENDINGS, find_sources

SAMPLE = 256
_ENDINGS = {"corpus": TABLE_ENDINGS, "queries": TABLE_ENDINGS, "qrels": QRELS_ENDINGS}


@dataclass
class Side:
    """What a collection says about mined texts.

    Attributes:
        judged: copy keys of (query, document) pairs that qrels judge relevant, uint64; None without qrels.
        sample: random documents of the corpus, at most `SAMPLE`.
        counts: how much of the mined set the collection knows.
    """

    judged: tuple[np.ndarray, np.ndarray] | None = None
    sample: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class Bottom:
    """Keeps the distinct texts of the lowest copy keys: a random sample that no order of the texts changes."""

    def __init__(self, size: int = SAMPLE) -> None:
        self.size = size
        self._heap: list[tuple[int, str]] = []
        self._keys: set[int] = set()

    def add(self, key: int, text: str) -> None:
        """Offer one text."""
        if not text or key in self._keys or (len(self._heap) == self.size and -key <= self._heap[0][0]):
            return
        self._keys.add(key)
        if len(self._heap) < self.size:
            heapq.heappush(self._heap, (-key, text))
        else:
            self._keys.remove(-heapq.heapreplace(self._heap, (-key, text))[0])

    def texts(self) -> list[str]:
        """Return the texts kept, the lowest key first."""
        return [text for _, text in sorted(self._heap, reverse=True)]


def sample_of(texts: Sequence[str], hashes: np.ndarray, size: int = SAMPLE) -> list[str]:
    """Return the distinct texts of the lowest copy keys (uint64, one a text), the lowest first."""
    kept = Bottom(size)
    for place in np.argsort(hashes, kind="stable")[: 4 * size]:
        kept.add(int(hashes[place]), texts[place])
    return kept.texts()


def open_collection(given: dict[str, Sequence[str] | None], base: Path, problems: Problems) -> Config | None:
    """Return a config that names the collection's files; None where none are given.

    Args:
        given: files by role: corpus, queries, qrels.
        base: folder that relative paths start at.
        problems: collects files that are not there.

    Raises:
        ConfigError: qrels without the texts that their ids stand for.
    """
    named = {role: list(entries) for role, entries in given.items() if entries}
    if not named:
        return None
    if "qrels" in named and len(named) < 3:
        raise ConfigError("--qrels needs --corpus and --queries: they say which texts its ids stand for")
    for role, entries in named.items():
        try:
            find_sources(entries, base, f"--{role}", _ENDINGS[role])
        except InputError as error:
            problems.add(str(error))
    return Config.model_validate({"input": named}).at(base)


def known_queries(rows: Mined, config: Config) -> int:
    """Return how many of the rows' anchors are ids of the collection's queries."""
    ids = {entry.id for entry in Collection(config, Problems()).queries()}
    return sum(name in ids for name in rows.queries)


def look_up(rows: Mined, config: Config, ids: bool) -> tuple[Mined, Side]:
    """Return the rows, texts in place of ids where they hold ids, and what the collection says about them.

    Raises:
        InputError: unreadable files, or ids that the collection does not know.
    """
    problems = Problems()
    try:
        collection = Collection(config, problems)
        found = _look_up(rows, collection, ids, problems)
        problems.raise_if_any()
    except InputError as error:
        text = re.sub(r"; set input\.columns\.\w+", "; rename the column", str(error))
        raise InputError(re.sub(r"\binput\.(corpus|queries|qrels)\b", r"--\1", text)) from None
    return found


def _look_up(rows: Mined, collection: Collection, ids: bool, problems: Problems) -> tuple[Mined, Side]:
    asked, judged = _judged(collection)
    wanted_queries = set(asked) | (set(rows.queries) if ids else set())
    wanted_documents = set(judged) | (set(rows.documents) if ids else set())
    queries = {e.id: e.text for e in collection.queries() if e.id in wanted_queries}
    sample, texts, seen = Bottom(), {}, _Seen(rows, ids)
    for entry in collection.documents():
        key = copy_key(entry.text)
        sample.add(key, entry.text)
        seen.add(key)
        if entry.id in wanted_documents:
            texts[entry.id] = entry.text if ids else key
    side = Side(sample=sample.texts())
    if ids:
        rows = replace(
            rows, queries=_texts(rows.queries, queries, "query ids", "--queries", problems),
            documents=_texts(rows.documents, texts, "document ids", "--corpus", problems),
        )  # fmt: skip
    else:
        side.counts["documents_in_corpus"] = seen.count()
    if "qrels" in collection.sources:
        side.judged = _keys_of(asked, judged, queries, texts)
        known = np.isin(rows.hashes[0], side.judged[0])
        side.counts["queries_in_qrels"] = int(known.sum())
    return rows, side


def _judged(collection: Collection) -> tuple[list[str], list[str]]:
    asked, judged = [], []
    if "qrels" in collection.sources:
        for entry in collection.qrels():
            if entry.relevance >= collection.config.relevant_from:
                asked.append(entry.query_id)
                judged.append(entry.doc_id)
    return asked, judged


def _keys_of(
    asked: list[str], judged: list[str], queries: dict[str, str], texts: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return judged pairs as copy keys; pairs of ids without a text are left out."""
    pairs = [(q, d) for q, d in zip(asked, judged, strict=True) if q in queries and d in texts]
    documents = [texts[d] for _, d in pairs]
    keys = [copy_key(text) if isinstance(text, str) else text for text in documents]
    return text_hashes([queries[q] for q, _ in pairs]), np.array(keys, dtype=np.uint64)


def _texts(ids: list[str], known: dict[str, Any], what: str, where: str, problems: Problems) -> list[str]:
    missing = [name for name in ids if name not in known]
    if missing:
        problems.add(f"{len(missing):,} of {len(ids):,} {what} are not in {where} ({few(missing)})")
    return [known.get(name, "") for name in ids]


class _Seen:
    """Counts the mined documents that a corpus holds, whatever the size of the corpus."""

    def __init__(self, rows: Mined, ids: bool) -> None:
        self.wanted = set() if ids else set(rows.hashes[1].tolist())
        self.documents = rows.hashes[1] if not ids else np.zeros(0, dtype=np.uint64)
        self.found: set[int] = set()

    def add(self, key: int) -> None:
        if key in self.wanted:
            self.found.add(key)

    def count(self) -> int:
        return int(np.isin(self.documents, np.array(sorted(self.found), dtype=np.uint64)).sum())
