"""ingest: the user's files become a canonical corpus, and queries with their judgements.

Documents whose text is the same become one row; their other ids are kept as aliases. What cannot take part
(empty texts, queries without a positive) is written to `left_out` with the reason, never dropped in silence.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.text_hashes import BUCKETS, TextHashes, hash_texts, same_text_key
from hnmine.config import Config
from hnmine.errors import HnmineError, InputError, Problems, few
from hnmine.readers.answers import RELEVANT, UNSURE, Answer
from hnmine.readers.collection import Collection, Entry, input_sources
from hnmine.readers.fields import check_fields
from hnmine.readers.qrels import Judgement
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick
from hnmine.runtime.threads import BackgroundWriter
from hnmine.stages.ingest.judgements import Feedback, Known, collect, contradictions
from hnmine.stages.ingest.shard_writer import Columns, ShardWriter
from hnmine.storage.keys import item_key
from hnmine.storage.paths import remove_tree
from hnmine.storage.schemas.ingest import ALIASES, CORPUS, LEFT_OUT, QUERIES, TERMS
from hnmine.storage.store import STARTED, read_json, write_json, write_table

COUNTS, TERMS_FILE = "counts.json", "terms.parquet"
_TABLES = {"corpus": CORPUS, "aliases": ALIASES, "queries": QUERIES}


@dataclass
class _Queries:
    """Queries by id, as they come in: positions into the lists."""

    row: dict[str, int] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    judged: list[dict[int, int]] = field(default_factory=list)


@dataclass
class _Ingest:
    """One run of the stage: what it has seen so far."""

    config: Config
    problems: Problems
    tick: Tick
    doc_row: dict[str, int] = field(default_factory=dict)
    empty_docs: set[str] = field(default_factory=set)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    feedback: Feedback = field(default_factory=Feedback)
    documents_with: np.ndarray = field(default_factory=lambda: np.zeros(BUCKETS, dtype=np.int64))

    def documents(self, entries: Iterable[Entry], corpus: ShardWriter, aliases: ShardWriter) -> None:
        """Write the corpus: one row a text; further ids of the same text become aliases."""
        by_text: dict[bytes, int] = {}
        texts: dict[str, bytes] = {}
        total = 0
        for total, entry in enumerate(entries, 1):
            self.tick(1)
            key = same_text_key(entry.text)
            if entry.id in texts:
                if texts[entry.id] != key:
                    self.problems.add(f"{entry.place}: document id {entry.id!r} a second time, with another text")
                continue
            texts[entry.id] = key
            if not entry.text:
                self.empty_docs.add(entry.id)
                self.left_out.append(("document", entry.id, "empty text"))
                continue
            if key in by_text:
                aliases.add((entry.id, by_text[key], total - 1))
            else:
                by_text[key] = len(by_text)
                corpus.add((entry.id, entry.text, total - 1))
            self.doc_row[entry.id] = by_text[key]
        self.counts |= {
            "documents_read": total,
            "documents": len(by_text),
            "empty_documents": len(self.empty_docs),
            "collapsed_copies": len(self.doc_row) - len(by_text),
        }
        if not by_text:
            self.problems.add("input: the corpus holds no document with text")

    def hashed(self, columns: Columns) -> dict[str, pa.Array]:
        """Return the keys and words of documents, and count the words, each once a document."""
        hashes = hash_texts(columns["text"])
        self.documents_with += np.bincount(hashes.terms, minlength=BUCKETS)
        return {"text_key": pa.array(hashes.keys), "terms": _terms(hashes)}

    def queries(self, entries: Iterable[Entry], found: _Queries) -> None:
        """Collect queries; empty ones are left out."""
        empty = total = 0
        for total, entry in enumerate(entries, 1):
            if entry.id in found.row:
                if found.texts[found.row[entry.id]] != entry.text:
                    self.problems.add(f"{entry.place}: query id {entry.id!r} a second time, with another text")
                continue
            if not entry.text:
                empty += 1
                self.left_out.append(("query", entry.id, "empty text"))
            found.row[entry.id] = len(found.texts)
            found.texts.append(entry.text)
            found.sources.append(total - 1)
            found.judged.append({})
        self.counts |= {"queries_read": total, "empty_queries": empty}

    def judgements(self, judgements: Iterable[Judgement], queries: _Queries) -> None:
        """Attach judgements to queries; of two for the same pair the higher relevance counts."""
        unreadable = bool(self.problems.messages)  # then an id that is not there proves nothing
        unknown: dict[str, list[str]] = {"query": [], "document": []}
        first: dict[str, Judgement] = {}
        total = skipped = 0
        for judged in judgements:
            total += 1
            query, doc = queries.row.get(judged.query_id), self.doc_row.get(judged.doc_id)
            skipped += query is None or (doc is None and judged.doc_id not in self.empty_docs)
            for kind, id_, row in (("query", judged.query_id, query), ("document", judged.doc_id, doc)):
                if row is None and not (kind == "document" and id_ in self.empty_docs):
                    unknown[kind].append(id_)
                    first.setdefault(kind, judged)
                    self.left_out.append(("qrel", f"{judged.query_id} {judged.doc_id}", f"unknown {kind}"))
            if query is not None and doc is not None:
                known = queries.judged[query]
                known[doc] = max(judged.relevance, known.get(doc, judged.relevance))
        self.counts |= {
            "judgements_read": total,
            "judgements_skipped": skipped,
        }
        if not total:
            split = self.config.input.split
            self.problems.add("input: no judgements to read" + (f" in split {split!r}" if split else ""))
        if self.config.input.unknown_ids == "error" and not unreadable:
            for kind, ids in unknown.items():
                if ids:
                    distinct = list(dict.fromkeys(ids))
                    self.problems.add(
                        f"{first[kind].place}: qrels name {len(distinct):,} {kind} ids that are not in the input "
                        f'({few(distinct)}); set input.unknown_ids = "skip" to leave these lines out'
                    )

    def answers(self, answers: Iterable[Answer], queries: _Queries) -> None:
        """Put judgements by file on top of the qrels."""
        given = self.config.input
        known = Known(queries.row, self.doc_row, self.empty_docs)
        found = self.feedback = collect(answers, known, given.unknown_ids, self.problems)
        qrels = dict(enumerate(queries.judged))
        for message in contradictions(found, qrels, given.relevant_from):
            self.problems.add(message)
        for row in found.said:
            found.merge(row, queries.judged[row], given.relevant_from, given.judged_positives)
        self.left_out.extend(("judgement", pair, reason) for pair, reason in found.skipped)
        self.counts |= found.counts if given.judgements else {}

    def write_queries(self, queries: _Queries, writer: ShardWriter) -> None:
        """Write the queries that have a text and a positive; the others are left out, and said so."""
        relevant = self.config.input.relevant_from
        hashes = hash_texts(queries.texts)
        keys, words = hashes.keys.tolist(), np.split(hashes.terms, np.cumsum(hashes.lengths)[:-1])
        positives = [sorted(d for d, level in judged.items() if level >= relevant) for judged in queries.judged]
        siblings: dict[int, set[int]] = {}
        extra = [self.feedback.rows(row, RELEVANT) - set(own) for row, own in enumerate(positives)]
        for key, rows, more in zip(keys, positives, extra, strict=True):
            siblings.setdefault(key, set()).update(rows, more)
        without = 0
        for id_, row in queries.row.items():
            rows, judged, text = positives[row], queries.judged[row], queries.texts[row]
            if not rows and text:
                without += 1
                self.left_out.append(("query", id_, "no positive"))
            if not rows or not text:
                continue
            negatives = sorted(judged.keys() - set(rows))
            others = sorted(siblings[keys[row]] - set(rows) - extra[row])
            places = (keys[row], queries.sources[row])
            levels, unsure = [judged[d] for d in rows], sorted(self.feedback.rows(row, UNSURE) - judged.keys())
            lists = (rows, levels, negatives, sorted(extra[row]), unsure, others)
            writer.add((id_, text, *places, *lists, words[row]))
        writer.close()
        self.counts |= {
            "queries": writer.written,
            "queries_without_positive": without,
            "positives": sum(map(len, positives)),
            "judged_negatives": sum(len(j) for j in queries.judged) - sum(map(len, positives)),
        }
        if not writer.written and not self.problems.messages:
            self.problems.add(f"input: no query has a text and a positive (relevance >= {relevant})")


def _parts(context: RunContext) -> dict[str, Any]:
    kept = context.config.input.semantic()
    sources = input_sources(context.config)
    digests = {role: [context.digests.of(file) for file in files] for role, files in sources.items()}
    return {"input": kept, "files": digests}


def _plan(context: RunContext, key: str) -> list[Item]:
    return [Item(context.folder("ingest") / "left_out.parquet", key=item_key(key, "left_out", 0, 0))]


def _setup(context: RunContext) -> RunContext:
    return context


def _process(context: RunContext, item: Item, tick: Tick) -> pa.Table:
    folder = item.output.parent
    try:
        return _ingest(context.config, folder, item.key, tick)
    except HnmineError:
        # nothing of a refused input is worth keeping, and a corrected one must not meet it
        remove_tree(folder, last=STARTED)
        raise


def _terms(hashes: TextHashes) -> pa.Array:
    return Ragged.from_lengths(hashes.terms, hashes.lengths).to_arrow(pa.int32())


def _ingest(config: Config, folder: Path, key: str, tick: Tick) -> pa.Table:
    for name in _TABLES:
        remove_tree(folder / name)
    work = _Ingest(config, Problems(), tick)
    with BackgroundWriter() as background:
        writers = {
            name: ShardWriter(folder / name, schema, config.shard_rows, partial(item_key, key), background)
            for name, schema in _TABLES.items()
        }
        writers["corpus"].derive(("text_key", "terms"), work.hashed)
        _read(work, writers)
        for writer in writers.values():
            writer.close()
    used = np.flatnonzero(work.documents_with)
    words = pa.Table.from_arrays([pa.array(used, pa.int32()), pa.array(work.documents_with[used])], schema=TERMS)
    write_table(words, folder / TERMS_FILE, item_key(key, "terms", 0, len(used)))
    write_json(work.counts, folder / COUNTS)
    columns = list(zip(*work.left_out, strict=True)) or [(), (), ()]
    return pa.Table.from_arrays([pa.array(c, pa.string()) for c in columns], schema=LEFT_OUT)


def _read(work: _Ingest, writers: dict[str, ShardWriter]) -> None:
    """Read all input and add its rows to the writers.

    Raises:
        InputError: naming all that is wrong with it.
    """
    config, problems = work.config, work.problems
    collection = Collection(config, problems)
    check_fields(config, problems)
    queries = _Queries()
    readers: tuple[Callable[[], None], ...] = (
        lambda: work.documents(collection.documents(), writers["corpus"], writers["aliases"]),
        lambda: work.queries(collection.queries(), queries),
        lambda: work.judgements(collection.judgements(), queries),
        lambda: work.answers(collection.answers(), queries),
    )
    for read in readers:
        try:
            read()
        except InputError as error:
            problems.add(str(error))
    problems.raise_if_any()
    work.write_queries(queries, writers["queries"])
    problems.raise_if_any()


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    counts: dict[str, Any] = read_json(context.folder("ingest") / COUNTS)
    return counts


STAGE = Stage(
    name="ingest",
    version=3,
    reads=(),
    parts=_parts,
    steps=(Step("read", "documents", _plan, _setup, _process),),
    finish=_finish,
)
