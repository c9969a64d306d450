"""Writes candidates of a finished run for people or a language model to judge.

They are its judging queue, the candidates most worth judging, or a random sample of its negatives.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.groups import distinct_pairs
from hnmine.arrays.ragged import Ragged
from hnmine.commands.finished_run import finished_run
from hnmine.commands.judging_sample import Drawn, Pairs, draw, no_candidates
from hnmine.config.auto import resolve_auto
from hnmine.config.filter import FilterConfig
from hnmine.config.tables import Config
from hnmine.errors import IncompleteStage, InputError, OutputError
from hnmine.readers.judged_samples import PROBABILITY, SAMPLE, SIZE, STRATUM
from hnmine.readers.judgements import EMPTY
from hnmine.runtime.stage import RunContext
from hnmine.science.judging_value import highest_judging_values, judging_value, margin_probability
from hnmine.science.margins import adaptive_limit, margin_limit, percent_limit
from hnmine.stages.emit.chosen import read_chosen, rows_of
from hnmine.stages.emit.negative_pairs import set_name
from hnmine.stages.emit.relabel.relabelled import judged_shards
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.inputs import slices
from hnmine.stages.filter.verdicts import CODES, RULES, rule_names, verdict_codes
from hnmine.storage.schemas.filter import CHECKED, KEEP, VERDICTS
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards, write_text

IMPACT_CHOSEN, IMPACT_OTHER = 1.0, 0.5
"""Impact of a judgement on a chosen negative, and on a candidate that is kept but not chosen, or rejected by a rule."""
NUMBER, PER_QUERY = 200, 3
"""Candidates written by default: in all, and of one query."""
POSITIVES = 3
"""Largest number of positives shown beside a candidate."""

QUEUE = np.dtype(
    [
        ("value", np.float64),        # judging value: uncertainty times impact
        ("query", np.int64),          # row of the query
        ("document", np.int64),       # row of the document
        ("score", np.float32),        # the score that the filter uses
        ("rank", np.int64),           # rank in the retrieval, from 1
        ("probability", np.float64),  # P(false negative); NaN where the run has none
        ("limit", np.float64),        # the score above which the margin rejects
        ("verdict", np.int8),         # code of the verdict
        ("chosen", np.bool_),         # whether it is a negative of the run
    ]
)  # fmt: skip
"""A candidate of the judging queue, which is an array of these, the highest judging value first."""


class ExportOptions(NamedTuple):
    """What is exported.

    Attributes:
        number: largest number of candidates.
        per_query: largest number of one query; a random sample has no such limit.
        replace: whether an existing file may be replaced.
        sample: whether to draw a random sample of the negatives, instead of what is most worth judging.
        seed: of the sample; None: the run's.
        negatives: whether only negatives of the run are exported, of what is most worth judging.
    """

    number: int = NUMBER
    per_query: int = PER_QUERY
    replace: bool = False
    sample: bool = False
    seed: int | None = None
    negatives: bool = False


def export_judgements(config: Config, path: Path, options: ExportOptions, source: Path | None = None) -> dict[str, Any]:
    """Write candidates of a finished run for judging; return counts for the terminal.

    They are those with the highest judging values, or a stratified random sample of the negatives.

    Left out of the former are labelled positives and their copies, candidates that qrels or judgement files judge
    already (also as unsure), and candidates that a check rejects: judging these would change nothing.

    Raises:
        IncompleteStage: the run is not complete as far as emit, or its filter stage has no queries.
        OutputError: the file exists, and may hold judgements.
        InputError: no candidate is left to judge.
    """
    refuse_existing(path, replace=options.replace)
    run = finished_run(config, source, ("ingest", "filter", "emit"))
    context = run.context
    if options.sample:
        queue, fields = sampled_negatives(context, options)
    else:
        queue = judging_queue(context, options)
        fields = [{}] * len(queue)
    if not len(queue):
        why = "the run has no negatives" if options.sample else "all are labelled, judged or rejected by checks"
        raise InputError(f"{context.out}: no candidate is left to judge: {why}")
    exported = (line | own for line, own in zip(_lines(context, queue), fields, strict=True))
    lines = (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in exported)
    write_text("".join(lines), path)
    verdicts = Counter(list(VERDICTS)[code] for code in queue["verdict"])
    return {
        "path": str(path),
        "written": len(queue),
        "queries": len(np.unique(queue["query"])),
        "chosen": int(queue["chosen"].sum()),
        "verdicts": {name: verdicts[name] for name in VERDICTS if verdicts[name]},
        "sample": fields[0].get(SAMPLE),
        "uncertainty": "closeness to the margin" if np.isnan(queue["probability"]).all() else "P(false negative)",
        **run.differences,
    }


def refuse_existing(path: Path, *, replace: bool) -> None:
    """Check that no file is replaced unless that is allowed.

    Raises:
        OutputError: the file exists.
    """
    if path.exists() and not replace:
        raise OutputError(f"{path}: the file exists and may hold judgements; choose another --path, or pass --force")


def judging_queue(context: RunContext, options: ExportOptions) -> np.ndarray:
    """Return the judging queue of a run (`QUEUE`), which does not depend on shards."""
    judged, chosen = judged_shards(context), read_chosen(context.reading("emit"))
    if not judged.rows:
        raise IncompleteStage(f"{judged.folder} holds no queries; remove it and run `hnmine run` again")
    queries = Shards(context.reading("ingest") / "queries", QUERIES)
    config = resolve_auto(context.config.filter)
    parts = [np.empty(0, dtype=QUEUE)]
    for table in judged:
        for piece in slices(table):
            batch = Batch.from_table(piece)
            unsure = Ragged.from_arrow(queries.take(batch.query_rows, ["unsure_rows"]).column(0))
            own = rows_of(chosen, int(batch.query_rows[0]), int(batch.query_rows[-1]) + 1)
            found = _unjudged(piece, batch, own, unsure, config)
            parts.append(_best(found[found["chosen"]] if options.negatives else found, options))
    return _best(np.concatenate(parts), options)


def _best(queue: np.ndarray, options: ExportOptions) -> np.ndarray:
    keys = queue["value"], queue["query"], queue["document"]
    return np.asarray(queue[highest_judging_values(*keys, options.number, options.per_query)])


def sampled_negatives(context: RunContext, options: ExportOptions) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return a stratified random sample of a run's negatives (`QUEUE`), and the further fields of each line.

    Strata are quantiles of P(false negative), or of the closeness to the margin where the run has no probabilities.
    """
    negatives = distinct_negatives(context)
    if not len(negatives):
        return negatives, []
    seed = context.config.seed if options.seed is None else options.seed
    found = draw_negatives(negatives, options.number, seed)
    name = f"{set_name(context, negatives['query'], negatives['document'])}-{options.number}-{seed}"
    fields = [
        {
            SAMPLE: name, STRATUM: int(one) + 1, SIZE: int(found.sizes[one]),
            PROBABILITY: float(found.numbers[one] / found.sizes[one]),
        }
        for one in found.strata
    ]  # fmt: skip
    return negatives[found.places], fields


