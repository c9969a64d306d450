"""What becomes of an earlier run's negatives: each is scored and judged anew, and stays or gives way."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.groups import repeated
from hnmine.arrays.ragged import Ragged, list_array, single_array
from hnmine.config import Config
from hnmine.runtime.stage import RunContext, Tick
from hnmine.science.eci import hardness
from hnmine.science.refresh import best_kept, is_easy
from hnmine.science.sampling import count_used
from hnmine.stages.emit.previous.previous_run import NEGATIVES_FILE, Earlier
from hnmine.stages.emit.previous.unretrieved import Outside, Verdicts, kept
from hnmine.stages.emit.random_negatives import PREVIOUS as NO_CANDIDATE
from hnmine.stages.filter.bad_positives import needs_negatives
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.inputs import slices
from hnmine.stages.filter.verdicts import CODES
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.emit import PREVIOUS
from hnmine.storage.schemas.filter import JUDGED, VERDICTS
from hnmine.storage.schemas.ingest import CORPUS
from hnmine.storage.store import Shards, read_table

FATES = ("random", "barred", "rejected", "easy", "hard")


def read_previous(emit: Path) -> pa.Table:
    """Return what became of the earlier run's negatives, out of an emit folder: one row for each (query, anchor)."""
    return conform(read_table(emit / "previous" / NEGATIVES_FILE), PREVIOUS, "emit/previous")


def judge_previous(context: RunContext, tick: Tick) -> pa.Table:
    """Return what becomes of every negative of the earlier run, for all queries.

    Raises:
        HnmineError: as `Earlier.open`.
    """
    shards, earlier, outside = Shards(context.reading("filter"), JUDGED), Earlier.open(context), Outside.open(context)
    parts, room = [PREVIOUS.empty_table()], [np.zeros(0, dtype=np.int64)]
    for table in shards:
        for piece in slices(table):
            parts.append(_judged(piece, earlier, outside))
            room.append(needs_negatives(piece, context.config) * context.config.emit.retrieved_negatives)
            tick(piece.num_rows)
    return _with_stays(pa.concat_tables(parts), np.concatenate(room), context.config)


def _judged(table: pa.Table, earlier: Earlier, outside: Outside) -> pa.Table:
    """Return the rows of some queries, with nothing that stays yet."""
    batch = Batch.from_table(table)
    anchors = Ragged.from_arrow(table.column("anchor_scores"))
    found, which, compared = earlier.of(batch.query_rows, anchors, batch.positives)
    real = found.values >= 0
    gone = np.bincount(found.owners[~real], minlength=len(found))
    rows = Ragged.from_lengths(found.values[real], found.lengths - gone)
    which, queries = which[real], anchors.owners[rows.owners]
    at, hit = batch.candidates.find(queries, rows.values)
    positions = np.where(hit, at - batch.candidates.starts[queries], NO_CANDIDATE)
    scores = outside.scores(batch.query_rows[queries], rows.values)
    said = _verdicts(table, batch, rows, positions, outside)
    s0 = batch.background_mean[queries]
    config = outside.state.config.previous
    assert config is not None
    barred = ~outside.allows(batch.query_rows[queries], rows.values)
    found_easy = is_easy(scores, earlier.first_scores[which], config.easy_ratio, config.easy_below)
    # the number in FATES: the first that holds
    fates = np.select([earlier.random[which], barred, ~kept(said.codes), found_easy], [0, 1, 2, 3], 4)
    twice = _repeated(rows, scores, fates == FATES.index("hard"), outside.state.documents)
    fates[twice], said.codes[twice] = FATES.index("rejected"), CODES["copy_of_negative"]
    values = {
        "positions": positions, "doc_rows": rows.values, "first_scores": earlier.first_scores[which],
        "previous_scores": earlier.scores[which], "previous_hardness": earlier.hardness[which],
        "scores": scores, "hardness": hardness(scores, anchors.values[rows.owners], s0),
        "stays": np.zeros(len(scores), dtype=bool), "verdicts": np.array(list(VERDICTS), dtype=object)[said.codes],
        "fates": np.array(FATES, dtype=object)[fates],
    }  # fmt: skip
    columns: dict[str, Any] = {
        "query_row": pa.array(batch.query_rows[anchors.owners]),
        "anchor": pa.array(anchors.positions.astype(np.int32)),
        "compared": pa.array(compared),
        "gone": pa.array(gone.astype(np.int32)),
        "probabilities": _with_nulls(rows, said.probabilities),
        "guide_scores": _with_nulls(rows, said.guide_scores),
    }
    for name, value in values.items():
        columns[name] = rows.with_values(value).to_arrow(PREVIOUS.field(name).type.value_type)
    return pa.Table.from_arrays([columns[name] for name in PREVIOUS.names], schema=PREVIOUS)


