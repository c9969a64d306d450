"""Quality of a mined set: ECI and its parts per anchor, per query, and over all queries with 95% intervals."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.science.anchors import anchor_of_positive
from hnmine.science.eci import capacity, eci, hardness, safety
from hnmine.science.margins import at_or_above
from hnmine.science.statistics import bootstrap_ratios, percentile_interval
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.report.headline import AT_OR_ABOVE
from hnmine.storage.schemas.report import QUERY_REPORT
from hnmine.storage.store import Shards

HEADLINE = ("coverage", "fill", "hardness", "safety", "capacity", "eci", "eci_sem", AT_OR_ABOVE)
"""The headline numbers that are ratios of sums over queries, and so have bootstrap intervals."""


def anchor_quality(anchors: np.ndarray, s0: np.ndarray, chosen: Ragged) -> dict[str, np.ndarray]:
    """Return the quality of each anchor's negatives.

    Args:
        anchors: anchor scores s+, shape (n,).
        s0: background mean of each anchor's query, shape (n,).
        chosen: scores of the negatives in any order, one list per anchor.

    Returns:
        float64 arrays of shape (n,): chosen (their number), negative_score and hardness (means), margin (to the hardest
        negative), capacity, safety and eci. Without negatives chosen, capacity and eci are 0 and the others NaN.
    """
    scores, some = chosen.values, chosen.lengths > 0
    hardest = np.full(len(anchors), -np.inf)
    np.maximum.at(hardest, chosen.owners, scores)
    hard = hardness(scores, anchors[chosen.owners], s0[chosen.owners])
    mean_hardness = mean_by_group(hard, chosen.owners, len(anchors))
    safe = np.where(some, safety(hardest, anchors, s0), np.nan)
    bound = capacity(chosen.lengths)
    return {
        "chosen": chosen.lengths.astype(np.float64),
        "negative_score": mean_by_group(scores.astype(np.float64), chosen.owners, len(anchors)),
        "margin": np.where(some, anchors - hardest, np.nan),
        "capacity": bound,
        "hardness": mean_hardness,
        "safety": safe,
        "eci": eci(bound, np.nan_to_num(mean_hardness), np.nan_to_num(safe)),
    }


def per_anchor(batch: Batch, cells: Cells, chosen: Ragged) -> dict[str, np.ndarray]:
    """Return `anchor_quality` of a batch, given the scores of the negatives chosen for each anchor of its cells."""
    return anchor_quality(cells.anchors.values, batch.background_mean[cells.anchors.owners], chosen)


def per_query(
    batch: Batch, cells: Cells, keep: np.ndarray, chosen: Ragged, wanted: int, served: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the means of `per_anchor` over each query's anchors, and counts: the columns of `QUERY_REPORT`.

    Args:
        batch: candidates.
        cells: its cells.
        keep: bool, one per cell: the verdict is keep.
        chosen: scores of the negatives, one list per anchor.
        wanted: number of negatives wanted per anchor.
        served: bool, one per anchor: the anchors to average over; all by default. A query without one is treated as
            a query without negatives.

    Returns:
        One value per query; all columns but query_id and eci_sem.
    """
    anchors = cells.anchors

    def over_anchors(values: np.ndarray) -> np.ndarray:
        return mean_by_group(values, anchors.owners, len(batch))

    values = per_anchor(batch, cells, chosen)
    if served is not None:
        values = {name: np.where(served, of_anchors, np.nan) for name, of_anchors in values.items()}
    out = {name: over_anchors(of_anchors) for name, of_anchors in values.items()}
    out |= {name: np.nan_to_num(out[name]) for name in ("chosen", "capacity", "eci")}
    kept = np.bincount(cells.anchor[keep], minlength=len(anchors.values)).astype(np.float64)
    return out | {
        "query_row": batch.query_rows,
        "positives": batch.positives.lengths,
        "candidates": np.bincount(batch.owners[~batch.is_positive], minlength=len(batch)),
        "kept": over_anchors(kept),
        "wanted": np.full(len(batch), wanted),
        "positive_score": mean_by_group(
            batch.positive_scores.values.astype(np.float64), batch.positives.owners, len(batch)
        ),
    }


