"""The candidates of a run that are most worth judging, as a file for people or a language model to fill in."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged, single_array
from hnmine.commands.finished_run import finished_run
from hnmine.config import Config, FilterConfig
from hnmine.errors import IncompleteStage, InputError, OutputError
from hnmine.readers.judgements import EMPTY
from hnmine.runtime.stage import RunContext
from hnmine.science.judging_value import highest_judging_values, judging_value, margin_probability
from hnmine.stages.emit.chosen import cells_of, read_chosen
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.inputs import slices
from hnmine.stages.filter.verdicts import CODES, RULES, resolve_auto, rule_names
from hnmine.storage.schemas.filter import JUDGED, KEEP, VERDICTS
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards, write_text

CHOSEN, OTHER = 1.0, 0.5
"""Impact of a judgement: on what is a negative now, and on what could be one, kept or rejected by a rule."""
POSITIVES = 3
"""Positives shown beside a candidate, at most."""


@dataclass(frozen=True)
class Picked:
    """Candidates to judge, the most worth first; one value each.

    Attributes:
        worth: uncertainty times impact.
        query: row of the query.
        document: row of the document.
        score: the teacher's.
        rank: in the retrieval.
        probability: P(false negative); NaN where the run has none.
        limit: the score that the margin starts at.
        verdict: code of the verdict.
        chosen: whether it is a negative now.
    """

    worth: np.ndarray
    query: np.ndarray
    document: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    probability: np.ndarray
    limit: np.ndarray
    verdict: np.ndarray
    chosen: np.ndarray

    def take(self, rows: np.ndarray) -> "Picked":
        """Return some of them, in the order given."""
        return Picked(*(getattr(self, name.name)[rows] for name in fields(self)))

    def best(self, number: int, per_query: int) -> "Picked":
        """Return those most worth judging."""
        return self.take(highest_judging_values(self.worth, self.query, self.document, number, per_query))

    def join(self, other: "Picked") -> "Picked":
        """Return both, these first."""
        return Picked(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))


@dataclass(frozen=True)
class Wanted:
    """How many candidates to write.

    Attributes:
        number: of all queries.
        per_query: of one query at most.
        replace: whether a file that is there may be replaced.
    """

    number: int = 200
    per_query: int = 3
    replace: bool = False


def export_judgements(config: Config, path: Path, wanted: Wanted, source: Path | None = None) -> dict[str, Any]:
    """Write the candidates of a finished run that are most worth judging; return how many, and of what.

    Left out are labelled positives and their copies, what qrels or judgement files judge already, unsure judgements
    among them, and what was rejected by a check: a judgement of these would change nothing.

    Raises:
        IncompleteStage: the run has not come as far as emit.
        OutputError: the file is there already; it may hold judgements.
        InputError: nothing is left to judge.
    """
    if path.exists() and not wanted.replace:
        raise OutputError(f"{path}: is there already and may hold judgements; choose another --path, or pass --force")
    context = finished_run(config, source, ("ingest", "filter", "emit"))
    found = pick(context, wanted)
    if not len(found.worth):
        raise InputError(
            f"{context.out}: no candidate is left to judge: all are labelled, judged or rejected by checks"
        )
    lines = (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in _lines(context, found))
    write_text("".join(lines), path)
    verdicts = Counter(list(VERDICTS)[code] for code in found.verdict)
    return {
        "path": str(path),
        "written": len(found.worth),
        "queries": len(np.unique(found.query)),
        "chosen": int(found.chosen.sum()),
        "verdicts": {name: verdicts[name] for name in VERDICTS if verdicts[name]},
        "uncertainty": "closeness to the margin" if np.isnan(found.probability).all() else "P(false negative)",
    }


def pick(context: RunContext, wanted: Wanted) -> Picked:
    """Return the candidates of a run most worth judging, the best first; the same whatever its shards."""
    judged, chosen = Shards(context.reading("filter"), JUDGED), read_chosen(context.reading("emit"))
    queries = Shards(context.reading("ingest") / "queries", QUERIES)
    config = resolve_auto(context.config.filter)
    found: Picked | None = None
    first = 0
    for table in judged:
        for piece in slices(table):
            batch = Batch.from_table(piece)
            unsure = Ragged.from_arrow(queries.take(batch.query_rows, ["unsure_rows"]).column(0))
            anchors = int(Ragged.from_arrow(piece.column("anchor_scores")).lengths.sum())
            own = _open(piece, batch, chosen.slice(first, anchors), unsure, config)
            own = own.best(wanted.number, wanted.per_query)
            found = own if found is None else found.join(own).best(wanted.number, wanted.per_query)
            first += anchors
    if found is None:
        raise IncompleteStage(f"{judged.folder} holds no queries")
    return found


def _open(table: pa.Table, batch: Batch, chosen: pa.Table, unsure: Ragged, config: FilterConfig) -> Picked:
    """Return the cells of some queries that nobody judged yet and that a judgement would tell something about.

    Args:
        table: judged candidates of some queries.
        batch: the same.
        chosen: what was chosen of them, one row an anchor.
        unsure: for each query, the rows that judgement files leave open.
        config: the filter table, with what "auto" stands for.
    """
    cells, keep = cells_of(table, batch)
    codes = single_array(table.column("verdicts")).flatten().flatten()
    verdict = pc.index_in(codes, pa.array(list(VERDICTS))).to_numpy(zero_copy_only=False).astype(np.int64)
    taken = np.zeros(len(cells.candidate), dtype=bool)
    positions = Ragged.from_arrow(chosen.column("positions"))
    starts = np.searchsorted(cells.anchor, np.arange(len(positions)))
    taken[(starts[positions.owners] + positions.values)[positions.values >= 0]] = True
    at, query = cells.candidate, cells.anchors.owners[cells.anchor]
    known = Ragged.from_arrow(table.column("judged_negatives")).values.astype(bool)
    known = known | unsure.contains(batch.owners, batch.candidates.values)
    by_rule = np.isin(verdict, [CODES[name] for name in RULES])
    rows = np.flatnonzero((keep | by_rule) & ~known[at])
    limit, given = (
        _limit(batch, cells, config),
        single_array(table.column("probabilities")).flatten().flatten().to_numpy(zero_copy_only=False),
    )
    probability = given.astype(np.float64) if len(given) else np.full(len(at), np.nan)
    p = probability if len(given) else margin_probability(batch.scores[at], limit, batch.background_std[query])
    impact = np.where(taken, CHOSEN, OTHER)
    values = (
        judging_value(p, impact), batch.query_rows[query], batch.candidates.values[at], batch.scores[at],
        batch.ranks[at], probability, limit, verdict, taken,
    )  # fmt: skip
    return Picked(*values).take(rows)


_LIMITS: dict[str, Callable[[np.ndarray, np.ndarray, FilterConfig], np.ndarray]] = {
    "margin": lambda anchor, floor, c: anchor - c.margin,
    "percent": lambda anchor, floor, c: anchor - (1.0 - c.percent) * np.abs(anchor),
    "adaptive": lambda anchor, floor, c: anchor - c.adaptive * np.maximum(anchor - floor, 0.0),
}


def _limit(batch: Batch, cells: Cells, config: FilterConfig) -> np.ndarray:
    """Return the score above which a margin rejects each cell: the lowest of the config's; that of percent without."""
    anchor = cells.scores.astype(np.float64)
    floor = batch.background_mean[cells.anchors.owners[cells.anchor]].astype(np.float64)
    names = [name for name in rule_names(config) if name in _LIMITS] or ["percent"]
    return np.asarray(np.min([_LIMITS[name](anchor, floor, config) for name in names], axis=0))


