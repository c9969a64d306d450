"""Calibration: the models of P(false negative), fitted on hidden positives out of fold, and the threshold on them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from hnmine.arrays.groups import below_nth
from hnmine.arrays.random_numbers import below_share, random_numbers
from hnmine.config.auto import resolve_auto
from hnmine.config.filter import FilterConfig
from hnmine.config.tables import Config
from hnmine.science.calibration import Logistic, fit, logistic, stack
from hnmine.science.hidden_positives import fold_of
from hnmine.science.promised_rates import BOUND_Z, promised
from hnmine.science.sampling import choose
from hnmine.science.statistics import clustered_upper_bounds
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.features import NAMES, features, weighted
from hnmine.stages.filter.hidden_positives import HiddenRows, ProtocolRows
from hnmine.stages.filter.verdicts import AUTO_RATE, Scorer, is_exempt, probabilities_of, rule_names
from hnmine.storage.schemas.filter import CALIBRATION

FOLDS = 5
FIT_CELLS = 25_000
"""Hidden positives, and other candidates, that models are fitted on at most, about: a random sample of more."""
OWN, OTHERS = "own labels", "other collections"
STEPS = 32
"""Quantiles of P(false negative) that are tried as thresholds before the grid is refined."""
NOTHING = 0.0
"""A threshold that rejects every candidate that the rule may reject: every P(false negative) is above 0."""
_ARRAYS = ("mean", "scale", "weights", "bias")


@dataclass(frozen=True)
class Calibration:
    """A scorer of P(false negative): one model for each fold of queries, one for all queries, and a threshold.

    Attributes:
        models: FOLDS + 1 models; the last is fitted on every query.
        threshold: candidates with a higher probability are rejected.
        fitted_on: `OWN` or `OTHERS`.
        reason: why it was fitted on these, and how the threshold was set.
        seed: of the folds.
        held_out: whether a query is scored by the model fitted without its fold, instead of by the last model.
    """

    models: Logistic
    threshold: float
    fitted_on: str
    reason: str
    seed: int
    held_out: bool = False

    def out_of_fold(self) -> "Calibration":
        """Return the same calibration with every query scored by a model that was not fitted on it."""
        return replace(self, held_out=True)

    @property
    def takes_teacher_scores(self) -> bool:
        """Whether the models need the teacher's scores; those fitted on other collections do."""
        return self.fitted_on == OTHERS

    def probabilities(self, batch: Batch, cells: Cells) -> np.ndarray:
        """Return float64 in [0, 1], one a cell."""
        slopes, offsets = self.models.lines
        if not self.held_out:
            return logistic(weighted(batch, cells, slopes[-1:]) + offsets[-1])
        fold = fold_of(batch.query_rows, FOLDS, self.seed)
        return logistic(weighted(batch, cells, slopes[fold]) + offsets[fold][cells.anchors.owners][cells.anchor])

    def of_features(self, rows: np.ndarray) -> np.ndarray:
        """Return P(false negative) of features `NAMES` (rows) by the model fitted on every query, float64.

        Other models' scores count as a mean candidate's.
        """
        more = np.zeros((len(rows), self.models.mean.shape[1] - rows.shape[1]))
        return self.models.predict(np.hstack([rows, more]), np.full(len(rows), FOLDS))

    def to_table(self) -> pa.Table:
        """Return the models as a table, one row each."""
        alike = {"threshold": self.threshold, "fitted_on": self.fitted_on, "reason": self.reason}
        rows = [
            {"fold": fold, **{name: getattr(self.models, name)[number].tolist() for name in _ARRAYS}, **alike}
            for number, fold in enumerate([*range(FOLDS), None])
        ]
        return pa.Table.from_pylist(rows, schema=CALIBRATION)

    @classmethod
    def from_table(cls, table: pa.Table, seed: int) -> "Calibration | None":
        """Return the calibration stored in a table; None for an empty table."""
        if not table.num_rows:
            return None
        rows = table.to_pylist()
        models = Logistic(*(np.array([row[name] for row in rows]) for name in _ARRAYS))
        return cls(models, rows[0]["threshold"], rows[0]["fitted_on"], rows[0]["reason"], seed)


