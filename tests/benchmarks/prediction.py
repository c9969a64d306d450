"""Does a score of the report predict what training makes of a mined set?

    python -m tests.benchmarks.prediction DATA [--seeds 3] [--only NAME ...] [--records FILE]

Eighteen mined sets a collection (rules, margins, windows, ways of choosing). For each: the report's scores, and the
gain of a linear adapter trained on it (as in tests.benchmarks.probe), the mean over seeds. Printed: Kendall's tau-b
between score and gain, with a 95 % bootstrap interval over the mined sets. --records keeps the numbers of every set.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.commands.probe import TrainingSet, quality, train
from hnmine.config.tables import Config
from hnmine.stages.emit.choose import Chooser
from hnmine.stages.filter.calibration import Calibration, calibrate
from hnmine.stages.filter.candidates import Cells
from hnmine.stages.filter.hidden_positives import HiddenRows, ProtocolRows
from hnmine.stages.report.eci_sem import Chosen, eci_sem_of_queries, weights
from hnmine.stages.report.false_negatives import Tally
from hnmine.stages.report.quality import per_anchor
from hnmine.storage.vectors import VectorStore
from tests.benchmarks.collections import Mined, all_vectors, mined
from tests.benchmarks.measure import argument_parser
from tests.benchmarks.probe import Split, split, training_set

FILTERS: dict[str, dict[str, Any]] = {
    "none": {"rule": "none"},
    "percent 0.8": {"rule": "percent", "percent": 0.8},
    "percent 0.9": {"rule": "percent", "percent": 0.9},
    "percent 0.95": {"rule": "percent", "percent": 0.95},
    "percent 1": {"rule": "percent", "percent": 1.0},
    "percent 0.95, easiest 0.2": {"rule": "percent", "percent": 0.95, "easiest": 0.2},
    "margin 0.1": {"rule": "margin", "margin": 0.1},
    "adaptive 0.2": {"rule": "adaptive", "adaptive": 0.2},
    "ranks from 11": {"rule": "none", "ranks": (11, 200)},
    "ranks from 31": {"rule": "none", "ranks": (31, 200)},
    "two_sided 0": {"rule": "two_sided", "two_sided": 0.0},
    "two_sided 1": {"rule": "two_sided", "two_sided": 1.0},
    "percent 0.95 and two_sided 0.5": {"rule": ["percent", "two_sided"], "percent": 0.95, "two_sided": 0.5},
    "calibrated": {"rule": "calibrated"},
    "auto": {"rule": "auto"},
}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in FILTERS},
    "none, at random": ("none", {"choose": "random"}),
    "percent 0.95, simans": ("percent 0.95", {"choose": "simans"}),
    "auto, at random": ("auto", {"choose": "random"}),
}
SCORES = ("eci", "eci_sem", "hardness", "safety", "true_negatives", "fill", "fill x safety x true_negatives")


def numbers_of(
    rows: HiddenRows, chosen: Ragged, model: Calibration | None, corpus: VectorStore
) -> dict[str, np.ndarray]:
    """Return the report's scores of one piece, one value a (query, known positive)."""
    batch = rows.batch
    cells = Cells.of(batch, batch.positive_scores)
    at = batch.candidates.starts[cells.anchors.owners][chosen.owners] + chosen.values
    own = Chosen(chosen, chosen.with_values(batch.candidates.values[at]), chosen.with_values(batch.scores[at]))
    p = model.probabilities(batch, cells) if model is not None else np.zeros(0)
    lengths = batch.candidates.lengths if model is not None else np.zeros(len(batch), dtype=np.int64)
    weight = weights(batch, cells, own, Ragged.from_lengths(p, lengths))
    everything = np.ones(len(batch), dtype=bool)
    found = per_anchor(batch, cells, own.scores)
    found["eci_sem"] = eci_sem_of_queries(batch, cells, own, weight, everything, corpus)
    return found


