"""Canonical rows: documents with one row a text, and queries with positives, negatives and siblings by row."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged, single_array
from hnmine.arrays.text_hashes import BUCKETS, TextHashes, hash_texts, same_text_key
from hnmine.config.tables import Config
from hnmine.display import with_image_label, without_image_label
from hnmine.errors import InputError, Problems, few
from hnmine.readers.collection import Collection, Entries
from hnmine.readers.images import EncodedImage
from hnmine.readers.judgements import RELEVANT, UNSURE, FileJudgement, Qrel
from hnmine.readers.metadata import check_fields
from hnmine.runtime.stage import Tick
from hnmine.runtime.threads import in_threads
from hnmine.runtime.worker_slot import thread_count
from hnmine.stages.ingest.evaluation import EvaluationSet
from hnmine.stages.ingest.judgements import NO_ROW, FileJudgements, InputIds
from hnmine.stages.ingest.labels import list_rows, sibling_rows, sort_labels, without
from hnmine.stages.ingest.shard_writer import ShardWriter


@dataclass
class CanonicalInput:
    """Reads the input once and writes its canonical tables; keeps ids, labels and counts in memory, no document texts.

    Attributes:
        config: the whole config.
        problems: collects what is wrong with the input.
        tick: counts documents read.
        left_out: (kind, id, reason) of everything that was left out.
        counts: counts for the manifest.
        documents_with: int64, shape (BUCKETS,): documents that hold each hashed word.
        evaluation: the evaluation set; empty without one.
    """

    config: Config
    problems: Problems
    tick: Tick
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    documents_with: np.ndarray = field(default_factory=lambda: np.zeros(BUCKETS, dtype=np.int64))
    evaluation: EvaluationSet = field(default_factory=EvaluationSet)
    _ids: InputIds = field(default_factory=InputIds)
    # keys of the images of documents that are not written yet, by document id
    _image_keys: dict[str, int] = field(default_factory=dict)
    # text keys of the documents of each shard, where there is an evaluation set
    _document_keys: list[np.ndarray] = field(default_factory=list)
    # the queries in input order, empty ones too: text, position in the input, relevance by document row
    _query_texts: list[str] = field(default_factory=list)
    # the key of each query's image, None for one without; empty where queries are texts
    _query_image_keys: list[int | None] = field(default_factory=list)
    _query_sources: list[int] = field(default_factory=list)
    _qrels: list[dict[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._judged = FileJudgements(self.config.input, self._ids)

    def write(
        self,
        corpus: ShardWriter,
        aliases: ShardWriter,
        queries: ShardWriter,
        images: ShardWriter | None = None,
        query_images: ShardWriter | None = None,
    ) -> None:
        """Read all input and add its rows to the writers; `images` is needed where documents may be images.

        `query_images` likewise for queries; its rows are those of the input's queries.

        Raises:
            InputError: names everything that is wrong with the input.
        """
        collection = Collection(self.config, self.problems)
        check_fields(self.config, self.problems)
        readers: tuple[Callable[[], None], ...] = (
            lambda: self._write_documents(collection.documents(), corpus, aliases, images),
            lambda: self._read_queries(collection.queries(), query_images),
            lambda: self._read_qrels(collection.qrels()),
            lambda: self._read_file_judgements(collection.file_judgements()),
        )
        for read in readers:
            try:
                read()
            except InputError as error:
                self.problems.add(str(error))
        hashes = self._hash_queries()
        if self.config.input.has_evaluation:
            corpus.finish()
            self._read_evaluation(collection.evaluation(), hashes.keys)
        self.problems.raise_if_any()
        self._write_queries(queries, hashes)
        self.problems.raise_if_any()

    def keys_and_terms(self, documents: pa.Table) -> dict[str, pa.Array]:
        """Return the text keys and terms of documents, and add their terms to `documents_with`."""
        texts = single_array(documents.column("text"))
        image_keys: list[int | None] = []
        if self.config.input.has_images:
            image_keys = [self._image_keys.pop(id_, None) for id_ in documents.column("doc_id").to_pylist()]
            pairs = zip(texts.to_pylist(), image_keys, strict=True)
            texts = pa.array((text if key is None else without_image_label(text) for text, key in pairs), pa.string())
        size = max(1, -(-len(texts) // thread_count()))
        parts = in_threads(hash_texts, [texts[first : first + size] for first in range(0, max(1, len(texts)), size)])
        hashes = TextHashes(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        self.documents_with += np.bincount(hashes.terms, minlength=BUCKETS)
        keys = hashes.keys
        for row, key in enumerate(image_keys):
            keys[row] = keys[row] if key is None else key
        if self.config.input.has_evaluation:
            self._document_keys.append(keys)
        terms = Ragged.from_lengths(hashes.terms, hashes.lengths).to_arrow(pa.int32())
        return {"text_key": pa.array(keys), "terms": terms}

    def _write_documents(
        self, blocks: Iterable[Entries], corpus: ShardWriter, aliases: ShardWriter, images: ShardWriter | None
    ) -> None:
        by_text = {b"": NO_ROW}
        documents, total, empty, copies = self._ids.documents, 0, 0, 0
        for block in blocks:
            self.tick(len(block.ids))
            before, known = len(by_text) - 1, len(documents)
            keys = _content_keys(block)
            rows = [by_text.setdefault(key, len(by_text) - 1) for key in keys]
            ids = block.ids.to_pylist()
            first_rows = [documents.setdefault(id_, row) for id_, row in zip(ids, rows, strict=True)]
            found = np.array(rows, dtype=np.int64)
            again = np.zeros(len(rows), dtype=bool)
            if len(documents) < known + len(rows):
                again = self._find_repeated(block, known, found, np.array(first_rows))
            new = np.diff(np.maximum.accumulate([before - 1, *rows])) > 0
            sources = total + np.arange(len(rows))
            texts = block.texts
            if images is not None:
                texts = self._add_images(block, keys, new, images)
            corpus.add(*(column.filter(pa.array(new)) for column in (block.ids, texts, pa.array(sources))))
            copied = ~new & ~again & (found != NO_ROW)
            if copied.any():
                aliases.add(*(c.filter(pa.array(copied)) for c in (block.ids, pa.array(found), pa.array(sources))))
            without = np.flatnonzero((found == NO_ROW) & ~again).tolist()
            reason = "empty text" if images is None else "neither image nor text"
            self.left_out.extend(("document", ids[index], reason) for index in without)
            total, empty, copies = total + len(rows), empty + len(without), copies + int(copied.sum())
        self.counts |= {
            "documents_read": total,
            "documents": len(by_text) - 1,
            "empty_documents": empty,
            "collapsed_copies": copies,
        }
        if len(by_text) == 1:
            self.problems.add(
                f"input: the corpus holds no document with {'text' if images is None else 'an image or text'}"
            )

    def _add_images(self, block: Entries, keys: list[bytes], new: np.ndarray, writer: ShardWriter) -> pa.Array:
        """Add the images of new documents to the writer; return the texts of all documents, each after its image."""
        found, ids = block.images or [], block.ids.to_pylist()
        _write_images([image for image, is_new in zip(found, new, strict=True) if is_new], writer)
        of_images = [index for index in np.flatnonzero(new).tolist() if found[index] is not None]
        self._image_keys |= {ids[index]: _number(keys[index]) for index in of_images}
        self.counts["images"] = self.counts.get("images", 0) + len(of_images)
        return _labelled(block)

    def _find_repeated(self, block: Entries, known: int, rows: np.ndarray, first_rows: np.ndarray) -> np.ndarray:
        """Return whether each document's id was there before, bool; one with another text is a problem.

        `rows` are those of the documents' texts, `first_rows` those that their ids had first; before the block there
        were `known` ids.
        """
        first = set(islice(reversed(self._ids.documents), len(self._ids.documents) - known))
        again = np.zeros(len(rows), dtype=bool)
        what = "text" if block.images is None else "image or text"
        for index, id_ in enumerate(block.ids.to_pylist()):
            again[index] = id_ not in first
            first.discard(id_)
        for index in np.flatnonzero(rows != first_rows).tolist():
            where, id_ = block.location(index), block.ids[index].as_py()
            self.problems.add(f"{where}: document id {id_!r} a second time, with another {what}")
        return again

    def _hash_queries(self) -> TextHashes:
        """Return the hashes of the queries' texts; the keys of images are those of their content."""
        keys = self._query_image_keys
        if not keys:
            return hash_texts(self._query_texts)
        pairs = zip(self._query_texts, keys, strict=True)
        found = hash_texts([text if key is None else without_image_label(text) for text, key in pairs])
        own = [text_key if key is None else key for text_key, key in zip(found.keys.tolist(), keys, strict=True)]
        return found._replace(keys=np.array(own, dtype=np.uint64))

    def _read_queries(self, blocks: Iterable[Entries], images: ShardWriter | None) -> None:
        empty = total = 0
        for block in blocks:
            keys = _content_keys(block) if images is not None else []
            if images is not None:
                block = block._replace(texts=_add_all_images(block, images))
            for index, (id_, text) in enumerate(block.pairs()):
                total += 1
                image_key = _number(keys[index]) if block.images and block.images[index] else None
                row = self._ids.queries.setdefault(id_, len(self._query_texts))
                if row < len(self._query_texts):
                    known = self._query_image_keys[row] if images is not None else None
                    if (self._query_texts[row], known) != (text, image_key):
                        self.problems.add(f"{block.location(index)}: query id {id_!r} a second time, with another text")
                    continue
                if not text:
                    empty += 1
                    self.left_out.append(("query", id_, "empty text"))
                self._query_texts.append(text)
                if images is not None:
                    self._query_image_keys.append(image_key)
                self._query_sources.append(total - 1)
                self._qrels.append({})
        self.counts |= {"queries_read": total, "empty_queries": empty}
        if images is not None:
            pairs = zip(self._query_texts, self._query_image_keys, strict=True)
            self.counts["query_images"] = sum(key is not None for key in self._query_image_keys)
            self.counts["query_texts"] = sum(bool(text) and key is None for text, key in pairs)

    def _read_qrels(self, judgements: Iterable[Qrel]) -> None:
        """Attach qrels to queries; of two judgements of a pair the higher relevance counts."""
        unreadable = bool(self.problems.messages)  # then an unknown id may be a consequence
        ids, unknown = self._ids, {"query": list[str](), "document": list[str]()}
        first: dict[str, Qrel] = {}
        total = skipped = 0
        for judged in judgements:
            total += 1
            query, document = ids.queries.get(judged.query_id), ids.documents.get(judged.doc_id)
            if query is None or document is None:
                skipped += 1
                for kind, id_ in ids.unknown(judged.query_id, judged.doc_id).items():
                    unknown[kind].append(id_)
                    first.setdefault(kind, judged)
                    self.left_out.append(("qrel", f"{judged.query_id} {judged.doc_id}", f"unknown {kind}"))
            elif document != NO_ROW:
                own = self._qrels[query]
                own[document] = max(judged.relevance, own.get(document, judged.relevance))
        self.counts |= {"judgements_read": total, "judgements_skipped": skipped}
        if not total:
            split = self.config.input.split
            self.problems.add("input: no judgements to read" + (f" in split {split!r}" if split else ""))
        if self.config.input.unknown_ids == "error" and not unreadable:
            for kind in [kind for kind in unknown if kind in first]:
                distinct = list(dict.fromkeys(unknown[kind]))
                self.problems.add(
                    f"{first[kind].location}: qrels name {len(distinct):,} {kind} ids that are not in the input "
                    f'({few(distinct)}); set input.unknown_ids = "skip" to leave these lines out'
                )

    def _read_file_judgements(self, answers: Iterable[FileJudgement]) -> None:
        """Apply the judgement files to the qrels."""
        found = self._judged
        readable = not self.problems.messages
        for answer in answers:
            found.add(answer, self.problems, check_ids=readable)
        found.apply(self._qrels, self.problems)
        self.left_out.extend(("judgement", pair, reason) for pair, reason in found.skipped)
        if self.config.input.judgements:
            self.counts |= {f"file_judgements_{name or 'empty'}": count for name, count in found.counts.items()}
            self.counts["file_judgements_skipped"] = len(found.skipped)

    def _read_evaluation(self, judged: Iterable[Qrel], query_keys: np.ndarray) -> None:
        """Find the rows of the evaluation set; `query_keys` are the text keys of the queries."""
        given = self.config.input
        keys = query_keys, np.concatenate([np.zeros(0, dtype=np.uint64), *self._document_keys])
        strict = given.unknown_ids == "error" and not self.problems.messages
        try:
            found = EvaluationSet.read(judged, self._ids, keys, given.relevant_from, self.problems if strict else None)
        except InputError as error:
            self.problems.add(str(error))
            return
        if not found.judgements:
            split = f" in split {given.eval_split!r}" if given.eval_split else ""
            self.problems.add(f"input: the evaluation set has no judgements to read{split}")
        self.evaluation = found
        self.counts |= {
            "eval_queries": len(found.queries),
            "eval_queries_unknown": len(found.unknown),
            "eval_documents": len(found.documents),
        }

    def _leave_out_evaluation(self, labelled: Ragged) -> Ragged:
        """Return each query's positives without the evaluation set; count what would have got into training rows."""
        if not self.config.input.has_evaluation:
            return labelled
        positives = [own.tolist() for own in np.split(labelled.values, labelled.offsets[1:-1])]
        documents = set(self.evaluation.documents.tolist())
        names = {row: id_ for id_, row in reversed(self._ids.documents.items()) if row in documents}
        queries = taken = emptied = 0
        for id_, row in self._ids.queries.items():
            if not positives[row] or not self._query_texts[row]:
                continue
            if row in self.evaluation.queries:
                queries += 1
                positives[row] = []
                self.left_out.append(("query", id_, "in the evaluation set"))
                continue
            of_set = [document for document in positives[row] if document in documents]
            taken += len(of_set)
            positives[row] = [document for document in positives[row] if document not in documents]
            pairs = (f"{id_} {names[document]}" for document in of_set)
            self.left_out.extend(("positive", pair, "in the evaluation set") for pair in pairs)
            if not positives[row]:
                emptied += 1
                self.left_out.append(("query", id_, "all positives in the evaluation set"))
        self.counts |= {
            "eval_queries_left_out": queries,
            "eval_positives_left_out": taken,
            "eval_queries_without_positive": emptied,
        }
        return list_rows(positives)

    def _write_queries(self, writer: ShardWriter, hashes: TextHashes) -> None:
        """Write the queries that have a text and a positive, given the hashes of all texts of queries."""
        least, count = self.config.input.relevant_from, len(self._qrels)
        judged, levels = sort_labels(self._qrels)
        labelled, negatives = judged.filter(levels >= least), judged.filter(levels < least)
        positives = self._leave_out_evaluation(labelled)
        relevance = positives.with_values(levels[judged.find(positives.owners, positives.values)[0]])
        extra = without(self._judged.lists(RELEVANT, count), positives)
        unsure = without(self._judged.lists(UNSURE, count), judged)
        siblings = sibling_rows(hashes.keys, positives.append(extra))
        ids, filled = list(self._ids.queries), np.array([bool(text) for text in self._query_texts], dtype=bool)
        named = {id_ for kind, id_, _ in self.left_out if kind == "query"}
        lacking = [ids[row] for row in np.flatnonzero(filled & (positives.lengths == 0)).tolist()]
        lacking = [id_ for id_ in lacking if id_ not in named]
        self.left_out.extend(("query", id_, "no positive") for id_ in lacking)
        kept = np.flatnonzero(filled & (positives.lengths > 0))
        texts = [pa.array(own, pa.string()).take(pa.array(kept)) for own in (ids, self._query_texts)]
        numbers = [pa.array(own[kept]) for own in (hashes.keys, np.array(self._query_sources, dtype=np.int64))]
        terms = Ragged.from_lengths(hashes.terms, hashes.lengths)
        lists = (positives, relevance, negatives, extra, unsure, siblings, terms)
        kinds = (field.type.value_type for field in writer.schema if pa.types.is_list(field.type))
        writer.add(*texts, *numbers, *(own.take(kept).to_arrow(kind) for own, kind in zip(lists, kinds, strict=True)))
        writer.close()
        self.counts |= {
            "queries": writer.written,
            "queries_without_positive": len(lacking),
            "positives": len(positives.values),
            "judged_negatives": len(negatives.values),
        }
        if not writer.written and not self.problems.messages:
            has_labels = self.config.input.has_evaluation and len(labelled.values)
            outside = " that is outside the evaluation set" if has_labels else ""
            self.problems.add(f"input: no query has a text and a positive (relevance >= {least}){outside}")


