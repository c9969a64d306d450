"""report.json: the mined set's numbers, gathered from what the stages left behind."""

from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.candidates import Batch
from hnmine.encoders import HASH_WARNING
from hnmine.filtering import read_calibration, setup
from hnmine.keys import recorded
from hnmine.measuring import measure
from hnmine.ragged import Ragged
from hnmine.schemas import CHOSEN, CORPUS, JUDGED, QUERIES, QUERY_REPORT, conform
from hnmine.stage import TIMINGS, RunContext
from hnmine.store import Shards, read_json

STAGES_BEFORE = ("ingest", "embed", "index", "retrieve", "filter", "emit")
LISTED = 20


def build_report(context: RunContext) -> dict[str, Any]:
    """Return the report of a run whose other stages are complete; the same for the same run, timings apart."""
    queries = Shards(context.folder("report") / "queries", QUERY_REPORT)
    table = {name: queries.column(name) for name in QUERY_REPORT.names}
    counts: dict[str, Any] = {name: (recorded(context.reading(name)) or {})["counts"] for name in STAGES_BEFORE}
    chosen = conform(pq.read_table(context.reading("emit") / "chosen" / "chosen.parquet"), CHOSEN, "emit/chosen")
    emitted = counts["emit"]
    report: dict[str, Any] = {
        "coverage": _share(emitted["queries_with_negatives"], queries.rows),
        "fill": _share(emitted["negatives"], emitted["negatives_wanted"]),
        **{name: _mean(table[name]) for name in ("capacity", "hardness", "safety", "eci")},
        **_false_negatives(context),
        "verdicts": counts["filter"]["verdicts"],
        "counts": counts,
        "shortage": {
            name: emitted[name]
            for name in ("examples", "examples_full", "examples_short", "examples_without_negatives")
        },
        "distributions": _distributions(context, chosen),
        "hubs": _hubs(context, chosen),
        **_crossings(context, chosen),
        "suspected_bad_positives": _bad_positives(context),
        "timings": read_json(context.out / TIMINGS) or {},
        "warnings": [HASH_WARNING] if context.config.uses_hash else [],
    }
    return report


def _false_negatives(context: RunContext) -> dict[str, Any]:
    """Return the measured false-negative rate of the run's filter, and of a plain 95% margin beside it."""
    config = context.config
    calibration = read_calibration(context.reading("filter"), config.seed)
    state = setup(context)
    measured = measure(state.pieces, config, calibration.scorer(out_of_fold=True) if calibration else None)
    margin = config.model_copy(update={"filter": config.filter.model_copy(update={"rule": "percent", "percent": 0.95})})
    found: dict[str, Any] = {"false_negative_rate": measured["rate"]}
    if measured["rate"] is None:
        return found | {"false_negative_rate_reason": measured["reason"]}
    found["hidden_positives"] = {"this_filter": measured, "margin_95": measure(state.pieces, margin, None)}
    if calibration is not None:
        found["calibration"] = {
            "fitted_on": calibration.fitted_on, "threshold": calibration.threshold, "reason": calibration.reason,
        }  # fmt: skip
    return found


def numbers(report: dict[str, Any]) -> dict[str, float | None]:
    """Return the numbers of a report that a limit can be set on, nested ones by dotted name."""
    found: dict[str, float | None] = {"false_negative_rate": report["false_negative_rate"]}
    stack: list[tuple[str, Any]] = list(report.items())
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict):
            stack.extend((f"{name}.{key}", below) for key, below in value.items())
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            found[name] = value
    return dict(sorted(found.items()))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _mean(column: Any) -> float | None:
    value = pc.mean(column).as_py()
    return None if value is None else float(value)