def _with_nulls(lists: Ragged, values: np.ndarray) -> pa.Array:
    """Return a column of lists of float32 in which NaN is null."""
    flat = pa.array(values.astype(np.float32), pa.float32(), from_pandas=True)
    return list_array(lists.offsets, flat, nullable=True)


def _verdicts(table: pa.Table, batch: Batch, rows: Ragged, positions: np.ndarray, outside: Outside) -> Verdicts:
    """Return the verdicts on the documents: the filter's own on candidates, else as if they were retrieved."""
    hit = positions >= 0
    anchors = rows.owners[hit]
    of_anchors = single_array(table.column("verdicts")).flatten()
    starts = Ragged.from_arrow(of_anchors).starts
    names = of_anchors.flatten().take(pa.array(starts[anchors] + positions[hit]))
    codes = np.zeros(len(positions), dtype=np.int8)
    codes[hit] = pc.index_in(names, pa.array(list(VERDICTS))).to_numpy(zero_copy_only=False)
    probabilities, guided = np.full(len(codes), np.nan), np.full(len(codes), np.nan)
    given = Ragged.from_arrow(single_array(table.column("probabilities")).flatten())
    if len(given.values):
        probabilities[hit] = given.values[given.starts[anchors] + positions[hit]]
    if outside.guide is not None:
        queries = Ragged.from_arrow(table.column("anchor_scores")).owners[anchors]
        guided[hit] = batch.guide_scores[batch.candidates.starts[queries] + positions[hit]]
    found = outside.judge(table, rows.owners[~hit], rows.values[~hit])
    codes[~hit], probabilities[~hit], guided[~hit] = found.codes, found.probabilities, found.guide_scores
    return Verdicts(codes, probabilities, guided)


