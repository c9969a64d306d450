"""False negatives that each rule lets through, at the hardness of a 95% margin: the hidden-positive protocol.

    python -m tests.benchmarks.false_negatives DATA [--only NAME ...] [--write]

DATA holds one folder a collection (corpus, queries, qrels and vectors in Parquet). Every rule sees the same
candidates. "transferred" is fitted on all collections but the one under test. --write stores the model fitted on
all collections as hnmine/stages/filter/transfer.json.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import hnmine
from hnmine.science.calibration import Logistic, fit, stack
from hnmine.science.statistics import wilson_interval
from hnmine.stages.filter.calibration import (
    FOLDS,
    OTHERS,
    CachedScorer,
    Calibration,
    KeptCells,
    calibrate,
    set_threshold,
)
from hnmine.stages.filter.candidates import Cells
from hnmine.stages.filter.features import NAMES, features
from hnmine.stages.filter.hidden_positives import (
    ENOUGH_HIDDEN,
    ENOUGH_QUERIES,
    MOST_QUERIES,
    HiddenRows,
    ProtocolRows,
    count_usable,
    hidden_rows,
)
from hnmine.stages.report.false_negatives import measure
from tests.benchmarks.collections import Mined, all_vectors, mined
from tests.benchmarks.measure import argument_parser
from tests.benchmarks.peer import mine_with_sentence_transformers


def evidence(rows: list[HiddenRows]) -> tuple[np.ndarray, np.ndarray]:
    """Return features and labels of every candidate that is not the known positive."""
    parts, labels = [], []
    for hidden in rows:
        others = ~hidden.batch.is_positive
        parts.append(features(hidden.batch, Cells.of(hidden.batch, hidden.batch.positive_scores))[others])
        labels.append(hidden.is_hidden[others])
    return np.concatenate(parts), np.concatenate(labels)


def fit_on(known: dict[str, tuple[np.ndarray, np.ndarray]]) -> Logistic:
    """Return one model fitted on several collections, each with the same total weight and a constant of its own.

    Collections differ in their share of hidden positives, from 1 % to two thirds. With one constant for all of them the
    slopes would have to explain that. The constant of the model is the mean of the collections'.
    """
    collection = np.concatenate([np.full(len(labels), i) for i, (_, labels) in enumerate(known.values())])
    x = np.concatenate([part for part, _ in known.values()])
    y = np.concatenate([labels for _, labels in known.values()])
    weights = 1 / np.bincount(collection)[collection]
    own = (collection[:, None] == np.arange(len(known))).astype(np.float64)
    found = fit(np.hstack([x, own]), y, weights * len(y) / weights.sum())
    # columns are standardised and collections weigh the same, so the bias is that of a mean collection
    slopes = (part[:, : x.shape[1]] for part in (found.mean, found.scale, found.weights))
    return Logistic(*slopes, found.bias)


def with_rule(one: Mined, rule: str, **settings: Any) -> Any:
    return one.config.model_copy(update={"filter": one.config.filter.model_copy(update={"rule": rule, **settings})})


def measured(one: Mined, config: Any, scorer: Any = None) -> dict[str, Any]:
    """Return the false-negative rate of a config's filter on a collection."""
    return measure(ProtocolRows.of(one.pieces, config), config, scorer)


def two_sided_limit(one: Mined, target: float) -> float:
    """Return the limit of the two-sided rule whose hardness is nearest to the target."""
    limits = np.linspace(-1, 4, 26)
    scores = [measured(one, with_rule(one, "two_sided", two_sided=float(t)))["score"] for t in limits]
    return float(limits[int(np.argmin(np.abs(np.array(scores) - target)))])


STEPS = 32


