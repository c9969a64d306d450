"""False negatives that each rule lets through, at the hardness of a 95% margin: the hidden-positive protocol.

    python -m tests.benchmarks.false_negatives DATA [--only NAME ...] [--write]

DATA holds one folder a collection (corpus, queries, qrels and vectors in Parquet). Every rule sees the same
candidates. "transferred" is fitted on all collections but the one under test, and knows one label of every query, near
ones included; so does the model that --write fits on all collections and stores as
hnmine/stages/filter/transfer.json.
"""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import hnmine
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_share
from hnmine.pipeline.run import run
from hnmine.science.calibration import Logistic, fit, stack
from hnmine.science.statistics import wilson_interval
from hnmine.stages.filter.calibration import FOLDS, OTHERS, Calibration, calibrate, set_threshold
from hnmine.stages.filter.candidates import Cells
from hnmine.stages.filter.features import NAMES, features
from hnmine.stages.filter.hidden_positives import HIDINGS, MOST_QUERIES, HiddenRows, ProtocolRows, unhidden
from hnmine.stages.report.false_negatives import measure
from hnmine.storage.schemas.ingest import QUERIES
from hnmine.storage.store import Shards
from tests.benchmarks.collections import BEFORE_FILTER, Mined, all_vectors, config_of, mined, with_one_label
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


@dataclass(frozen=True)
class Tested:
    """A collection with the rows of the hidden-positive protocol.

    Attributes:
        one: the collection.
        complete: near queries have all of their labels, as where a run's own labels are fitted on.
        single: near queries have one label each, as in a run of queries with one label.
    """

    one: Mined
    complete: ProtocolRows
    single: ProtocolRows


def single_label_rows(one: Mined, data: Path, work: Path, several: int) -> list[HiddenRows]:
    """Return rows of the protocol from runs that know one label of each query, another one in each run."""
    every = Ragged.from_arrow(Shards(one.context.folder("ingest") / "queries", QUERIES).column("positive_rows"))
    found = []
    for number in range(HIDINGS):
        to = work / f"{one.name}-{number}"
        config = config_of(with_one_label(data / one.name, number, to / "data"), to / "run")
        run(config, BEFORE_FILTER)
        for batch, keys in Mined(one.name, config).pieces():
            sampled = sample_share(batch.query_rows, MOST_QUERIES / several, config.seed)
            rows = unhidden(batch, keys, sampled & (every.lengths[batch.query_rows] > max(1, number)))
            relevant = every.contains(rows.batch.query_rows[rows.batch.owners], rows.batch.candidates.values)
            found.append(replace(rows, is_hidden=relevant & ~rows.batch.is_positive))
    return found


def measured(one: Mined, protocol: ProtocolRows, rule: str, scorer: Any = None, **settings: Any) -> dict[str, Any]:
    """Return the false-negative rate of a rule on a collection."""
    return measure(protocol, with_rule(one, rule, **settings), scorer)


def two_sided_limit(one: Mined, protocol: ProtocolRows, target: float) -> float:
    """Return the limit of the two-sided rule whose hardness is nearest to the target."""
    limits = np.linspace(-1, 4, 26)
    scores = [measured(one, protocol, "two_sided", two_sided=float(t))["score"] for t in limits]
    return float(limits[int(np.argmin(np.abs(np.array(scores) - target)))])


def own_labels(one: Mined, protocol: ProtocolRows, rule: str) -> dict[str, Any]:
    """Return what a rule lets through with a model fitted on the collection, out of fold."""
    return measured(one, protocol, rule, calibrate(protocol, with_rule(one, rule)).out_of_fold())


def transferred(one: Mined, protocol: ProtocolRows, rule: str, others: Logistic) -> dict[str, Any]:
    """Return what a rule lets through with a model that never saw the collection, nor any of its hidden labels."""
    scorer = Calibration(stack([others] * (FOLDS + 1)), np.inf, OTHERS, "", one.config.seed)
    threshold, _ = set_threshold(protocol.rows, scorer, with_rule(one, rule), measured=False)
    return measured(one, protocol, rule, replace(scorer, threshold=threshold))


def table_row(tested: Tested, others: Logistic) -> dict[str, tuple[dict[str, Any], float]]:
    """Return what each rule lets through on one collection, and the rate of a 95% margin on the same rows."""
    one, complete, single = tested.one, tested.complete, tested.single
    margin, margin_single = (measured(one, rows, "percent", percent=0.95) for rows in (complete, single))
    limit = two_sided_limit(one, complete, margin["score"])
    of_complete = {
        "95% margin": margin,
        "mine_hard_negatives(relative_margin=0.05)": peer(one, complete.rows),
        f"two_sided <= {limit:.1f}": measured(one, complete, "two_sided", two_sided=limit),
        "calibrated": own_labels(one, complete, "calibrated"),
        "auto": own_labels(one, complete, "auto"),
    }
    of_single = {
        "95% margin, near queries with one label": margin_single,
        "calibrated, near queries with one label": own_labels(one, single, "calibrated"),
        "calibrated, transferred": transferred(one, single, "calibrated", others),
        "auto, transferred": transferred(one, single, "auto", others),
    }
    pairs = (of_complete, margin["rate"]), (of_single, margin_single["rate"])
    return {rule: (found, base) for rows, base in pairs for rule, found in rows.items()}


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
        found: dict[str, Tested] = {}
        for one in mined(options.data, Path(work), options.only):
            complete = ProtocolRows.of(one.pieces, one.config)
            if not complete.measured:
                print(f"{one.name}: {complete.why}; left out")
                continue
            rows = single_label_rows(one, options.data, Path(work), complete.several)
            found[one.name] = Tested(one, complete, replace(complete, rows=rows))
        known = {name: evidence(tested.single.rows) for name, tested in found.items()}
        if options.write:
            write_transfer(known)
        ratios: dict[str, list[float]] = {}
        for name, tested in found.items():
            others = fit_on({k: v for k, v in known.items() if k != name})
            for rule, (m, base) in table_row(tested, others).items():
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