def draw_negatives(negatives: np.ndarray, number: int, seed: int) -> Drawn:
    """Return a sample of `distinct_negatives`; its allocation follows P(false negative) where the run has it."""
    pairs = Pairs(negatives["query"], negatives["document"], negatives["value"])
    return draw(pairs, number, seed, calibrated=not np.isnan(negatives["probability"]).all())


def distinct_negatives(context: RunContext) -> np.ndarray:
    """Return the distinct (query, document) pairs among a run's negatives (`QUEUE`), with their risk as value.

    The risk is P(false negative), or the closeness to the margin; NaN for a document that is no candidate of the query.
    Of a pair with several anchors the riskiest counts.
    """
    judged, chosen = judged_shards(context), read_chosen(context.reading("emit"))
    config = resolve_auto(context.config.filter)
    parts = [_without_candidate(chosen)]
    for table in judged:
        for piece in slices(table):
            batch = Batch.from_table(piece)
            own = rows_of(chosen, int(batch.query_rows[0]), int(batch.query_rows[-1]) + 1)
            cells = _cells(piece, batch, own, config)
            parts.append(cells[cells["chosen"]])
    found = np.concatenate(parts)
    order = np.lexsort((-np.nan_to_num(found["value"], nan=-1), found["document"], found["query"]))
    found = found[order]
    return np.asarray(found[distinct_pairs(found["query"], found["document"])])


def _without_candidate(chosen: pa.Table) -> np.ndarray:
    """Return the negatives that are no candidates of their query, such as random documents (`QUEUE`)."""
    query, document, scores = no_candidates(chosen)
    out = np.zeros(len(query), dtype=QUEUE)
    out["query"], out["document"], out["score"] = query, document, scores
    out["value"] = out["probability"] = out["limit"] = np.nan
    out["verdict"], out["chosen"] = CODES[KEEP], True
    return out


def _unjudged(table: pa.Table, batch: Batch, chosen: pa.Table, unsure: Ragged, config: FilterConfig) -> np.ndarray:
    """Return the (anchor, candidate) cells of some queries that are not judged yet and whose judgement matters.

    `batch` holds the candidates of `table`, `chosen` a row for each of their anchors, and `unsure` for each query the
    document rows that judgement files call unsure. In `config` "auto" is resolved. Returns `QUEUE`, in order of cells.
    """
    judged = Ragged.from_arrow(table.column("judged_negatives")).values.astype(bool)
    judged |= unsure.contains(batch.owners, batch.candidates.values)
    queue = _cells(table, batch, chosen, config)
    queue["value"] = judging_value(queue["value"], np.where(queue["chosen"], IMPACT_CHOSEN, IMPACT_OTHER))
    open_verdict = np.isin(queue["verdict"], [CODES[name] for name in (KEEP, *RULES, CHECKED)])
    at = Cells.of(batch, Ragged.from_arrow(table.column("anchor_scores"))).candidate
    return np.asarray(queue[open_verdict & ~judged[at]])