def mine(one: Mined, cut: Split, name: str, model: Calibration | None) -> tuple[TrainingSet, dict[str, float]]:
    """Return a mined set and its scores."""
    rule, emit = WAYS[name]
    base = one.config
    config: Config = base.model_copy(
        update={
            "filter": base.filter.model_copy(update=FILTERS[rule]),
            "emit": base.emit.model_copy(update=emit),
        }
    )
    scorer = None
    if rule in ("calibrated", "auto"):
        scorer = calibrate(ProtocolRows.of(lambda *_, **__: iter(cut.pieces), config), config).out_of_fold()
    chooser, tally = Chooser(config.emit, cut.seed), Tally()
    corpus = VectorStore(one.context.folder("embed") / "corpus", 10**9)
    parts, negatives = [], []
    for rows in cut.rows:
        judged = rows.verdicts(config.filter, scorer)
        chosen = chooser.choose(rows.batch, judged.cells, judged.keep, [str(row) for row in rows.batch.query_rows])
        tally.add(rows, judged.cells, chosen, None)
        parts.append(numbers_of(rows, chosen, model, corpus))
        negatives.append(chosen)
    examples = training_set(one, cut, negatives)
    total = tally.result(config.emit.num_negatives)
    means = {key: float(np.nanmean(np.concatenate([part[key] for part in parts]))) for key in ("eci_sem", "safety")}
    kept = {key: float(total[key]) for key in ("eci", "hardness", "score", "fill", "rate")}
    right = 1 - kept["rate"]
    product = kept["fill"] * means["safety"] * right
    return examples, kept | means | {"true_negatives": right, "fill x safety x true_negatives": product}


def records_of(one: Mined, seeds: int) -> list[dict[str, Any]]:
    """Return the scores and the gain of each mined set, the means over seeds."""
    corpus, queries = all_vectors(one, "corpus"), all_vectors(one, "queries")
    untrained = np.zeros((corpus.shape[1],) * 2, dtype=np.float32)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for seed in range(seeds):
        cut = split(one, queries, seed)
        protocol = ProtocolRows.of(lambda *_, cut=cut, **__: iter(cut.pieces), one.config)  # type: ignore[misc]
        model = calibrate(protocol, one.config).out_of_fold()
        base = quality(corpus, cut.test, untrained)["ndcg"].mean()
        for name in WAYS:
            examples, numbers = mine(one, cut, name, model)
            adapter, _ = train(corpus, examples, cut.dev, seed)
            gain = float(quality(corpus, cut.test, adapter)["ndcg"].mean() - base)
            found[name].append(numbers | {"gain": gain})
    return [
        {"collection": one.name, "set": name} | {key: float(np.mean([part[key] for part in parts])) for key in parts[0]}
        for name, parts in found.items()
    ]


def tau(scores: np.ndarray, gains: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Return Kendall's tau-b and the ends of its 95 % percentile interval over resampled mined sets."""
    from scipy.stats import kendalltau

    generator = np.random.default_rng(seed)
    drawn = [generator.integers(0, len(scores), len(scores)) for _ in range(500)]
    values = [kendalltau(scores[rows], gains[rows]).statistic for rows in drawn]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(kendalltau(scores, gains).statistic), float(low), float(high)


def table(records: list[dict[str, Any]]) -> None:
    """Print tau of each score on each collection, and the mean over collections."""
    collections = list(dict.fromkeys(r["collection"] for r in records))
    for score in SCORES:
        values = []
        for collection in collections:
            own = [r for r in records if r["collection"] == collection]
            found = tau(np.array([r[score] for r in own]), np.array([r["gain"] for r in own]))
            values.append(found[0])
            print(f"| {collection} | {score} | {found[0]:+.2f} ({found[1]:+.2f} to {found[2]:+.2f}) |")
        print(f"| mean | {score} | {np.mean(values):+.2f} |")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--records", type=Path)
    options = parser.parse_args()
    records = []
    with tempfile.TemporaryDirectory() as work:
        for one in mined(options.data, Path(work), options.only):
            records += records_of(one, options.seeds)
            if options.records is not None:
                options.records.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    table(records)


if __name__ == "__main__":
    main()
