"""Fitting P(false negative) on hidden positives, out of fold, and measuring what a filter lets through."""

import json
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources

import numpy as np
import pyarrow as pa

from hnmine.config import Config, FilterConfig
from hnmine.science.calibration import Logistic, fit, logistic, stack
from hnmine.science.hidden_positives import fold_of
from hnmine.science.sampling import random_order
from hnmine.search.candidate_pool import CandidateLimits
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.features import NAMES, features, weighted
from hnmine.stages.filter.hidden_positives import Hidden, hide, whole
from hnmine.stages.filter.thresholds import set_threshold
from hnmine.stages.filter.verdicts import Scorer, TextKeys, probabilities_of, rule_names
from hnmine.stages.rescore.rescored import uses_rescored
from hnmine.storage.schemas.filter import CALIBRATION

FOLDS, HIDINGS = 5, 3
# Fewer than this, and neither a fit nor a rate means much.
ENOUGH_QUERIES, ENOUGH_HIDDEN = 50, 100
# More queries than this change neither; it bounds memory and time.
MOST_QUERIES = 2000
OWN, OTHERS = "own labels", "other collections"

Drawn = Callable[[np.ndarray], np.ndarray]
"""Rows of queries -> bool, which of them are wanted."""


class Pieces(typing.Protocol):
    """Gives the candidates of a run with their text keys, some queries at a time."""

    def __call__(
        self, drawn: Drawn | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[Batch, TextKeys]]:
        """Yield all candidates, or at least those of the queries drawn.

        Args:
            drawn: tells which queries are wanted.
            columns: what is looked at; no text keys then.
        """
        ...


@dataclass(frozen=True)
class Calibration:
    """Models for every fold of queries and one for all, and the threshold on their probabilities.

    Attributes:
        models: FOLDS + 1 models; the last is fitted on every query.
        threshold: candidates with a higher probability are rejected.
        fitted_on: own labels, or other collections.
        reason: why, and how the threshold was set.
        seed: of the folds.
    """

    models: Logistic
    threshold: float
    fitted_on: str
    reason: str
    seed: int

    def scorer(self, *, out_of_fold: bool = False) -> "CalibratedScorer":
        """Return what judges with these models; out of fold, a query is scored by the model that never saw it."""
        return CalibratedScorer(self, out_of_fold, self.threshold)

    def to_table(self) -> pa.Table:
        """Return the models as a table, one row each."""
        rows = [
            {
                "fold": number if number < FOLDS else None,
                **{name: getattr(self.models, name)[number].tolist() for name in ("mean", "scale", "weights", "bias")},
                "threshold": self.threshold,
                "fitted_on": self.fitted_on,
                "reason": self.reason,
            }
            for number in range(len(self.models.bias))
        ]
        return pa.Table.from_pylist(rows, schema=CALIBRATION)

    @classmethod
    def from_table(cls, table: pa.Table, seed: int) -> "Calibration | None":
        """Return the models of a table; None for an empty one."""
        if not table.num_rows:
            return None
        rows = table.to_pylist()
        arrays = [np.array([row[name] for row in rows]) for name in ("mean", "scale", "weights", "bias")]
        return cls(Logistic(*arrays), rows[0]["threshold"], rows[0]["fitted_on"], rows[0]["reason"], seed)


@dataclass(frozen=True)
class CalibratedScorer:
    """Gives P(false negative) by a calibration's models."""

    calibration: Calibration
    out_of_fold: bool
    threshold: float

    @property
    def by_teacher(self) -> bool:
        """Whether it takes the teacher's scores: those of other collections' models were the teacher's."""
        return self.calibration.fitted_on == OTHERS

    def probabilities(self, batch: Batch, cells: Cells) -> np.ndarray:
        """Return float64 in [0, 1], one a cell."""
        slopes, offsets = self.calibration.models.lines
        if not self.out_of_fold:
            return logistic(weighted(batch, cells, slopes[-1:]) + offsets[-1])
        which = fold_of(batch.query_rows, FOLDS, self.calibration.seed)
        return logistic(weighted(batch, cells, slopes[which]) + offsets[which][cells.anchors.owners][cells.anchor])

    def of_features(self, evidence: np.ndarray) -> np.ndarray:
        """Return P(false negative) of rows of `features`, float64, by the model that was fitted on every query."""
        models = self.calibration.models
        return models.predict(evidence, np.full(len(evidence), len(models.bias) - 1))


@dataclass(frozen=True)
class Remembered:
    """A scorer whose probabilities of some rows are known already, for trying many settings on them.

    Attributes:
        rows: the rows; kept, so that no other batch can be taken for one of theirs.
        values: the probabilities of the cells of each, by the identity of its batch.
        threshold: candidates with a higher probability are rejected.
    """

    rows: Sequence[Hidden]
    values: dict[int, np.ndarray]
    threshold: float
    by_teacher: bool = False  # what it remembers was asked for with the scores that it takes

    @classmethod
    def of(cls, rows: Sequence[Hidden], scorer: Scorer) -> "Remembered":
        """Return a scorer that gives what another one gives, for each positive by itself."""
        cells = [Cells.of(part.batch, part.batch.positive_scores) for part in rows]
        each = FilterConfig(anchor="each")
        found = [probabilities_of(part.batch, own, each, scorer) for part, own in zip(rows, cells, strict=True)]
        return cls(rows, {id(part.batch): p for part, p in zip(rows, found, strict=True)}, scorer.threshold)

    def probabilities(self, batch: Batch, cells: Cells) -> np.ndarray:
        """Return float64 in [0, 1], one a cell."""
        return self.values[id(batch)]