def _repeated(rows: Ragged, scores: np.ndarray, hard: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Return which hard negatives (places in the rows' values) have the text of one in their row that scores higher."""
    at = np.flatnonzero(hard)
    order = at[np.lexsort((rows.values[at], -scores[at], rows.owners[at]))]
    return np.asarray(order[repeated(rows.owners[order], texts[rows.values[order]])])


def _with_stays(table: pa.Table, room: np.ndarray, config: Config) -> pa.Table:
    """Return the table with what stays: of each row the hardest by now, for which it has room, and no more than a cap.

    Over all queries at once, in their order, so that a cap does not depend on how they were cut into pieces.
    """
    assert config.previous is not None
    if config.previous.replace != "easy":
        return table
    documents = Ragged.from_arrow(table.column("doc_rows"))
    fates = pc.equal(single_array(table.column("fates")).flatten(), "hard").to_numpy(zero_copy_only=False)
    at = np.flatnonzero(fates)
    groups, cap = documents.owners[at], config.emit.max_per_document
    scores = Ragged.from_arrow(table.column("scores")).values
    limit = None if cap is None else (cap, dict[int, int]())
    stays = np.zeros(len(documents.values), dtype=bool)
    stays[at[best_kept(groups, documents.values[at], scores[at], room[groups], limit)]] = True
    number = PREVIOUS.get_field_index("stays")
    return table.set_column(number, PREVIOUS.field(number), documents.with_values(stays).to_arrow(pa.bool_()))


def kept_of(table: pa.Table) -> dict[str, int]:
    """Return how many negatives are there because an earlier run had them."""
    return {"negatives_previous": pc.sum(single_array(table.column("stays")).flatten()).as_py() or 0}


def put_in(
    values: pa.Array, stays: np.ndarray, name: str, previous: pa.Table | None, where: tuple[np.ndarray, np.ndarray]
) -> pa.Array:
    """Return values of negatives with those of negatives that are no candidates, as they were judged, in their places.

    Args:
        values: float32, one a negative; null where it is no candidate.
        stays: bool, one a negative: which are to be filled in.
        name: a column of `emit/previous`.
        previous: rows of that table; None where there is none.
        where: (row of `previous`, document) of each negative.
    """
    if previous is None or not stays.any():
        return values
    place, _ = Ragged.from_arrow(previous.column("doc_rows")).find(where[0][stays], where[1][stays])
    known = single_array(previous.column(name)).flatten().take(pa.array(place))
    return pc.replace_with_mask(values, pa.array(stays), known.cast(values.type))


@dataclass(frozen=True)
class Staying:
    """Negatives that stay in the rows of some anchors, and what may not come beside them.

    Attributes:
        documents: rows of those that stay, one list an anchor.
        positions: int32, one each.
        scores: float32, one each.
        barred: names of documents that are in the row or gave way as easy, one list an anchor.
        names: int64, one a document of the corpus: the same for copies of one text.
    """

    documents: Ragged
    positions: np.ndarray
    scores: np.ndarray
    barred: Ragged
    names: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, names: np.ndarray) -> "Staying":
        """Return what stays of the rows of a table of `emit/previous`."""
        documents = Ragged.from_arrow(table.column("doc_rows"))
        stays = Ragged.from_arrow(table.column("stays")).values.astype(bool)
        barred = stays | pc.equal(single_array(table.column("fates")).flatten(), "easy").to_numpy(zero_copy_only=False)
        count = len(documents)
        return cls(
            Ragged.from_lengths(documents.values[stays], np.bincount(documents.owners[stays], minlength=count)),
            Ragged.from_arrow(table.column("positions")).values[stays],
            Ragged.from_arrow(table.column("scores")).values[stays],
            Ragged.from_lengths(
                names[documents.values[barred]], np.bincount(documents.owners[barred], minlength=count)
            ),
            names,
        )

    def free(self, batch: Batch, cells: Cells, keep: np.ndarray) -> np.ndarray:
        """Return which of the cells kept may come into the row, bool."""
        at = np.flatnonzero(keep)
        taken = self.barred.contains(cells.anchor[at], self.names[batch.candidates.values[cells.candidate[at]]])
        out = np.zeros(len(keep), dtype=bool)
        out[at[~taken]] = True
        return out

    def join(
        self, positions: Ragged, documents: np.ndarray, scores: np.ndarray
    ) -> tuple[Ragged, np.ndarray, np.ndarray]:
        """Return (positions, documents, scores) of the rows with what stays, the highest score first.

        Args:
            positions: of what was chosen besides, one list an anchor.
            documents: their rows.
            scores: their scores.
        """
        owners = np.concatenate([self.documents.owners, positions.owners])
        rows = np.concatenate([self.documents.values, documents])
        values = np.concatenate([self.scores, scores])
        order = np.lexsort((rows, -values, owners))
        places = np.concatenate([self.positions, positions.values])[order]
        return Ragged.from_lengths(places, self.documents.lengths + positions.lengths), rows[order], values[order]


@dataclass(frozen=True)
class Renewal:
    """What stays, for all rows of a run; `slice` gives those of some."""

    table: pa.Table
    names: np.ndarray

    @classmethod
    def open(cls, context: RunContext) -> "Renewal | None":
        """Return what stays of the earlier run's negatives; None where all are chosen anew."""
        previous = context.config.previous
        if previous is None or previous.replace != "easy":
            return None
        keys = Shards(context.reading("ingest") / "corpus", CORPUS).column("text_key").to_numpy()
        return cls(read_previous(context.folder("emit")), np.unique(keys, return_inverse=True)[1])

    def slice(self, first: int, rows: int) -> Staying:
        """Return what stays in some rows."""
        return Staying.of(self.table.slice(first, rows), self.names)

    def count(self, used: dict[int, int]) -> None:
        """Add what stays to how often each document was chosen."""
        count_used(self.slice(0, self.table.num_rows).documents.values, used)