def _cells(table: pa.Table, batch: Batch, chosen: pa.Table, config: FilterConfig) -> np.ndarray:
    """Return the (anchor, candidate) cells of some queries as `QUEUE`, with P(false negative) as their value.

    Where the run has no probabilities, it is that of `margin_probability`. Arguments as in `_unjudged`.
    """
    cells = Cells.of(batch, Ragged.from_arrow(table.column("anchor_scores")))
    at, query = cells.candidate, cells.anchors.owners[cells.anchor]
    is_chosen = np.zeros(len(at), dtype=bool)
    positions = Ragged.from_arrow(chosen.column("positions"))
    starts = np.searchsorted(cells.anchor, np.arange(len(positions)))
    is_chosen[(starts[positions.owners] + positions.values)[positions.values >= 0]] = True
    limit = _limit(batch, cells, config)
    stored = pc.list_flatten(pc.list_flatten(table.column("probabilities"))).to_numpy()
    probability = stored.astype(np.float64) if len(stored) else np.full(len(at), np.nan)
    p = probability if len(stored) else margin_probability(batch.scores[at], limit, batch.background_std[query])
    queue = np.empty(len(at), dtype=QUEUE)
    queue["value"] = p
    queue["query"], queue["document"] = batch.query_rows[query], batch.candidates.values[at]
    queue["score"], queue["rank"] = batch.scores[at], batch.ranks[at]
    queue["probability"], queue["limit"] = probability, limit
    queue["verdict"], queue["chosen"] = verdict_codes(table.column("verdicts")), is_chosen
    return queue


_LIMITS: dict[str, Callable[[np.ndarray, np.ndarray, FilterConfig], np.ndarray]] = {
    "margin": lambda anchor, floor, c: margin_limit(anchor, c.margin),
    "percent": lambda anchor, floor, c: percent_limit(anchor, c.percent),
    "adaptive": lambda anchor, floor, c: adaptive_limit(anchor, floor, c.adaptive),
}


def _limit(batch: Batch, cells: Cells, config: FilterConfig) -> np.ndarray:
    """Return the score above which a margin rejects each cell: the lowest of the config's margins, or percent's."""
    anchor, floor = cells.scores, batch.background_mean[cells.anchors.owners[cells.anchor]]
    names = [name for name in rule_names(config) if name in _LIMITS] or ["percent"]
    return np.asarray(np.min([_LIMITS[name](anchor, floor, config) for name in names], axis=0))


def _lines(context: RunContext, queue: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the exported object of each candidate of the queue."""
    ingest = context.reading("ingest")
    corpus, queries_of = Shards(ingest / "corpus", CORPUS), Shards(ingest / "queries", QUERIES)
    queries = queries_of.take(queue["query"], ["query_id", "text", "positive_rows"]).to_pylist()
    documents = corpus.take(queue["document"], ["doc_id", "text"]).to_pylist()
    rows = [row for query in queries for row in query["positive_rows"][:POSITIVES]]
    positives = iter(corpus.take(np.array(rows, dtype=np.int64), ["doc_id", "text"]).to_pylist())
    for one, query, document in zip(queue, queries, documents, strict=True):
        verdict, p = list(VERDICTS)[one["verdict"]], float(one["probability"])
        kept = "chosen as a negative" if one["chosen"] else "kept, not chosen"
        why = kept if verdict == KEEP else f"rejected by the rule {verdict}"
        if verdict == CHECKED:
            why = VERDICTS[CHECKED]
        if np.isnan(p) and np.isnan(one["limit"]):
            why += "; no candidate of the query"
        elif np.isnan(p):
            why += f"; score {one['score']:.3f}, where the margin rejects above {one['limit']:.3f}"
        else:
            why += f"; P(false negative) {p:.3f}"
        yield {
            "query_id": query["query_id"],
            "query": query["text"],
            "doc_id": document["doc_id"],
            "document": document["text"],
            "positives": [next(positives) for _ in query["positive_rows"][:POSITIVES]],
            "score": round(float(one["score"]), 6),
            "rank": int(one["rank"]) or None,
            "p_false_negative": None if np.isnan(p) else round(p, 6),
            "verdict": verdict,
            "why": why,
            "judgement": EMPTY,
        }
