"""Scores and judges a previous run's negatives with the new model, and decides which of them this run keeps."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.groups import repeated
from hnmine.arrays.ragged import Ragged, list_array
from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext, Tick
from hnmine.science.eci import hardness
from hnmine.science.sampling import best_kept, is_easy
from hnmine.stages.emit.chosen import PREVIOUS_NEGATIVE
from hnmine.stages.emit.previous.previous_run import PREVIOUS_PATH, PreviousNegatives
from hnmine.stages.emit.previous.unretrieved import UNKNOWN, UnretrievedJudge, anchor_cells
from hnmine.stages.emit.relabel.relabelled import judged_folder
from hnmine.stages.filter.bad_positives import needs_negatives
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.inputs import slices
from hnmine.stages.filter.verdicts import CODES, verdict_codes
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.emit import PREVIOUS
from hnmine.storage.schemas.filter import JUDGED_CODED, KEEP, VERDICTS
from hnmine.storage.schemas.ingest import CORPUS
from hnmine.storage.store import Shards, read_table

FATES = ("random", "barred", "rejected", "easy", "hard")
"""What may become of a previous negative, in order of precedence; only hard ones can be kept."""


def read_previous(emit: Path) -> pa.Table:
    """Return the refreshed negatives of the previous run from an emit folder: one row per (query, anchor)."""
    return conform(read_table(emit / PREVIOUS_PATH), PREVIOUS, "emit/previous")


def refresh_all(context: RunContext, tick: Tick) -> pa.Table:
    """Return every negative of the previous run with its new score, verdict and fate, as the table `emit/previous`.

    Raises:
        HnmineError: as `PreviousNegatives`.
    """
    config, judged = context.config, Shards(judged_folder(context, context.folder("emit")), JUDGED_CODED)
    previous, judge = PreviousNegatives(context), UnretrievedJudge(context)
    parts, room = [PREVIOUS.empty_table()], [np.zeros(0, dtype=np.int64)]
    for table in judged:
        for piece in slices(table):
            parts.append(_refresh(piece, previous, judge))
            room.append(needs_negatives(piece, config) * config.emit.retrieved_negatives)
            tick(piece.num_rows)
    return _with_stays(pa.concat_tables(parts), np.concatenate(room), config)


def _refresh(table: pa.Table, previous: PreviousNegatives, judge: UnretrievedJudge) -> pa.Table:
    """Return the rows of `emit/previous` for the queries of a judged table; `stays` is still false everywhere."""
    config = judge.state.config.previous
    assert config is not None
    batch = Batch.from_table(table)
    anchors = Ragged.from_arrow(table.column("anchor_scores"))
    found, which, compared = previous.of(batch.query_rows, anchors, batch.positives)
    exists = found.values >= 0
    gone = np.bincount(found.owners[~exists], minlength=len(found))
    rows = Ragged.from_lengths(found.values[exists], found.lengths - gone)
    which, queries = which[exists], anchors.owners[rows.owners]
    at, hit = batch.candidates.find(queries, rows.values)
    positions = np.where(hit, at - batch.candidates.starts[queries], PREVIOUS_NEGATIVE)
    scores = judge.scores(batch.query_rows[queries], rows.values)
    # stored verdicts for candidates, new ones for the others
    verdicts = UNKNOWN.repeat(len(hit))
    verdicts[~hit] = judge.judge(table, rows.owners[~hit], rows.values[~hit])
    cells = anchor_cells(batch, anchors)[rows.owners[hit]] + positions[hit]
    verdicts["code"][hit] = verdict_codes(table.column("verdicts"))[cells]
    probabilities = pc.list_flatten(pc.list_flatten(table.column("probabilities"))).to_numpy()
    if len(probabilities):
        verdicts["probability"][hit] = probabilities[cells]
    if judge.guide is not None:
        verdicts["guide_score"][hit] = batch.guide_scores[at[hit]]
    # the fate's number in FATES: the first that applies
    barred = ~judge.allows(batch.query_rows[queries], rows.values)
    rejected = verdicts["code"] != CODES[KEEP]
    has_become_easy = is_easy(scores, previous.first_scores[which], config.easy_ratio, config.easy_below)
    fates = np.select([previous.random[which], barred, rejected, has_become_easy], [0, 1, 2, 3], 4)
    # of hard negatives with the same text in one row, the highest scored is kept
    hard = np.flatnonzero(fates == FATES.index("hard"))
    hard = hard[np.lexsort((rows.values[hard], -scores[hard], rows.owners[hard]))]
    copies = hard[repeated(rows.owners[hard], judge.state.documents[rows.values[hard]])]
    fates[copies], verdicts["code"][copies] = FATES.index("rejected"), CODES["copy_of_negative"]
    lists = {
        "positions": positions, "doc_rows": rows.values, "first_scores": previous.first_scores[which],
        "previous_scores": previous.scores[which], "previous_hardness": previous.hardness[which],
        "scores": scores, "hardness": hardness(scores, anchors.values[rows.owners], batch.background_mean[queries]),
        "verdicts": np.array(list(VERDICTS), dtype=object)[verdicts["code"]],
        "fates": np.array(FATES, dtype=object)[fates], "stays": np.zeros(len(scores), dtype=bool),
    }  # fmt: skip
    columns = {
        "query_row": batch.query_rows[anchors.owners],
        "anchor": anchors.positions,
        "compared": compared,
        "gone": gone,
        "probabilities": _with_nulls(rows, verdicts["probability"]),
        "guide_scores": _with_nulls(rows, verdicts["guide_score"]),
    }
    for name, values in lists.items():
        columns[name] = rows.with_values(values).to_arrow(PREVIOUS.field(name).type.value_type)
    return pa.table(columns, schema=PREVIOUS)


def _with_nulls(lists: Ragged, values: np.ndarray) -> pa.Array:
    """Return a column of lists of float32 in which NaN is null."""
    flat = pa.array(values.astype(np.float32), pa.float32(), from_pandas=True)
    return list_array(lists.offsets, flat, nullable=True)


def _with_stays(table: pa.Table, room: np.ndarray, config: Config) -> pa.Table:
    """Return the table with `stays` set: in each row the hardest negatives that it has room for, within the cap.

    All queries are decided on at once and in their order, so that a cap does not depend on shards. `room` is int64, one
    per row: the number of negatives that it may keep.
    """
    assert config.previous is not None
    if config.previous.replace != "easy":
        return table
    documents = Ragged.from_arrow(table.column("doc_rows"))
    at = np.flatnonzero(_has_fate(table, "hard"))
    groups, cap = documents.owners[at], config.emit.max_per_document
    scores = Ragged.from_arrow(table.column("scores")).values
    limit = None if cap is None else (cap, dict[int, int]())
    stays = np.zeros(len(documents.values), dtype=bool)
    stays[at[best_kept(groups, documents.values[at], scores[at], room[groups], limit)]] = True
    number = PREVIOUS.get_field_index("stays")
    return table.set_column(number, PREVIOUS.field(number), documents.with_values(stays).to_arrow(pa.bool_()))


def _has_fate(table: pa.Table, fate: str) -> np.ndarray:
    """Return for each negative of `emit/previous` whether it has a fate, bool."""
    return np.asarray(pc.equal(pc.list_flatten(table.column("fates")), fate))


@dataclass(frozen=True)
class KeptNegatives:
    """Previous negatives that this run keeps: one list per (query, anchor).

    Attributes:
        query_rows: int64, ascending: the query of each list.
        documents: document rows.
        positions: int32, positions among the query's candidates; see `hnmine.stages.emit.chosen`.
        scores: float32, scores by the new model.
        excluded: text numbers that the row must not get again: those of kept and of easy negatives.
        text_numbers: int64, one per document of the corpus; copies of a text share a number.
    """

    query_rows: np.ndarray
    documents: Ragged
    positions: Ragged
    scores: Ragged
    excluded: Ragged
    text_numbers: np.ndarray

    @classmethod
    def open(cls, context: RunContext) -> "KeptNegatives | None":
        """Return the kept negatives of all queries; None where the run chooses all negatives anew."""
        previous = context.config.previous
        if previous is None or previous.replace != "easy":
            return None
        keys = Shards(context.reading("ingest") / "corpus", CORPUS).column("text_key").to_numpy()
        numbers = np.unique(keys, return_inverse=True)[1]
        table = read_previous(context.folder("emit"))
        documents = Ragged.from_arrow(table.column("doc_rows"))
        stays = Ragged.from_arrow(table.column("stays")).values.astype(bool)
        kept = {name: Ragged.from_arrow(table.column(name)).filter(stays) for name in ("positions", "scores")}
        excluded = documents.with_values(numbers[documents.values]).filter(stays | _has_fate(table, "easy"))
        rows = table.column("query_row").to_numpy()
        return cls(rows, documents.filter(stays), kept["positions"], kept["scores"], excluded, numbers)

    def take(self, query_rows: np.ndarray) -> "KeptNegatives":
        """Return the lists of some queries (ascending rows without gaps)."""
        own = np.arange(*np.searchsorted(self.query_rows, query_rows[[0, -1]] + np.array([0, 1])))
        lists = {name: getattr(self, name).take(own) for name in ("documents", "positions", "scores", "excluded")}
        return replace(self, query_rows=self.query_rows[own], **lists)

    def allows(self, anchors: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return whether each document (row, int64) may be added to the list of its anchor (int64), bool."""
        return ~self.excluded.contains(anchors, self.text_numbers[documents])

    def merge(
        self, positions: Ragged, documents: np.ndarray, scores: np.ndarray
    ) -> tuple[Ragged, np.ndarray, np.ndarray]:
        """Return newly chosen negatives and the kept ones, by descending score in each list.

        Both are (positions among the candidates, document rows, scores); positions have one list per anchor.
        """
        owners = np.concatenate([self.documents.owners, positions.owners])
        rows = np.concatenate([self.documents.values, documents])
        values = np.concatenate([self.scores.values, scores])
        order = np.lexsort((rows, -values, owners))
        merged = np.concatenate([self.positions.values, positions.values])[order]
        return Ragged.from_lengths(merged, self.documents.lengths + positions.lengths), rows[order], values[order]
