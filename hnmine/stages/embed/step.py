"""The stage embed: vectors of every document and query, computed by each teacher or supplied by the user."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.config.models import EmbedConfig, TeacherTable
from hnmine.config.served import is_served
from hnmine.errors import InputError, ModelError
from hnmine.models.cells import SIDES, CellEncoder, cell_items, texts_key
from hnmine.models.encoders import check_vectors, largest_cell_rows, make_encoder
from hnmine.models.image_encoder import ImageEncoder, ImageReader, query_image_rows
from hnmine.models.model_files import HASH_WARNING, fingerprint
from hnmine.models.precomputed import Precomputed, vector_sources
from hnmine.models.quantised import VERSION
from hnmine.models.served import ServedEncoder
from hnmine.models.vector_folders import FOLDERS, possible_teachers, source_teachers, vector_folder
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, shard_items, write_plain
from hnmine.search.sparse_source import side_folders, sparse_counts
from hnmine.stages.embed.agreement import agreement_step, agreements
from hnmine.stages.embed.int8 import int8_step, read_quantised
from hnmine.stages.embed.selection import STEPS, read_selection, selection_parts
from hnmine.stages.embed.served import identity_of, recorded_identity, served_counts
from hnmine.storage.schemas.ingest import CORPUS, IMAGES
from hnmine.storage.store import Shards, TextReader, digest, with_counts
from hnmine.storage.vectors import VectorStore, to_arrow

_LIMITS = {"float16": 65_504.0, "float32": 1e17}
"""Largest number of a vector by its stored type; beyond 1e17, scores could exceed float32."""


def _parts(context: RunContext) -> dict[str, Any]:
    parts = _teacher_parts("embed", context, ("embed", "teacher", "files")) | selection_parts(context)
    if context.config.guide is not None:
        parts |= _teacher_parts("guide", context, ("guide", "guide_teacher", "guide_files"))
    found = source_teachers(context.config)
    if found:
        names = ("settings", "teacher", "files")
        parts["sources"] = {label: _teacher_parts(table, context, names) for table, label in found.items()}
    return parts


def _teacher_parts(table: TeacherTable, context: RunContext, names: tuple[str, str, str]) -> dict[str, Any]:
    """Return what determines a teacher's vectors, under the given names for its settings, weights and files."""
    config = context.config.teachers[table]
    kept = config.vector_settings()
    if config.model == "precomputed":
        sources = vector_sources(context.config, table)
        files = {side: [context.digests.of(file) for file in own] for side, own in sources.items()}
        used = {"similarity": kept["similarity"], "dtype": kept["dtype"], "model": "precomputed"}
        return {names[0]: used, names[2]: files}
    for name in ("model", "revision", "trust_remote_code", "command", "command_version"):
        kept.pop(name, None)  # the fingerprint says which weights or program these are
    if is_served(config.model):
        return {names[0]: kept, names[1]: identity_of(context, table)}
    if config.precision == "int8":
        kept["int8_version"] = VERSION
    return {names[0]: kept, names[1]: fingerprint(config, context.digests, table, local=context.local_models)}


@dataclass(frozen=True)
class _State:
    """The vectors of one side by one teacher.

    Attributes:
        config: the teacher's table.
        name: table and side, for messages.
        chosen: int64, the rows that get a vector, ascending; None for all.
        vectors: returns the vectors of an item's rows, shape (rows, dim).
        counts: returns what the vectors that were returned last took, for their file's footer; None for nothing.
        explain: raises an InputError that names all vectors that cannot be compared, if it can; called for one of them.
    """

    config: EmbedConfig
    name: str
    chosen: np.ndarray | None
    vectors: Callable[[Item, Tick], np.ndarray]
    counts: Callable[[], dict[str, int] | None] = lambda: None
    explain: Callable[[], None] = lambda: None


def _plan(table: TeacherTable, side: str, context: RunContext, key: str) -> list[Item]:
    if table not in context.config.teachers:
        return []
    shards = Shards(context.reading("ingest") / side, SIDES[side][1])
    folder = context.folder("embed") / vector_folder(context.config, table, side)
    config = context.config.teachers[table]
    chosen = _chosen(context, table, side, shards)
    if config.model == "precomputed" and chosen is None:
        return shard_items(shards, folder, key)
    key = _vectors_key(table, side, context, key)
    total = shards.rows if chosen is None else len(chosen)
    cell = largest_cell_rows(config)
    # of a served teacher a file is one cell, whatever the shard size, so that little is paid twice
    size = cell if is_served(config.model) else context.config.shard_rows
    return cell_items(folder, key, total, size, cell)


