"""embed: a vector for every document and every query, by each teacher, or as the user brings them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.config import EmbedConfig, TeacherTable
from hnmine.config.tables import Kind
from hnmine.errors import InputError, ModelError
from hnmine.models.encoders import Encoder, check_vectors, largest_cell_rows, make_encoder
from hnmine.models.model_encoder import EncodeTexts
from hnmine.models.model_files import HASH_WARNING, fingerprint
from hnmine.models.precomputed import Precomputed, vector_sources
from hnmine.models.vector_folders import FOLDERS, possible_teachers, source_teachers, vector_folder
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, shard_items
from hnmine.runtime.threads import Prefetcher
from hnmine.runtime.worker_slot import current_slot
from hnmine.stages.embed.int8 import agreements, read_quantised, steps_around
from hnmine.stages.embed.selection import STEPS, read_selection, selection_parts
from hnmine.storage.keys import item_key
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards, TextReader, part_name, write_table
from hnmine.storage.vectors import VectorStore, to_arrow

SIDES: dict[str, tuple[Kind, Any]] = {"corpus": ("document", CORPUS), "queries": ("query", QUERIES)}


@dataclass(frozen=True)
class _Cell:
    """Consecutive rows of a side, each distinct text of theirs ready for the model once."""

    made: EncodeTexts
    distinct: int
    which: np.ndarray  # int64, one a row: its text among the distinct ones


@dataclass(frozen=True)
class _State:
    config: EmbedConfig
    table: TeacherTable
    rows: int
    side: str
    chosen: np.ndarray | None
    precomputed: Precomputed | None = None
    cells: Prefetcher[_Cell] | None = None
    cell_rows: int = 0


def _parts(context: RunContext) -> dict[str, Any]:
    parts = _parts_of("embed", context, ("embed", "teacher", "files")) | selection_parts(context)
    if context.config.guide is not None:
        parts |= _parts_of("guide", context, ("guide", "guide_teacher", "guide_files"))
    found = source_teachers(context.config)
    if found:
        names = ("settings", "teacher", "files")
        parts["sources"] = {label: _parts_of(table, context, names) for table, label in found.items()}
    return parts


def _parts_of(table: TeacherTable, context: RunContext, names: tuple[str, str, str]) -> dict[str, Any]:
    """Return what determines one teacher's vectors; `names` are those for its settings, its weights and its files."""
    config = context.config.teachers[table]
    kept = config.vector_settings()
    if config.model == "precomputed":
        sources = vector_sources(context.config, table)
        files = {side: [context.digests.of(file) for file in own] for side, own in sources.items()}
        used = {"similarity": kept["similarity"], "dtype": kept["dtype"], "model": "precomputed"}
        return {names[0]: used, names[2]: files}
    for name in ("model", "revision", "trust_remote_code"):
        del kept[name]  # the fingerprint says which weights these are
    return {names[0]: kept, names[1]: fingerprint(config, context.digests, table)}


