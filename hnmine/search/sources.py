"""The sources of candidates of a run: what is prepared of them once, and what each finds for some queries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import pack
from hnmine.config import Config, TeacherTable
from hnmine.config.tables import SourceConfig
from hnmine.models.vector_folders import source_teachers, vector_folder
from hnmine.runtime.stage import Item, RunContext, Tick
from hnmine.search.bm25 import BM25Index, build, stems, words_of, write_arrays
from hnmine.search.candidate_pool import CandidateLimits, CandidatePool, Hits, pool
from hnmine.search.dense_search import DenseSearch, StoredKeys
from hnmine.search.imported_run import ImportedRun, import_run, run_files
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.search.pair_scores import pair_scores
from hnmine.storage.keys import item_key
from hnmine.storage.schemas.ingest import CORPUS
from hnmine.storage.schemas.retrieve import SOURCES
from hnmine.storage.store import Shards, write_table
from hnmine.storage.vectors import VectorStore

NAMES_FILE = "sources.parquet"


def source_key_parts(context: RunContext) -> dict[str, Any]:
    """Return what determines the prepared sources, for the key of index; nothing where there are none.

    Raises:
        InputError: a run's file is missing.
        MissingExtra: stems are asked for and cannot be had.
    """
    found: dict[str, Any] = {}
    for source in context.config.retrieve.source:
        if source.kind == "bm25":
            part = {key: value for key, value in source.part().items() if key != "top_k"}
            found[source.label] = part | {"stem": stems(source)}
        if source.kind == "run":
            files = [context.digests.of(file) for file in run_files(source, context.config.base)]
            found[source.label] = {"kind": "run", "files": files, "unknown_ids": context.config.input.unknown_ids}
    return {"sources": found} if found else {}


def source_stage(config: Config) -> str:
    """Return the stage that prepares the sources: index, or embed where they say which documents it embeds."""
    return "embed" if config.embeds_candidates_only else "index"


def _output(folder: Path, source: SourceConfig) -> Path:
    return folder / ("bm25" if source.kind == "bm25" else "runs") / f"{source.label}.parquet"


def plan_sources(context: RunContext, key: str) -> list[Item]:
    """Return an item for each source that is prepared before the search, in the folder of the stage that does it."""
    rows = Shards(context.reading("ingest") / "corpus", CORPUS).rows if context.config.retrieve.source else 0
    folder = context.folder(source_stage(context.config))
    return [
        Item(_output(folder, source), number, rows=rows, key=item_key(key, source.label, 0, rows))
        for number, source in enumerate(context.config.retrieve.source)
        if source.kind != "dense"
    ]


def build_source(context: RunContext, item: Item, tick: Tick) -> pa.Table:
    """Return what is stored of a source; the item's number says which."""
    source, ingest = context.config.retrieve.source[item.number], context.reading("ingest")
    if source.kind == "run":
        table = import_run(source, context.config, ingest)
        tick(item.rows)
        return table
    corpus, words = Shards(ingest / "corpus", CORPUS), words_of(source)

    def counted(texts: list[str]) -> list[str]:
        tick(len(texts))
        return texts

    texts = (counted(corpus.read(n, ["text"]).column(0).to_pylist()) for n in range(len(corpus)))
    table, documents, scores = build(texts, source, words)
    write_arrays(item.output, documents, scores)
    return table


@dataclass(frozen=True)
class QueryBatch:
    """Some queries, as sources are asked for them.

    Attributes:
        first: row of the first query.
        texts: their texts.
        vectors: their vectors by the teacher of [embed], float32, shape (queries, dim).
        positives: rows of their labelled positives.
    """

    first: int
    texts: list[str]
    vectors: np.ndarray
    positives: Ragged


CandidateSource = Callable[[QueryBatch, int], Hits]
"""Returns each query's list, down to so many documents that are no positives or further."""