def _has_own_keys(table: TeacherTable, context: RunContext) -> bool:
    """Return whether the vectors of a teacher depend on nothing but its weights, its settings and the texts."""
    config = context.config.teachers[table]
    partial_corpus = table == "embed" and context.config.embeds_candidates_only
    return config.model != "precomputed" and config.precision != "int8" and not partial_corpus


def _vectors_key(table: TeacherTable, side: str, context: RunContext, key: str) -> str:
    """Return the key of a teacher's vectors of one side: that of what determines them, whatever else has changed.

    `key` is that of the stage, and returned where the vectors have none of their own.
    """
    texts = texts_key(context, "embed", side)
    if texts is None or not _has_own_keys(table, context):
        return key
    teacher = _teacher_parts(table, context, ("settings", "teacher", "files"))
    return digest({"version": STAGE.version, "teacher": teacher, "side": side, "texts": texts})


def _chosen(context: RunContext, table: TeacherTable, side: str, shards: Shards) -> np.ndarray | None:
    """Return the rows of a side that get a vector, ascending; None for all of them."""
    if (table, side) != ("embed", "corpus") or not context.config.embeds_candidates_only:
        return None
    return read_selection(context.folder("embed"), shards.rows).rows


def _setup(table: TeacherTable, side: str, context: RunContext) -> _State:
    config = context.config.teachers[table]
    shards = Shards(context.reading("ingest") / side, SIDES[side][1])
    if side == "corpus":
        _check_precomputed(context, table)
    chosen = _chosen(context, table, side, shards)
    if config.model == "precomputed":
        given = Precomputed(context, side, shards, table)

        def take(item: Item, tick: Tick) -> np.ndarray:
            tick(item.rows)
            return given.take(_rows(chosen, item))

        return _State(config, f"{table} {side}", chosen, take, explain=given.check)
    cells, counts = _open_cells(table, side, context, chosen)

    def encode(item: Item, tick: Tick) -> np.ndarray:
        return np.concatenate(list(cells.parts(item, tick)))

    return _State(config, f"{table} {side}", chosen, encode, counts)


def _open_cells(
    table: TeacherTable, side: str, context: RunContext, chosen: np.ndarray | None
) -> tuple[CellEncoder, Callable[[], dict[str, int] | None]]:
    """Return what encodes a side, of which `chosen` rows get a vector (None: all), and the counts of `_State`."""
    config, (kind, schema), ingest = context.config.teachers[table], SIDES[side], context.reading("ingest")
    shards = Shards(ingest / side, schema)
    rows = shards.rows if chosen is None else len(chosen)
    if side == "corpus" and context.config.input.has_images:
        images = ImageReader(Shards(ingest / "images", IMAGES), TextReader(shards, chosen), chosen)
        return CellEncoder(ImageEncoder(config, table), images, kind, rows, table), lambda: None
    if side == "queries" and context.config.input.has_query_images:
        images = ImageReader(Shards(ingest / "query-images", IMAGES), TextReader(shards), query_image_rows(shards))
        return CellEncoder(ImageEncoder(config, table), images, kind, rows, table), lambda: None
    encoder = make_encoder(config, table, read_quantised(context, table), recorded_identity(context, table))
    counts = encoder.take_counts if isinstance(encoder, ServedEncoder) else lambda: None
    return CellEncoder(encoder, TextReader(shards, chosen), kind, rows, table), counts


def _check_precomputed(context: RunContext, table: TeacherTable) -> None:
    """Check the supplied vectors that are read later, before the first teacher, which may take hours, is at work.

    Those of the first teacher's own documents are checked while they are read.
    """
    teachers = context.config.teachers
    if table != next(possible for possible, _ in possible_teachers() if possible in teachers):
        return
    for other, teacher in teachers.items():
        if teacher.model == "precomputed":
            for side, (_, schema) in SIDES.items():
                if (other, side) != (table, "corpus"):
                    Precomputed(context, side, Shards(context.reading("ingest") / side, schema), other).check()


