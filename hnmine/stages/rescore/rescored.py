"""The cross-encoder's scores in the teacher's place: percentiles among the positives', put into candidates once.

What reads candidates then takes them for any other scores. Those beyond `rescore.top_n` have NaN.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged, single_array
from hnmine.config import Config
from hnmine.runtime.stage import RunContext
from hnmine.science.score_percentiles import ecdf, percentile_background
from hnmine.storage.schemas.rescore import RANDOM_PAIRS, RESCORES
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards

TEACHER = "teacher_"
"""What the names of the columns begin with that hold the teacher's numbers beside the swapped ones."""
SWAPPED = ("scores", "positive_scores", "background_mean", "background_std")

_EACH_CANDIDATE = ("doc_rows", "scores", "ranks", "query_overlaps", "guide_scores")
_EACH_PAIR = ("similarities", "positive_overlaps")
_EACH_SOURCE = ("source_scores", "source_ranks")


def uses_rescored(config: Config) -> bool:
    """Tell whether a config's filter goes by the cross-encoder's scores."""
    return config.rescore is not None and config.filter.score == "rescored"


@dataclass(frozen=True)
class Rescored:
    """What a run's stage rescore wrote, and the scale that its scores are read on.

    Attributes:
        shards: the raw scores.
        reference: float32, the raw scores of all labelled positives of the run, ascending.
        mean: of the percentiles of random pairs, which serves every query as its background.
        std: their standard deviation.
    """

    shards: Shards
    reference: np.ndarray
    mean: float
    std: float

    @classmethod
    def open(cls, context: RunContext) -> "Rescored | None":
        """Return the scores of a run; None where its filter goes by the teacher's."""
        if not uses_rescored(context.config):
            return None
        folder = context.reading("rescore")
        shards = Shards(folder, RESCORES)
        reference = np.sort(Ragged.from_arrow(shards.column("positive_scores")).values)
        pairs = Shards(folder / "random", RANDOM_PAIRS).column("score").to_numpy()
        mean, std = percentile_background(ecdf(pairs, reference), len(reference))
        return cls(shards, reference, mean, std)

    def replace_scores(self, table: pa.Table) -> pa.Table:
        """Return candidates with percentiles in the place of the teacher's scores, in their order; and those beside.

        Candidates that were not rescored have the score NaN and come last, in the teacher's order.

        Args:
            table: rows of retrieve.
        """
        # by row and not by shard: they may have been rescored under another shard size
        own = self.shards.take(table.column("query_row").to_numpy(), ["scores", "positive_scores"])
        raw, positives = (Ragged.from_arrow(own.column(name)) for name in own.column_names)
        raw = raw.with_values(raw.values.astype(np.float32))  # null is NaN
        background = np.ones(table.num_rows, dtype=np.float32)
        new = {
            "scores": raw.with_values(self._percentiles(raw)).to_arrow(pa.float32()),
            "positive_scores": positives.with_values(self._percentiles(positives)).to_arrow(pa.float32()),
            "background_mean": pa.array(background * np.float32(self.mean)),
            "background_std": pa.array(background * np.float32(self.std)),
        }
        kept = {name: table.column(name) for name in SWAPPED}
        for name, column in new.items():
            table = table.set_column(CANDIDATES.get_field_index(name), CANDIDATES.field(name), column)
        for name, column in kept.items():
            table = table.append_column(f"{TEACHER}{name}", column)
        ranks = Ragged.from_arrow(table.column("ranks")).values
        worst_last = np.where(np.isnan(raw.values), np.inf, -raw.values)
        return reordered(table, np.lexsort((ranks, worst_last, raw.owners)))

    def _percentiles(self, raw: Ragged) -> np.ndarray:
        return ecdf(raw.values, self.reference).astype(np.float32)


def reordered(table: pa.Table, order: np.ndarray) -> pa.Table:
    """Return candidates in another order within their queries.

    Args:
        table: rows of retrieve, with or without the teacher's columns of `Rescored.replace_scores`.
        order: int64, one a candidate of the table: a permutation that leaves each within its query.
    """
    candidates = Ragged.from_arrow(table.column("doc_rows"))
    widths = Ragged.from_arrow(table.column("positive_rows")).lengths[candidates.owners]
    pairs = Ragged.from_lengths(np.arange(int(widths.sum())), widths).places(order)
    for name in (*_EACH_CANDIDATE, f"{TEACHER}scores", *_EACH_PAIR, *_EACH_SOURCE):
        if name not in table.column_names:
            continue
        column = single_array(table.column(name))
        values = column.flatten()
        if not len(values):
            continue
        each = len(values) // len(order)
        at = pairs if name in _EACH_PAIR else (order[:, None] * each + np.arange(each)).ravel()
        offsets = pa.array(Ragged.from_arrow(column).offsets.astype(np.int32))
        moved = pa.ListArray.from_arrays(offsets, values.take(pa.array(at)), type=column.type)
        table = table.set_column(table.column_names.index(name), table.schema.field(name), moved)
    return table


def rescore_column(shards: Shards | None, queries: np.ndarray, documents: np.ndarray) -> dict[str, pa.Array]:
    """Return the column `rescore_score`: the raw score of each (query row, document row), null where it has none.

    Args:
        shards: what rescore wrote; without it there is no column.
        queries: int64, shape (n,).
        documents: int64, likewise.
    """
    if shards is None:
        return {}
    rows, at = np.unique(queries, return_inverse=True)
    table = shards.take(rows, ["doc_rows", "scores"])
    known, scores = Ragged.from_arrow(table.column("doc_rows")), single_array(table.column("scores")).flatten()
    span = int(max(known.values.max(initial=0), documents.max(initial=0))) + 1
    keys = known.owners * span + known.values
    order = np.argsort(keys)
    place = np.minimum(np.searchsorted(keys[order], at * span + documents), max(0, len(keys) - 1))
    if not len(keys):
        return {"rescore_score": pa.nulls(len(documents), pa.float32())}
    found = order[place]
    return {"rescore_score": scores.take(pa.array(found, mask=keys[found] != at * span + documents))}
