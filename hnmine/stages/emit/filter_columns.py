"""Filter columns of emitted negatives: P(false negative), weight, and the guide's score."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged, single_array
from hnmine.config import Config
from hnmine.stages.emit.chosen import PREVIOUS_NEGATIVE


@dataclass(frozen=True)
class EmittedNegatives:
    """The source of each negative of a shard's examples; one value per negative.

    Attributes:
        positions: int64, positions among the query's candidates; see `hnmine.stages.emit.chosen`.
        candidates: int64, indices among all candidates of the shard; null for negatives that are no candidates.
        anchors: int64, indices among all anchors of the shard.
        documents: int64, document rows.
    """

    positions: np.ndarray
    candidates: pa.Array
    anchors: np.ndarray
    documents: np.ndarray


def filter_columns(
    config: Config, table: pa.Table, negatives: EmittedNegatives, previous: pa.Table | None
) -> dict[str, pa.Array]:
    """Return p_false_negative and weight if the filter gives probabilities, and guide_score if there is a guide.

    Random documents have no probability (null) and weight 1. `table` holds the shard's judged candidates, `previous`
    its rows of `emit/previous` (None without a previous run), which hold the values of kept previous negatives.
    """
    columns = {}
    if config.filter.gives_probabilities:
        by_anchor = Ragged.from_arrow(single_array(table.column("probabilities")).flatten())
        at = by_anchor.starts[negatives.anchors] + negatives.positions
        p = pa.array(by_anchor.values).take(pa.array(at, mask=negatives.positions < 0))
        p = _with_previous(p, "probabilities", negatives, previous)
        columns = {"p_false_negative": p, "weight": pc.subtract(pa.scalar(1, pa.float32()), pc.fill_null(p, 0))}
    if config.guide is not None:
        scores = pa.array(Ragged.from_arrow(table.column("guide_scores")).values).take(negatives.candidates)
        columns["guide_score"] = _with_previous(scores, "guide_scores", negatives, previous)
    return columns


def _with_previous(values: pa.Array, name: str, negatives: EmittedNegatives, previous: pa.Table | None) -> pa.Array:
    """Return the values with those of kept previous negatives filled in from a column of `emit/previous`."""
    kept = negatives.positions == PREVIOUS_NEGATIVE
    if previous is None or not kept.any():
        return values
    lists = Ragged.from_arrow(previous.column("doc_rows"))
    at, _ = lists.find(negatives.anchors[kept], negatives.documents[kept])
    stored = pc.list_flatten(previous.column(name)).combine_chunks().take(pa.array(at))
    return pc.replace_with_mask(values, pa.array(kept), stored.cast(values.type))
