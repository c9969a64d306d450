"""The workload of a run: sizes of its collection, counted or given, and the bytes on disk and in memory they imply."""

import json
import math
from typing import Any

import pyarrow.parquet as pq

from hnmine.commands.plan.cluster import CollectionTable
from hnmine.config.emit import FormatName
from hnmine.config.models import SparseConfig, TeacherTable
from hnmine.config.tables import Config
from hnmine.models.encoders import HASH_DIM
from hnmine.models.model_files import local_model
from hnmine.models.precomputed import vector_sources
from hnmine.models.served import estimated_tokens
from hnmine.models.vector_folders import source_teachers
from hnmine.readers.collection import input_sources
from hnmine.readers.json_rows import json_rows
from hnmine.readers.lines import read_lines
from hnmine.readers.tables import count_arrow_rows
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.formats import FULL_ONLY, OF_IDS, ending
from hnmine.stages.rescore.served import PAIRS
from hnmine.storage.input_files import Source
from hnmine.storage.store import recorded

STORED_TEXT, STORED_WORDS, STORED_REST = 0.37, 0.2, 0.08
"""Bytes on disk per byte of document text: the text itself, its hashed words, its ids and keys (all zstd). Measured on
BioASQ snippets, SciFact and Vaswani: 0.34 to 0.38, 0.17 to 0.26 and 0.01 to 0.09."""
STORED_INPUT = STORED_TEXT + STORED_WORDS + STORED_REST
WORDS_A_BYTE = 0.1
"""Distinct words per byte of text; 0.08 to 0.13 on the same collections."""
CANDIDATE_BYTES, CELL_BYTES, VERDICT_BYTES, PROBABILITY_BYTES = 14.0, 8.0, 0.25, 4.0
"""Bytes on disk: of a candidate, of each of its pairs with a positive, and, per anchor, of its verdict and of its
P(false negative). Measured on the synthetic collection of docs/benchmarks.md with 2.5 positives a query: 29 bytes a
candidate (this formula gives 34), 4.2 a verdict."""
SOURCE_BYTES, GUIDE_BYTES = 8.0, 4.0
"""Further bytes on disk of a candidate: per source, and for a guide."""
TERMS_A_WORD = 4.0
"""Terms that a sparse encoder gives a text, for each of its distinct words: assumed, as models differ. One that weighs
the words of the text alone has about 1; SPLADE adds others."""
SCORE_BYTES = 4.0
"""Bytes on disk of a score in rows of the format distillation."""
DICTIONARY_BYTES, PLACE_BYTES = 1e6, 2.0
"""Most bytes of the different texts that pyarrow stores once in a column, and bytes on disk of a place among them."""
JSON_BYTES = 24.0
"""What JSON lines add to a text: quotes, a comma, and its score as digits."""
UNKNOWN_DIM = 768
"""Dimension of a teacher's vectors where no file says it."""
PARQUET = (".parquet", ".pq")


