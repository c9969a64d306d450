"""embed: a vector for every document and every query, by the teacher and a guide, or as the user brings them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.config import Config, EmbedConfig, TeacherTable
from hnmine.encoders import HASH_WARNING, Encoder, Kind, check_vectors, fingerprint, make_encoder
from hnmine.errors import InputError, ModelError
from hnmine.keys import shard_items
from hnmine.precomputed import Precomputed, vector_sources
from hnmine.schemas import CORPUS, QUERIES
from hnmine.stage import Item, RunContext, Stage, Step, Tick
from hnmine.store import Shards, write_table
from hnmine.vectors import VectorStore, to_arrow

# Texts are batched within cells of this many consecutive rows, whatever the shard size, so that the padding a
# text meets, and with it the last bits of its vector, do not depend on how the corpus is cut into shards.
CELL_ROWS = 256

SIDES: dict[str, tuple[Kind, Any]] = {"corpus": ("document", CORPUS), "queries": ("query", QUERIES)}

# Where the vectors of each teacher's sides lie, within the stage's folder.
FOLDERS: dict[TeacherTable, dict[str, str]] = {
    "embed": {"corpus": "corpus", "queries": "queries"},
    "guide": {"corpus": "guide-corpus", "queries": "guide-queries"},
}


@dataclass(frozen=True)
class _State:
    config: EmbedConfig
    table: TeacherTable
    side: str
    shards: Shards
    encoder: Encoder | None
    precomputed: Precomputed | None


def _parts(context: RunContext) -> dict[str, Any]:
    parts = _parts_of("embed", context.config, ("teacher", "files"))
    if context.config.guide is not None:
        parts |= _parts_of("guide", context.config, ("guide_teacher", "guide_files"))
    return parts


def _parts_of(table: TeacherTable, whole: Config, names: tuple[str, str]) -> dict[str, Any]:
    """Return what determines one teacher's vectors; `names` are those for its weights and its files."""
    config = whole.teachers[table]
    kept = config.semantic()
    if config.model == "precomputed":
        files = {side: [s.digest() for s in sources] for side, sources in vector_sources(whole, table).items()}
        used = {"similarity": kept["similarity"], "dtype": kept["dtype"], "model": "precomputed"}
        return {table: used, names[1]: files}
    for name in ("model", "revision", "trust_remote_code"):
        del kept[name]  # the fingerprint says which weights these are
    return {table: kept, names[0]: fingerprint(config, table)}


def _plan_side(table: TeacherTable, side: str, context: RunContext, key: str) -> list[Item]:
    if table not in context.config.teachers:
        return []
    shards = Shards(context.reading("ingest") / side, SIDES[side][1])
    return shard_items(shards, context.folder("embed") / FOLDERS[table][side], key)


def _setup_side(table: TeacherTable, side: str, context: RunContext) -> _State:
    config = context.config.teachers[table]
    shards = Shards(context.reading("ingest") / side, SIDES[side][1])
    if (table, side) == ("embed", "corpus"):
        _check_guide(context, shards)
    if config.model == "precomputed":
        return _State(config, table, side, shards, None, Precomputed(context, side, shards, table))
    return _State(config, table, side, shards, make_encoder(config, table), None)


def _check_guide(context: RunContext, corpus: Shards) -> None:
    """Look at a guide's own vectors before the teacher's first, which may take hours, is made."""
    guide = context.config.guide
    if guide is not None and guide.model == "precomputed":
        Precomputed(context, "corpus", corpus, "guide")


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    what = f"{state.table} {state.side} shard {item.number}"
    if state.precomputed is not None:
        vectors = state.precomputed.read(item.number)
        tick(len(vectors))
        vectors = check_vectors(vectors, what, state.config.similarity)
        return to_arrow(_in_range(vectors, what, state), item.first, state.config.dtype)
    assert state.encoder is not None
    texts = state.shards.read(item.number, ["text"]).column(0).to_pylist()
    parts = []
    for start in range(0, len(texts), CELL_ROWS):
        cell = texts[start : start + CELL_ROWS]
        parts.append(_encode(state, cell))
        tick(len(cell))
    vectors = check_vectors(np.concatenate(parts), what, state.config.similarity)
    return to_arrow(_in_range(vectors, what, state), item.first, state.config.dtype)


def _in_range(vectors: np.ndarray, what: str, state: _State) -> np.ndarray:
    """Return the vectors, their numbers small enough for the type they are stored in and for finite float32 scores."""
    dtype = state.config.dtype
    limit = {"float16": 65_504.0, "float32": 1e17}[dtype]
    bad = np.flatnonzero((np.abs(vectors) > limit).any(axis=1))
    if len(bad):
        advice = f'set {state.table}.dtype = "float32", or scale them' if dtype == "float16" else "scale them"
        raise InputError(
            f"{what}: {len(bad):,} vectors hold numbers beyond {limit:g}, too large for {dtype} scores, "
            f"the first in row {bad[0]:,}; {advice}"
        )
    return vectors


def _encode(state: _State, texts: list[str]) -> np.ndarray:
    assert state.encoder is not None
    vectors = state.encoder.encode(texts, SIDES[state.side][0])
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise ModelError(f"{state.table}.model gave an array of shape {vectors.shape} for {len(texts)} texts")
    return vectors


def _write(table: pa.Table, item: Item) -> None:
    write_table(table, item.output, item.key, plain=True)


def _step(table: TeacherTable, side: str) -> Step:
    return Step(
        name=FOLDERS[table][side],
        unit="documents" if side == "corpus" else "queries",
        plan=lambda context, key: _plan_side(table, side, context, key),
        setup=lambda context: _setup_side(table, side, context),
        process=_process,
        write=_write,
        runs_model=True,
    )


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    for table in context.config.teachers:
        corpus, queries = (VectorStore(context.folder("embed") / name) for name in FOLDERS[table].values())
        if corpus.dim != queries.dim:
            raise ModelError(f"{table}.model: document vectors have {corpus.dim} numbers, query vectors {queries.dim}")
        if table == "embed":
            counts |= {"documents": corpus.rows, "queries": queries.rows, "dim": corpus.dim}
        else:
            counts["guide_dim"] = corpus.dim
    if context.config.uses_hash:
        counts["warning"] = HASH_WARNING
    return counts


STAGE = Stage(
    name="embed",
    version=1,
    reads=("ingest",),
    parts=_parts,
    steps=tuple(_step(table, side) for table in FOLDERS for side in SIDES),
    finish=_finish,
)
