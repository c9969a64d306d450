"""Sources of candidates: builds their files, opens them, and pools their hits for some queries."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import pack
from hnmine.config.models import TeacherTable
from hnmine.config.retrieve import SourceConfig
from hnmine.config.tables import Config
from hnmine.display import without_image_label
from hnmine.models.vector_folders import source_teachers, vector_folder
from hnmine.runtime.stage import Item, RunContext, Tick
from hnmine.search.bm25 import BM25Index, build_index, stems
from hnmine.search.candidate_pool import CandidateLimits, CandidatePool, Hits, pool
from hnmine.search.dense_search import DenseSearch, StoredKeys
from hnmine.search.imported_run import ImportedRun, import_run, run_files
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.search.pair_scores import pair_scores
from hnmine.search.sparse_source import FOLDER, SparseSource, build_sparse_index, encoder_parts
from hnmine.storage.schemas.ingest import CORPUS
from hnmine.storage.schemas.retrieve import SOURCES
from hnmine.storage.store import Shards, item_key, write_table
from hnmine.storage.vectors import VectorStore


def source_key_parts(context: RunContext) -> dict[str, Any]:
    """Return what determines what sources store, for the stage's key; nothing where none stores anything.

    Raises:
        InputError: a run's file is missing.
        ModelError: the model of a sparse source cannot be found.
        MissingExtra: stems are asked for, and PyStemmer is not installed.
    """
    found: dict[str, Any] = {}
    for number, source in enumerate(context.config.retrieve.source):
        if source.kind == "sparse":
            found[source.label] = {"kind": "sparse", **encoder_parts(context, number)}
        if source.kind == "bm25":
            part = {key: value for key, value in source.part().items() if key != "top_k"}
            found[source.label] = part | {"stem": stems(source)}
        if source.kind == "run":
            files = [context.digests.of(file) for file in run_files(source, context.config.base)]
            found[source.label] = {"kind": "run", "files": files, "unknown_ids": context.config.input.unknown_ids}
    return {"sources": found} if found else {}


def source_stage(config: Config) -> str:
    """Return the stage that builds the sources: index, or embed where they decide which documents are embedded."""
    return "embed" if config.embeds_candidates_only else "index"


_FOLDERS = {"bm25": "bm25", "sparse": FOLDER, "run": "runs"}


def _output(folder: Path, source: SourceConfig) -> Path:
    return folder / _FOLDERS[source.kind] / f"{source.label}.parquet"


def plan_sources(context: RunContext, key: str) -> list[Item]:
    """Return an item for each source that is built before the search, in the folder of the stage that builds it."""
    rows = Shards(context.reading("ingest") / "corpus", CORPUS).rows if context.config.retrieve.source else 0
    folder = context.folder(source_stage(context.config))
    return [
        Item(_output(folder, source), number, rows=rows, key=item_key(key, source.label, 0, rows))
        for number, source in enumerate(context.config.retrieve.source)
        if source.kind != "dense"
    ]


def build_source(context: RunContext, item: Item, tick: Tick) -> pa.Table:
    """Return the table of the source with the item's number; other files of an index are written beside it."""
    source, ingest = context.config.retrieve.source[item.number], context.reading("ingest")
    if source.kind == "bm25":
        corpus = Shards(ingest / "corpus", CORPUS)
        texts = (corpus.read(number, ["text"]).column(0).to_pylist() for number in range(len(corpus)))
        if context.config.input.has_images:
            texts = ([without_image_label(text) for text in own] for own in texts)
        return build_index(texts, source, item.output, tick)
    if source.kind == "sparse":
        return build_sparse_index(item.output.with_name(source.label) / "corpus", item.output, tick)
    table = import_run(source, context.config, ingest)
    tick(item.rows)
    return table


@dataclass(frozen=True)
class QueryBatch:
    """Queries as sources search for them, with the rows of their labelled positives.

    `rows` are their rows among all queries, int64; consecutive, except where the teacher of [embed] alone searches.
    `vectors` are those of that teacher, float32, shape (queries, dim).
    """

    rows: np.ndarray
    texts: list[str]
    vectors: np.ndarray
    positives: Ragged

    @property
    def first(self) -> int:
        """Row of the first query; no batch is empty."""
        return int(self.rows[0])


CandidateSource = Callable[[QueryBatch, int], Hits]
"""Returns each query's hits, at least up to the given number of documents that are not labelled positives."""


