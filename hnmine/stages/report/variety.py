"""ECI-sem of chosen negatives: how much a mined set differs from its positives in ways that differ from each other."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import unit
from hnmine.arrays.ragged import Ragged
from hnmine.science.eci import eci_sem, hardness, residual_weight, safety
from hnmine.stages.emit.choose import Vectors, anchor_of
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.storage.vectors import BLOCK_ROWS

# Numbers of padded residuals that are worked on at a time.
_NUMBERS = 1 << 22


@dataclass(frozen=True)
class Chosen:
    """The negatives chosen for the anchors of some queries, one list an anchor each.

    Attributes:
        positions: their places among the query's candidates; below 0 for those that are none of them.
        doc_rows: their rows.
        scores: their scores.
    """

    positions: Ragged
    doc_rows: Ragged
    scores: Ragged

    @classmethod
    def from_table(cls, table: pa.Table) -> "Chosen":
        """Return the lists of a table of chosen negatives."""
        return cls(*(Ragged.from_arrow(table.column(name)) for name in ("positions", "doc_rows", "scores")))


def weights(batch: Batch, cells: Cells, chosen: Chosen, probabilities: Ragged) -> Ragged:
    """Return the weight of each chosen negative in ECI-sem, one list an anchor.

    Random documents have no stored overlap and no probability: they count as sharing no word with the query, and as
    consistent by their margin. Their hardness, near 0, leaves them little weight either way.

    Args:
        batch: candidates.
        cells: its cells.
        chosen: the negatives.
        probabilities: P(false negative) of each candidate, one list an anchor, empty where filter gave none.
    """
    owners = chosen.scores.owners
    query = cells.anchors.owners[owners]
    scores, anchor, s0 = chosen.scores.values, cells.anchors.values[owners], batch.background_mean[query]
    found = np.flatnonzero(chosen.positions.values >= 0)
    at = chosen.positions.values[found]
    overlap = np.zeros(len(scores))
    overlap[found] = batch.query_overlaps[batch.candidates.offsets[:-1][query[found]] + at]
    consistency = safety(scores, anchor, s0)
    judged = probabilities.lengths[owners[found]] > 0
    places = probabilities.offsets[:-1][owners[found[judged]]] + at[judged]
    consistency[found[judged]] = 1.0 - probabilities.values[places]
    return chosen.scores.with_values(residual_weight(consistency, hardness(scores, anchor, s0), overlap))


def eci_sem_of_queries(
    batch: Batch, cells: Cells, chosen: Chosen, weight: Ragged, emitted: np.ndarray, vectors: Vectors
) -> np.ndarray:
    """Return ECI-sem of each query, the mean over its positives that are emitted, float64; 0 without negatives.

    Args:
        batch: candidates.
        cells: its cells; a positive is served by its own anchor, or by the query's one.
        chosen: the negatives.
        weight: of each of them, see `weights`.
        emitted: bool, one a positive.
        vectors: the teacher's; asked for at most `BLOCK_ROWS` negatives at a time.
    """
    served = anchor_of(batch.positives, cells.anchors)
    values = np.zeros(len(emitted))
    todo = np.flatnonzero(emitted & (chosen.doc_rows.lengths[served] > 0))
    filled = np.cumsum(chosen.doc_rows.lengths[served[todo]])
    first = 0
    while first < len(todo):
        done = filled[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(filled, done + BLOCK_ROWS // 2, side="right")))
        part = todo[first:last]
        lists, own = chosen.doc_rows.take(served[part]), weight.take(served[part])
        values[part] = _of_positives(batch.positives.values[part], lists, own, vectors)
        first = last
    owners = batch.positives.owners
    sums = np.bincount(owners[emitted], weights=values[emitted], minlength=len(batch))
    counts = np.bincount(owners[emitted], minlength=len(batch))
    return np.asarray(sums / np.maximum(counts, 1))


def _of_positives(positives: np.ndarray, negatives: Ragged, weight: Ragged, vectors: Vectors) -> np.ndarray:
    """Return ECI-sem of each positive (int64 rows) with its list of negatives (rows)."""
    rows, inverse = np.unique(np.concatenate([positives, negatives.values]), return_inverse=True)
    directions = unit(vectors.gather(rows))
    own, others = inverse[: len(positives)], inverse[len(positives) :]
    width = int(negatives.lengths.max())
    step = max(1, _NUMBERS // (width * directions.shape[1]))
    out = np.empty(len(positives))
    for first in range(0, len(positives), step):
        last = min(first + step, len(positives))
        span = slice(negatives.offsets[first], negatives.offsets[last])
        row = negatives.owners[span] - first
        place = np.arange(span.start, span.stop) - negatives.offsets[:-1][negatives.owners[span]]
        residuals = np.zeros((last - first, width, directions.shape[1]), dtype=np.float32)
        residuals[row, place] = directions[others[span]] - directions[own[first:last][row]]
        padded = np.zeros((last - first, width))
        padded[row, place] = weight.values[span]
        out[first:last] = eci_sem(residuals, padded)
    return out