def _content_keys(block: Entries) -> list[bytes]:
    """Return what documents have in common that count as one, b"" for those without content.

    That is their image where they have one, else their text.
    """
    keys = [same_text_key(text) if text else b"" for text in block.texts.to_pylist()]
    for row, image in enumerate(block.images or ()):
        if image is not None:
            keys[row] = blake2b(image.content, digest_size=16).digest()
    return keys


def _number(key: bytes) -> int:
    """Return a content key as a text key."""
    return int.from_bytes(key[:8], "little")


def _add_all_images(block: Entries, writer: ShardWriter) -> pa.Array:
    """Add the images of all queries to the writer, nulls for those without; return the texts, each after its image."""
    _write_images(block.images or [], writer)
    return _labelled(block)


def _write_images(images: Sequence[EncodedImage | None], writer: ShardWriter) -> None:
    kept = [image or (None,) * len(writer.schema) for image in images]
    columns = zip(*kept, strict=True) if kept else ((),) * len(writer.schema)
    writer.add(*(pa.array(column, one.type) for column, one in zip(columns, writer.schema, strict=True)))


def _labelled(block: Entries) -> pa.Array:
    """Return the texts of entries, each after its image, if it has one."""
    pairs = zip(block.texts.to_pylist(), block.images or (), strict=True)
    texts = (with_image_label(text, image.width, image.height) if image else text for text, image in pairs)
    return pa.array(texts, pa.string())