def open_sources(
    context: RunContext,
    dense: CandidateSource,
    cache_bytes: int,
    where: MetadataFilter | None = None,
    embed: Path | None = None,
    stored: Mapping[TeacherTable, StoredKeys] | None = None,
) -> list[CandidateSource]:
    """Return the sources of a run in the config's order; they find what the filter allows and labelled positives.

    `dense` is the search by the teacher of [embed], which applies the filter itself. Other teachers are given up to
    `cache_bytes` of memory for vectors, in the config's order; `stored` are results of those that searched in parts.
    `embed` is the folder of embed, where that stage itself searches; its finished one by default.
    """
    config, found = context.config, list[CandidateSource]()
    documents = Shards(context.reading("ingest") / "corpus", CORPUS).rows
    embed = embed or context.reading("embed")
    built = embed if source_stage(config) == "embed" else context.reading("index")
    tables = {label: table for table, label in source_teachers(config).items()}
    for source in config.retrieve.source:
        if source.kind == "bm25":
            index = BM25Index(_output(built, source), source, documents)
            found.append(partial(_by_words, index, where, config.input.has_query_images))
        elif source.kind == "sparse":
            found.append(partial(_by_weights, SparseSource(_output(built, source), source, documents), where))
        elif source.kind == "run":
            found.append(partial(_by_run, ImportedRun(_output(built, source)), where))
        elif source.label in tables:
            table = tables[source.label]
            corpus = VectorStore(embed / vector_folder(config, table, "corpus"), max(0, cache_bytes))
            cache_bytes -= corpus.nbytes
            search = DenseSearch(corpus, where, corpus.held, stored=(stored or {}).get(table))
            queries = VectorStore(embed / vector_folder(config, table, "queries"))
            found.append(partial(_by_teacher, search, queries))
        else:
            found.append(dense)
    return found


def _by_teacher(search: DenseSearch, queries: VectorStore, batch: QueryBatch, depth: int) -> Hits:
    which = batch.rows
    return search.find(queries.span(batch.first, batch.first + len(which)), which, batch.positives, depth)


def _by_words(index: BM25Index, where: MetadataFilter | None, labelled: bool, batch: QueryBatch, depth: int) -> Hits:
    """Return the hits of words; `labelled` texts have the labels of images before them, which are left out."""
    texts = [without_image_label(text) for text in batch.texts] if labelled else batch.texts
    return index.search(texts, depth + batch.positives.lengths, _masks(where, batch, index.documents))


def _by_weights(index: SparseSource, where: MetadataFilter | None, batch: QueryBatch, depth: int) -> Hits:
    return index.search(batch.rows, depth + batch.positives.lengths, _masks(where, batch, index.documents))


def _masks(where: MetadataFilter | None, batch: QueryBatch, documents: int) -> Iterable[np.ndarray] | None:
    """Return for each query which of the documents it may find; None where that is all of them."""
    return where.masks_with_positives(batch.first, batch.positives, documents) if where is not None else None


def _by_run(run: ImportedRun, where: MetadataFilter | None, batch: QueryBatch, depth: int) -> Hits:
    def allows(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        assert where is not None
        positive = batch.positives.contains(queries, documents)
        return np.asarray(where.allows(batch.first + queries, documents) | positive)

    return run.search(batch.first, depth + batch.positives.lengths, allows if where is not None else None)


def pool_sources(
    sources: list[CandidateSource], limits: CandidateLimits, corpus: VectorStore, batch: QueryBatch
) -> tuple[CandidatePool, np.ndarray]:
    """Return the candidates of all sources within their limits, and the exact score of each by the teacher of [embed].

    They are ordered by descending score, ties by row. Scores are float32, shape (n,); `corpus` is the teacher's.
    """
    found = pool([find(batch, depth) for find, depth in zip(sources, limits.depths, strict=True)])
    found, stays = limits.cut(found, batch.positives.contains(found.owners, found.rows))
    found = found.take(stays)
    scores = pair_scores(corpus, corpus.positions(found.rows), batch.vectors, found.owners)
    order = np.lexsort((pack(scores, found.rows), found.owners))
    return found.take(order), scores[order]


def write_source_names(config: Config, folder: Path, key: str) -> None:
    """Write the table of sources into retrieve's folder; nothing where there are none."""
    if sources := config.retrieve.source:
        columns = [[one.label for one in sources], [one.kind for one in sources], list(config.retrieve.depths)]
        table = pa.Table.from_arrays([pa.array(column) for column in columns], schema=SOURCES)
        write_table(table, folder / "sources.parquet", item_key(key, "sources", 0, len(sources)))
