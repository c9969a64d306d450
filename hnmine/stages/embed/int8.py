"""The step of embed that quantises the model of a teacher with 8-bit weights."""

from functools import partial

import pyarrow as pa

from hnmine.config.models import TeacherTable
from hnmine.config.tables import Config
from hnmine.models.encoders import ModelEncoder
from hnmine.models.quantised import Quantised, quantise, require_openvino
from hnmine.runtime.stage import Item, RunContext, Step, Tick, no_setup, write_plain
from hnmine.stages.embed.agreement import beside_corpus, in_float32
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.embed import QUANTISED
from hnmine.storage.store import item_key, read_table

EXAMPLE = ("one", "a longer text of some words")
"""Texts that a model is traced with: of different lengths, so that padding is traced too."""


def int8_step(table: TeacherTable, prefix: str) -> Step:
    """Return the step that quantises a teacher's model; it has nothing to do for other precisions."""
    plan, quantising = partial(_plan, table), partial(_quantise, table)
    return Step(f"{prefix}int8", "models", plan, no_setup, quantising, write_plain, runs_model=True)


def read_quantised(context: RunContext, table: TeacherTable) -> Quantised | None:
    """Return a teacher's quantised model; None if its precision is not int8."""
    if not _is_int8(context.config, table):
        return None
    path = beside_corpus(context, table, "int8")
    found = conform(read_table(path), QUANTISED, f"embed/{path.name}").to_pylist()[0]
    return found["graph"], found["weights"]


def _is_int8(config: Config, table: TeacherTable) -> bool:
    return table in config.teachers and config.teachers[table].precision == "int8"


def _plan(table: TeacherTable, context: RunContext, key: str) -> list[Item]:
    if not _is_int8(context.config, table):
        return []
    return [Item(beside_corpus(context, table, "int8"), rows=1, key=item_key(key, f"{table} int8", 0, 1))]


def _quantise(table: TeacherTable, context: RunContext, item: Item, tick: Tick) -> pa.Table:
    require_openvino(table)
    encoder = ModelEncoder(in_float32(context.config.teachers[table]), table)
    graph, weights = quantise(encoder.model, next(encoder.tensors(EXAMPLE, "document"), {}), table)
    tick(1)
    columns = [pa.array([graph], pa.large_binary()), pa.array([weights], pa.large_binary())]
    return pa.Table.from_arrays(columns, schema=QUANTISED)
