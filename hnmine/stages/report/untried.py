"""Advice that cannot be tried on stored candidates: a deeper search, weights, another score, a judge."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hnmine.config.retrieve import MAX_DEPTH
from hnmine.config.section import toml_value
from hnmine.config.tables import Config
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.deeper_search import max_depth, searches_deeper
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.report.headline import RATE

_NO_WEIGHTS = ("bge", "distillation", "n-tuple-scores")
"""Shapes for trainers and losses that take no weight of a negative."""
_IN_CORPUS = "the corpus has more"


@dataclass(frozen=True)
class ListEnd:
    """Where the lists of candidates end.

    Attributes:
        setting: the setting that ends them, as `table.key`.
        limit: its value.
        most: the largest value that makes a difference.
        more: why a larger one may help.
        of_sources: the depth of each source, where a list ends by source.
    """

    setting: str
    limit: int
    most: int = MAX_DEPTH
    more: str = _IN_CORPUS
    of_sources: tuple[int, ...] = ()

    def reached(self, batch: Batch) -> np.ndarray:
        """Return whether each query has a list that ends at the limit, bool."""
        counted = ~batch.is_positive & ~np.isnan(batch.scores)  # the cross-encoder may have left out some
        if not self.of_sources:
            return np.bincount(batch.owners[counted], minlength=len(batch)) >= self.limit
        found = [
            np.bincount(batch.owners[counted & (ranks > 0)], minlength=len(batch)) for ranks in batch.source_ranks.T
        ]
        return np.asarray((np.stack(found, axis=1) >= self.of_sources).any(axis=1))


def list_end(config: Config) -> ListEnd | None:
    """Return where the lists of candidates end; None where longer ones could give no more negatives.

    They could not where a window of ranks ends within them, or a rule rejects what scores low.
    """
    retrieve, filter_, rescore = config.retrieve, config.filter, config.rescore
    deeper = searches_deeper(config)
    most = retrieve.max_top_k if deeper else retrieve.max_candidates
    if filter_.ranks is not None and filter_.ranks[1] <= most:
        return None
    if "multi_similarity" in rule_names(filter_) or (
        "absolute" in rule_names(filter_) and filter_.min_score is not None
    ):
        return None
    if filter_.score == "rescored" and rescore is not None and rescore.top_n < most:
        return ListEnd("rescore.top_n", rescore.top_n, most, "more candidates were retrieved")
    if deeper:
        return ListEnd("retrieve.max_top_k", max_depth(config))
    if not retrieve.source or retrieve.fuse == "rrf":
        return ListEnd("retrieve.top_k", retrieve.top_k)
    depths = retrieve.depths
    if retrieve.fuse == "quota" and retrieve.quota is not None and retrieve.quota in depths:
        deepest = max(source.top_k or retrieve.top_k for source in retrieve.source)
        return ListEnd("retrieve.quota", retrieve.quota, deepest, _IN_CORPUS, depths)
    if any(source.top_k is None for source in retrieve.source):
        return ListEnd("retrieve.top_k", retrieve.top_k, MAX_DEPTH, _IN_CORPUS, depths)
    return ListEnd("top_k of [[retrieve.source]]", max(depths), MAX_DEPTH, _IN_CORPUS, depths)


def untried(path: str, config: Config) -> Iterator[str]:
    """Yield what else may help with a number, by its name in report.json."""
    if path != RATE:
        return
    columns, filter_ = config.emit.extra_columns, config.filter
    weighs = "calibrated" not in rule_names(filter_)  # which keeps low probabilities alone: docs/training-rows.md
    if weighs and "weight" not in columns and not set(config.emit.formats) <= set(_NO_WEIGHTS):
        probabilities = "" if filter_.gives_probabilities else "filter.probabilities = true, "
        yield (
            f"{probabilities}emit.extra_columns = {toml_value([*columns, 'weight'])} (not tried: a loss that takes "
            "weights then counts likely false negatives less)"
        )
    if filter_.score == "hub_normalised" and filter_.rule != "auto":
        yield 'filter.score = "teacher" (not tried: under most rules it has fewer false negatives than hub_normalised)'
    if config.judge.model is not None and config.input.judgements is None and not config.input.uses_images:
        yield "`hnmine judge` (not tried: the model of `[judge]` finds false negatives among those of this set)"
