"""Builds report.json: the numbers of a mined set, gathered from the files of the earlier stages."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.groups import distinct_pairs
from hnmine.arrays.ragged import Ragged
from hnmine.runtime.stage import TIMINGS, RunContext
from hnmine.runtime.threads import run_concurrently
from hnmine.stages.emit.batches.step import summary
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.emit.relabel.relabelled import judged_shards
from hnmine.stages.filter.bad_positives import BAD_POSITIVES_FILE
from hnmine.stages.hubs.normalised import normalises_hubs
from hnmine.stages.report.advice import with_advice
from hnmine.stages.report.biases import measure_biases
from hnmine.stages.report.checked import checked
from hnmine.stages.report.dense_recall import embedding
from hnmine.stages.report.examples import pick_examples
from hnmine.stages.report.expected import numbers_of
from hnmine.stages.report.false_negatives import Protocol, false_negatives
from hnmine.stages.report.headline import AT_OR_ABOVE, conclude
from hnmine.stages.report.judged_sample import judged_sample, true_rates
from hnmine.stages.report.judging import judging
from hnmine.stages.report.negatives import hardness_by_place, histograms, near_copies, read_negatives, sources
from hnmine.stages.report.order_and_weights import order_and_weights
from hnmine.stages.report.previous import against_previous
from hnmine.stages.report.quality import headline_parts, intervals
from hnmine.stages.report.statistics import distribution, hub_statistics, share
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.filter import EVALUATED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.report import BAD_POSITIVES, QUERY_REPORT
from hnmine.storage.store import Shards, read_json, read_table, recorded

STAGES_BEFORE = ("ingest", "embed", "index", "retrieve", "filter", "emit")
_WARNING = ("ingest", "embed", "index", "retrieve", "rescore", "filter")
WORST_LISTED = 20
SHORTAGE = (
    "examples", "examples_full", "examples_short", "examples_without_negatives",
    "examples_filled_up", "negatives_filled_up", "negatives_random",
)  # fmt: skip


def build_report(context: RunContext) -> dict[str, Any]:
    """Return the report of a run whose other stages are complete; the same for the same run, except for timings."""
    queries = Shards(context.folder("report") / "queries", QUERY_REPORT)
    counts, chosen = _counts(context), read_chosen(context.reading("emit"))
    emitted, verdicts, protocol = counts["emit"], counts["filter"]["verdicts"], Protocol.of(context)
    (negatives, scores), rate, (distributions, between, hubs, elsewhere) = run_concurrently(
        lambda: read_negatives(context, chosen),
        lambda: false_negatives(protocol),
        lambda: (
            _distributions(context, chosen),
            intervals(*headline_parts(context.folder("report"), chosen), context.config.seed),
            _hubs(context, chosen),
            _labelled_elsewhere(context, chosen),
        ),
    )
    sampled = judged_sample(context, chosen)
    bad = _bad_positives(context, distributions["positive_score"]["count"], emitted)
    histogram, biases, examples = run_concurrently(
        lambda: histograms(negatives, scores, context),
        lambda: measure_biases(context, negatives),
        lambda: pick_examples(context, chosen, negatives, bad["worst"]),
    )
    report: dict[str, Any] = {
        "coverage": share(emitted["queries_with_negatives"], queries.rows),
        "fill": share(emitted["negatives"], emitted["negatives_wanted"]),
        **{
            name: pc.mean(queries.column(name)).as_py() for name in ("capacity", "hardness", "safety", "eci", "eci_sem")
        },
        AT_OR_ABOVE: _share_at_or_above(queries),
        "intervals": between,
        **rate,
        **sampled,
        **true_rates(rate | sampled),
        **judging(context.config),
        "verdicts": verdicts,
        **_evaluation(counts["ingest"], verdicts),
        "counts": counts,
        "shortage": {name: emitted[name] for name in SHORTAGE},
        "distributions": distributions,
        "hubs": hubs,
        **elsewhere,
        "suspected_bad_positives": bad,
        "histograms": histogram,
        "hardness_by_place": hardness_by_place(negatives),
        "near_copies": near_copies(negatives, verdicts),
        "sources": sources(negatives, context.config),
        **checked(context, negatives, counts),
        **({"previous": against_previous(context, chosen, negatives)} if context.config.previous else {}),
        "biases": biases,
        "examples": examples,
        **summary(context),
        **order_and_weights(context),
        **embedding(context),
        "timings": read_json(context.out / TIMINGS) or {},
        "warnings": [counts[name]["warning"] for name in _WARNING if "warning" in counts.get(name, {})],
    }
    report["conclusion"] = conclude(report, numbers_of(context.config))
    return report | {"conclusion": with_advice(protocol, report)}


def _share_at_or_above(queries: Shards) -> float | None:
    """Return the share of the negatives that score at or above their positive; None without negatives."""
    pairs, over = (int(pc.sum(queries.column(name)).as_py() or 0) for name in ("pairs", "at_or_above"))
    return over / pairs if pairs else None


def _counts(context: RunContext) -> dict[str, Any]:
    """Return the counts of every earlier stage, by its name."""
    config = context.config
    before = [*STAGES_BEFORE, *(("rescore",) if config.rescore is not None else ())]
    before += ["hubs"] if normalises_hubs(config) else []
    return {name: (recorded(context.reading(name)) or {})["counts"] for name in before}


def _evaluation(ingest: dict[str, Any], verdicts: dict[str, int]) -> dict[str, Any]:
    """Return what was kept out of the training rows as part of the evaluation set; nothing where there is none."""
    if EVALUATED not in verdicts:
        return {}
    names = {
        "queries": "eval_queries",
        "documents": "eval_documents",
        "queries_left_out": "eval_queries_left_out",
        "positives_left_out": "eval_positives_left_out",
        "queries_without_positive": "eval_queries_without_positive",
    }
    counted = {name: ingest[count] for name, count in names.items()}
    return {"evaluation": counted | {"candidates_rejected": verdicts[EVALUATED]}}


def _distributions(context: RunContext, chosen: pa.Table) -> dict[str, Any]:
    """Return distributions of positive scores, of negatives' scores, and of anchor score minus negative's score."""
    shards = judged_shards(context)
    positive, anchors = (Ragged.from_arrow(shards.column(name)).values for name in ("positive_scores", "anchor_scores"))
    scores = Ragged.from_arrow(chosen.column("scores"))
    return {
        "positive_score": distribution(positive),
        "negative_score": distribution(scores.values),
        "margin": distribution(anchors[scores.owners] - scores.values),
    }


def _hubs(context: RunContext, chosen: pa.Table) -> dict[str, Any]:
    """Return how unevenly documents serve as negatives, the ten that serve most, and a histogram of the counts.

    A document serves once for each query of which it is a negative, whatever the number of the query's anchors.
    """
    rows = Ragged.from_arrow(chosen.column("doc_rows"))
    once = distinct_pairs(chosen.column("query_row").to_numpy()[rows.owners], rows.values)
    unique, counts = np.unique(rows.values[once], return_counts=True)
    top = np.lexsort((unique, -counts))[:10]
    corpus = Shards(context.reading("ingest") / "corpus", CORPUS)
    names = corpus.take(unique[top], ["doc_id"]).column(0).to_pylist()
    return hub_statistics(counts) | {
        "top": [{"doc_id": name, "served": int(counts[i])} for name, i in zip(names, top, strict=True)],
        "served": _served(counts),
    }


def _served(counts: np.ndarray) -> list[dict[str, int]]:
    """Return how many documents serve 1, 2, 3-4, 5-8, ... times; counts are >= 1, one per document."""
    step = np.ceil(np.log2(counts)).astype(np.int64)
    first = [1, *(2 ** (n - 1) + 1 for n in range(1, int(step.max(initial=0)) + 1))]
    return [{"from": first[n], "to": 2**n, "documents": int(count)} for n, count in enumerate(np.bincount(step))]


def _labelled_elsewhere(context: RunContext, chosen: pa.Table) -> dict[str, Any]:
    """Return how many negatives are a labelled positive of some query, and how many are judged irrelevant to theirs."""
    shards = Shards(context.reading("ingest") / "queries", QUERIES)
    positives, judged = (Ragged.from_arrow(shards.column(name)) for name in ("positive_rows", "negative_rows"))
    rows = Ragged.from_arrow(chosen.column("doc_rows"))
    owners = chosen.column("query_row").to_numpy()[rows.owners]
    elsewhere = int(np.isin(rows.values, positives.values).sum())
    return {
        "negatives_positive_elsewhere": elsewhere,
        "negatives_positive_elsewhere_share": share(elsewhere, len(rows.values)),
        "negatives_judged": int(judged.contains(owners, rows.values).sum()),
    }


def _bad_positives(context: RunContext, positives: int, emitted: dict[str, Any]) -> dict[str, Any]:
    """Return the suspected bad positives: their number, the worst by name, and what emit did with them."""
    table = read_table(context.folder("report") / BAD_POSITIVES_FILE)
    found = conform(table, BAD_POSITIVES, f"report/{BAD_POSITIVES_FILE}")
    treated = emitted["positives_left_out"] + emitted["positives_down_weighted"]
    return {
        "count": found.num_rows,
        "share": share(found.num_rows, positives),
        "untreated_share": share(found.num_rows - treated, positives),
        "quantile": context.config.filter.bad_positive_quantile,
        "treatment": context.config.emit.bad_positives,
        "left_out": emitted["positives_left_out"],
        "queries_left_out": emitted["queries_left_out"],
        "down_weighted": emitted["positives_down_weighted"],
        "worst": found.slice(0, WORST_LISTED).to_pylist(),
    }
