"""Rescored candidates: the cross-encoder's scores as percentiles of the positives' scores.

They are put in the teacher's place (filter.score = "rescored"), where readers of candidates use them like any other
scores, or beside the teacher's ("checked"). Candidates that were not scored have the score NaN.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged, list_offsets, single_array
from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext
from hnmine.science.percentiles import ecdf, percentile_background
from hnmine.storage.schemas.rescore import RANDOM_PAIRS, RESCORES
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards

TEACHER = "teacher_"
"""Prefix of the columns that keep the teacher's numbers beside those that replace them."""

CROSS_SCORES = "cross_scores"
"""Column with the cross-encoder's percentiles beside the teacher's scores."""

_EACH_CANDIDATE = (
    "doc_rows", "scores", "ranks", "query_overlaps", "near_labels", "near_label_shares", "guide_scores",
    f"{TEACHER}scores",
)  # fmt: skip
_EACH_PAIR = ("similarities", "positive_overlaps")
_EACH_SOURCE = ("source_scores", "source_ranks")


def uses_rescored(config: Config) -> bool:
    """Return whether a config's filter uses the cross-encoder's scores in the teacher's place."""
    return config.rescore is not None and config.filter.score == "rescored"


def checks_rescored(config: Config) -> bool:
    """Return whether a filter also rejects what its rules keep and the cross-encoder scores like a positive."""
    return config.rescore is not None and config.filter.score == "checked"


def reads_rescored(config: Config) -> bool:
    """Return whether a config's filter reads the cross-encoder's scores in either way."""
    return uses_rescored(config) or checks_rescored(config)


@dataclass(frozen=True)
class Rescored:
    """The output of a run's stage rescore, and the scale of its percentiles.

    Attributes:
        shards: raw scores.
        reference: float32, raw scores of all labelled positives of the run, ascending.
        mean: mean percentile of random pairs, the background of every query.
        std: standard deviation of the same.
        beside: whether the percentiles stand beside the teacher's scores, not in their place.
    """

    shards: Shards
    reference: np.ndarray
    mean: float
    std: float
    beside: bool = False

    @classmethod
    def open(cls, context: RunContext) -> "Rescored | None":
        """Return the scores of a run; None where its filter uses the teacher's alone."""
        if not reads_rescored(context.config):
            return None
        folder = context.reading("rescore")
        shards = Shards(folder, RESCORES)
        reference = np.sort(Ragged.from_arrow(shards.column("positive_scores")).values)
        pairs = Shards(folder / "random", RANDOM_PAIRS).column("score").to_numpy()
        mean, std = percentile_background(ecdf(pairs, reference), len(reference))
        return cls(shards, reference, mean, std, checks_rescored(context.config))

    def add_to(self, table: pa.Table) -> pa.Table:
        """Return rows of retrieve with percentiles in the place of the teacher's scores, or beside them."""
        # by row and not by shard: they may have been rescored under another shard size
        own = self.shards.take(table.column("query_row").to_numpy(), ["scores", "positive_scores"])
        raw, positives = (Ragged.from_arrow(column) for column in own.columns)
        raw = raw.with_values(raw.values.astype(np.float32))  # null is NaN
        if not self.beside:
            return self._replace_scores(table, raw, positives)
        return table.append_column(CROSS_SCORES, raw.with_values(self._percentiles(raw)).to_arrow(pa.float32()))

    def _replace_scores(self, table: pa.Table, raw: Ragged, positives: Ragged) -> pa.Table:
        """Return rows of retrieve with percentiles as scores and candidates in their order; see `replace_scores`."""
        ones = np.ones(table.num_rows, dtype=np.float32)
        new = {
            "scores": raw.with_values(self._percentiles(raw)).to_arrow(pa.float32()),
            "positive_scores": positives.with_values(self._percentiles(positives)).to_arrow(pa.float32()),
            "background_mean": pa.array(ones * np.float32(self.mean)),
            "background_std": pa.array(ones * np.float32(self.std)),
        }
        return replace_scores(table, pa.table(new), raw.values)

    def _percentiles(self, raw: Ragged) -> np.ndarray:
        return ecdf(raw.values, self.reference).astype(np.float32)


