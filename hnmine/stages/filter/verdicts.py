"""From candidates to verdicts: every rule of the config in a fixed order; the first that rejects names the verdict."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.config import FilterConfig
from hnmine.science.anchors import reduce_anchor
from hnmine.science.copies import repeats
from hnmine.science.margins import absolute, adaptive, below, easiest, guide, margin, percent, rank_window
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.features import two_sided
from hnmine.storage.schemas.filter import KEEP, NOT_RESCORED, VERDICTS

CODES = {name: code for code, name in enumerate(VERDICTS)}


@dataclass(frozen=True)
class TextKeys:
    """Keys by which copies are known.

    Attributes:
        documents: uint64, one a row of the corpus.
        shared: bool, whether another row of the corpus has the same key.
        queries: uint64, one a query of the batch.
        siblings: for each query of the batch, rows of the positives of other queries with the same text.
        judged: for each query of the batch, rows that are judged irrelevant.
        relevant: for each query of the batch, rows that are judged relevant and are no labelled positives.
        cosine: whether scores are cosines, so that a near-copy of the query shows in its score.
    """

    documents: np.ndarray
    shared: np.ndarray
    queries: np.ndarray
    siblings: Ragged
    judged: Ragged
    relevant: Ragged
    cosine: bool = True

    def take(self, rows: np.ndarray) -> "TextKeys":
        """Return the keys for the given queries of the batch (int64, repeats are fine)."""
        lists = {name: getattr(self, name).take(rows) for name in ("siblings", "judged", "relevant")}
        return replace(self, queries=self.queries[rows], **lists)

    def is_judged(self, batch: Batch) -> np.ndarray:
        """Tell for each candidate of the batch whether it is judged irrelevant to its query, bool."""
        return self.judged.contains(batch.owners, batch.candidates.values)

    def is_relevant(self, batch: Batch) -> np.ndarray:
        """Tell for each candidate whether it, or a copy of it, is judged relevant and no labelled positive, bool."""
        return self.copies(self.relevant, batch)

    def copies(self, rows: Ragged, batch: Batch) -> np.ndarray:
        """Tell for each candidate whether it has the same text as one of its query's documents in `rows`, bool."""
        if not len(rows.values):
            return np.zeros(len(batch.scores), dtype=bool)
        text = self.documents[batch.candidates.values]
        return rows.with_values(self.documents[rows.values]).contains(batch.owners, text)


def anchor_scores(batch: Batch, config: FilterConfig) -> Ragged:
    """Return each query's anchor scores: one for each positive under `each`, else a single one."""
    return _reduced(batch.positive_scores, config)


def _reduced(scores: Ragged, config: FilterConfig) -> Ragged:
    if config.anchor == "each":
        return scores
    reduced = reduce_anchor(scores.values, scores.offsets, config.anchor, config.anchor_quantile)
    return Ragged(reduced, np.arange(len(scores) + 1, dtype=np.int64))


def rule_names(config: FilterConfig) -> list[str]:
    """Return the rules that a config names, in the order of `RULES`; none for "none", those of `AUTO` for "auto"."""
    rule = resolved(config).rule
    named = [rule] if isinstance(rule, str) else rule
    return [name for name in RULES if name in named]


def resolved(config: FilterConfig) -> FilterConfig:
    """Return the filter with what "auto" stands for put in its place; any other filter as it is."""
    if config.rule != "auto":
        return config
    return config.model_copy(update=AUTO | {"max_false_negative_rate": config.max_false_negative_rate or AUTO_RATE})


@dataclass(frozen=True)
class Judgement:
    """The verdicts on a batch.

    Attributes:
        cells: the cells judged.
        codes: int8, one a cell: see `CODES`.
        probabilities: P(false negative) of each cell, float64; None where no rule asked for it.
    """

    cells: Cells
    codes: np.ndarray
    probabilities: np.ndarray | None

    @property
    def keep(self) -> np.ndarray:
        """Which cells were kept, bool."""
        return np.asarray(self.codes == CODES[KEEP])


class Scorer(Protocol):
    """Gives P(false negative) of each cell, and the threshold above which a candidate is rejected."""

    @property
    def threshold(self) -> float:
        """Candidates with a higher probability are rejected."""
        ...

    @property
    def by_teacher(self) -> bool:
        """Whether it takes the teacher's scores, also where rules go by another model's."""
        ...

    def probabilities(self, batch: Batch, cells: Cells) -> np.ndarray:
        """Return float64 in [0, 1], one a cell; NaN where a candidate has no score."""
        ...


def probabilities_of(batch: Batch, cells: Cells, config: FilterConfig, scorer: Scorer) -> np.ndarray:
    """Return what a scorer says of each cell, given the scores that it takes; float64."""
    if batch.teacher is not None and scorer.by_teacher:
        batch = batch.by_teacher()
        cells = Cells.of(batch, anchor_scores(batch, config))
    return scorer.probabilities(batch, cells)


def checked(batch: Batch, config: FilterConfig, keys: TextKeys) -> np.ndarray:
    """Return the codes that the checks before all rules give, int8, one a candidate; they know no anchor."""
    codes = np.zeros(len(batch.scores), dtype=np.int8)
    for name, reject in _candidate_checks(batch, config, keys):
        codes[(codes == 0) & reject] = CODES[name]
    return codes