def count_at_or_above(batch: Batch, cells: Cells, chosen: Ragged, emitted: np.ndarray) -> dict[str, np.ndarray]:
    """Return how many (emitted positive, negative) pairs each query has, and in how many the negative is not below.

    Args:
        batch: candidates.
        cells: its cells.
        chosen: scores of the negatives, one list per anchor.
        emitted: bool, one per positive.

    Returns:
        pairs and at_or_above, int64, one per query: columns of `QUERY_REPORT`.
    """
    positives = np.flatnonzero(emitted)
    lists = chosen.take(anchor_of_positive(cells.anchors, batch.positives)[positives])
    own = batch.positive_scores.values[positives][lists.owners]
    queries = batch.positives.owners[positives][lists.owners]
    over = at_or_above(lists.values, own)
    count = len(batch)
    return {
        "pairs": np.bincount(queries, minlength=count),
        "at_or_above": np.bincount(queries[over], minlength=count),
    }


def mean_by_group(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Return the mean of each group's values.

    Args:
        values: float64, shape (n,); NaN is left out.
        groups: int64 in [0, count), shape (n,).
        count: number of groups.

    Returns:
        float64, shape (count,); NaN for a group without values.
    """
    real = ~np.isnan(values)
    sums = np.bincount(groups, weights=np.where(real, values, 0), minlength=count)
    counts = np.bincount(groups, weights=real, minlength=count)
    return np.asarray(np.divide(sums, counts, out=np.full(count, np.nan), where=counts > 0))


def to_table(values: dict[str, np.ndarray], query_ids: pa.Array) -> pa.Table:
    """Return the numbers per query as a table of `QUERY_REPORT`; NaN becomes null."""
    columns = {"query_id": query_ids} | {name: pa.array(own, from_pandas=True) for name, own in values.items()}
    return pa.table([columns[field.name].cast(field.type) for field in QUERY_REPORT], schema=QUERY_REPORT)


def headline_parts(report: Path, chosen: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return what each query adds to the numerator and the denominator of each number of `HEADLINE`.

    Args:
        report: folder of a report stage.
        chosen: the chosen table of the emit stage.

    Returns:
        (numerators, denominators), float64, shape (queries, len(HEADLINE)), queries in the order of their rows.
    """
    queries = Shards(report / "queries", QUERY_REPORT)
    n = queries.rows
    top, bottom = np.zeros((n, len(HEADLINE))), np.ones((n, len(HEADLINE)))
    top[:, 0] = queries.column("chosen").to_numpy() > 0
    rows, lengths = chosen.column("query_row").to_numpy(), Ragged.from_arrow(chosen.column("positions")).lengths
    top[:, 1] = np.bincount(rows, weights=lengths, minlength=n)
    bottom[:, 1] = np.bincount(rows, weights=chosen.column("wanted").to_numpy(), minlength=n)
    top[:, -1], bottom[:, -1] = queries.column("at_or_above").to_numpy(), queries.column("pairs").to_numpy()
    for place, name in enumerate(HEADLINE[2:-1], start=2):
        values = queries.column(name).to_numpy().astype(np.float64)  # null becomes NaN
        bottom[:, place] = ~np.isnan(values)
        top[:, place] = np.nan_to_num(values)
    return top, bottom


def intervals(top: np.ndarray, bottom: np.ndarray, seed: int) -> dict[str, list[float] | None]:
    """Return the 95% percentile bootstrap interval of each number of `HEADLINE`; None where it is not defined.

    `top` and `bottom` are those of `headline_parts`.
    """
    low, high = percentile_interval(bootstrap_ratios(top, bottom, seed))
    ends = zip(HEADLINE, low, high, strict=True)
    return {name: None if np.isnan(a) else [float(a), float(b)] for name, a, b in ends}
