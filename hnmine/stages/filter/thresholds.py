"""Where the calibrated rule cuts: a threshold on P(false negative), set by what the filter then lets through."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hnmine.config import Config, FilterConfig
from hnmine.science.sampling import choose
from hnmine.stages.filter.hidden_positives import Hidden
from hnmine.stages.filter.verdicts import Scorer, resolved, rule_names, spared

STEPS = 32


@dataclass(frozen=True)
class Outcome:
    """What a threshold chooses.

    Attributes:
        rate: share of hidden positives among the chosen.
        expected: mean P(false negative) of the chosen.
        score: their mean score.
        fill: chosen over wanted.
    """

    rate: float
    expected: float
    score: float
    fill: float


@dataclass(frozen=True)
class Kept:
    """The cells that a filter keeps, best first within each group, over several pieces.

    Attributes:
        groups: number of groups (anchors), those without a kept cell counted.
        group: which group each cell belongs to, ascending.
        probability: P(false negative) of each cell; 0 where the filter has no model.
        score: the teacher's score of each cell's candidate.
        is_hidden: whether each is a hidden positive.
    """

    groups: int
    group: np.ndarray
    probability: np.ndarray
    score: np.ndarray
    is_hidden: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Hidden], config: FilterConfig, scorer: Scorer | None) -> "Kept":
        """Return what a filter keeps of the protocol's rows."""
        parts: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0, bool))]
        first = 0
        for hidden in rows:
            judged = hidden.judge(config, scorer)
            keep = judged.keep
            at = judged.cells.candidate[keep]
            p = judged.probabilities[keep] if judged.probabilities is not None else np.zeros(len(at))
            p = np.where(spared(hidden.batch, config, hidden.keys)[at], 0, p)  # no threshold rejects these
            parts.append((judged.cells.anchor[keep] + first, p, hidden.batch.scores[at], hidden.is_hidden[at]))
            first += len(judged.cells.anchors.values)
        return cls(first, *(np.concatenate(part) for part in zip(*parts, strict=True)))

    def outcome(self, threshold: float, n: int) -> Outcome:
        """Return what the n best of each group under a threshold are."""
        below = np.flatnonzero(self.probability <= threshold)
        chosen = below[choose(self.group[below], None, n)]
        if not len(chosen):
            return Outcome(0.0, 0.0, 0.0, 0.0)
        rate, expected, score = (float(part[chosen].mean()) for part in (self.is_hidden, self.probability, self.score))
        return Outcome(rate, expected, score, len(chosen) / max(1, n * self.groups))


def set_threshold(rows: Sequence[Hidden], scorer: Scorer, config: Config, *, measured: bool) -> tuple[float, str]:
    """Return the threshold that a config asks for, and in words how it was set.

    A stated `max_false_negative_rate` gives the highest threshold that stays within it. Without one, `calibrated`
    cuts where its negatives are as hard as a 95% margin's; `auto` halves the rate of that margin, tolerates `AUTO_RATE`
    at most, and never fills fewer rows than the margin would.

    Args:
        rows: of the hidden-positive protocol, or whole queries where it cannot be run.
        scorer: the model, out of fold.
        config: the whole config.
        measured: whether rows hold hidden positives; otherwise a rate is what the model expects.
    """
    n, asked, auto = config.emit.num_negatives, resolved(config.filter), config.filter.rule == "auto"
    margin = Kept.of(rows, _with(asked, rule="percent", percent=0.95, easiest=0.0), scorer).outcome(np.inf, n)
    rate = asked.max_false_negative_rate
    if rate is None:
        kept = Kept.of(rows, _with(asked, rule="none"), scorer)
        return as_hard(kept, margin.score, n), "threshold as hard as a 95% margin"
    if auto and config.filter.max_false_negative_rate is None:
        rate = min(rate, (margin.rate if measured else margin.expected) / 2)
    others = [name for name in rule_names(asked) if name != "calibrated"]
    kept = Kept.of(rows, _with(asked, rule=others or "none"), scorer)
    threshold, how = _within(kept, rate, n, measured=measured)
    if auto and kept.outcome(threshold, n).fill < margin.fill:
        return _as_full(kept, margin.fill, n), f"threshold that fills as many rows as a 95% margin ({margin.fill:.2f})"
    return threshold, how


def _with(config: FilterConfig, **changed: Any) -> FilterConfig:
    """Return a filter with other rules; each positive by itself, as the protocol knows only one."""
    return config.model_copy(update={"anchor": "each"} | changed)


def _grid(kept: Kept) -> np.ndarray:
    if not len(kept.probability):
        return np.ones(1)
    return np.unique(np.quantile(kept.probability, np.linspace(0, 1, STEPS + 1)))


def _within(kept: Kept, rate: float, n: int, *, measured: bool) -> tuple[float, str]:
    """Return the highest threshold whose rate is at most `rate`; the grid is refined above it."""
    name = "measured" if measured else "expected"

    def meets(step: float) -> bool:
        found = kept.outcome(step, n)
        return (found.rate if measured else found.expected) <= rate

    steps = _grid(kept)
    found = float(steps[0])
    if not meets(found):
        return found, f"no threshold has a {name} rate within {rate:.3g}; the strictest one was taken"
    for _ in range(3):
        last = int(np.flatnonzero([meets(step) for step in steps])[-1])
        found = float(steps[last])
        steps = np.linspace(found, steps[min(last + 1, len(steps) - 1)], STEPS // 4 + 1)
    return found, f"highest threshold with a {name} rate of at most {rate:.3g}"


def _as_full(kept: Kept, fill: float, n: int) -> float:
    """Return the lowest threshold of a grid that fills at least that share of the rows, or all that can be."""
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


def as_hard(kept: Kept, target: float, n: int) -> float:
    """Return the threshold whose choice has the mean score nearest to `target`; the grid is refined twice."""
    steps = _grid(kept)
    for _ in range(2):
        best = _nearest(kept, steps, target, n)
        low, high = steps[max(0, best - 1)], steps[min(len(steps) - 1, best + 1)]
        steps = np.concatenate([[steps[best]], np.linspace(low, high, STEPS // 4)])
    return float(steps[_nearest(kept, steps, target, n)])


def _nearest(kept: Kept, steps: np.ndarray, target: float, n: int) -> int:
    return int(np.argmin([abs(kept.outcome(step, n).score - target) for step in steps]))
