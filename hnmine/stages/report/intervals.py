"""The headline numbers as ratios of sums over queries, and how far they would move with other queries."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.science.bootstrap import percentile_interval, resampled
from hnmine.storage.schemas.report import QUERY_REPORT
from hnmine.storage.store import Shards

HEADLINE = ("coverage", "fill", "hardness", "safety", "capacity", "eci", "eci_sem")
_MEANS = HEADLINE[2:]


def headline_parts(report: Path, chosen: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return what each query adds to the numerator and the denominator of each number of `HEADLINE`.

    Args:
        report: the folder of a report stage.
        chosen: what was chosen, out of the emit folder.

    Returns:
        (top, bottom), float64, shape (queries, numbers), queries in the order of their rows.
    """
    queries = Shards(report / "queries", QUERY_REPORT)
    n = queries.rows
    top, bottom = np.zeros((n, len(HEADLINE))), np.ones((n, len(HEADLINE)))
    top[:, 0] = queries.column("chosen").to_numpy() > 0
    rows, lengths = chosen.column("query_row").to_numpy(), Ragged.from_arrow(chosen.column("positions")).lengths
    top[:, 1] = np.bincount(rows, weights=lengths, minlength=n)
    bottom[:, 1] = np.bincount(rows, weights=chosen.column("wanted").to_numpy(), minlength=n)
    for place, name in enumerate(_MEANS, start=2):
        values = queries.column(name).to_numpy().astype(np.float64)  # null becomes NaN
        bottom[:, place] = ~np.isnan(values)
        top[:, place] = np.nan_to_num(values)
    return top, bottom


def intervals(top: np.ndarray, bottom: np.ndarray, seed: int) -> list[list[float] | None]:
    """Return the 95% percentile bootstrap interval of each ratio; None where it is not defined.

    Args:
        top: float, shape (queries, m).
        bottom: likewise.
        seed: of the resamples.
    """
    low, high = percentile_interval(resampled(top, bottom, seed))
    return [None if np.isnan(a) else [float(a), float(b)] for a, b in zip(low, high, strict=True)]