@dataclass(frozen=True)
class CachedScorer:
    """A scorer with the probabilities of some rows already computed, for trying many settings on the same rows.

    Attributes:
        rows: the rows; kept so that the identity of their batches stays unique.
        values: the probabilities of each row's cells, by the identity of its batch.
        threshold: candidates with a higher probability are rejected.
    """

    rows: Sequence[HiddenRows]
    values: dict[int, np.ndarray]
    threshold: float
    takes_teacher_scores: bool = False  # `of` has already passed the scores that the model takes

    @classmethod
    def of(cls, rows: Sequence[HiddenRows], scorer: Scorer) -> "CachedScorer":
        """Return the cached probabilities of a scorer, with one anchor for each positive."""
        each, batches = FilterConfig(anchor="each"), [part.batch for part in rows]
        cells = [Cells.of(batch, batch.positive_scores) for batch in batches]
        found = [probabilities_of(batch, own, each, scorer) for batch, own in zip(batches, cells, strict=True)]
        return cls(rows, dict(zip(map(id, batches), found, strict=True)), scorer.threshold)

    def probabilities(self, batch: Batch, cells: Cells) -> np.ndarray:
        """Return float64 in [0, 1], one a cell; the batch is one of the cached rows'."""
        return self.values[id(batch)]


def calibrate(protocol: ProtocolRows, config: Config) -> Calibration:
    """Return models fitted on the collection's own hidden positives, or on other collections if it has too few."""
    models = _fit(protocol.rows, config) if protocol.measured else transferred_models()
    fitted_on = OWN if protocol.measured else OTHERS
    found = Calibration(models, np.inf, fitted_on, protocol.why, config.seed)
    threshold, how = 1.0, "no threshold, since no rule uses it"
    if "calibrated" in rule_names(config.filter):
        scorer = CachedScorer.of(protocol.rows, found.out_of_fold())
        threshold, how = set_threshold(protocol.rows, scorer, config, measured=protocol.measured)
    return replace(found, threshold=threshold, reason=f"{protocol.why}; {how}")


def _fit(rows: list[HiddenRows], config: Config) -> Logistic:
    """Return the models of a sample of the protocol's candidates, each weighted by how many it stands for."""
    rows = [hidden for hidden in rows if len(hidden.batch)]  # others lack other models' scores
    known = [hidden.is_hidden | hidden.keys.copies(hidden.keys.relevant, hidden.batch) for hidden in rows]
    counts = sum(
        np.bincount(labels[hidden.batch.counted], minlength=2) for hidden, labels in zip(rows, known, strict=True)
    )
    shares = np.minimum(1.0, FIT_CELLS / np.maximum(1, counts))
    parts, sampled, folds = [], [], []
    for hidden, labels in zip(rows, known, strict=True):
        batch = hidden.batch
        drawn = below_share(_random_of_candidates(batch, config.seed), shares[labels.astype(np.int64)])
        which = np.flatnonzero(batch.counted & drawn)
        parts.append(features(batch, Cells.of(batch, batch.positive_scores), which))
        sampled.append(labels[which])
        folds.append(fold_of(batch.query_rows, FOLDS, config.seed)[batch.owners[which]])
    x, y, fold = np.concatenate(parts), np.concatenate(sampled), np.concatenate(folds)
    weights = 1 / shares[y.astype(np.int64)]
    left = [fold != number for number in range(FOLDS)]
    return stack([*(fit(x[own], y[own], weights[own]) for own in left), fit(x, y, weights)])


def _random_of_candidates(batch: Batch, seed: int) -> np.ndarray:
    """Return a random uint64 of each candidate of hidden rows, from the query, its known positive and the candidate."""
    queries = random_numbers(np.full(len(batch), seed ^ 0x666974, dtype=np.uint64), batch.query_rows)
    return random_numbers(random_numbers(queries, batch.positives.values)[batch.owners], batch.candidates.values)


def transferred_models() -> Logistic:
    """Return the model fitted on other collections, for every fold and for all; see docs/calibration.md.

    Raises:
        ValueError: transfer.json was fitted on other features than `NAMES`.
    """
    data = json.loads((resources.files("hnmine.stages.filter") / "transfer.json").read_text(encoding="utf-8"))
    if data["features"] != list(NAMES):
        raise ValueError("transfer.json was fitted on other features; run tests/benchmarks/false_negatives.py --write")
    model = Logistic(*(np.array([data[name]], dtype=np.float64) for name in _ARRAYS))
    return stack([model] * (FOLDS + 1))


class Outcome(NamedTuple):
    """The negatives that a threshold leads to.

    Attributes:
        chosen: number of them.
        rate: share of hidden positives among the chosen.
        bound: upper bound of the rate, with queries as clusters, at the level of one start of `promised` (`BOUND_Z`).
        expected: mean P(false negative) of the chosen.
        score: mean score of the chosen.
        fill: chosen over wanted.
    """

    chosen: int
    rate: float
    bound: float
    expected: float
    score: float
    fill: float


