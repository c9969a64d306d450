"""How often a promised false-negative rate is broken, and what the promise costs in rows.

    python -m tests.benchmarks.promised_rates DATA [--draws 1000] [--only NAME ...]

Part 1 draws queries, with replacement, from a population whose rates are known: made queries whose hidden positives
cluster, and the queries of each collection below DATA (corpus, queries, qrels and vectors in Parquet). A threshold is
set on each draw; the promise is broken if the whole population has a higher rate at that threshold. "whole grid" takes
the fullest threshold whose own 95% upper bound is within the rate.

Part 2 fits model and threshold on a random half of a collection's queries and measures the other half.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.science.promised_rates import promised
from hnmine.science.statistics import clustered_upper_bounds
from hnmine.stages.filter.calibration import CachedScorer, Calibration, KeptCells, calibrate, grid_of_promises
from hnmine.stages.filter.hidden_positives import ENOUGH_QUERIES, ProtocolRows
from tests.benchmarks.collections import Mined, mined
from tests.benchmarks.measure import argument_parser

WANTED = 5
MADE_RATES, REAL_RATES = (0.02, 0.05, 0.1), (0.01, 0.02, 0.05, 0.1)
MADE_SPREADS, MADE_SAMPLES = (0.0, 1.0, 2.5), (60, 300)
HALVES = 20


def made_cells(spread: float, queries: int = 4000, hidings: int = 3, candidates: int = 40) -> KeptCells:
    """Return cells whose hidden positives have log odds x + u, u ~ N(0, spread^2) for each query; the model knows x."""
    generator = np.random.default_rng(1)
    rows = queries * hidings
    own = np.repeat(generator.normal(0, spread, queries), hidings)[:, None]
    x = generator.normal(-3, 1.6, (rows, candidates))
    order = np.argsort(-(x + generator.normal(0, 1.5, x.shape)), axis=1)  # of the scores
    x = np.take_along_axis(x, order, axis=1)
    hidden = generator.random(x.shape) < 1 / (1 + np.exp(-(x + own + 0.3 * generator.normal(size=x.shape))))
    anchor = np.repeat(np.arange(rows), candidates)
    query = np.repeat(np.arange(queries), hidings)
    return KeptCells(query, anchor, 1 / (1 + np.exp(-x.ravel())), np.ones(anchor.size), hidden.ravel())


def kept_cells(one: Mined) -> KeptCells | None:
    """Return the cells of a collection with P(false negative) out of fold; None with too few labels."""
    config = calibrated(one)
    protocol = ProtocolRows.of(one.pieces, config)
    if not protocol.measured:
        return None
    scorer = CachedScorer.of(protocol.rows, calibrate(protocol, config).out_of_fold())
    unfiltered = config.filter.model_copy(update={"rule": "none", "anchor": "each"})
    return KeptCells.of(protocol.rows, unfiltered, scorer)


def calibrated(one: Mined, rate: float | None = None) -> Any:
    """Return the collection's config with the rule `calibrated`, and a stated rate."""
    changes = {"rule": "calibrated", "max_false_negative_rate": rate}
    return one.config.model_copy(update={"filter": one.config.filter.model_copy(update=changes)})


def intra_cluster_correlation(hits: np.ndarray, trials: np.ndarray) -> float:
    """Return (deff - 1) / (m - 1), with deff Kish's design effect and m = sum t^2 / sum t."""
    n, k, p = trials.sum(), len(trials), hits.sum() / trials.sum()
    effect = k / (k - 1) * ((hits - p * trials) ** 2).sum() / (p * (1 - p) * n)
    return float((effect - 1) / ((trials**2).sum() / n - 1))


def whole_grid(hits: np.ndarray, trials: np.ndarray, rate: float) -> int | None:
    """Return the fullest threshold whose own 95% upper bound is within the rate."""
    passing = np.flatnonzero((clustered_upper_bounds(hits, trials) <= rate) & (trials.sum(axis=0) > 0))
    return int(passing[-1]) if len(passing) else None


