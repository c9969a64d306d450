"""Verdicts on candidates: every check and rule of a filter config in a fixed order; the first that rejects counts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa

from hnmine.arrays.groups import repeated
from hnmine.arrays.ragged import Ragged
from hnmine.config.auto import resolve_auto
from hnmine.config.filter import FilterConfig
from hnmine.science.anchors import reduce_anchor
from hnmine.science.margins import (
    absolute,
    adaptive,
    below,
    easiest,
    guide,
    margin,
    multi_similarity,
    percent,
    rank_window,
)
from hnmine.science.percentiles import like_positives
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.features import two_sided
from hnmine.storage.schemas.filter import CHECKED, EVALUATED, KEEP, NOT_RESCORED, VERDICTS

CODES = {name: code for code, name in enumerate(VERDICTS)}

AUTO_RATE = 0.05
"""The highest false-negative rate that auto and calibrated tolerate where none is stated: see docs/calibration.md."""


def rule_names(config: FilterConfig) -> list[str]:
    """Return the rules of a config in the order of `RULES`; none for "none", those of `AUTO` for "auto"."""
    rule = resolve_auto(config).rule
    named = [rule] if isinstance(rule, str) else rule
    return [name for name in RULES if name in named]


def countable_verdicts(config: FilterConfig) -> list[str]:
    """Return the verdicts that a filter counts: all but newer ones that it cannot give."""
    given = {"multi_similarity": "multi_similarity" in rule_names(config), CHECKED: config.score == "checked"}
    return [name for name in VERDICTS if given.get(name, True)]


@dataclass(frozen=True)
class TextKeys:
    """The text keys and judged documents of a batch: two texts with the same key are copies.

    Attributes:
        documents: uint64, text key of each row of the corpus.
        shared: bool, whether another row of the corpus has the same key.
        queries: uint64, text key of each query of the batch.
        siblings: for each query, rows of the positives of other queries with the same text.
        judged: for each query, rows that are judged irrelevant.
        relevant: for each query, rows that are judged relevant and are no labelled positives.
        cosine: whether scores are cosines, so that a high score means a near-copy of the query.
        evaluation: bool, whether each row of the corpus belongs to the evaluation set; None without one.
        labels: for every query of the run, rows of the positives of all queries with its text; None if not needed.
    """

    documents: np.ndarray
    shared: np.ndarray
    queries: np.ndarray
    siblings: Ragged
    judged: Ragged
    relevant: Ragged
    cosine: bool = True
    evaluation: np.ndarray | None = None
    labels: Ragged | None = None

    def take(self, rows: np.ndarray) -> "TextKeys":
        """Return the keys for the given queries of the batch (int64, repeats are fine)."""
        lists = {name: getattr(self, name).take(rows) for name in ("siblings", "judged", "relevant")}
        return replace(self, queries=self.queries[rows], **lists)

    @classmethod
    def concatenate(cls, parts: "Sequence[TextKeys]") -> "TextKeys":
        """Return the keys of the queries of one or more batches of the same run, one batch after another."""
        return replace(
            parts[0],
            queries=np.concatenate([part.queries for part in parts]),
            siblings=Ragged.concatenate([part.siblings for part in parts]),
            judged=Ragged.concatenate([part.judged for part in parts]),
            relevant=Ragged.concatenate([part.relevant for part in parts]),
        )

    def is_judged(self, batch: Batch) -> np.ndarray:
        """Return whether each candidate is judged irrelevant to its query, bool."""
        return self.judged.contains(batch.owners, batch.candidates.values)

    def copies(self, rows: Ragged, batch: Batch) -> np.ndarray:
        """Return whether each candidate has the same text as one of its query's documents in `rows`, bool."""
        if not len(rows.values):
            return np.zeros(len(batch.scores), dtype=bool)
        text = self.documents[batch.candidates.values]
        return rows.with_values(self.documents[rows.values]).contains(batch.owners, text)


def anchor_scores(scores: Ragged, config: FilterConfig) -> Ragged:
    """Return each query's anchor scores, given its positives' scores: all of them where anchor = each, else one."""
    if config.anchor == "each":
        return scores
    reduced = reduce_anchor(scores, config.anchor, config.anchor_quantile)
    return Ragged(reduced, np.arange(len(scores) + 1, dtype=np.int64))


