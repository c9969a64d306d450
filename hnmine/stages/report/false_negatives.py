"""The false-negative rate of filters, measured on hidden positives: of the run's own, and of a grid of settings.

The hidden-positive protocol keeps one positive of a query as known and hides its others among the candidates; a hidden
one that is chosen is a measured false negative.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext
from hnmine.science.calibration import calibration_error, reliability
from hnmine.science.statistics import wilson_interval
from hnmine.stages.emit.choose import Chooser, teacher_vectors
from hnmine.stages.filter.calibration import CachedScorer, Calibration, set_threshold
from hnmine.stages.filter.candidates import Cells
from hnmine.stages.filter.hidden_positives import (
    ENOUGH_HIDDEN,
    ENOUGH_QUERIES,
    MOST_QUERIES,
    CandidateReader,
    HiddenRows,
    ProtocolRows,
    hidden_rows,
    in_large_parts,
)
from hnmine.stages.filter.inputs import FilterInputs, read_calibration
from hnmine.stages.filter.shard_counts import usable_queries
from hnmine.stages.filter.verdicts import Scorer, rule_names
from hnmine.stages.report.quality import per_anchor
from hnmine.stages.report.relabelled import relabelled
from hnmine.storage.vectors import VectorStore

NOTHING_RETRIEVED = "emit.random_share leaves no negative to retrieval, and random documents are not measured"
CHOSEN_FOR_JUDGING = "input.judgements holds what was picked for judging because it is doubtful"
GRID_CANDIDATES = 400_000
"""The grid of settings is tried on about this many candidates at most, to bound the time of a large run's report."""
GRID_NUMBERS = ("queries", "chosen", "rate", "interval", "hardness", "fill", "eci")

GRID: tuple[dict[str, Any], ...] = (
    {"rule": "none"},
    *({"rule": "percent", "percent": p} for p in (0.7, 0.8, 0.9, 0.95, 1.0)),
    *({"rule": "two_sided", "two_sided": t} for t in (-0.5, 0.5, 1.0, 2.0)),
)
CALIBRATED_GRID = tuple({"rule": "calibrated", "max_false_negative_rate": r} for r in (0.01, 0.02, 0.05, 0.1))
"""Tried as well where the run's filter fitted a model, which is used without refitting."""


