"""The steps of embed for a teacher that computes in 8-bit numbers: its quantising, and how far it is from float32."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import indexed_cosines, unit
from hnmine.arrays.random_numbers import sample_rows
from hnmine.config import Config, EmbedConfig, TeacherTable
from hnmine.models.encoders import make_encoder
from hnmine.models.model_encoder import ModelEncoder
from hnmine.models.quantised import Quantised, quantise, require_openvino
from hnmine.models.vector_folders import vector_folder
from hnmine.runtime.stage import Item, RunContext, Step, Tick
from hnmine.storage.keys import item_key
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.embed import AGREEMENT, QUANTISED
from hnmine.storage.schemas.ingest import CORPUS
from hnmine.storage.store import Shards, read_table, write_table
from hnmine.storage.vectors import VectorStore

# Texts whose way through a model is traced: two, of unlike length, so that padding takes part.
EXAMPLE = ("one", "a longer text of some words")
# Documents whose vectors are made in float32 too.
SAMPLE = 256
_SALT = 0x696E7438


@dataclass(frozen=True)
class _Sample:
    """Some documents of a teacher, their texts and the vectors that embed has made of them."""

    table: TeacherTable
    config: EmbedConfig
    rows: np.ndarray
    texts: list[str]
    vectors: np.ndarray


def steps_around(table: TeacherTable, sides: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the steps that make a teacher's vectors, with those before and after them that 8-bit numbers need."""
    prefix = sides[0].name.removesuffix("corpus")
    before = Step(f"{prefix}int8", "models", partial(_plan_quantised, table), partial(_to_quantise, table), _quantise,
                  lambda made, item: write_table(made, item.output, item.key, plain=True), runs_model=True)  # fmt: skip
    after = Step(f"{prefix}agreement", "documents", partial(_plan_agreement, table), partial(_sampled, table),
                 _agreement, runs_model=True)  # fmt: skip
    return (before, *sides, after)


def read_quantised(context: RunContext, table: TeacherTable) -> Quantised | None:
    """Return a teacher in 8-bit numbers; None where it computes in others."""
    if context.config.teachers[table].precision != "int8":
        return None
    path = _file(context, table, "int8")
    found = conform(read_table(path), QUANTISED, f"embed/{path.name}")
    return found.column("graph")[0].as_py(), found.column("weights")[0].as_py()


def agreements(context: RunContext) -> dict[str, dict[str, Any]]:
    """Return, for each table whose teacher computes in 8-bit numbers, the cosines to its vectors in float32."""
    found = {}
    for table in filter(partial(_applies, context.config), context.config.teachers):
        path = _file(context, table, "agreement")
        cosines = conform(read_table(path), AGREEMENT, f"embed/{path.name}").column("cosine").to_numpy()
        found[table] = {
            "documents": len(cosines), "mean": float(cosines.mean(dtype=np.float64)), "least": float(cosines.min())
        }  # fmt: skip
    return found


def _applies(config: Config, table: TeacherTable) -> bool:
    return table in config.teachers and config.teachers[table].precision == "int8"


def _file(context: RunContext, table: TeacherTable, name: str) -> Path:
    corpus = context.folder("embed") / vector_folder(context.config, table, "corpus")
    return corpus.parent / f"{corpus.name}-{name}.parquet"


def _item(context: RunContext, table: TeacherTable, name: str, key: str, rows: int) -> list[Item]:
    if not _applies(context.config, table):
        return []
    return [Item(_file(context, table, name), rows=rows, key=item_key(key, f"{table} {name}", 0, rows))]


def _plan_quantised(table: TeacherTable, context: RunContext, key: str) -> list[Item]:
    return _item(context, table, "int8", key, 1)


def _to_quantise(table: TeacherTable, context: RunContext) -> tuple[TeacherTable, EmbedConfig]:
    require_openvino(table)
    return table, _in_float32(context.config.teachers[table])


def _in_float32(config: EmbedConfig) -> EmbedConfig:
    return config.model_copy(update={"precision": "float32", "device": "cpu"})


def _quantise(state: tuple[TeacherTable, EmbedConfig], item: Item, tick: Tick) -> pa.Table:
    table, config = state
    encoder = ModelEncoder(config, table)
    graph, weights = quantise(encoder.model, next(encoder.tensors(EXAMPLE, "document"), {}), table)
    tick(1)
    columns = [pa.array([graph], pa.large_binary()), pa.array([weights], pa.large_binary())]
    return pa.Table.from_arrays(columns, schema=QUANTISED)


def _plan_agreement(table: TeacherTable, context: RunContext, key: str) -> list[Item]:
    if not _applies(context.config, table):
        return []
    return _item(context, table, "agreement", key, len(_places(context, _vectors(context, table))))


def _vectors(context: RunContext, table: TeacherTable) -> VectorStore:
    return VectorStore(context.folder("embed") / vector_folder(context.config, table, "corpus"))


def _places(context: RunContext, vectors: VectorStore) -> np.ndarray:
    return sample_rows(vectors.rows, SAMPLE, context.config.seed, _SALT)


def _sampled(table: TeacherTable, context: RunContext) -> _Sample:
    vectors = _vectors(context, table)
    rows = vectors.row_of(_places(context, vectors))
    shards = Shards(context.reading("ingest") / "corpus", CORPUS)
    texts = shards.take(rows, ["text"]).column(0).to_pylist()
    return _Sample(table, _in_float32(context.config.teachers[table]), rows, texts, vectors.gather(rows))


def _agreement(sample: _Sample, item: Item, tick: Tick) -> pa.Table:
    exact = make_encoder(sample.config, sample.table).encode(sample.texts, "document")
    places = np.arange(len(sample.rows))
    cosines = indexed_cosines(exact, places, unit(sample.vectors), places)
    tick(len(places))
    return pa.Table.from_arrays([pa.array(sample.rows, pa.int64()), pa.array(cosines)], schema=AGREEMENT)
