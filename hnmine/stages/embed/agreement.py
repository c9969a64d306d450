"""The step of embed that compares vectors with those of float32, for teachers that compute in fewer bits on a CPU."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import indexed_cosines, unit
from hnmine.arrays.random_numbers import sample_rows
from hnmine.config.models import COMPARED, EmbedConfig, TeacherTable
from hnmine.config.tables import Config
from hnmine.models.encoders import make_encoder
from hnmine.models.vector_folders import vector_folder
from hnmine.runtime.stage import Item, RunContext, Step, Tick, no_setup
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.embed import AGREEMENT
from hnmine.storage.schemas.ingest import CORPUS
from hnmine.storage.store import Shards, item_key, read_table
from hnmine.storage.vectors import VectorStore

SAMPLE = 256
"""Documents that are also encoded in float32."""
_SALT = 0x696E7438


def agreement_step(table: TeacherTable, prefix: str) -> Step:
    """Return the step that compares a teacher's vectors with float32; it has nothing to do for other precisions."""
    plan, comparing = partial(_plan, table), partial(_compare, table)
    return Step(f"{prefix}agreement", "documents", plan, no_setup, comparing, runs_model=True)


def agreements(context: RunContext) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the cosines of teachers' vectors to their float32 vectors: documents, mean and least.

    They are given by precision and by the teacher's table; precisions that no teacher has are left out.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for table, teacher in context.config.teachers.items():
        if teacher.precision in COMPARED:
            path = _file(context, table)
            cosines = conform(read_table(path), AGREEMENT, f"embed/{path.name}").column("cosine").to_numpy()
            mean, least = float(cosines.mean(dtype=np.float64)), float(cosines.min())
            own = {"documents": len(cosines), "mean": mean, "least": least}
            found.setdefault(teacher.precision, {})[table] = own
    return found


def in_float32(config: EmbedConfig) -> EmbedConfig:
    """Return a teacher's settings with float32 on the CPU in place of its own precision and device."""
    return config.model_copy(update={"precision": "float32", "device": "cpu"})


def beside_corpus(context: RunContext, table: TeacherTable, name: str) -> Path:
    """Return the file `name` of a teacher, beside the folder of its documents' vectors."""
    corpus = _corpus(context, table)
    return corpus.parent / f"{corpus.name}-{name}.parquet"


def _corpus(context: RunContext, table: TeacherTable) -> Path:
    return context.folder("embed") / vector_folder(context.config, table, "corpus")


def _file(context: RunContext, table: TeacherTable) -> Path:
    return beside_corpus(context, table, "agreement")


def _is_compared(config: Config, table: TeacherTable) -> bool:
    return table in config.teachers and config.teachers[table].precision in COMPARED


def _plan(table: TeacherTable, context: RunContext, key: str) -> list[Item]:
    if not _is_compared(context.config, table):
        return []
    rows = min(SAMPLE, VectorStore(_corpus(context, table)).rows)
    return [Item(_file(context, table), rows=rows, key=item_key(key, f"{table} agreement", 0, rows))]


def _compare(table: TeacherTable, context: RunContext, item: Item, tick: Tick) -> pa.Table:
    """Return the cosine of a sample of documents' stored vectors to their vectors in float32."""
    vectors = VectorStore(_corpus(context, table))
    rows = vectors.row_of(sample_rows(vectors.rows, SAMPLE, context.config.seed, _SALT))
    texts = Shards(context.reading("ingest") / "corpus", CORPUS).take(rows, ["text"]).column(0).to_pylist()
    exact = make_encoder(in_float32(context.config.teachers[table]), table).encode(texts, "document")
    places = np.arange(len(rows))
    cosines = indexed_cosines(exact, places, unit(vectors.gather(rows)), places)
    tick(len(rows))
    return pa.Table.from_arrays([pa.array(rows, pa.int64()), pa.array(cosines)], schema=AGREEMENT)