def threshold_as_hard(kept: KeptCells, target: float, n: int) -> float:
    """Return the threshold whose negatives have the mean score nearest to `target`; the grid is refined twice."""

    def nearest(steps: np.ndarray) -> int:
        return int(np.argmin([abs(kept.outcome(step, n).score - target) for step in steps]))

    steps = np.unique(np.quantile(kept.probability, np.linspace(0, 1, STEPS + 1)))
    for _ in range(2):
        best = nearest(steps)
        low, high = steps[max(0, best - 1)], steps[min(len(steps) - 1, best + 1)]
        steps = np.concatenate([[steps[best]], np.linspace(low, high, STEPS // 4)])
    return float(steps[nearest(steps)])


def as_hard(one: Mined, rows: list[HiddenRows], scorer: Calibration) -> Calibration:
    """Return the scorer with the threshold whose negatives are as hard as those of a 95 % margin."""
    n = one.config.emit.num_negatives
    cached = CachedScorer.of(rows, scorer)
    margin = KeptCells.of(rows, with_rule(one, "percent", percent=0.95).filter, None).outcome(np.inf, n)
    kept = KeptCells.of(rows, with_rule(one, "none").filter, cached)
    return replace(scorer, threshold=threshold_as_hard(kept, margin.score, n))


def own_labels(one: Mined, rule: str) -> dict[str, Any]:
    """Return what a rule lets through with a model fitted on the collection, out of fold."""
    config = with_rule(one, rule)
    protocol = ProtocolRows.of(one.pieces, config)
    scorer = calibrate(protocol, config).out_of_fold()
    return measured(one, config, as_hard(one, protocol.rows, scorer) if rule == "calibrated" else scorer)


def transferred(one: Mined, rule: str, rows: list[HiddenRows], others: Logistic) -> dict[str, Any]:
    """Return what a rule lets through with a model that never saw the collection, nor any of its hidden labels."""
    config = with_rule(one, rule)
    scorer = Calibration(stack([others] * (FOLDS + 1)), np.inf, OTHERS, "", one.config.seed)
    if rule == "calibrated":
        return measured(one, config, as_hard(one, rows, scorer))
    threshold, _ = set_threshold(rows, scorer, config, measured=False)
    return measured(one, config, replace(scorer, threshold=threshold))


def table_row(one: Mined, rows: list[HiddenRows], others: Logistic) -> dict[str, dict[str, Any]]:
    """Return what each rule lets through on one collection."""
    margin = measured(one, with_rule(one, "percent", percent=0.95))
    limit = two_sided_limit(one, margin["score"])
    return {
        "95% margin": margin,
        "mine_hard_negatives(relative_margin=0.05)": peer(one, rows),
        f"two_sided <= {limit:.1f}": measured(one, with_rule(one, "two_sided", two_sided=limit)),
        "calibrated": own_labels(one, "calibrated"),
        "calibrated, transferred": transferred(one, "calibrated", rows, others),
        "auto": own_labels(one, "auto"),
        "auto, transferred": transferred(one, "auto", rows, others),
    }


def peer(one: Mined, rows: list[HiddenRows]) -> dict[str, Any]:
    """Return what sentence-transformers lets through: run once for each hiding, as a query may stand once in a run."""
    corpus, queries = (all_vectors(one, side) for side in ("corpus", "queries"))
    query = np.concatenate([part.batch.query_rows for part in rows])
    known = np.concatenate([part.batch.positives.values for part in rows])
    labels = {
        int(row): batch.positives.take(np.array([place])).values
        for batch, _ in one.pieces()
        for place, row in enumerate(batch.query_rows)
    }
    times = np.array([np.count_nonzero(query[:place] == row) for place, row in enumerate(query)])
    chosen = hits = 0
    score = 0.0
    n, top_k = one.config.emit.num_negatives, one.config.retrieve.top_k
    for time in range(int(times.max()) + 1):
        at = np.flatnonzero(times == time)
        found = mine_with_sentence_transformers(queries[query[at]], corpus, known[at], top_k, n, 0.05)
        chosen += len(found.values)
        score += float(np.einsum("nd,nd->n", queries[query[at]][found.owners], corpus[found.values]).sum())
        hits += sum(
            int(np.isin(found.values[found.owners == place], labels[int(query[row])]).sum())
            for place, row in enumerate(at)
        )
    return {
        "rate": hits / chosen, "interval": wilson_interval(hits, chosen), "score": score / chosen, "hardness": np.nan,
        "fill": chosen / (n * len(query)),
    }  # fmt: skip


def write_transfer(known: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Store the model fitted on all collections, with what it was fitted on."""
    model = fit_on(known)
    data = {
        "features": list(NAMES),
        **{name: np.round(getattr(model, name)[0], 6).tolist() for name in ("mean", "scale", "weights", "bias")},
        "fitted_on": {name: {"rows": len(y), "hidden_positives": int(y.sum())} for name, (_, y) in known.items()},
        "teacher": "sentence-transformers/all-MiniLM-L6-v2",
        "made_by": "python -m tests.benchmarks.false_negatives DATA --write",
    }
    path = Path(hnmine.__file__).parent / "stages" / "filter" / "transfer.json"
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path.name}")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        rows: dict[str, list[HiddenRows]] = {}
        found = {}
        for one in mined(options.data, Path(work), options.only):
            _, several, hidden = count_usable(one.pieces)
            if several >= ENOUGH_QUERIES and hidden >= ENOUGH_HIDDEN:
                found[one.name] = one
                rows[one.name] = list(hidden_rows(one.pieces, one.config, MOST_QUERIES / several))
            else:
                print(f"{one.name}: {several} queries with several positives; left out")
        known = {name: evidence(part) for name, part in rows.items()}
        if options.write:
            write_transfer(known)
        ratios: dict[str, list[float]] = {}
        for name, one in found.items():
            others = fit_on({k: v for k, v in known.items() if k != name})
            results = table_row(one, rows[name], others)
            base = results["95% margin"]["rate"]
            for rule, m in results.items():
                ratio = m["rate"] / base
                ratios.setdefault(rule.split(" <=")[0], []).append(ratio)
                low, high = m["interval"]
                print(
                    f"| {name} | {rule} | {m['rate']:.3f} ({low:.3f}-{high:.3f}) | {ratio:.2f} | {m['score']:.3f} "
                    f"| {m['hardness']:.3f} | {m['fill']:.2f} |",
                    flush=True,
                )
        for rule, values in ratios.items():
            print(f"{rule}: geometric mean of ratios {np.exp(np.mean(np.log(values))):.2f}")


if __name__ == "__main__":
    main()