class Scorer(Protocol):
    """A model of P(false negative), with the threshold above which the rule calibrated rejects a candidate."""

    @property
    def threshold(self) -> float:
        """Highest probability that is kept."""
        ...

    @property
    def takes_teacher_scores(self) -> bool:
        """Whether the model was fitted on teachers' scores, and so cannot be given another model's."""
        ...

    def probabilities(self, batch: Batch, cells: Cells) -> np.ndarray:
        """Return float64 in [0, 1], one a cell; NaN where a candidate has no score."""
        ...


def probabilities_of(batch: Batch, cells: Cells, config: FilterConfig, scorer: Scorer) -> np.ndarray:
    """Return a scorer's probability of each cell, float64, computed from the scores that the scorer was fitted on."""
    if batch.teacher is not None and scorer.takes_teacher_scores:
        batch = replace(batch, **vars(batch.teacher), teacher=None)
        cells = Cells.of(batch, anchor_scores(batch.positive_scores, config))
    return scorer.probabilities(batch, cells)


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on a batch.

    Attributes:
        cells: the cells of the batch.
        codes: int8, one a cell: see `CODES`.
        probabilities: P(false negative) of each cell, float64; None without a scorer.
    """

    cells: Cells
    codes: np.ndarray
    probabilities: np.ndarray | None

    @property
    def keep(self) -> np.ndarray:
        """Whether each cell is kept, bool."""
        return np.asarray(self.codes == CODES[KEEP])


def give_verdicts(
    batch: Batch, config: FilterConfig, keys: TextKeys, scorer: Scorer | None = None, checks: np.ndarray | None = None
) -> Verdicts:
    """Return the verdicts on a batch, in which every query has at least one positive.

    Only the rule calibrated requires a scorer. `checks` is the result of `check_codes` for the same batch and config,
    if it is known already.
    """
    config = resolve_auto(config)
    cells = Cells.of(batch, anchor_scores(batch.positive_scores, config))
    codes = (check_codes(batch, config, keys) if checks is None else checks)[cells.candidate]
    probabilities = probabilities_of(batch, cells, config, scorer) if scorer is not None else None
    evidence = _Evidence(batch, cells, config, probabilities, None if scorer is None else scorer.threshold)
    exempt = is_exempt(batch, config, keys)
    for name in rule_names(config):
        keep = RULES[name](evidence)
        if exempt.any():
            keep |= exempt[cells.candidate]
        codes[(codes == 0) & ~keep] = CODES[name]
    if batch.is_checked:
        like = like_positives(batch.cross_scores, config.check_percentile) & ~exempt
        codes[(codes == 0) & like[cells.candidate]] = CODES[CHECKED]
    shared = keys.shared[batch.candidates.values]
    if shared.any():
        kept = np.flatnonzero((codes == CODES[KEEP]) & shared[cells.candidate])
        documents = batch.candidates.values[cells.candidate[kept]]
        codes[kept[repeated(cells.anchor[kept], keys.documents[documents])]] = CODES["copy_of_negative"]
    return Verdicts(cells, codes, probabilities)


def check_codes(batch: Batch, config: FilterConfig, keys: TextKeys) -> np.ndarray:
    """Return the codes given by the checks that come before all rules, int8, one a candidate, whatever the anchor."""
    codes = np.zeros(len(batch.scores), dtype=np.int8)
    for name, reject in _checks(batch, config, keys):
        codes[(codes == 0) & reject] = CODES[name]
    return codes


def _checks(batch: Batch, config: FilterConfig, keys: TextKeys) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (verdict, whether each candidate is rejected) in the order of the verdicts."""
    owners, documents = batch.owners, batch.candidates.values
    yield "positive", batch.is_positive
    if keys.evaluation is not None:
        yield EVALUATED, keys.evaluation[documents]
    yield "sibling_positive", keys.siblings.contains(owners, documents)
    yield "judged_relevant", keys.copies(keys.relevant, batch)
    yield "copy_of_positive", keys.copies(batch.positives, batch)
    yield "copy_of_query", keys.documents[documents] == keys.queries[owners]
    if config.max_positive_similarity is not None:
        yield "near_copy_of_positive", ~below(batch.similarity, config.max_positive_similarity)
    if config.max_query_similarity is not None and keys.cosine:
        yield "near_copy_of_query", ~below(batch.teacher_scores, config.max_query_similarity)
    if batch.teacher is not None:
        yield NOT_RESCORED, np.isnan(batch.scores)
    if config.ranks is not None:
        yield "outside_ranks", ~rank_window(batch.ranks, *config.ranks) & ~is_exempt(batch, config, keys)


