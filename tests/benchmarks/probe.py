"""What training makes of each rule's negatives: a linear adapter on the frozen vectors, over several seeds.

    python -m tests.benchmarks.probe DATA [--seeds 5] [--only NAME ...]

DATA holds one folder a collection. For each seed 60 % of the queries train, 15 % stop the training, 25 % test with all
their labels. A training query knows one positive; its others are hidden, as labels are in practice. "own labels": the
model is fitted on the training queries, out of fold. "transferred": on the other collections.
"""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.commands.probe import LabelledQueries, TrainingSet, quality, train
from hnmine.science.calibration import Logistic, stack
from hnmine.search.candidate_pool import CandidateLimits
from hnmine.stages.emit.choose import Chooser
from hnmine.stages.filter.calibration import FOLDS, OTHERS, Calibration, calibrate, set_threshold
from hnmine.stages.filter.hidden_positives import (
    ENOUGH_HIDDEN,
    ENOUGH_QUERIES,
    MOST_QUERIES,
    HiddenRows,
    ProtocolRows,
    count_usable,
    hidden_rows,
    hide,
    unhidden,
)
from hnmine.stages.filter.verdicts import give_verdicts
from hnmine.stages.report.false_negatives import Tally
from tests.benchmarks.collections import Mined, all_vectors, mined
from tests.benchmarks.false_negatives import evidence, fit_on, with_rule
from tests.benchmarks.measure import argument_parser

NOTHING = "no mined negatives"
RULES: dict[str, dict[str, Any]] = {
    NOTHING: {"rule": "none"},
    "percent 0.95": {"rule": "percent", "percent": 0.95},
    "percent 0.95 and two_sided 0.5": {"rule": ["percent", "two_sided"], "percent": 0.95, "two_sided": 0.5},
    "auto": {"rule": "auto"},
}


@dataclass(frozen=True)
class Split:
    """One seed's queries: training rows with one known positive, and the queries to stop and to test by."""

    seed: int
    pieces: list[tuple[Any, Any]]
    rows: list[HiddenRows]
    dev: LabelledQueries
    test: LabelledQueries


def split(one: Mined, queries: np.ndarray, seed: int) -> Split:
    """Return one seed's split of a collection's queries."""
    order = np.random.default_rng([seed, 7]).permutation(len(queries))
    role = np.full(len(queries), 2)
    role[order[: int(0.6 * len(order))]] = 0
    role[order[int(0.6 * len(order)) : int(0.75 * len(order))]] = 1
    pieces, rows, positives = [], [], []
    for batch, keys in one.pieces():
        training = role[batch.query_rows] == 0
        several = batch.positives.lengths > 1
        positives.append(batch.positives)
        part = unhidden(batch, keys, training)
        pieces.append((part.batch, part.keys))
        hidden = hide(batch, keys, CandidateLimits.of(one.config.retrieve), 1, seed, training & several)
        rows += [part for part in (hidden, unhidden(batch, keys, training & ~several)) if len(part.batch)]
    labels = Ragged.from_lengths(
        np.concatenate([part.values for part in positives]), np.concatenate([part.lengths for part in positives])
    )

    dev, test = (LabelledQueries(queries[role == r], labels.take(np.flatnonzero(role == r))) for r in (1, 2))
    return Split(seed, pieces, rows, dev, test)


def choose(one: Mined, cut: Split, rule: str, scorer: Calibration | None) -> tuple[TrainingSet, dict[str, Any]]:
    """Return the training set that a filter mines from the training rows, and its numbers."""
    config = with_rule(one, **RULES[rule])
    chooser, tally = Chooser(config.emit, cut.seed), Tally()
    negatives = []
    for rows in cut.rows:
        judged = give_verdicts(rows.batch, config.filter, rows.keys, scorer)
        keep = judged.keep if rule != NOTHING else np.zeros(len(judged.codes), dtype=bool)
        chosen = chooser.choose(rows.batch, judged.cells, keep, [str(row) for row in rows.batch.query_rows])
        tally.add(rows, judged.cells, chosen, None)
        negatives.append(chosen)
    return training_set(one, cut, negatives), tally.result(config.emit.num_negatives)