def drawn(kept: KeptCells, sample: int, rates: tuple[float, ...], draws: int) -> Iterator[dict[str, Any]]:
    """Yield, for each rate, how often each way of setting the threshold breaks it, and its mean fill."""
    hits, trials = kept.tallies(grid_of_promises(kept), WANTED)
    truth = hits.sum(axis=0) / np.maximum(1, trials.sum(axis=0))
    fill = trials.sum(axis=0) / max(1, trials.sum(axis=0)[-1])
    for rate in rates:
        generator = np.random.default_rng(int(rate * 1000))
        found: dict[str, list[int | None]] = {"promised": [], "whole grid": []}
        for _ in range(draws):
            rows = generator.integers(0, len(hits), sample)
            found["promised"].append(promised(hits[rows], trials[rows], rate))
            found["whole grid"].append(whole_grid(hits[rows], trials[rows], rate))
        best = fill[truth <= rate].max(initial=0.0)
        line: dict[str, Any] = {
            "queries": sample,
            "rate": rate,
            "correlation": intra_cluster_correlation(hits[:, -1], trials[:, -1]),
            "best_fill": best,
        }
        for name, places in found.items():
            real = [place for place in places if place is not None]
            line[name] = {
                "broken": sum(bool(truth[place] > rate) for place in real) / draws,
                "none": 1 - len(real) / draws,
                "fill": sum(float(fill[place]) for place in real) / draws,
            }
        yield line


def halved(one: Mined, rates: tuple[float, ...]) -> dict[float, dict[str, Any]]:
    """Return, for each rate, the rates of held-out halves with a threshold that was promised on the other half."""
    queries = max(int(batch.query_rows.max(initial=0)) for batch, _ in one.pieces()) + 1
    results: dict[float, dict[str, Any]] = {rate: {"held_out": [], "not_promised": 0} for rate in rates}
    for seed in range(HALVES):
        first = np.random.default_rng(seed).permutation(queries) < queries // 2
        ours, theirs = (ProtocolRows.of(half(one, own), calibrated(one)) for own in (first, ~first))
        for rate in rates:
            config = calibrated(one, rate)
            fitted: Calibration = calibrate(ours, config)
            if "by its 95% upper bound" not in fitted.reason:
                results[rate]["not_promised"] += 1
                continue
            unfiltered = config.filter.model_copy(update={"rule": "none", "anchor": "each"})
            rest = KeptCells.of(theirs.rows, unfiltered, fitted)
            results[rate]["held_out"].append(rest.outcome(fitted.threshold, WANTED).rate)
    return results


def half(one: Mined, own: np.ndarray) -> Any:
    """Return a reader of the queries that `own` marks."""

    def read(wanted: Any = None, columns: Any = None) -> Iterator[Any]:
        yield from one.pieces(lambda rows: own[rows] & (True if wanted is None else wanted(rows)), columns)

    return read


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    for spread in MADE_SPREADS:
        kept = made_cells(spread)
        for sample in MADE_SAMPLES:
            for line in drawn(kept, sample, MADE_RATES, options.draws):
                print(json.dumps({"made": True, "spread": spread, **line}), flush=True)
    with tempfile.TemporaryDirectory() as work:
        for one in mined(options.data, Path(work), options.only):
            cells = kept_cells(one)
            if cells is None:
                continue
            count = len(np.unique(cells.queries))
            for sample in sorted({ENOUGH_QUERIES, count // 2}):
                for line in drawn(cells, sample, REAL_RATES, options.draws):
                    print(json.dumps({"collection": one.name, **line}), flush=True)
            for rate, found in halved(one, REAL_RATES).items():
                rates = np.array(found["held_out"])
                line = {
                    "halves": HALVES, "rate": rate, "not_promised": found["not_promised"],
                    "broken": int((rates > rate).sum()), "mean": float(rates.mean()) if len(rates) else None,
                }  # fmt: skip
                print(json.dumps({"collection": one.name, **line}), flush=True)


if __name__ == "__main__":
    main()