@dataclass(frozen=True)
class KeptCells:
    """The cells that a filter keeps of the protocol's rows, best first within each anchor.

    Attributes:
        queries: row of each anchor's query, int64, also of anchors without a kept cell; hidings of a query share it.
        anchor: the anchor of each cell, ascending.
        probability: P(false negative) of each cell; 0 without a scorer, and where no threshold may reject the cell.
        score: score of each cell's candidate.
        is_hidden: whether each candidate is a hidden positive.
    """

    queries: np.ndarray
    anchor: np.ndarray
    probability: np.ndarray
    score: np.ndarray
    is_hidden: np.ndarray
    _choosable: dict[int, np.ndarray] = field(init=False, default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, rows: Sequence[HiddenRows], config: FilterConfig, scorer: Scorer | None) -> "KeptCells":
        """Return the cells that a filter keeps."""
        parts: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, bool))]
        queries = [np.zeros(0, np.int64)]
        anchors = 0
        for hidden in rows:
            found = hidden.verdicts(config, scorer)
            keep = found.keep
            at = found.cells.candidate[keep]
            p = 0.0 if found.probabilities is None else found.probabilities[keep]
            p = np.where(is_exempt(hidden.batch, config, hidden.keys)[at], 0.0, p)
            parts.append((found.cells.anchor[keep] + anchors, p, hidden.batch.scores[at], hidden.is_hidden[at]))
            anchors += len(found.cells.anchors.values)
            queries.append(hidden.batch.query_rows[found.cells.anchors.owners])
        return cls(np.concatenate(queries), *(np.concatenate(part) for part in zip(*parts, strict=True)))

    def outcome(self, threshold: float, n: int) -> Outcome:
        """Return the outcome of choosing the n best cells of each anchor that do not exceed a threshold."""
        chosen = self._chosen(threshold, n)
        if not len(chosen):
            return Outcome(0, 0.0, 1.0, 0.0, 0.0, 0.0)
        rate, expected, score = (float(part[chosen].mean()) for part in (self.is_hidden, self.probability, self.score))
        hits, trials = self._tally(chosen)
        bound = float(clustered_upper_bounds(hits[:, None], trials[:, None], BOUND_Z)[0])
        return Outcome(len(chosen), rate, bound, expected, score, len(chosen) / max(1, n * len(self.queries)))

    def tallies(self, thresholds: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the hidden positives and all among the chosen, int64, shape (queries, thresholds) each."""
        found = [self._tally(self._chosen(threshold, n)) for threshold in thresholds]
        hits, trials = (np.stack(part, axis=1) for part in zip(*found, strict=True))
        return hits, trials

    def _chosen(self, threshold: float, n: int) -> np.ndarray:
        if n not in self._choosable:  # the others are behind n of their anchor at every threshold that keeps them
            self._choosable[n] = np.flatnonzero(below_nth(self.anchor, self.probability, n))
        some = self._choosable[n]
        below = some[self.probability[some] <= threshold]
        return np.asarray(below[choose(self.anchor[below], None, n)])

    def _tally(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the hidden positives and all among the chosen cells of each query, int64, shape (queries,) each."""
        clusters = self._clusters[self.anchor[chosen]]
        queries = int(self._clusters.max(initial=-1)) + 1
        hits = np.bincount(clusters[self.is_hidden[chosen]], minlength=queries)
        return hits, np.bincount(clusters, minlength=queries)

    @cached_property
    def _clusters(self) -> np.ndarray:
        """The query of each anchor, numbered from 0, int64."""
        return np.unique(self.queries, return_inverse=True)[1]


def set_threshold(rows: Sequence[HiddenRows], scorer: Scorer, config: Config, *, measured: bool) -> tuple[float, str]:
    """Return the threshold that a config asks for, and how it was set as text for the report.

    It is the highest threshold whose negatives keep to `max_false_negative_rate`: see `threshold_within`. Where that
    is not stated, it is half of a 95% margin's rate, at most `AUTO_RATE`. This rate is not bounded from above, as it is
    compared with another of the same rows, and it gives way where it would fill fewer rows than the margin does.

    The scorer is out of fold. `measured` is whether the rows have hidden positives; otherwise the rate is the mean
    P(false negative).
    """
    n, asked = max(1, config.emit.retrieved_negatives), resolve_auto(config.filter)
    others = [name for name in rule_names(asked) if name != "calibrated"]
    kept = KeptCells.of(rows, _with(asked, rule=others or "none"), scorer)
    if asked.max_false_negative_rate is not None:
        return threshold_within(kept, asked.max_false_negative_rate, n, measured=measured, bounded=True)
    margin = KeptCells.of(rows, _with(asked, rule="percent", percent=0.95, easiest=0.0), scorer).outcome(np.inf, n)
    rate = min(AUTO_RATE, (margin.rate if measured else margin.expected) / 2)
    threshold, how = threshold_within(kept, rate, n, measured=measured, bounded=False)
    if kept.outcome(threshold, n).fill < margin.fill:
        threshold = _threshold_as_full(kept, margin.fill, n)
        found = kept.outcome(threshold, n)
        name, reached = ("measured", found.rate) if measured else ("expected", found.expected)
        return threshold, (
            f"threshold that fills as many rows as a 95% margin ({margin.fill:.2f}); its {name} rate is {reached:.3g}, "
            f"{rate:.3g} would fill fewer"
        )
    return threshold, how


def _with(config: FilterConfig, **changed: Any) -> FilterConfig:
    """Return a filter with other rules, and with one anchor for each positive, since a row knows only one."""
    return config.model_copy(update={"anchor": "each"} | changed)


def _grid(kept: KeptCells) -> np.ndarray:
    if not len(kept.probability):
        return np.ones(1)
    return np.unique(np.quantile(kept.probability, np.linspace(0, 1, STEPS + 1)))


def threshold_within(kept: KeptCells, rate: float, n: int, *, measured: bool, bounded: bool) -> tuple[float, str]:
    """Return the threshold with the fullest rows whose rate is at most `rate`, and how it was found.

    The rate is no monotone function of the threshold, so the whole grid is searched. A higher threshold never fills
    fewer rows, so the fullest is the highest. With `bounded` it is the one that `promised` finds; where there is
    none, the highest whose rate itself is within; where none that keeps anything is, `NOTHING`.

    Args:
        kept: cells of the protocol.
        rate: above 0.
        n: negatives wanted for each anchor.
        measured: whether the rate is that of hidden positives; else the mean P(false negative), which has no bound.
        bounded: whether to bound a measured rate.
    """
    name = "a measured" if measured else "an expected"
    if measured and bounded:
        steps = grid_of_promises(kept)
        place = promised(*kept.tallies(steps, n), rate)
        if place is not None:
            threshold = float(steps[place])
            one = kept.outcome(threshold, n)
            return threshold, (
                f"highest threshold with {name} rate of at most {rate:.3g} by its 95% upper bound "
                f"({one.rate:.3g}, bound {one.bound:.3g})"
            )
    found = _highest(kept, n, lambda one: (one.rate if measured else one.expected) <= rate)
    if found is not None:
        how = f"highest threshold with {name} rate of at most {rate:.3g}"
        if measured and bounded:
            one = kept.outcome(found, n)
            how += (
                f" ({one.rate:.3g} of {one.chosen:,} negatives); it is not promised: no threshold has a 95% upper "
                f"bound within it, this one's is {one.bound:.3g}"
            )
        return found, how
    outcomes = [one for step in _fine_grid(kept) if (one := kept.outcome(step, n)).chosen]
    if not outcomes:
        return NOTHING, "the other checks and rules keep no candidate"
    lowest = min(one.rate if measured else one.expected for one in outcomes)
    return NOTHING, (
        f"no threshold has {name} rate of at most {rate:.3g}, the lowest found is {lowest:.3g}: every candidate is "
        "rejected"
    )


def grid_of_promises(kept: KeptCells) -> np.ndarray:
    """Return the thresholds that a promise is tested at, ascending: quantiles, with more among the lowest."""
    if not len(kept.probability):
        return np.ones(1)
    shares = np.concatenate([np.linspace(0, 1, 4 * STEPS + 1), np.geomspace(1 / (4 * STEPS), 1e-4, STEPS // 2)])
    return np.unique(np.quantile(kept.probability, shares))


def _highest(kept: KeptCells, n: int, fits: Callable[[Outcome], bool]) -> float | None:
    """Return the highest threshold that keeps something and fits; the grid is refined above it. None if none fits."""
    steps, found = _fine_grid(kept), None
    for _ in range(3):
        fitting = [place for place, step in enumerate(steps) if (one := kept.outcome(step, n)).chosen and fits(one)]
        if not fitting:
            break
        last = fitting[-1]
        found = float(steps[last])
        steps = np.linspace(found, steps[min(last + 1, len(steps) - 1)], STEPS // 4 + 1)
    return found


def _fine_grid(kept: KeptCells) -> np.ndarray:
    """Return the quantiles of `_grid` and more among the lowest, where few are kept of each row."""
    if not len(kept.probability):
        return np.ones(1)
    shares = np.concatenate([np.linspace(0, 1, 2 * STEPS + 1), np.geomspace(1 / (2 * STEPS), 1e-4, STEPS // 2)])
    return np.unique(np.quantile(kept.probability, shares))


def _threshold_as_full(kept: KeptCells, fill: float, n: int) -> float:
    """Return the lowest threshold that fills at least that share of the rows; the highest one if none does."""
    steps = _grid(kept)
    found = float(steps[-1])
    for _ in range(3):
        enough = np.flatnonzero([kept.outcome(step, n).fill >= fill for step in steps])
        if not len(enough):
            break
        first = int(enough[0])
        found = float(steps[first])
        steps = np.linspace(steps[max(0, first - 1)], found, STEPS // 4 + 1)
    return found