@dataclass(frozen=True)
class Protocol:
    """The hidden-positive protocol of a run whose stage filter is complete; candidates are read when first needed.

    Attributes:
        context: the run.
        calibration: the models that its filter fitted; None where it fitted none.
        vectors: the teacher's, where choosing needs them.
    """

    context: RunContext
    calibration: Calibration | None
    vectors: VectorStore | None

    @classmethod
    def of(cls, context: RunContext) -> "Protocol":
        """Return the protocol of a run."""
        fitted = read_calibration(context.reading("filter"), context.config.seed)
        return cls(context, fitted, teacher_vectors(context))

    @cached_property
    def _read(self) -> CandidateReader:
        return FilterInputs.open(self.context).batches

    @cached_property
    def whole(self) -> ProtocolRows:
        """The rows that rates are measured on."""
        return ProtocolRows.of(self._read, self.context.config, usable_queries(self.context.reading("filter")))

    @cached_property
    def bounded(self) -> tuple[ProtocolRows, int]:
        """The rows that many settings are tried on, with about `GRID_CANDIDATES` at most, and how many they may be."""
        config, rows = self.context.config, self.whole
        at_most = min(MOST_QUERIES, max(1, GRID_CANDIDATES // config.retrieve.max_candidates))
        if at_most < MOST_QUERIES and rows.measured:
            drawn = hidden_rows(self._read, config, at_most / max(1, rows.several))
            rows = replace(rows, rows=in_large_parts(drawn))
        return rows, at_most


def false_negatives(protocol: Protocol) -> dict[str, Any]:
    """Return the report's sections on the false-negative rate: the run's filter, a plain 95% margin, the grid.

    Returns:
        false_negative_rate and tradeoff; relabelled where emit relabels candidates; where the rate is measured also
        hidden_positives and calibration, else false_negative_rate_reason.
    """
    config, calibration, rows = protocol.context.config, protocol.calibration, protocol.whole
    scorer = calibration.out_of_fold() if calibration else None
    own = measure(rows, config, scorer, protocol.vectors)
    found: dict[str, Any] = {"false_negative_rate": own["rate"], **relabelled(protocol.context, rows, calibration)}
    if own["rate"] is None:
        nothing = {"settings": [], "reason": own["reason"]}
        return found | {"false_negative_rate_reason": own["reason"], "tradeoff": nothing}
    found["tradeoff"] = tradeoff(protocol, own)
    margin = _with_filter(config, {"rule": "percent", "percent": 0.95})
    found["hidden_positives"] = {"this_filter": own, "margin_95": measure(rows, margin, None, protocol.vectors)}
    if calibration is not None:
        found["calibration"] = {name: getattr(calibration, name) for name in ("fitted_on", "threshold", "reason")}
    return found


def measure(
    protocol: ProtocolRows, config: Config, scorer: Scorer | None, vectors: VectorStore | None = None
) -> dict[str, Any]:
    """Return the false-negative rate of a config's filter on hidden positives, with the quality of its choices.

    Random documents are neither measured nor wanted: all numbers are of retrieved negatives.

    Args:
        protocol: the collection's hidden-positive rows.
        config: the whole config; its filter and emit tables are measured.
        scorer: gives P(false negative) out of fold; None where no rule needs it.
        vectors: the teacher's, where choosing needs them: see `hnmine.stages.emit.choose.teacher_vectors`.

    Returns:
        `Tally.result`, with the calibration of the scorer's probabilities. {"rate": None, "reason": ...} where too few
        queries have several positives, or no negative is retrieved.
    """
    if not config.emit.retrieved_negatives:
        return {"rate": None, "reason": NOTHING_RETRIEVED}
    if not protocol.measured:
        reason = (
            f"{protocol.several:,} queries have several positives, {protocol.hidden:,} of which are among the "
            f"candidates; {ENOUGH_QUERIES} and {ENOUGH_HIDDEN} are needed"
        )
        return {"rate": None, "reason": reason}
    found = outcome(protocol.rows, _with_filter(config, {"anchor": "each"}), scorer, vectors, reliable=True)
    if config.input.judgements is not None and found["judged"]["rate"] is not None:
        counts = {name: found["judged"][name] for name in ("chosen", "hidden")}
        found["judged"] = counts | {"rate": None, "reason": CHOSEN_FOR_JUDGING}
    return found


def outcome(
    rows: Sequence[HiddenRows],
    config: Config,
    scorer: Scorer | None,
    vectors: VectorStore | None = None,
    *,
    reliable: bool = False,
) -> dict[str, Any]:
    """Return `Tally.result` of a config's filter and choice on the protocol's rows; arguments as in `measure`.

    Choosing has no cap on documents and no random documents here. `reliable` measures the calibration of the scorer's
    probabilities as well.
    """
    uncapped = config.emit.model_copy(update={"max_per_document": None})
    chooser = Chooser(uncapped, config.seed, vectors=vectors, cosine=config.embed.similarity == "cosine")
    tally = Tally()
    for part in rows:
        judged = part.verdicts(config.filter, scorer)
        ids = [str(row) for row in part.batch.query_rows]
        chosen = chooser.choose(part.batch, judged.cells, judged.keep, ids, part.keys.is_judged(part.batch))
        tally.add(part, judged.cells, chosen, judged.probabilities if reliable else None)
    return tally.result(config.emit.retrieved_negatives)


class Tally:
    """Adds up the choices from several batches of hidden-positive rows."""

    def __init__(self) -> None:
        self.queries: set[int] = set()
        self.chosen = self.hidden = self.judged = self.judgements = self.anchors = 0
        self.hardness: list[np.ndarray] = []
        self.score: list[np.ndarray] = []
        self.eci: list[np.ndarray] = []
        self.predicted: list[np.ndarray] = []
        self.observed: list[np.ndarray] = []

    def add(self, rows: HiddenRows, cells: Cells, chosen: Ragged, probabilities: np.ndarray | None) -> None:
        """Count one batch.

        `chosen` are positions among the query's candidates, one list per anchor; `probabilities` are P(false negative)
        of the candidates, or None to leave their calibration out.
        """
        batch = rows.batch
        at = batch.candidates.starts[cells.anchors.owners][chosen.owners] + chosen.values
        self.queries |= set(batch.query_rows.tolist())
        self.chosen += len(at)
        self.hidden += int(rows.is_hidden[at].sum())
        self.judged += int(rows.keys.is_judged(batch)[at].sum())
        self.judgements += len(rows.keys.judged.values)
        quality = per_anchor(batch, cells, chosen.with_values(batch.scores[at]))
        self.hardness.append(np.nan_to_num(quality["hardness"] * quality["chosen"]))
        self.eci.append(quality["eci"])
        self.anchors += len(quality["eci"])
        self.score.append(batch.scores[at].astype(np.float64))
        if probabilities is not None:
            self.predicted.append(probabilities[batch.counted])
            self.observed.append(rows.is_hidden[batch.counted])

    def result(self, n: int) -> dict[str, Any]:
        """Return counts, rates and means, with n negatives wanted per anchor.

        queries, chosen, hidden (counts); rate and its interval; hardness and score (means over negatives), fill and
        eci (means over anchors); judged (the rate among chosen negatives that were judged either way); reliability and
        calibration_error where probabilities were given.
        """
        some = max(1, self.chosen)
        out: dict[str, Any] = {
            "queries": len(self.queries),
            "chosen": self.chosen,
            "hidden": self.hidden,
            "rate": self.hidden / some,
            "interval": list(wilson_interval(self.hidden, self.chosen)),
            "hardness": _exact_sum(self.hardness) / some,
            "score": _exact_sum(self.score) / some,
            "fill": self.chosen / max(1, n * self.anchors),
            "eci": _exact_sum(self.eci) / max(1, self.anchors),
            "judged": self._judged(),
        }
        if self.predicted:
            predicted, observed = np.concatenate(self.predicted), np.concatenate(self.observed)
            out["reliability"] = reliability(predicted, observed)
            out["calibration_error"] = calibration_error(predicted, observed)
        return out

    def _judged(self) -> dict[str, Any]:
        """Return the share of hidden positives among the chosen negatives that were judged either way."""
        trials = self.hidden + self.judged
        counts = {"chosen": trials, "hidden": self.hidden}
        if not self.judgements:
            return counts | {"rate": None, "reason": "qrels judge no negatives of these queries"}
        if not trials:
            return counts | {"rate": None, "reason": "nothing that was chosen is judged"}
        return counts | {"rate": self.hidden / trials, "interval": list(wilson_interval(self.hidden, trials))}


def _exact_sum(parts: list[np.ndarray]) -> float:
    """Return the exactly rounded sum, so that it does not depend on how the queries are split into batches."""
    return math.fsum(np.concatenate([*parts, np.zeros(0)]).tolist())


def tradeoff(protocol: Protocol, own: dict[str, Any]) -> dict[str, Any]:
    """Return the false-negative rate, hardness and fill of a grid of filter settings and of the run's own.

    Args:
        protocol: of the run; fewer of its rows are used where they have too many candidates.
        own: `measure` of the run's own filter.

    Returns:
        queries_at_most; settings, the run's own first, each with its keys of the filter table, `GRID_NUMBERS`, own (it
        is the run's) and front (see `mark_front`).
    """
    config, calibration = protocol.context.config, protocol.calibration
    rows, at_most = protocol.bounded
    grid, scorer = GRID, None
    if calibration is not None:
        grid, scorer = (*GRID, *CALIBRATED_GRID), CachedScorer.of(rows.rows, calibration.out_of_fold())
    found = [(config.filter.chosen(), own)] + [
        (tried, try_setting(tried, rows, config, (scorer, protocol.vectors))) for tried in grid
    ]
    front = mark_front([numbers for _, numbers in found])
    settings = [
        {"settings": keys, "own": not place, "front": best, **{name: numbers[name] for name in GRID_NUMBERS}}
        for place, ((keys, numbers), best) in enumerate(zip(found, front, strict=True))
        if numbers["chosen"]
    ]
    return {"settings": settings, "queries_at_most": at_most}


def try_setting(
    settings: dict[str, Any],
    protocol: ProtocolRows,
    config: Config,
    means: tuple[CachedScorer | None, VectorStore | None],
) -> dict[str, Any]:
    """Return `Tally.result` of one filter setting on the protocol's rows.

    Args:
        settings: keys of the filter table; each positive is an anchor of its own, as the protocol knows only one.
        protocol: the collection's rows.
        config: the whole config.
        means: (P(false negative) of the rows, the teacher's vectors where choosing needs them).
    """
    scorer, vectors = means
    tried = _with_filter(config, {**settings, "anchor": "each"})
    used = None
    if scorer is not None and "calibrated" in rule_names(tried.filter):
        threshold, _ = set_threshold(protocol.rows, scorer, tried, measured=protocol.measured)
        used = replace(scorer, threshold=threshold)
    return outcome(protocol.rows, tried, used, vectors)


def _with_filter(config: Config, keys: dict[str, Any]) -> Config:
    """Return the config with other keys of its filter table."""
    return config.model_copy(update={"filter": config.filter.model_copy(update=keys)})


def mark_front(numbers: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Return which settings are on the Pareto front of (rate, hardness, fill), given numbers as of `try_setting`.

    A setting is on it if no other is at least as good in all three (a lower rate, a higher hardness, a higher fill) and
    better in one. One that chose nothing, or nothing but hidden positives, is neither on it nor beats another.
    """
    usable = np.array([one["chosen"] > 0 and one["rate"] < 1 for one in numbers], dtype=bool)
    costs = np.array([[one["rate"], -one["hardness"], -one["fill"]] for one in numbers])[usable]
    front = np.zeros(len(numbers), dtype=bool)
    front[usable] = [not ((costs <= one).all(axis=1) & (costs < one).any(axis=1)).any() for one in costs]
    return [bool(one) for one in front]