def is_exempt(batch: Batch, config: FilterConfig, keys: TextKeys) -> np.ndarray:
    """Return whether each candidate is exempt from rules and rank window, bool: judged_negatives = keep."""
    if config.judged_negatives == "judge":
        return np.zeros(len(batch.scores), dtype=bool)
    return keys.is_judged(batch)


@dataclass(frozen=True)
class _Evidence:
    """The input of a rule; its arrays have one value a cell."""

    batch: Batch
    cells: Cells
    config: FilterConfig
    probabilities: np.ndarray | None
    threshold: float | None

    @property
    def score(self) -> np.ndarray:
        return np.asarray(self.batch.scores[self.cells.candidate])

    @property
    def anchor(self) -> np.ndarray:
        return self.cells.scores

    @property
    def guide_anchor(self) -> np.ndarray:
        return np.asarray(anchor_scores(self.batch.guide_positive_scores, self.config).values[self.cells.anchor])

    @cached_property
    def easiest(self) -> np.ndarray:
        """Whether each cell's candidate is among its query's easiest, which margins do not reject."""
        inside = easiest(self.batch.scores, self.batch.owners, self.batch.counted, self.config.easiest)
        return np.asarray(inside[self.cells.candidate])

    @property
    def lowest_positive(self) -> np.ndarray:
        """The lowest score of a positive of each cell's query, whatever its anchor."""
        lowest = reduce_anchor(self.batch.positive_scores, "min")
        return np.asarray(lowest[self.batch.owners[self.cells.candidate]])

    @property
    def background(self) -> np.ndarray:
        return np.asarray(self.batch.background_mean[self.cells.anchors.owners[self.cells.anchor]])


def _calibrated(e: _Evidence) -> np.ndarray:
    if e.probabilities is None or e.threshold is None:
        raise ValueError("the rule calibrated needs a model; hnmine.stages.filter.calibration.calibrate returns one")
    return np.asarray(e.probabilities <= e.threshold)


RULES: dict[str, Callable[[_Evidence], np.ndarray]] = {
    "absolute": lambda e: absolute(e.score, e.config.min_score, e.config.max_score),
    "margin": lambda e: e.easiest | margin(e.score, e.anchor, e.config.margin),
    "percent": lambda e: e.easiest | percent(e.score, e.anchor, e.config.percent),
    "adaptive": lambda e: e.easiest | adaptive(e.score, e.anchor, e.background, e.config.adaptive),
    "two_sided": lambda e: below(two_sided(e.batch), e.config.two_sided)[e.cells.candidate],
    "calibrated": _calibrated,
    "guide": lambda e: guide(e.batch.guide_scores[e.cells.candidate], e.guide_anchor, e.config.guide_margin),
    "multi_similarity": lambda e: multi_similarity(e.score, e.lowest_positive, e.config.multi_similarity),
}
"""The rules by name, in the order of their verdicts. Each returns whether to keep each cell, bool."""


def verdict_codes(column: pa.ChunkedArray) -> np.ndarray:
    """Return stored verdicts (list<list<string>>, plain or dictionary-encoded) as codes, int8, one a cell."""
    parts = [np.zeros(0, dtype=np.int8)]
    for chunk in column.chunks:
        flat = chunk.flatten().flatten()
        coded = flat if pa.types.is_dictionary(flat.type) else flat.dictionary_encode()
        names = np.array([CODES[name] for name in coded.dictionary.to_pylist()], dtype=np.int8)
        parts.append(names[coded.indices.to_numpy()])
    return np.concatenate(parts)