def shard_count(rows: int, shard_rows: int) -> int:
    """Return the number of shards that hold some rows, at least 1."""
    return max(1, -(-rows // shard_rows))


def touched(groups: float, rows: float) -> float:
    """Return the expected number of `groups` that hold at least one of `rows` random rows: G (1 - (1 - 1/G)^r)."""
    return -groups * math.expm1(rows * math.log1p(-1 / groups)) if groups > 1 else min(1.0, rows)


class Workload:
    """A collection and the config of a run over it; sizes are in UTF-8 bytes (texts) or in bytes on disk or in memory.

    `documents`, `queries`, `positives`, `document_bytes`, `query_bytes` and `id_bytes` are as in `CollectionTable`;
    `dims` has the dimension of each teacher's vectors, `dim` that of the teacher of [embed].
    """

    def __init__(self, config: Config, sizes: CollectionTable, dims: dict[TeacherTable, int]) -> None:
        self.config, self.dims, self.dim = config, dims, dims["embed"]
        self.documents, self.queries, self.positives = sizes.documents, sizes.queries, sizes.positives
        self.document_bytes, self.query_bytes, self.id_bytes = sizes.document_bytes, sizes.query_bytes, sizes.id_bytes
        self.text_bytes = self.documents * self.document_bytes
        # whether shards are processed by several processes, a pool or a Ray cluster
        self.pooled = config.engine == "ray" or (config.engine != "inline" and config.workers > 1)
        self.corpus_shards = shard_count(self.documents, config.shard_rows)
        self.query_shards = shard_count(self.queries, config.shard_rows)
        # share of the queries that one shard holds
        self.query_share = min(1.0, config.shard_rows / max(1, self.queries))
        # most candidates that retrieve can find; with the positives, which are scored and stored like candidates
        self.candidates = self.queries * config.retrieve.max_candidates
        self.scored = self.queries * (config.retrieve.max_candidates + self.positives)
        # negatives emitted if none is missing: one list for each positive of each query
        self.negatives = self.queries * self.positives * config.emit.num_negatives
        # in memory: 4 bytes a hashed word and 8 a document; links of an HNSW graph
        self.held_terms = self.text_bytes * WORDS_A_BYTE * 4 + 8 * self.documents
        self.hnsw_links = 8.0 * config.index.hnsw_links * self.documents
        each = CANDIDATE_BYTES + CELL_BYTES * self.positives
        each += SOURCE_BYTES * len(config.retrieve.source) + GUIDE_BYTES * (config.guide is not None)
        # written by retrieve, and by filter: the candidates again, with a verdict for each anchor
        self.stored_candidates = self.scored * each
        anchors = self.positives if config.filter.anchor == "each" else 1.0
        verdict = VERDICT_BYTES + (PROBABILITY_BYTES if config.filter.gives_probabilities else 0.0)
        self.stored_verdicts = self.stored_candidates + self.scored * anchors * verdict
        self.emitted_bytes = sum(map(self._emitted, config.emit.formats))

    @classmethod
    def of(cls, config: Config, collection: CollectionTable) -> "Workload":
        """Return the workload of a collection that a cluster file describes.

        Raises:
            ModelError: the table gives no dimension, and a model's folder does not exist.
        """
        return cls(config, collection, {t: collection.dim or _dims(config, {})[t] for t in config.teachers})

    def _emitted(self, name: FormatName) -> float:
        """Return the bytes on disk of the training rows in one shape, if no negative is missing."""
        examples, wanted = self.queries * self.positives, self.config.emit.num_negatives
        texts, asked = self.negatives + examples, self.queries * self.query_bytes
        if name in OF_IDS:  # ids and scores, and each text once
            stored = min(self.documents, texts) * self.document_bytes + asked
            return self._column(texts, self.id_bytes) + SCORE_BYTES * texts + stored * STORED_TEXT
        if ending(name) == "jsonl":
            return texts * (self.document_bytes + JSON_BYTES) + examples * self.query_bytes
        columns = [examples] * (wanted + 1) if name in FULL_ONLY else [self.negatives, examples]
        return asked * STORED_TEXT + sum(self._column(rows, self.document_bytes) for rows in columns)

    def _column(self, rows: float, size: float) -> float:
        """Return the bytes on disk of a column of documents' texts or ids, of some bytes each.

        A shard's different ones are stored once each while they fit into a Parquet dictionary, else as often as they
        occur.
        """
        distinct = touched(self.documents, rows / self.query_shards)
        if distinct * size <= DICTIONARY_BYTES:
            return self.query_shards * distinct * size * STORED_TEXT + PLACE_BYTES * rows
        return rows * size * STORED_TEXT

    @property
    def rescored(self) -> float:
        """The largest number of candidates that the cross-encoder scores; 0 without [rescore]."""
        rescore, most = self.config.rescore, self.config.retrieve.max_candidates
        if rescore is None:
            return 0.0
        return self.queries * min(most, rescore.top_n if rescore.spend == "top" else rescore.pairs * self.positives)

    @property
    def summed(self) -> float:
        """The largest number of documents scored over a bank of queries, with `filter.score = "hub_normalised"`."""
        listed = self.queries * (self.config.retrieve.max_candidates + self.positives)
        return min(float(self.documents), listed + self.config.retrieve.background)

    def embedded(self, table: TeacherTable = "embed") -> int:
        """Return the largest number of documents that a teacher embeds."""
        return self.config.max_embedded(self.documents, self.queries) if table == "embed" else self.documents

    def requests(self, table: TeacherTable) -> tuple[int, int]:
        """Return about how many requests a served teacher gets, and how many tokens they hold."""
        teacher, requests, total = self.config.teachers[table], 0, 0.0
        sides = (
            (self.embedded(table), self.document_bytes, teacher.document_prompt),
            (self.queries, self.query_bytes, teacher.query_prompt),
        )
        for texts, size, prompt in sides:
            tokens = texts * estimated_tokens(size + len(prompt.encode()))
            requests += math.ceil(max(texts / teacher.request_texts, tokens / teacher.request_tokens))
            total += tokens
        return requests, round(total)

    def reranks(self) -> tuple[int, int]:
        """Return about how many requests a served cross-encoder gets, and how many tokens they hold; 0 without one.

        A request has one query; the random pairs of the background have one each.
        """
        rescore = self.config.rescore
        if rescore is None:
            return 0, 0
        each = self.rescored / max(1, self.queries) + self.positives
        query, document = estimated_tokens(self.query_bytes), estimated_tokens(self.document_bytes)
        requests = math.ceil(
            max(each / rescore.request_texts, each * document / max(1.0, rescore.request_tokens - query))
        )
        total = (self.queries * each + PAIRS) * document + (self.queries * requests + PAIRS) * query
        return self.queries * requests + PAIRS, round(total)

    def stored_vectors(self, table: TeacherTable = "embed") -> float:
        """Return the bytes on disk of a teacher's document vectors: 4 or 2 (float16) a number, and 8 a row."""
        number = 2 if self.config.teachers[table].dtype == "float16" else 4
        return float(self.embedded(table) * (number * self.dims[table] + 8))

    def held_vectors(self, table: TeacherTable = "embed") -> float:
        """Return the bytes in memory of a teacher's document vectors, which are float32 there whatever is stored."""
        return float(self.embedded(table) * 4 * self.dims[table])

    def sparse_terms(self, encoder: SparseConfig) -> float:
        """Return about how many terms a sparse encoder gives a document."""
        found = TERMS_A_WORD * WORDS_A_BYTE * self.document_bytes
        return found if encoder.max_active is None else min(found, float(encoder.max_active))


def counted_workload(context: RunContext) -> tuple[Workload, str]:
    """Return a run's workload and how it was counted: exactly where ingest and embed are done. Loads no model.

    Raises:
        InputError: input files are missing.
        ModelError: a model's folder does not exist.
    """
    sources = input_sources(context.config)
    ingest = (recorded(context.reading("ingest")) or {}).get("counts")
    embed = (recorded(context.reading("embed")) or {}).get("counts")
    if ingest:
        documents, queries, labels = ingest["documents"], ingest["queries"], ingest["positives"]
        counted = "by ingest"
    else:
        documents, queries, labels = (
            sum(_rows(source) for role in (name, "pairs") for source in sources.get(role, ()))
            for name in ("corpus", "queries", "qrels")
        )
        counted = "in the input's files, before copies are collapsed"
    text = {role: sum(map(_bytes, sources.get(role, ()))) for role in ("corpus", "queries", "pairs")}
    sizes = CollectionTable.model_construct(  # unchecked, as an input may be empty
        documents=documents,
        queries=queries,
        positives=max(1.0, labels / max(1, queries)),
        document_bytes=(text["corpus"] + text["pairs"]) / max(1, documents),
        query_bytes=(text["queries"] + text["pairs"]) / max(1, queries),
    )
    return Workload(context.config, sizes, _dims(context.config, embed or {})), counted


def _rows(source: Source) -> int:
    if source.ending in PARQUET:
        with source.open() as file:
            return int(pq.read_metadata(file).num_rows)
    if source.ending == ".arrow":
        return count_arrow_rows(source)
    if source.ending == ".json":
        return sum(1 for _ in json_rows(source)[1])
    return sum(1 for _, line in read_lines(source) if line.strip())


def _bytes(source: Source) -> int:
    """Return the size of a file; that of a Parquet file before compression."""
    if source.ending not in PARQUET:
        return int(source.system.size(source.path) or 0)
    with source.open() as file:
        metadata = pq.read_metadata(file)
    return sum(int(metadata.row_group(number).total_byte_size) for number in range(metadata.num_row_groups))


def _dims(config: Config, counts: dict[str, Any]) -> dict[TeacherTable, int]:
    """Return the dimension of each teacher's vectors; `counts` are those in the manifest of embed, or empty."""
    counted = {"embed": counts.get("dim"), "guide": counts.get("guide_dim")}
    for table, label in source_teachers(config).items():
        counted[table] = counts.get("source_dims", {}).get(label)
    return {table: counted[table] or _dim(config, table) for table in config.teachers}


def _dim(config: Config, table: TeacherTable) -> int:
    """Return the dimension of a teacher's vectors as far as files say it; `UNKNOWN_DIM` where they do not."""
    teacher = config.teachers[table]
    if teacher.model == "hash":
        return HASH_DIM
    if teacher.model == "precomputed":
        source = vector_sources(config, table)["queries"][0]
        if source.ending not in PARQUET:
            return UNKNOWN_DIM
        with source.open() as file:
            sizes = [field.type.list_size for field in pq.read_schema(file) if hasattr(field.type, "list_size")]
        return int(sizes[0]) if sizes else UNKNOWN_DIM
    folder = local_model(teacher, table) if teacher.loads_model else None
    for name in ("config.json", "0_Transformer/config.json"):
        if folder is not None and (folder / name).exists():
            return int(json.loads((folder / name).read_text()).get("hidden_size", UNKNOWN_DIM))
    return UNKNOWN_DIM