def replace_scores(table: pa.Table, new: pa.Table, by: np.ndarray) -> pa.Table:
    """Return rows of retrieve with other columns of scores and candidates in their order.

    The teacher's numbers are appended as columns named `TEACHER` + name. Candidates without a score come last; ties are
    in the teacher's order.

    Args:
        table: with all columns of `CANDIDATES`.
        new: the columns in their place, with the same rows.
        by: float32, shape (candidates,): what candidates are ordered by, the highest first; NaN for none.
    """
    for name in new.column_names:
        table = table.append_column(f"{TEACHER}{name}", table.column(name))
        table = table.set_column(CANDIDATES.get_field_index(name), CANDIDATES.field(name), new.column(name))
    ranks = Ragged.from_arrow(table.column("ranks"))
    worst_last = np.where(np.isnan(by), np.inf, -by)
    return reorder_candidates(table, np.lexsort((ranks.values, worst_last, ranks.owners)))


def reorder_candidates(table: pa.Table, order: np.ndarray) -> pa.Table:
    """Return rows of retrieve, with or without the teacher's columns, with each query's candidates in another order.

    `order` is int64, shape (candidates,): a permutation that keeps each candidate within its query.
    """
    candidates = Ragged.from_arrow(table.column("doc_rows"))
    widths = Ragged.from_arrow(table.column("positive_rows")).lengths[candidates.owners]
    pairs = Ragged.from_lengths(np.arange(int(widths.sum())), widths).places(order)
    for name in (*_EACH_CANDIDATE, *_EACH_PAIR, *_EACH_SOURCE):
        if name not in table.column_names:
            continue
        column = single_array(table.column(name))
        values = column.flatten()
        if not len(values):
            continue
        each = len(values) // len(order)
        at = pairs if name in _EACH_PAIR else (order[:, None] * each + np.arange(each)).ravel()
        offsets = list_offsets(Ragged.from_arrow(column).offsets)
        moved = pa.ListArray.from_arrays(offsets, values.take(pa.array(at)), type=column.type)
        table = table.set_column(table.column_names.index(name), table.schema.field(name), moved)
    return table


def rescore_column(shards: Shards | None, queries: np.ndarray, documents: np.ndarray) -> dict[str, pa.Array]:
    """Return the column `rescore_score`: the raw score of each (query, document), null where it was not scored.

    Without output of rescore (None) there is no column. `queries` and `documents` are rows, int64, shape (n,).
    """
    if shards is None:
        return {}
    rows, at = np.unique(queries, return_inverse=True)
    table = shards.take(rows, ["doc_rows", "scores"])
    places, found = Ragged.from_arrow(table.column("doc_rows")).find(at, documents)
    scores = single_array(table.column("scores")).flatten()
    if not len(scores):
        return {"rescore_score": pa.nulls(len(documents), pa.float32())}
    return {"rescore_score": scores.take(pa.array(places, mask=~found))}


def rescores_of_positives(shards: Shards, queries: np.ndarray, documents: np.ndarray, places: np.ndarray) -> pa.Array:
    """Return the raw score of positives, float32: labelled ones by their place, relabelled ones as candidates.

    Args:
        shards: output of rescore.
        queries: int64, shape (n,): query rows.
        documents: int64, shape (n,): document rows of the positives.
        places: int64, shape (n,): position of each among the positives of its query, labelled ones first.
    """
    rows, at = np.unique(queries, return_inverse=True)
    labelled = Ragged.from_arrow(shards.take(rows, ["positive_scores"]).column(0))
    has = places < labelled.lengths[at]
    own = pa.array(labelled.values).take(pa.array(labelled.starts[at] + places, mask=~has))
    return pc.coalesce(own, rescore_column(shards, queries, documents)["rescore_score"])
