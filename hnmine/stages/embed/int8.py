"""Steps of embed for teachers with 8-bit weights: quantising the model, and comparing its vectors with float32."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import indexed_cosines, unit
from hnmine.arrays.random_numbers import sample_rows
from hnmine.config.tables import Config, EmbedConfig, TeacherTable
from hnmine.models.encoders import ModelEncoder, make_encoder
from hnmine.models.quantised import Quantised, quantise, require_openvino
from hnmine.models.vector_folders import vector_folder
from hnmine.runtime.stage import Item, RunContext, Step, Tick, no_setup, write_plain
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.embed import AGREEMENT, QUANTISED
from hnmine.storage.schemas.ingest import CORPUS
from hnmine.storage.store import Shards, item_key, read_table
from hnmine.storage.vectors import VectorStore

EXAMPLE = ("one", "a longer text of some words")
"""Texts that a model is traced with: of different lengths, so that padding is traced too."""
SAMPLE = 256
"""Documents that are also encoded in float32."""
_SALT = 0x696E7438


def int8_steps(table: TeacherTable, sides: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the steps of a teacher's vectors with the step that quantises before and the one that compares after."""
    prefix = sides[0].name.removesuffix("corpus")
    quantising, comparing = partial(_quantise, table), partial(_compare, table)
    plan_before, plan_after = partial(_plan_int8, table), partial(_plan_agreement, table)
    before = Step(f"{prefix}int8", "models", plan_before, no_setup, quantising, write_plain, runs_model=True)
    after = Step(f"{prefix}agreement", "documents", plan_after, no_setup, comparing, runs_model=True)
    return (before, *sides, after)


def read_quantised(context: RunContext, table: TeacherTable) -> Quantised | None:
    """Return a teacher's quantised model; None if its precision is not int8."""
    if not _is_int8(context.config, table):
        return None
    path = _file(context, table, "int8")
    found = conform(read_table(path), QUANTISED, f"embed/{path.name}").to_pylist()[0]
    return found["graph"], found["weights"]


def agreements(context: RunContext) -> dict[str, dict[str, Any]]:
    """Return the cosines of each int8 teacher's vectors to its float32 vectors: documents, mean and least."""
    found = {}
    for table in [table for table in context.config.teachers if _is_int8(context.config, table)]:
        path = _file(context, table, "agreement")
        cosines = conform(read_table(path), AGREEMENT, f"embed/{path.name}").column("cosine").to_numpy()
        mean, least = float(cosines.mean(dtype=np.float64)), float(cosines.min())
        found[table] = {"documents": len(cosines), "mean": mean, "least": least}
    return found


def _is_int8(config: Config, table: TeacherTable) -> bool:
    return table in config.teachers and config.teachers[table].precision == "int8"


def _corpus(context: RunContext, table: TeacherTable) -> Path:
    return context.folder("embed") / vector_folder(context.config, table, "corpus")


def _file(context: RunContext, table: TeacherTable, name: str) -> Path:
    corpus = _corpus(context, table)
    return corpus.parent / f"{corpus.name}-{name}.parquet"


def _in_float32(config: EmbedConfig) -> EmbedConfig:
    return config.model_copy(update={"precision": "float32", "device": "cpu"})


def _plan_int8(table: TeacherTable, context: RunContext, key: str) -> list[Item]:
    if not _is_int8(context.config, table):
        return []
    return [Item(_file(context, table, "int8"), rows=1, key=item_key(key, f"{table} int8", 0, 1))]


def _quantise(table: TeacherTable, context: RunContext, item: Item, tick: Tick) -> pa.Table:
    require_openvino(table)
    encoder = ModelEncoder(_in_float32(context.config.teachers[table]), table)
    graph, weights = quantise(encoder.model, next(encoder.tensors(EXAMPLE, "document"), {}), table)
    tick(1)
    columns = [pa.array([graph], pa.large_binary()), pa.array([weights], pa.large_binary())]
    return pa.Table.from_arrays(columns, schema=QUANTISED)


def _plan_agreement(table: TeacherTable, context: RunContext, key: str) -> list[Item]:
    if not _is_int8(context.config, table):
        return []
    rows = min(SAMPLE, VectorStore(_corpus(context, table)).rows)
    return [Item(_file(context, table, "agreement"), rows=rows, key=item_key(key, f"{table} agreement", 0, rows))]


def _compare(table: TeacherTable, context: RunContext, item: Item, tick: Tick) -> pa.Table:
    """Return the cosine of a sample of documents' stored vectors to their vectors in float32."""
    vectors = VectorStore(_corpus(context, table))
    rows = vectors.row_of(sample_rows(vectors.rows, SAMPLE, context.config.seed, _SALT))
    texts = Shards(context.reading("ingest") / "corpus", CORPUS).take(rows, ["text"]).column(0).to_pylist()
    exact = make_encoder(_in_float32(context.config.teachers[table]), table).encode(texts, "document")
    places = np.arange(len(rows))
    cosines = indexed_cosines(exact, places, unit(vectors.gather(rows)), places)
    tick(len(rows))
    return pa.Table.from_arrays([pa.array(rows, pa.int64()), pa.array(cosines)], schema=AGREEMENT)