def training_set(one: Mined, cut: Split, chosen: list[Ragged]) -> TrainingSet:
    """Return a training set of negatives chosen for the training rows, given as positions among the candidates."""
    negatives = []
    for rows, part in zip(cut.rows, chosen, strict=True):
        at = rows.batch.candidates.starts[part.owners] + part.values
        negatives.append(part.with_values(rows.batch.candidates.values[at]))
    known = np.concatenate([rows.batch.positives.values for rows in cut.rows])
    query = np.concatenate([rows.batch.query_rows for rows in cut.rows])
    own = Ragged.from_lengths(known, np.ones(len(known), dtype=np.int64))
    return TrainingSet(all_vectors(one, "queries")[query], known, Ragged.concatenate(negatives), own)


def scorers(one: Mined, cut: Split, settings: dict[str, Any], others: Logistic) -> dict[str, Calibration | None]:
    """Return the models that a rule is tried with: none, or the collection's own and those of the others."""
    if "calibrated" not in settings.get("rule", []) and settings.get("rule") != "auto":
        return {"": None}
    config = with_rule(one, **settings)
    moved = Calibration(stack([others] * (FOLDS + 1)), np.inf, OTHERS, "", cut.seed)
    threshold, _ = set_threshold(cut.rows, moved, config, measured=False)
    found: dict[str, Calibration | None] = {", transferred": replace(moved, threshold=threshold)}
    protocol = ProtocolRows.of(lambda *_, **__: iter(cut.pieces), config)
    if protocol.measured:
        found[", own labels"] = calibrate(protocol, config).out_of_fold()
    return found


def run_collection(one: Mined, others: Logistic, seeds: int) -> list[dict[str, Any]]:
    """Return one record for each rule and seed."""
    corpus, queries = all_vectors(one, "corpus"), all_vectors(one, "queries")
    untrained = np.zeros((corpus.shape[1],) * 2, dtype=np.float32)
    records = []
    for seed in range(seeds):
        cut = split(one, queries, seed)
        base = quality(corpus, cut.test, untrained)["ndcg"].mean()
        for rule, settings in RULES.items():
            for kind, scorer in scorers(one, cut, settings, others).items():
                examples, numbers = choose(one, cut, rule, scorer)
                adapter, _ = train(corpus, examples, cut.dev, seed)
                gain = quality(corpus, cut.test, adapter)["ndcg"].mean() - base
                kept = {name: numbers[name] for name in ("rate", "score", "hardness", "fill", "eci")}
                records.append(
                    {"collection": one.name, "rule": rule + kind, "seed": seed, "base": base, "gain": gain} | kept
                )
                print(json.dumps(records[-1]), flush=True)
    return records


def interval(values: list[float]) -> tuple[float, float]:
    """Return mean and half width of the 95 % interval of a mean (Student's t)."""
    from scipy.stats import t

    if len(values) < 2:
        return float(np.mean(values)), float("nan")
    return float(np.mean(values)), float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def table(records: list[dict[str, Any]], baseline: str = "percent 0.95") -> None:
    """Print gain, and gain over the margin's on the same seed, with 95 % intervals over seeds."""
    for collection in dict.fromkeys(r["collection"] for r in records):
        own = [r for r in records if r["collection"] == collection]
        margin = {r["seed"]: r["gain"] for r in own if r["rule"] == baseline}
        for rule in dict.fromkeys(r["rule"] for r in own):
            part = [r for r in own if r["rule"] == rule]
            gain, wide = interval([r["gain"] for r in part])
            more, more_wide = interval([r["gain"] - margin[r["seed"]] for r in part])
            rate, score, fill = (np.mean([r[name] for r in part]) for name in ("rate", "score", "fill"))
            print(
                f"| {collection} | {rule} | {gain:+.4f} ± {wide:.4f} | {more:+.4f} ± {more_wide:.4f} "
                f"| {rate:.3f} | {score:.3f} | {fill:.2f} |"
            )


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = mined(options.data, Path(work))
        known = {}
        for one in found:
            _, several, hidden = count_usable(one.pieces)
            if several >= ENOUGH_QUERIES and hidden >= ENOUGH_HIDDEN:
                known[one.name] = evidence(list(hidden_rows(one.pieces, one.config, MOST_QUERIES / several)))
        records = []
        for one in found:
            if options.only and one.name not in options.only:
                continue
            others = fit_on({name: part for name, part in known.items() if name != one.name})
            records += run_collection(one, others, options.seeds)
        table(records)


if __name__ == "__main__":
    main()