def _plan_side(table: TeacherTable, side: str, context: RunContext, key: str) -> list[Item]:
    if table not in context.config.teachers:
        return []
    shards = Shards(context.reading("ingest") / side, SIDES[side][1])
    folder = context.folder("embed") / vector_folder(context.config, table, side)
    config = context.config.teachers[table]
    chosen = _chosen(context, table, side, shards)
    if config.model == "precomputed" and chosen is None:
        return shard_items(shards, folder, key)
    total = shards.rows if chosen is None else len(chosen)
    # whole cells in every file, so that no bit depends on the shard size, nor on which files a stopped run left
    cell = largest_cell_rows(config)
    size = -(-context.config.shard_rows // cell) * cell
    items = []
    for number, first in enumerate(range(0, max(total, 1), size)):
        rows = min(size, total - first)
        items.append(Item(folder / part_name(number), number, first, rows, item_key(key, folder.name, first, rows)))
    return items


def _chosen(context: RunContext, table: TeacherTable, side: str, shards: Shards) -> np.ndarray | None:
    """Return the rows of a side that get a vector, ascending; None for all of them."""
    if (table, side) != ("embed", "corpus") or not context.config.embeds_candidates_only:
        return None
    return read_selection(context.folder("embed"), shards.rows).rows


def _setup_side(table: TeacherTable, side: str, context: RunContext) -> _State:
    config = context.config.teachers[table]
    shards = Shards(context.reading("ingest") / side, SIDES[side][1])
    if side == "corpus":
        _check_others(context, table, shards)
    chosen = _chosen(context, table, side, shards)
    rows = shards.rows if chosen is None else len(chosen)
    if config.model == "precomputed":
        return _State(config, table, rows, side, chosen, Precomputed(context, side, shards, table))
    encoder = make_encoder(config, table, read_quantised(context, table))
    texts, kind = TextReader(shards, chosen), SIDES[side][0]
    cells = Prefetcher(lambda first: _cell(encoder, texts.read(first, first + encoder.cell_rows), kind))
    return _State(config, table, rows, side, chosen, None, cells, encoder.cell_rows)


def _cell(encoder: Encoder, texts: list[str], kind: Kind) -> _Cell:
    place: dict[str, int] = {}
    which = np.array([place.setdefault(text, len(place)) for text in texts], dtype=np.int64)
    return _Cell(encoder.prepare(list(place), kind), len(place), which)


def _check_others(context: RunContext, first: TeacherTable, corpus: Shards) -> None:
    """Look at the vectors that others bring before those of the first teacher, which may take hours, are made."""
    teachers = context.config.teachers
    if first == next(table for table, _ in possible_teachers() if table in teachers):
        for table, teacher in teachers.items():
            if table != first and teacher.model == "precomputed":
                Precomputed(context, "corpus", corpus, table)


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    what = f"{state.table} {state.side} shard {item.number}"
    if state.precomputed is not None:
        vectors = state.precomputed.take(_rows(state, item))
        tick(len(vectors))
        return _checked(vectors, what, state, item)
    parts = [_encode(state, first, item, tick) for first in range(item.first, item.first + item.rows, state.cell_rows)]
    return _checked(np.concatenate(parts), what, state, item)


def _rows(state: _State, item: Item) -> np.ndarray:
    """Return the rows that an item's vectors belong to."""
    places = np.arange(item.first, item.first + item.rows)
    return places if state.chosen is None else state.chosen[places]


def _checked(vectors: np.ndarray, what: str, state: _State, item: Item) -> pa.Table:
    vectors = check_vectors(vectors, what, state.config.similarity)
    return to_arrow(_in_range(vectors, what, state), _rows(state, item), state.config.dtype)


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


def _encode(state: _State, first: int, item: Item, tick: Tick) -> np.ndarray:
    """Return the vectors of the cell that begins at a row, while the cell after it is read and tokenised."""
    assert state.cells is not None
    following = first + state.cell_rows
    # alone, this process makes the next item too; of several, another one will
    end = state.rows if current_slot().count == 1 else item.first + item.rows
    cell = state.cells.get(first, following if following < end else None)
    vectors = cell.made(tick)
    if vectors.ndim != 2 or len(vectors) != cell.distinct:
        raise ModelError(f"{state.table}.model gave an array of shape {vectors.shape} for {cell.distinct} texts")
    tick(len(cell.which) - cell.distinct)
    return np.asarray(vectors[cell.which])


def _write(table: pa.Table, item: Item) -> None:
    write_table(table, item.output, item.key, plain=True)


def _left_out(context: RunContext) -> dict[str, Any]:
    """Return how large the corpus is and what brought up those embedded; nothing where all documents are."""
    if not context.config.embeds_candidates_only:
        return {}
    documents = Shards(context.reading("ingest") / "corpus", CORPUS).rows
    found = read_selection(context.folder("embed"), documents)
    return {"documents_in_all": documents, "documents_by_chance": int(found.by_chance.sum())}


def _step(name: str, table: TeacherTable, side: str) -> Step:
    return Step(
        name=name,
        unit="documents" if side == "corpus" else "queries",
        plan=lambda context, key: _plan_side(table, side, context, key),
        setup=lambda context: _setup_side(table, side, context),
        process=_process,
        write=_write,
        runs_model=True,
    )


_MAKING = {
    table: steps_around(table, tuple(_step(name, table, side) for side, name in names.items()))
    for table, names in possible_teachers()
}
_FIRST = [step for table, steps in _MAKING.items() if table not in FOLDERS for step in steps]
_LAST = [step for table in FOLDERS for step in _MAKING[table]]


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    labels = source_teachers(context.config)
    for table in context.config.teachers:
        folders = (context.folder("embed") / vector_folder(context.config, table, side) for side in SIDES)
        corpus, queries = (VectorStore(folder) for folder in folders)
        if corpus.dim != queries.dim:
            raise ModelError(f"{table}.model: document vectors have {corpus.dim} numbers, query vectors {queries.dim}")
        if table == "embed":
            counts |= {"documents": corpus.rows, "queries": queries.rows, "dim": corpus.dim}
            counts |= _left_out(context)
        elif table == "guide":
            counts["guide_dim"] = corpus.dim
        else:
            counts.setdefault("source_dims", {})[labels[table]] = corpus.dim
    if found := agreements(context):
        counts["int8_agreement"] = found
    if context.config.uses_hash:
        counts["warning"] = HASH_WARNING
    return counts


STAGE = Stage(
    name="embed",
    version=2,
    reads=("ingest",),
    parts=_parts,
    steps=(*_FIRST, *STEPS, *_LAST),
    finish=_finish,
)