def open_sources(
    context: RunContext,
    dense: CandidateSource,
    cache_bytes: int,
    where: MetadataFilter | None = None,
    embed: Path | None = None,
    before: Mapping[TeacherTable, StoredKeys] | None = None,
) -> list[CandidateSource]:
    """Return the sources of a run in the config's order, which find what `where` allows and labelled positives.

    Args:
        context: config and folders.
        dense: the search of the teacher of [embed], which sees to the conditions itself.
        cache_bytes: how much of the vectors of other teachers may stay in memory, served in the config's order.
        where: the conditions on candidates.
        embed: the folder of embed where that stage asks itself; by default its finished one.
        before: what teachers of sources found already, where the corpus was searched in parts.
    """
    corpus = Shards(context.reading("ingest") / "corpus", CORPUS)
    found: list[CandidateSource] = []
    embed = embed or context.reading("embed")
    prepared = embed if source_stage(context.config) == "embed" else context.reading("index")
    others = _open_teachers(context.config, embed, cache_bytes, where, before or {})
    for source in context.config.retrieve.source:
        path = _output(prepared, source)
        if source.kind == "dense":
            found.append(others.get(source.label, dense))
        elif source.kind == "bm25":
            found.append(_by_words(BM25Index(path, source, corpus.rows), where))
        else:
            found.append(_by_run(ImportedRun(path), where))
    return found


def _open_teachers(
    config: Config,
    embed: Path,
    cache_bytes: int,
    where: MetadataFilter | None,
    before: Mapping[TeacherTable, StoredKeys],
) -> dict[str, CandidateSource]:
    """Return the sources that have a teacher of their own, by name."""
    found, left = {}, cache_bytes
    for table, label in source_teachers(config).items():
        folders = [embed / vector_folder(config, table, side) for side in ("corpus", "queries")]
        corpus = VectorStore(folders[0], max(0, left))
        left -= corpus.nbytes
        found[label] = _by_teacher(DenseSearch(corpus, where, found=before.get(table)), VectorStore(folders[1]))
    return found


def _by_teacher(nearest: DenseSearch, queries: VectorStore) -> CandidateSource:
    def find(asked: QueryBatch, depth: int) -> Hits:
        vectors = queries.span(asked.first, asked.first + len(asked.vectors))
        which = asked.first + np.arange(len(vectors))
        return nearest.find(vectors, which, asked.positives, depth)

    return find


def _by_words(index: BM25Index, where: MetadataFilter | None) -> CandidateSource:
    def find(asked: QueryBatch, depth: int) -> Hits:
        masks = where.masks(asked.first, asked.positives, index.documents) if where is not None else None
        return index.search(asked.texts, depth + asked.positives.lengths, masks)

    return find


def _by_run(run: ImportedRun, where: MetadataFilter | None) -> CandidateSource:
    def find(asked: QueryBatch, depth: int) -> Hits:
        allows = partial(where.allows_or_holds, asked.first, asked.positives) if where is not None else None
        return run.search(asked.first, depth + asked.positives.lengths, allows)

    return find


def pool_sources(
    sources: list[CandidateSource], depth: CandidateLimits, corpus: VectorStore, asked: QueryBatch
) -> tuple[CandidatePool, np.ndarray]:
    """Return the candidates of all sources, in the order of the teacher's score (ties by row), and that score.

    Args:
        sources: as `open_sources` gives them.
        depth: how far down each list goes, and how they are fused.
        corpus: the teacher's vectors of documents.
        asked: the queries.

    Returns:
        (the candidates, float32 of shape (n,): the teacher's score, always exact).
    """
    found = pool([find(asked, down) for find, down in zip(sources, depth.depths, strict=True)])
    found, stays = depth.cut(found, asked.positives.contains(found.owners, found.rows))
    found = found.take(stays)
    scores = pair_scores(corpus, corpus.positions(found.rows), asked.vectors, found.owners)
    order = np.lexsort((pack(scores, found.rows), found.owners))
    return found.take(order), scores[order]


def write_source_names(config: Config, folder: Path, key: str) -> None:
    """Write the table of sources into the folder of retrieve; nothing where there are none."""
    retrieve = config.retrieve
    if retrieve.source:
        rows = [
            {"name": source.label, "kind": source.kind, "depth": depth}
            for source, depth in zip(retrieve.source, retrieve.depths, strict=True)
        ]
        table = pa.Table.from_pylist(rows, schema=SOURCES)
        write_table(table, folder / NAMES_FILE, item_key(key, "sources", 0, len(rows)))
