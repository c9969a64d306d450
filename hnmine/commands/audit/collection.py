"""The collection of mined files (--corpus, --queries, --qrels): texts of ids, judged pairs, random documents."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np

from hnmine.arrays.text_hashes import copy_key
from hnmine.commands.audit.mined import Mined, text_hashes
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, InputError, Problems, few
from hnmine.readers.collection import Collection
from hnmine.storage.input_files import QRELS_ENDINGS, TABLE_ENDINGS, find_sources

SAMPLE = 256
"""Random documents that the background is measured on."""
_ENDINGS = {"corpus": TABLE_ENDINGS, "queries": TABLE_ENDINGS, "qrels": QRELS_ENDINGS}


@dataclass
class CollectionFacts:
    """Facts about mined texts from their collection.

    Attributes:
        judged: copy keys of the (query, document) pairs that the qrels judge relevant, uint64; None without qrels.
        sample: random documents of the corpus, at most `SAMPLE`.
        counts: how many of the mined texts the collection has.
    """

    judged: tuple[np.ndarray, np.ndarray] | None = None
    sample: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def sample_of(texts: Sequence[str], hashes: np.ndarray, size: int = SAMPLE) -> list[str]:
    """Return the bottom-k sample of texts with the given copy keys (uint64, shape (texts,))."""
    first = np.unique(hashes, return_index=True)[1][: size + 1]  # one of them may be the empty text
    return [texts[place] for place in first if texts[place]][:size]


def _lowest(sample: dict[int, str]) -> dict[int, str]:
    """Return the `SAMPLE` texts with the lowest copy keys: a random sample that does not depend on their order."""
    return dict(sorted(sample.items())[:SAMPLE])


def open_collection(given: Mapping[str, Sequence[str] | None], base: Path, problems: Problems) -> Config | None:
    """Return a config that names the collection's files; None where none are given.

    Args:
        given: files by role: corpus, queries, qrels.
        base: folder that relative paths start at.
        problems: collects missing files.

    Raises:
        ConfigError: qrels without the texts of their ids.
    """
    named = {role: list(entries) for role, entries in given.items() if entries}
    if not named:
        return None
    if "qrels" in named and len(named) < 3:
        raise ConfigError("--qrels needs --corpus and --queries: they have the texts of its ids")
    for role, entries in named.items():
        try:
            find_sources(entries, base, f"--{role}", _ENDINGS[role])
        except InputError as error:
            problems.add(str(error))
    return Config.model_validate({"input": named}).at(base)


def known_queries(rows: Mined, config: Config) -> int:
    """Return how many of the rows' anchors are ids of the collection's queries."""
    ids = {name for some in Collection(config, Problems()).queries() for name in some.ids.to_pylist()}
    return sum(name in ids for name in rows.queries)


def look_up(rows: Mined, config: Config, ids: bool) -> tuple[Mined, CollectionFacts]:
    """Return the rows, with texts in place of their `ids`, and the facts of the collection that a config names.

    Raises:
        InputError: unreadable files, or ids that the collection does not have.
    """
    problems = Problems()
    try:
        found = _look_up(rows, Collection(config, problems), ids, problems)
        problems.raise_if_any()
    except InputError as error:
        text = re.sub(r"; set input\.columns\.\w+", "; rename the column", str(error))
        raise InputError(re.sub(r"\binput\.(corpus|queries|qrels)\b", r"--\1", text)) from None
    return found


def _look_up(rows: Mined, collection: Collection, ids: bool, problems: Problems) -> tuple[Mined, CollectionFacts]:
    facts, has_qrels = CollectionFacts(), "qrels" in collection.sources
    least = collection.config.relevant_from
    qrels = collection.qrels() if has_qrels else ()
    judged = [(entry.query_id, entry.doc_id) for entry in qrels if entry.relevance >= least]
    wanted_queries = {query for query, _ in judged} | (set(rows.queries) if ids else set())
    wanted_documents = {document for _, document in judged} | (set(rows.documents) if ids else set())
    asked = chain.from_iterable(some.pairs() for some in collection.queries())
    queries = {name: text for name, text in asked if name in wanted_queries}
    sample, documents, keys = dict[int, str](), dict[str, str](), dict[str, int]()
    mined, seen = set() if ids else set(rows.hashes[1].tolist()), set[int]()
    for name, text in chain.from_iterable(some.pairs() for some in collection.documents()):
        key = copy_key(text)
        if text:
            sample.setdefault(key, text)
        if len(sample) == 2 * SAMPLE:
            sample = _lowest(sample)
        if key in mined:
            seen.add(key)
        if name in wanted_documents:
            keys[name] = key
            if ids:
                documents[name] = text
    facts.sample = list(_lowest(sample).values())
    if ids:
        texts = _texts(rows.queries, queries, "query ids", "--queries", problems)
        rows = replace(
            rows, queries=texts, documents=_texts(rows.documents, documents, "document ids", "--corpus", problems)
        )
    else:
        facts.counts["documents_in_corpus"] = sum(key in seen for key in rows.hashes[1].tolist())
    if has_qrels:
        pairs = [(queries[q], keys[d]) for q, d in judged if q in queries and d in keys]
        facts.judged = text_hashes([query for query, _ in pairs]), np.array([key for _, key in pairs], dtype=np.uint64)
        facts.counts["queries_in_qrels"] = int(np.isin(rows.hashes[0], facts.judged[0]).sum())
    return rows, facts


def _texts(ids: list[str], known: dict[str, str], what: str, where: str, problems: Problems) -> list[str]:
    """Return the texts of ids; missing ones become a problem and an empty text."""
    missing = [name for name in ids if name not in known]
    if missing:
        problems.add(f"{len(missing):,} of {len(ids):,} {what} are not in {where} ({few(missing)})")
    return [known.get(name, "") for name in ids]
