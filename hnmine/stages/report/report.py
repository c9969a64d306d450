"""report.json: the mined set's numbers, gathered from what the stages left behind."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged
from hnmine.runtime.stage import TIMINGS, RunContext
from hnmine.runtime.threads import run_concurrently
from hnmine.stages.emit.batches.step import summary
from hnmine.stages.emit.choose import read_chosen, teacher_vectors
from hnmine.stages.filter.bad_positives import BAD_POSITIVES_FILE
from hnmine.stages.filter.calibration import Protocol
from hnmine.stages.filter.inputs import read_calibration, setup
from hnmine.stages.report.biases import measure_biases
from hnmine.stages.report.distributions import hardness_by_place, histograms, near_copies, sources, spread
from hnmine.stages.report.embedding import embedding
from hnmine.stages.report.examples import pick_examples
from hnmine.stages.report.filter_outcome import measure_rows
from hnmine.stages.report.headline import conclude
from hnmine.stages.report.intervals import HEADLINE, headline_parts, intervals
from hnmine.stages.report.previous import against_previous
from hnmine.stages.report.tradeoff import tradeoff
from hnmine.storage.keys import recorded
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.report import BAD_POSITIVES, QUERY_REPORT
from hnmine.storage.store import Shards, read_json, read_table

STAGES_BEFORE = ("ingest", "embed", "index", "retrieve", "filter", "emit")
_WARNING = ("embed", "index", "retrieve", "rescore", "filter")
LISTED = 20
SHORTAGE = (
    "examples", "examples_full", "examples_short", "examples_without_negatives",
    "examples_filled_up", "negatives_filled_up", "negatives_random",
)  # fmt: skip


def build_report(context: RunContext) -> dict[str, Any]:
    """Return the report of a run whose other stages are complete; the same for the same run, timings apart."""
    queries = pa.concat_tables(Shards(context.folder("report") / "queries", QUERY_REPORT))
    counts, chosen = _counts(context), read_chosen(context.reading("emit"))
    emitted = counts["emit"]
    found, false_negatives, (distributions, headline, hubs, crossings) = run_concurrently(
        lambda: spread(context, chosen),
        lambda: _false_negatives(context),
        lambda: [part(context, chosen) for part in (_distributions, _intervals, _hubs, _crossings)],
    )
    bad = _bad_positives(context, distributions["positive_score"]["count"], emitted)
    drawn, biases, picked = run_concurrently(
        lambda: histograms(found, context),
        lambda: measure_biases(context, found.negatives),
        lambda: pick_examples(context, chosen, found.negatives, bad["worst"]),
    )
    report: dict[str, Any] = {
        "coverage": _share(emitted["queries_with_negatives"], queries.num_rows),
        "fill": _share(emitted["negatives"], emitted["negatives_wanted"]),
        **{name: _mean(queries.column(name)) for name in ("capacity", "hardness", "safety", "eci", "eci_sem")},
        "intervals": headline,
        **false_negatives,
        "verdicts": counts["filter"]["verdicts"],
        "counts": counts,
        "shortage": {name: emitted[name] for name in SHORTAGE},
        "distributions": distributions,
        "hubs": hubs,
        **crossings,
        "suspected_bad_positives": bad,
        "histograms": drawn,
        "hardness_by_place": hardness_by_place(found.negatives),
        "near_copies": near_copies(found.negatives, counts["filter"]["verdicts"]),
        "sources": sources(found.negatives, context.config),
        **({"previous": against_previous(context, chosen, found.negatives)} if context.config.previous else {}),
        "biases": biases,
        "examples": picked,
        **summary(context),
        **embedding(context),
        "timings": read_json(context.out / TIMINGS) or {},
        "warnings": [counts[name]["warning"] for name in _WARNING if "warning" in counts.get(name, {})],
    }
    return report | {"conclusion": conclude(report, context.config.filter.max_false_negative_rate)}


def _counts(context: RunContext) -> dict[str, Any]:
    """Return the counts of every stage before."""
    before = [*STAGES_BEFORE, *(("rescore",) if context.config.rescore is not None else ())]
    return {name: (recorded(context.reading(name)) or {})["counts"] for name in before}


def _false_negatives(context: RunContext) -> dict[str, Any]:
    """Return the measured false-negative rate of the run's filter, of a plain 95% margin, and of a short grid."""
    config = context.config
    calibration = read_calibration(context.reading("filter"), config.seed)
    pieces, vectors = setup(context).pieces, teacher_vectors(context)
    protocol = Protocol.of(pieces, config)
    scorer = calibration.scorer(out_of_fold=True) if calibration else None
    measured = measure_rows(protocol, config, scorer, vectors)
    margin = config.model_copy(update={"filter": config.filter.model_copy(update={"rule": "percent", "percent": 0.95})})
    found: dict[str, Any] = {"false_negative_rate": measured["rate"]}
    if measured["rate"] is None:
        nothing = {"settings": [], "reason": measured["reason"]}
        return found | {"false_negative_rate_reason": measured["reason"], "tradeoff": nothing}
    found["tradeoff"] = tradeoff((pieces, protocol), config, calibration, measured, vectors)
    found["hidden_positives"] = {"this_filter": measured, "margin_95": measure_rows(protocol, margin, None, vectors)}
    if calibration is not None:
        found["calibration"] = {
            "fitted_on": calibration.fitted_on, "threshold": calibration.threshold, "reason": calibration.reason,
        }  # fmt: skip
    return found


def numbers(report: dict[str, Any]) -> dict[str, float | None]:
    """Return the numbers of a report that a limit can be set on, nested ones by dotted name."""
    found: dict[str, float | None] = {}
    stack: list[tuple[str, Any]] = list(report.items())
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict):
            stack.extend((f"{name}.{key}", below) for key, below in value.items())
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            found[name] = value
    return dict(sorted(found.items()))


def _intervals(context: RunContext, chosen: Any) -> dict[str, list[float] | None]:
    """Return the 95% bootstrap interval of each headline number, over queries."""
    top, bottom = headline_parts(context.folder("report"), chosen)
    return dict(zip(HEADLINE, intervals(top, bottom, context.config.seed), strict=True))


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
        return {"documents": 0, "most_served": 0, "top_percent_share": 0.0, "top": [], "served": []}
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
        "served": _served(counts),
    }


def _served(counts: np.ndarray) -> list[dict[str, int]]:
    """Return how many documents serve 1, 2, 3-4, 5-8, ... times; counts are >= 1, one a document."""
    step = np.ceil(np.log2(counts)).astype(np.int64)
    documents = np.bincount(step)
    first = [1, *(2 ** (n - 1) + 1 for n in range(1, len(documents)))]
    return [{"from": first[n], "to": 2**n, "documents": int(count)} for n, count in enumerate(documents)]


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


def _bad_positives(context: RunContext, positives: int, emitted: dict[str, Any]) -> dict[str, Any]:
    """Return the suspected bad positives: how many, the worst by name, and what emit did with them."""
    table = read_table(context.folder("report") / BAD_POSITIVES_FILE)
    found = conform(table, BAD_POSITIVES, f"report/{BAD_POSITIVES_FILE}")
    return {
        "count": found.num_rows,
        "share": _share(found.num_rows, positives),
        "quantile": context.config.filter.bad_positive_quantile,
        "treatment": context.config.emit.bad_positives,
        "left_out": emitted["positives_left_out"],
        "queries_left_out": emitted["queries_left_out"],
        "down_weighted": emitted["positives_down_weighted"],
        "worst": found.slice(0, LISTED).to_pylist(),
    }
