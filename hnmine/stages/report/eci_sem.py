"""ECI-sem of each query: how much its chosen negatives differ from their positives and from one another."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import unit
from hnmine.arrays.ragged import Ragged
from hnmine.science.anchors import anchor_of_positive
from hnmine.science.eci import eci_sem, hardness, residual_weight, safety
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.report.negatives import at_positions
from hnmine.stages.report.quality import mean_by_group
from hnmine.storage.vectors import BLOCK_ROWS, VectorStore

# Numbers in the padded residuals of one block.
_NUMBERS = 1 << 22


@dataclass(frozen=True)
class Chosen:
    """The negatives chosen for the anchors of some queries, one list per anchor.

    Attributes:
        positions: their positions among the query's candidates; negative for documents that are no candidates.
        doc_rows: their rows in the corpus.
        scores: their scores.
    """

    positions: Ragged
    doc_rows: Ragged
    scores: Ragged

    @classmethod
    def from_table(cls, table: pa.Table) -> "Chosen":
        """Return the lists of a chosen table."""
        return cls(*(Ragged.from_arrow(table.column(name)) for name in ("positions", "doc_rows", "scores")))


def weights(batch: Batch, cells: Cells, chosen: Chosen, probabilities: Ragged) -> Ragged:
    """Return the weight of each chosen negative in ECI-sem, one list per anchor.

    Random documents have no stored overlap and no probability: their overlap counts as 0, and their consistency is
    their safety. Their hardness is near 0, so they weigh little in any case.

    Args:
        batch: candidates.
        cells: its cells.
        chosen: the negatives.
        probabilities: P(false negative) of each candidate, one list per anchor; empty where the filter gave none.
    """
    owners = chosen.scores.owners
    query = cells.anchors.owners[owners]
    scores, anchor, s0 = chosen.scores.values, cells.anchors.values[owners], batch.background_mean[query]
    overlap = np.nan_to_num(at_positions(batch.query_overlaps, batch.candidates, query, chosen.positions.values))
    probability = at_positions(probabilities.values, probabilities, owners, chosen.positions.values)
    consistency = np.where(np.isnan(probability), safety(scores, anchor, s0), 1.0 - probability)
    return chosen.scores.with_values(residual_weight(consistency, hardness(scores, anchor, s0), overlap))


def eci_sem_of_queries(
    batch: Batch, cells: Cells, chosen: Chosen, weight: Ragged, emitted: np.ndarray, vectors: VectorStore
) -> np.ndarray:
    """Return ECI-sem of each query: the mean over its positives that are emitted.

    Args:
        batch: candidates.
        cells: its cells; each positive has its own anchor, or all of a query's positives share one.
        chosen: the negatives.
        weight: weight of each negative, see `weights`.
        emitted: bool, one per positive.
        vectors: the teacher's; at most `BLOCK_ROWS` negatives are gathered at a time.

    Returns:
        float64, one per query; 0 without negatives.
    """
    served = anchor_of_positive(cells.anchors, batch.positives)
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
    means = mean_by_group(values[emitted], batch.positives.owners[emitted], len(batch))
    return np.asarray(np.nan_to_num(means))


def _of_positives(positives: np.ndarray, negatives: Ragged, weight: Ragged, vectors: VectorStore) -> np.ndarray:
    """Return ECI-sem of each positive (int64 rows of the corpus) with its list of negatives (likewise)."""
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
        place = np.arange(span.start, span.stop) - negatives.starts[negatives.owners[span]]
        residuals = np.zeros((last - first, width, directions.shape[1]), dtype=np.float32)
        residuals[row, place] = directions[others[span]] - directions[own[first:last][row]]
        padded = np.zeros((last - first, width))
        padded[row, place] = weight.values[span]
        out[first:last] = eci_sem(residuals, padded)
    return out