def judge(
    batch: Batch,
    config: FilterConfig,
    keys: TextKeys,
    scorer: Scorer | None = None,
    checks: np.ndarray | None = None,
) -> Judgement:
    """Return the verdicts on a batch.

    Args:
        batch: candidates; every query has at least one positive.
        config: the filter table.
        keys: copies, and positives of queries with the same text.
        scorer: the calibrated model; needed by the rule calibrated alone.
        checks: what `checked` returns, where it is known already.
    """
    config = resolved(config)
    cells = Cells.of(batch, anchor_scores(batch, config))
    codes = (checked(batch, config, keys) if checks is None else checks)[cells.candidate]
    probabilities = probabilities_of(batch, cells, config, scorer) if scorer is not None else None
    evidence = Evidence(batch, cells, config, probabilities, scorer.threshold if scorer is not None else None)
    known = spared(batch, config, keys)
    for name in rule_names(config):
        keep = RULES[name](evidence)
        if known.any():
            keep |= known[cells.candidate]
        codes[(codes == 0) & ~keep] = CODES[name]
    shared = keys.shared[batch.candidates.values]
    if shared.any():
        kept = np.flatnonzero((codes == CODES[KEEP]) & shared[cells.candidate])
        documents = batch.candidates.values[cells.candidate[kept]]
        codes[kept[repeats(cells.anchor[kept], keys.documents[documents])]] = CODES["copy_of_negative"]
    return Judgement(cells, codes, probabilities)


def spared(batch: Batch, config: FilterConfig, keys: TextKeys) -> np.ndarray:
    """Tell which candidates neither a rule nor the rank window may reject, bool: judged negatives to be kept."""
    if config.judged_negatives == "judge":
        return np.zeros(len(batch.scores), dtype=bool)
    return keys.is_judged(batch)


@dataclass(frozen=True)
class Evidence:
    """What rules look at: the candidates' scores and the anchor scores, cell by cell, and the settings."""

    batch: Batch
    cells: Cells
    config: FilterConfig
    probabilities: np.ndarray | None
    threshold: float | None

    @property
    def score(self) -> np.ndarray:
        """Teacher's score of each cell's candidate."""
        return np.asarray(self.batch.scores[self.cells.candidate])

    @property
    def anchor(self) -> np.ndarray:
        """Anchor score of each cell."""
        return self.cells.scores

    @cached_property
    def easiest(self) -> np.ndarray:
        """Whether each cell's candidate is among its query's easiest, which margins do not reject."""
        batch = self.batch
        inside = easiest(batch.scores, batch.owners, batch.counted, self.config.easiest)
        return np.asarray(inside[self.cells.candidate])

    @property
    def background(self) -> np.ndarray:
        """Mean score of each cell's query to random documents."""
        return np.asarray(self.batch.background_mean[self.cells.anchors.owners[self.cells.anchor]])


AUTO: dict[str, Any] = {"rule": ["percent", "calibrated"], "percent": 0.95, "easiest": 0.2}
AUTO_RATE = 0.1
"""What "auto" stands for, and the highest rate that it tolerates; how they were picked is in docs/calibration.md."""


def _two_sided(e: Evidence) -> np.ndarray:
    return np.asarray(below(two_sided(e.batch), e.config.two_sided)[e.cells.candidate])


def _calibrated(e: Evidence) -> np.ndarray:
    if e.probabilities is None or e.threshold is None:
        raise ValueError("the rule calibrated needs a model: hnmine.stages.filter.calibration.calibrate gives one")
    return np.asarray(e.probabilities <= e.threshold)


def _guide(e: Evidence) -> np.ndarray:
    anchors = _reduced(e.batch.guide_positive_scores, e.config).values
    return guide(e.batch.guide_scores[e.cells.candidate], anchors[e.cells.anchor], e.config.guide_margin)


Rule = Callable[[Evidence], np.ndarray]

RULES: dict[str, Rule] = {
    "absolute": lambda e: absolute(e.score, e.config.min_score, e.config.max_score),
    "margin": lambda e: e.easiest | margin(e.score, e.anchor, e.config.margin),
    "percent": lambda e: e.easiest | percent(e.score, e.anchor, e.config.percent),
    "adaptive": lambda e: e.easiest | adaptive(e.score, e.anchor, e.background, e.config.adaptive),
    "two_sided": _two_sided,
    "calibrated": _calibrated,
    "guide": _guide,
}
"""The rules by name, in the order of their verdicts: evidence -> keep, one bool a cell."""


def _candidate_checks(batch: Batch, config: FilterConfig, keys: TextKeys) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (verdict, reject) of the checks that look at a candidate whatever the anchor."""
    owners, documents = batch.owners, batch.candidates.values
    yield "positive", batch.is_positive
    yield "sibling_positive", keys.siblings.contains(owners, documents)
    yield "judged_relevant", keys.is_relevant(batch)
    yield "copy_of_positive", keys.copies(batch.positives, batch)
    yield "copy_of_query", keys.documents[documents] == keys.queries[owners]
    if config.max_positive_similarity is not None:
        yield "near_copy_of_positive", ~below(batch.similarity, config.max_positive_similarity)
    if config.max_query_similarity is not None and keys.cosine:
        yield "near_copy_of_query", ~below(batch.teacher_scores, config.max_query_similarity)
    if batch.teacher is not None:
        yield NOT_RESCORED, np.isnan(batch.scores)
    if config.ranks is not None:
        yield "outside_ranks", ~rank_window(batch.ranks, *config.ranks) & ~spared(batch, config, keys)