def _rows(chosen: np.ndarray | None, item: Item) -> np.ndarray:
    """Return the rows that an item's vectors belong to."""
    last = item.first + item.rows
    return np.arange(item.first, last) if chosen is None else chosen[item.first : last]


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    what, dtype = f"{state.name} shard {item.number}", state.config.dtype
    found = state.vectors(item, tick)
    try:
        vectors = check_vectors(found, what, state.config.similarity)
    except InputError:
        state.explain()
        raise
    if max(vectors.max(initial=0), -vectors.min(initial=0)) > _LIMITS[dtype]:
        bad = np.flatnonzero((np.abs(vectors) > _LIMITS[dtype]).any(axis=1))
        table = state.name.split()[0]
        advice = f'set {table}.dtype = "float32", or scale them' if dtype == "float16" else "scale them"
        raise InputError(
            f"{what}: {len(bad):,} vectors hold numbers beyond {_LIMITS[dtype]:g}, too large for {dtype} scores, "
            f"the first in row {bad[0]:,}; {advice}"
        )
    made, counts = to_arrow(vectors, _rows(state.chosen, item), dtype), state.counts()
    return made if counts is None else with_counts(made, counts)


def _step(name: str, table: TeacherTable, side: str) -> Step:
    unit = "documents" if side == "corpus" else "queries"
    plan, setup = partial(_plan, table, side), partial(_setup, table, side)
    return Step(name, unit, plan, setup, _process, write_plain, runs_model=True)


def _teacher_steps(table: TeacherTable, names: Mapping[str, str]) -> tuple[Step, ...]:
    """Return the steps of a teacher; `names` are those of its vectors' steps, by side."""
    prefix = names["corpus"].removesuffix("corpus")
    sides = (_step(name, table, side) for side, name in names.items())
    return (int8_step(table, prefix), *sides, agreement_step(table, prefix))


_STEPS = {table: _teacher_steps(table, names) for table, names in possible_teachers()}
_OF_SOURCES = [step for table, steps in _STEPS.items() if table not in FOLDERS for step in steps]
_OF_FOLDERS = [step for table in FOLDERS for step in _STEPS[table]]


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    labels = source_teachers(context.config)
    for table in context.config.teachers:
        stores = (VectorStore(context.folder("embed") / vector_folder(context.config, table, side)) for side in SIDES)
        corpus, queries = stores
        if corpus.dim != queries.dim:
            raise ModelError(f"{table}.model: document vectors have {corpus.dim} numbers, query vectors {queries.dim}")
        if table == "embed":
            counts |= {"documents": corpus.rows, "queries": queries.rows, "dim": corpus.dim}
        elif table == "guide":
            counts["guide_dim"] = corpus.dim
        else:
            counts.setdefault("source_dims", {})[labels[table]] = corpus.dim
    if context.config.embeds_candidates_only:
        documents = Shards(context.reading("ingest") / "corpus", CORPUS).rows
        by_chance = int(read_selection(context.folder("embed"), documents).by_chance.sum())
        counts |= {"documents_in_all": documents, "documents_by_chance": by_chance}
        counts |= sparse_counts(context.config, context.folder("embed"))
    counts |= {f"{precision}_agreement": found for precision, found in agreements(context).items()}
    if served := served_counts(context):
        counts["served"] = served
    if context.config.uses_hash:
        counts["warning"] = HASH_WARNING
    return counts


def _also_reads(context: RunContext) -> tuple[str, ...]:
    """Return what else decides which documents are embedded: those that are judged, where not all are."""
    return ("ingest",) if context.config.embeds_candidates_only else ()


def _reusable(context: RunContext) -> tuple[str, ...]:
    teachers = [table for table in context.config.teachers if _has_own_keys(table, context)]
    encoded = side_folders(context.config) if context.config.embeds_candidates_only else []
    return (*(vector_folder(context.config, table, side) for table in teachers for side in SIDES), *encoded)


def _of_input(context: RunContext) -> tuple[str, ...]:
    given = [table for table, teacher in context.config.teachers.items() if teacher.model == "precomputed"]
    return tuple(vector_folder(context.config, table, side) for table in given for side in SIDES)


STAGE = Stage(
    name="embed",
    version=3,
    reads=("ingest.corpus", "ingest.queries"),
    also_reads=_also_reads,
    parts=_parts,
    steps=(*_OF_SOURCES, *STEPS, *_OF_FOLDERS),
    finish=_finish,
    reusable=_reusable,
    of_input=_of_input,
)