def hidden_rows(pieces: Pieces, config: Config, share: float) -> Iterator[Hidden]:
    """Yield the rows of the hidden-positive protocol, of that share of the queries that have several positives."""
    depth = CandidateLimits.of(config.retrieve)
    if config.rescore is not None and uses_rescored(config):
        depth = replace(depth, scored=config.rescore.top_n)
    drawn = _drawn(share, config.seed)
    for batch, keys in pieces(drawn):
        yield hide(batch, keys, depth, HIDINGS, config.seed, drawn(batch.query_rows))


def _drawn(share: float, seed: int) -> Drawn:
    """Return what draws a random share of the queries, from seed and row alone."""

    def drawn(rows: np.ndarray) -> np.ndarray:
        numbers = random_order(np.full(len(rows), seed ^ 0x7368, dtype=np.uint64), rows)
        return np.asarray(numbers.astype(np.float64) < share * 2.0**64)

    return drawn


def usable(pieces: Pieces) -> tuple[int, int, int]:
    """Return (queries, queries with several positives, of their positives how many are among the candidates)."""
    queries = several = hidden = 0
    for batch, _ in pieces(columns=("query_row", "positive_rows", "doc_rows")):
        many = batch.positives.lengths > 1
        queries += len(batch)
        several += int(many.sum())
        hidden += int((batch.hideable & many[batch.owners]).sum())
    return queries, several, hidden


def enough(several: int, hidden: int) -> bool:
    """Tell whether a collection's own labels can be fitted and measured on."""
    return several >= ENOUGH_QUERIES and hidden >= ENOUGH_HIDDEN


def undrawn_rows(pieces: Pieces, config: Config, share: float) -> Iterator[Hidden]:
    """Yield that share of the queries as they are, nothing hidden: for collections that allow no protocol."""
    drawn = _drawn(share, config.seed)
    for batch, keys in pieces(drawn):
        yield whole(batch, keys, drawn(batch.query_rows))


@dataclass(frozen=True)
class Protocol:
    """The rows that a collection is calibrated on.

    Attributes:
        rows: of the hidden-positive protocol; whole queries where it cannot be run.
        measured: whether they hold hidden positives.
        several: queries of the collection that have several positives.
        hidden: how many of these positives are among the candidates.
        why: what the collection's labels allow, in words.
    """

    rows: list[Hidden]
    measured: bool
    several: int
    hidden: int
    why: str

    @classmethod
    def of(cls, pieces: Pieces, config: Config) -> "Protocol":
        """Return the rows of a collection's candidates, of a random part of the queries where there are many."""
        queries, several, hidden = usable(pieces)
        if enough(several, hidden):
            rows = list(hidden_rows(pieces, config, MOST_QUERIES / several))
            why = f"{several:,} queries have several positives, {hidden:,} of which are among the candidates"
            return cls(rows, True, several, hidden, why)
        rows = list(undrawn_rows(pieces, config, MOST_QUERIES / max(1, queries)))
        why = (
            f"only {several:,} queries have several positives, {hidden:,} of which are among the candidates "
            f"({ENOUGH_QUERIES} and {ENOUGH_HIDDEN} needed to fit on them)"
        )
        return cls(rows, False, several, hidden, why)


def calibrate(protocol: Protocol, config: Config) -> Calibration:
    """Return models fitted on the collection's own hidden positives, or those fitted on other collections.

    Args:
        protocol: the collection's rows.
        config: the whole config.
    """
    models = _fit(protocol.rows, config) if protocol.measured else transferred()
    fitted_on = OWN if protocol.measured else OTHERS
    threshold, how = 1.0, "no threshold, since no rule uses it"
    if "calibrated" in rule_names(config.filter):
        unset = Calibration(models, np.inf, fitted_on, protocol.why, config.seed).scorer(out_of_fold=True)
        scorer = Remembered.of(protocol.rows, unset)
        threshold, how = set_threshold(protocol.rows, scorer, config, measured=protocol.measured)
    return Calibration(models, threshold, fitted_on, f"{protocol.why}; {how}", config.seed)


def _fit(rows: list[Hidden], config: Config) -> Logistic:
    parts, labels, folds = [], [], []
    for hidden in rows:
        batch = hidden.batch
        others = batch.counted
        cells = Cells.of(batch, batch.positive_scores)
        parts.append(features(batch, cells)[others])
        labels.append((hidden.is_hidden | hidden.keys.is_relevant(batch))[others])
        folds.append(fold_of(batch.query_rows, FOLDS, config.seed)[batch.owners[others]])
    x, y, fold = np.concatenate(parts), np.concatenate(labels), np.concatenate(folds)
    return stack([*(fit(x[fold != number], y[fold != number]) for number in range(FOLDS)), fit(x, y)])


def transferred() -> Logistic:
    """Return the models fitted on other collections, the same for every fold; see docs/calibration.md."""
    data = json.loads((resources.files("hnmine.stages.filter") / "transfer.json").read_text(encoding="utf-8"))
    if data["features"] != list(NAMES):
        raise ValueError("transfer.json was fitted on other features; run tests/benchmarks/false_negatives.py --write")
    one = Logistic(*(np.array([data[name]], dtype=np.float64) for name in ("mean", "scale", "weights", "bias")))
    return stack([one] * (FOLDS + 1))
