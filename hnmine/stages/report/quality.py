"""The numbers of a mined set, query by query: what the report averages."""

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.science.eci import capacity, eci, hardness, safety
from hnmine.stages.filter.candidates import Batch, Cells


def per_anchor(batch: Batch, cells: Cells, chosen: Ragged) -> dict[str, np.ndarray]:
    """Return the quality of each anchor's chosen negatives, float64, NaN where there is nothing to measure.

    Args:
        batch: candidates.
        cells: its cells; chosen has one list for each anchor.
        chosen: scores of the negatives, best first or not.
    """
    return of_anchors(cells.anchors.values, batch.background_mean[cells.anchors.owners], chosen)


def of_anchors(anchors: np.ndarray, s0: np.ndarray, chosen: Ragged) -> dict[str, np.ndarray]:
    """Return the quality of each anchor score's negatives, as `per_anchor`.

    Args:
        anchors: anchor scores s+, shape (n,).
        s0: background of the query of each, shape (n,).
        chosen: scores of the negatives, one list an anchor.
    """
    scores = chosen.values
    count, some = chosen.lengths, chosen.lengths > 0
    hardest = np.full(len(anchors), -np.inf)
    np.maximum.at(hardest, chosen.owners, scores)
    hard = hardness(scores, anchors[chosen.owners], s0[chosen.owners])
    mean_hard = _mean(hard, chosen)
    safe = np.where(some, safety(hardest, anchors, s0), np.nan)
    return {
        "chosen": count.astype(np.float64),
        "negative_score": _mean(scores.astype(np.float64), chosen),
        "margin": np.where(some, anchors - hardest, np.nan),
        "capacity": capacity(count),
        "hardness": mean_hard,
        "safety": safe,
        "eci": np.where(some, eci(capacity(count), np.nan_to_num(mean_hard), np.nan_to_num(safe)), 0.0),
    }


def _mean(values: np.ndarray, lists: Ragged) -> np.ndarray:
    sums = np.bincount(lists.owners, weights=values, minlength=len(lists))
    return np.asarray(np.divide(sums, lists.lengths, out=np.full(len(lists), np.nan), where=lists.lengths > 0))


def per_query(
    batch: Batch, cells: Cells, keep: np.ndarray, chosen: Ragged, wanted: int, served: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the same averaged over each query's anchors, with counts; one value a query.

    Args:
        batch: candidates.
        cells: its cells.
        keep: bool, one a cell.
        chosen: scores of the negatives, one list an anchor.
        wanted: negatives wanted for each anchor.
        served: bool, one an anchor: those that count; all by default. A query without any counts as one without
            negatives.
    """
    anchors = cells.anchors
    values = per_anchor(batch, cells, chosen)
    if served is not None:
        values = {name: np.where(served, of_anchors, np.nan) for name, of_anchors in values.items()}
    out = {name: _mean_over(values[name], anchors) for name in values}
    out |= {name: np.nan_to_num(out[name]) for name in ("chosen", "capacity", "eci")}
    kept = np.bincount(cells.anchor[keep], minlength=len(anchors.values)).astype(np.float64)
    others = np.bincount(batch.owners[~batch.is_positive], minlength=len(batch))
    return out | {
        "query_row": batch.query_rows,
        "positives": batch.positives.lengths,
        "candidates": others,
        "kept": _mean_over(kept, anchors),
        "wanted": np.full(len(batch), wanted),
        "positive_score": _mean_over(batch.positive_scores.values.astype(np.float64), batch.positives),
    }


def _mean_over(values: np.ndarray, lists: Ragged) -> np.ndarray:
    """Return the mean of each list's numbers, NaN apart; NaN where a list has none."""
    real = ~np.isnan(values)
    sums = np.bincount(lists.owners, weights=np.where(real, values, 0), minlength=len(lists))
    counts = np.bincount(lists.owners, weights=real, minlength=len(lists))
    return np.asarray(np.divide(sums, counts, out=np.full(len(lists), np.nan), where=counts > 0))


def to_table(values: dict[str, np.ndarray], query_ids: pa.Array, schema: pa.Schema) -> pa.Table:
    """Return the per-query numbers as a table; NaN becomes null."""
    columns = []
    for field in schema:
        if field.name == "query_id":
            columns.append(query_ids)
        elif pa.types.is_floating(field.type):
            columns.append(pa.array(values[field.name], pa.float64(), from_pandas=True).cast(field.type))
        else:
            columns.append(pa.array(values[field.name]).cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)