def describe(values: np.ndarray) -> dict[str, Any]:
    """Return count, mean, standard deviation and quantiles of some numbers; only the count where there are none."""
    if not len(values):
        return {"count": 0}
    values = values.astype(np.float64)
    marks = (0, 5, 25, 50, 75, 95, 100)
    quantiles = np.percentile(values, marks)
    named = {
        f"p{mark:02d}" if mark not in (0, 100) else ("min", "max")[mark // 100]: float(q)
        for mark, q in zip(marks, quantiles, strict=True)
    }
    return {"count": len(values), "mean": float(values.mean()), "std": float(values.std()), **named}


def _distributions(context: RunContext, chosen: Any) -> dict[str, Any]:
    """Return distributions of positive scores, of negatives' scores, and of anchor minus negative."""
    shards = Shards(context.reading("filter"), JUDGED)
    positive, anchors = [], []
    for number in range(len(shards)):
        table = shards.read(number, ["positive_scores", "anchor_scores"])
        positive.append(Ragged.from_arrow(table.column("positive_scores")).values)
        anchors.append(Ragged.from_arrow(table.column("anchor_scores")).values)
    scores = Ragged.from_arrow(chosen.column("scores"))
    margins = np.concatenate(anchors)[scores.owners] - scores.values
    return {
        "positive_score": describe(np.concatenate(positive)),
        "negative_score": describe(scores.values),
        "margin": describe(margins),
    }


def _hubs(context: RunContext, chosen: Any) -> dict[str, Any]:
    """Return how unevenly documents serve as negatives, and which serve most."""
    rows = Ragged.from_arrow(chosen.column("doc_rows")).values
    if not len(rows):
        return {"documents": 0, "most_served": 0, "top_percent_share": 0.0, "top": []}
    unique, counts = np.unique(rows, return_counts=True)
    order = np.lexsort((unique, -counts))
    top = order[:10]
    names = Shards(context.reading("ingest") / "corpus", CORPUS).take(unique[top], ["doc_id"]).column(0).to_pylist()
    hundredth = max(1, len(unique) // 100)
    return {
        "documents": len(unique),
        "most_served": int(counts.max()),
        "top_percent_share": float(counts[order[:hundredth]].sum() / counts.sum()),
        "top": [{"doc_id": name, "served": int(counts[i])} for name, i in zip(names, top, strict=True)],
    }


def _crossings(context: RunContext, chosen: Any) -> dict[str, Any]:
    """Return how many negatives are a labelled positive of some other query, and how many were judged so."""
    shards = Shards(context.reading("ingest") / "queries", QUERIES)
    positives = Ragged.from_arrow(shards.column("positive_rows"))
    judged = Ragged.from_arrow(shards.column("negative_rows"))
    rows = Ragged.from_arrow(chosen.column("doc_rows"))
    owners = chosen.column("query_row").to_numpy()[rows.owners]
    crossing = int(np.isin(rows.values, positives.values).sum())
    known = int(judged.contains(owners, rows.values).sum())
    return {
        "negatives_positive_elsewhere": crossing,
        "negatives_positive_elsewhere_share": _share(crossing, len(rows.values)),
        "negatives_judged": known,
    }


def _bad_positives(context: RunContext) -> dict[str, Any]:
    """Return positives that score below a quantile of their query's other candidates: suspected bad labels."""
    shards = Shards(context.reading("filter"), JUDGED)
    quantile = context.config.report.bad_positive_quantile
    found: list[tuple[float, str, int]] = []
    total = 0
    for table in shards:
        batch = Batch.from_table(table)
        query_ids = table.column("query_id").to_pylist()
        gap = positive_gaps(batch, quantile)
        total += len(gap)
        for place in np.flatnonzero(gap < 0):
            row = int(batch.positives.values[place])
            found.append((float(gap[place]), query_ids[batch.positives.owners[place]], row))
    found.sort()
    rows = np.array([row for _, _, row in found[:LISTED]], dtype=np.int64)
    names = Shards(context.reading("ingest") / "corpus", CORPUS).take(rows, ["doc_id"]).column(0).to_pylist()
    return {
        "count": len(found),
        "share": _share(len(found), total),
        "quantile": quantile,
        "worst": [
            {"query_id": query, "doc_id": name, "below_by": -gap}
            for (gap, query, _), name in zip(found, names, strict=False)
        ],
    }


def positive_gaps(batch: Batch, quantile: float) -> np.ndarray:
    """Return for each positive its score minus that quantile of its query's candidates that are not positives.

    Candidates are in descending order, so the quantile is a place in the list (the lower of two neighbours).
    +inf where a query has no other candidate.
    """
    others = ~batch.is_positive
    scores = Ragged.from_lengths(batch.scores[others], np.bincount(batch.owners[others], minlength=len(batch)))
    place = np.ceil((1 - quantile) * (scores.lengths - 1)).astype(np.int64)
    limits = np.full(len(batch), -np.inf)
    some = scores.lengths > 0
    limits[some] = scores.values[scores.offsets[:-1][some] + place[some]]
    return np.asarray(batch.positive_scores.values - limits[batch.positives.owners])