def _lines(context: RunContext, found: Picked) -> Iterator[dict[str, Any]]:
    """Yield what is written of each candidate."""
    ingest = context.reading("ingest")
    queries, corpus = Shards(ingest / "queries", QUERIES), Shards(ingest / "corpus", CORPUS)
    asked = queries.take(found.query, ["query_id", "text", "positive_rows"])
    positives = [own[:POSITIVES] for own in asked.column("positive_rows").to_pylist()]
    texts = corpus.take(found.document, ["doc_id", "text"]).to_pylist()
    every = np.array([row for own in positives for row in own], dtype=np.int64)
    shown = iter(corpus.take(every, ["doc_id", "text"]).to_pylist())
    ids, words = asked.column("query_id").to_pylist(), asked.column("text").to_pylist()
    for at, document in enumerate(texts):
        p = float(found.probability[at])
        yield {
            "query_id": ids[at],
            "query": words[at],
            "doc_id": document["doc_id"],
            "document": document["text"],
            "positives": [next(shown) for _ in positives[at]],
            "score": round(float(found.score[at]), 6),
            "rank": int(found.rank[at]),
            "p_false_negative": None if np.isnan(p) else round(p, 6),
            "verdict": list(VERDICTS)[int(found.verdict[at])],
            "why": _why(found, at),
            "judgement": EMPTY,
        }


def _why(found: Picked, at: int) -> str:
    name, p = list(VERDICTS)[int(found.verdict[at])], float(found.probability[at])
    kept = "chosen as a negative" if found.chosen[at] else "kept, not chosen"
    now = kept if name == KEEP else f"rejected by the rule {name}"
    if np.isnan(p):
        return f"{now}; score {found.score[at]:.3f}, where the margin rejects above {found.limit[at]:.3f}"
    return f"{now}; P(false negative) {p:.3f}"
