"""From candidates to verdicts: every rule of the config in a fixed order; the first that rejects names the verdict."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hnmine.candidates import Batch, Cells
from hnmine.config import FilterConfig
from hnmine.ragged import Ragged
from hnmine.schemas import KEEP, VERDICTS
from hnmine.science.anchors import reduce_anchor
from hnmine.science.copies import repeats
from hnmine.science.margins import absolute, below, margin, percent, rank_window

CODES = {name: code for code, name in enumerate(VERDICTS)}


@dataclass(frozen=True)
class TextKeys:
    """Keys by which copies are known.

    Attributes:
        documents: uint64, one a row of the corpus.
        shared: bool, whether another row of the corpus has the same key.
        queries: uint64, one a query of the batch.
        siblings: for each query of the batch, rows of the positives of other queries with the same text.
        cosine: whether scores are cosines, so that a near-copy of the query shows in its score.
    """

    documents: np.ndarray
    shared: np.ndarray
    queries: np.ndarray
    siblings: Ragged
    cosine: bool = True


def anchor_scores(batch: Batch, config: FilterConfig) -> Ragged:
    """Return each query's anchor scores: one for each positive under `each`, else a single one."""
    if config.anchor == "each":
        return batch.positive_scores
    scores = batch.positive_scores
    reduced = reduce_anchor(scores.values, scores.offsets, config.anchor, config.anchor_quantile)
    return Ragged(reduced, np.arange(len(batch) + 1, dtype=np.int64))


def rule_names(config: FilterConfig) -> list[str]:
    """Return the margin rules that a config names, none for "none"."""
    names = [config.rule] if isinstance(config.rule, str) else list(config.rule)
    return [name for name in names if name != "none"]


def judge(batch: Batch, config: FilterConfig, keys: TextKeys) -> tuple[Cells, np.ndarray]:
    """Return the cells of a batch and the code of each one's verdict, int8 (see `CODES`).

    Args:
        batch: candidates; every query has at least one positive.
        config: the filter table.
        keys: copies, and positives of queries with the same text.
    """
    cells = Cells.of(batch, anchor_scores(batch, config))
    per_candidate = np.zeros(len(batch.scores), dtype=np.int8)
    for name, reject in _candidate_checks(batch, config, keys):
        per_candidate = np.where((per_candidate == 0) & reject, np.int8(CODES[name]), per_candidate)
    codes = per_candidate[cells.candidate]
    scores = batch.scores[cells.candidate]
    for name in rule_names(config):
        keep = RULES[name](scores, cells.scores, config)
        codes = np.where((codes == 0) & ~keep, np.int8(CODES[name]), codes)
    kept = np.flatnonzero(codes == CODES[KEEP])
    documents = batch.candidates.values[cells.candidate[kept]]
    kept = kept[keys.shared[documents]]
    documents = batch.candidates.values[cells.candidate[kept]]
    codes[kept[repeats(cells.anchor[kept], keys.documents[documents])]] = CODES["copy_of_negative"]
    return cells, codes


Rule = Callable[[np.ndarray, np.ndarray, FilterConfig], np.ndarray]

RULES: dict[str, Rule] = {
    "absolute": lambda s, anchor, config: absolute(s, config.min_score, config.max_score),
    "margin": lambda s, anchor, config: margin(s, anchor, config.margin),
    "percent": lambda s, anchor, config: percent(s, anchor, config.percent),
}
"""The margin rules by name: (score, anchor score, config) -> keep."""


def _candidate_checks(batch: Batch, config: FilterConfig, keys: TextKeys) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (verdict, reject) of the checks that look at a candidate whatever the anchor."""
    owners, documents = batch.owners, batch.candidates.values
    yield "positive", batch.is_positive
    yield "sibling_positive", keys.siblings.contains(owners, documents)
    text, positive_text = keys.documents[documents], keys.documents[batch.positives.values]
    names = np.unique(np.concatenate([text, positive_text]))
    positive_names = batch.positives.with_values(np.searchsorted(names, positive_text))
    yield "copy_of_positive", positive_names.contains(owners, np.searchsorted(names, text))
    yield "copy_of_query", text == keys.queries[owners]
    if config.max_positive_similarity is not None:
        yield "near_copy_of_positive", ~below(batch.similarity, config.max_positive_similarity)
    if config.max_query_similarity is not None and keys.cosine:
        yield "near_copy_of_query", ~below(batch.scores, config.max_query_similarity)
    if config.ranks is not None:
        yield "outside_ranks", ~rank_window(batch.ranks, *config.ranks)
