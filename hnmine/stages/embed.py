"""embed: a vector for every document and every query, by the teacher or as the user brings them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.config import EmbedConfig
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


@dataclass(frozen=True)
class _State:
    config: EmbedConfig
    side: str
    shards: Shards
    encoder: Encoder | None
    precomputed: Precomputed | None


def _parts(context: RunContext) -> dict[str, Any]:
    config = context.config.embed
    kept = config.semantic()
    if config.model == "precomputed":
        files = {role: [s.digest() for s in sources] for role, sources in vector_sources(context.config).items()}
        used = {"similarity": kept["similarity"], "dtype": kept["dtype"], "model": "precomputed"}
        return {"embed": used, "files": files}
    del (
        kept["model"],
        kept["revision"],
        kept["trust_remote_code"],
    )  # the fingerprint says which weights these are
    return {"embed": kept, "teacher": fingerprint(config)}


def _plan_side(side: str, context: RunContext, key: str) -> list[Item]:
    shards = Shards(context.reading("ingest") / side, SIDES[side][1])
    return shard_items(shards, context.folder("embed") / side, key)


def _setup_side(side: str, context: RunContext) -> _State:
    config, kind_schema = context.config.embed, SIDES[side]
    shards = Shards(context.reading("ingest") / side, kind_schema[1])
    if config.model == "precomputed":
        return _State(config, side, shards, None, Precomputed(context, side, shards))
    return _State(config, side, shards, make_encoder(config), None)


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    what = f"embed {state.side} shard {item.number}"
    if state.precomputed is not None:
        vectors = state.precomputed.read(item.number)
        tick(len(vectors))
        vectors = check_vectors(vectors, what, state.config.similarity)
        return to_arrow(_in_range(vectors, what, state.config.dtype), item.first, state.config.dtype)
    assert state.encoder is not None
    texts = state.shards.read(item.number, ["text"]).column(0).to_pylist()
    parts = []
    for start in range(0, len(texts), CELL_ROWS):
        cell = texts[start : start + CELL_ROWS]
        parts.append(_encode(state, cell))
        tick(len(cell))
    vectors = check_vectors(np.concatenate(parts), what, state.config.similarity)
    return to_arrow(_in_range(vectors, what, state.config.dtype), item.first, state.config.dtype)


def _in_range(vectors: np.ndarray, what: str, dtype: str) -> np.ndarray:
    """Return the vectors, their numbers small enough for the type they are stored in and for finite float32 scores."""
    limit = {"float16": 65_504.0, "float32": 1e17}[dtype]
    bad = np.flatnonzero((np.abs(vectors) > limit).any(axis=1))
    if len(bad):
        advice = 'set embed.dtype = "float32", or scale them' if dtype == "float16" else "scale them"
        raise InputError(
            f"{what}: {len(bad):,} vectors hold numbers beyond {limit:g}, too large for {dtype} scores, "
            f"the first in row {bad[0]:,}; {advice}"
        )
    return vectors


def _encode(state: _State, texts: list[str]) -> np.ndarray:
    assert state.encoder is not None
    vectors = state.encoder.encode(texts, SIDES[state.side][0])
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise ModelError(f"the model gave an array of shape {vectors.shape} for {len(texts)} texts")
    return vectors


def _write(table: pa.Table, item: Item) -> None:
    write_table(table, item.output, item.key, plain=True)


def _step(side: str) -> Step:
    return Step(
        name=side,
        unit="documents" if side == "corpus" else "queries",
        plan=lambda context, key: _plan_side(side, context, key),
        setup=lambda context: _setup_side(side, context),
        process=_process,
        write=_write,
    )


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    corpus, queries = (VectorStore(context.folder("embed") / side) for side in SIDES)
    if corpus.dim != queries.dim:
        raise ModelError(f"document vectors have {corpus.dim} numbers, query vectors {queries.dim}")
    counts: dict[str, Any] = {"documents": corpus.rows, "queries": queries.rows, "dim": corpus.dim}
    if context.config.embed.model == "hash":
        counts["warning"] = HASH_WARNING
    return counts


STAGE = Stage(
    name="embed",
    version=1,
    reads=("ingest",),
    parts=_parts,
    steps=(_step("corpus"), _step("queries")),
    finish=_finish,
)
