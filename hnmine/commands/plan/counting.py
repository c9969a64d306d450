"""How large the collection of a config is: counted in its files, or by the stages that are done. Loads no model."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hnmine.commands.plan.cluster import CollectionTable
from hnmine.commands.plan.sizes import Sizes
from hnmine.config import Config, TeacherTable
from hnmine.models.encoders import HASH_DIM
from hnmine.models.model_files import find_model
from hnmine.models.precomputed import vector_sources
from hnmine.models.vector_folders import source_teachers
from hnmine.readers.collection import input_sources
from hnmine.readers.tables import text_lines
from hnmine.runtime.stage import RunContext
from hnmine.storage.input_files import Source
from hnmine.storage.keys import recorded

UNKNOWN_DIM, ID_BYTES = 768, 16.0


def count(context: RunContext) -> tuple[Sizes, str]:
    """Return a collection's sizes, and by what they were counted: exact where ingest and embed are done.

    Raises:
        InputError: input files are missing.
        ModelError: the model cannot be found.
    """
    sources = input_sources(context.config)
    ingest = (recorded(context.reading("ingest")) or {}).get("counts")
    embed = (recorded(context.reading("embed")) or {}).get("counts")
    if ingest:
        documents, queries, labels = ingest["documents"], ingest["queries"], ingest["positives"]
        counted = "by ingest"
    else:
        documents, queries, labels = (
            sum(_count(s) for role in (name, "pairs") for s in sources.get(role, ()))
            for name in ("corpus", "queries", "qrels")
        )
        counted = "in the input's files, before copies are collapsed"
    given = {role: sum(map(_bytes, sources.get(role, ()))) for role in ("corpus", "queries", "pairs")}
    sizes = Sizes(
        documents=documents,
        queries=queries,
        positives=max(1.0, labels / max(1, queries)),
        document_bytes=(given["corpus"] + given["pairs"]) / max(1, documents),
        query_bytes=(given["queries"] + given["pairs"]) / max(1, queries),
        id_bytes=ID_BYTES,
        dims=dims_of(context.config, embed or {}),
    )
    return sizes, counted


def imagined(config: Config, to_be: CollectionTable) -> Sizes:
    """Return the sizes of a collection that does not exist yet.

    Raises:
        ModelError: nothing says the dimension, and the model cannot be found.
    """
    dims = {table: to_be.dim or dims_of(config, {})[table] for table in config.teachers}
    given = to_be.model_dump(exclude={"dim"})
    return Sizes(**given, dims=dims)


def _bytes(source: Source) -> int:
    """Return the size of a file, that of a Parquet file before compression."""
    if source.ending in (".parquet", ".pq"):
        with source.open() as file:
            metadata = pq.read_metadata(file)
        return sum(int(metadata.row_group(number).total_byte_size) for number in range(metadata.num_row_groups))
    return int(source.system.size(source.path) or 0)


def dims_of(config: Config, embed: dict[str, Any]) -> dict[TeacherTable, int]:
    """Return the dimension of each teacher's vectors; `embed` is what that stage counted, if it is done."""
    labels, known = source_teachers(config), embed.get("source_dims", {})
    counted = {"embed": embed.get("dim"), "guide": embed.get("guide_dim")}
    counted |= {table: known.get(label) for table, label in labels.items()}
    return {table: counted[table] or _dim(config, table) for table in config.teachers}


def _count(source: Source) -> int:
    if source.ending in (".parquet", ".pq"):
        with source.open() as file:
            return int(pq.read_metadata(file).num_rows)
    return sum(1 for _, line in text_lines(source) if line.strip())


def _dim(config: Config, table: TeacherTable = "embed") -> int:
    """Return the dimension of a teacher's vectors as far as it can be known without loading the model."""
    teacher = config.teachers[table]
    if teacher.model == "hash":
        return HASH_DIM
    if teacher.model == "precomputed":
        source = vector_sources(config, table)["queries"][0]
        if source.ending in (".parquet", ".pq"):
            with source.open() as file:
                for field in pq.read_schema(file):
                    if hasattr(field.type, "list_size"):
                        return int(field.type.list_size)
        return UNKNOWN_DIM
    folder = Path(find_model(teacher, table))
    for name in ("config.json", "0_Transformer/config.json"):
        if (folder / name).exists():
            return int(json.loads((folder / name).read_text()).get("hidden_size", UNKNOWN_DIM))
    return UNKNOWN_DIM
