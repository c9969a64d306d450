"""Which candidates the cross-encoder scores: `rescore.spend`."""

from collections.abc import Callable

import numpy as np

from hnmine.arrays.groups import first_n
from hnmine.arrays.ragged import Ragged
from hnmine.config.auto import resolve_auto
from hnmine.config.filter import FilterConfig
from hnmine.config.tables import Config
from hnmine.science.margins import adaptive, easiest, margin, percent

_Margin = Callable[[np.ndarray, np.ndarray, np.ndarray, FilterConfig], np.ndarray]
_MARGINS: dict[str, _Margin] = {
    "margin": lambda s, anchor, floor, config: margin(s, anchor, config.margin),
    "percent": lambda s, anchor, floor, config: percent(s, anchor, config.percent),
    "adaptive": lambda s, anchor, floor, config: adaptive(s, anchor, floor, config.adaptive),
}


def margin_settings(config: FilterConfig) -> dict[str, float]:
    """Return the filter's settings that decide what "doubtful" scores, for content keys: its margins, and `easiest`."""
    config = resolve_auto(config)
    found: dict[str, float] = {name: getattr(config, name) for name in _MARGINS if name in config.rules}
    return found | ({"easiest": config.easiest} if found else {})


def to_score(scores: Ragged, counted: np.ndarray, anchors: Ragged, floor: np.ndarray, config: Config) -> np.ndarray:
    """Return which candidates a config with [rescore] scores, bool, one a candidate.

    "top": the first `top_n` of each query. "doubtful": for each anchor score, the first `pairs` that the filter's
    margins keep, as far as a margin is among its rules; other rules are not known yet. What a margin rejects needs no
    further check, and what comes after enough others is not chosen.

    Args:
        scores: the teacher's, float32, of each query's candidates, best first.
        counted: bool, one a candidate: False for labelled positives, which are not selected here.
        anchors: the teacher's scores of each query's positives.
        floor: float32, shape (queries,): mean score of each query to random documents.
        config: the whole config.
    """
    rescore = config.rescore
    assert rescore is not None
    found = np.zeros(len(scores.values), dtype=bool)
    if rescore.spend == "top":
        others = np.flatnonzero(counted)
        found[others[first_n(scores.owners[others], rescore.top_n)]] = True
        return found
    at = scores.places(anchors.owners)
    anchor = np.repeat(np.arange(len(anchors.values)), scores.lengths[anchors.owners])
    kept = np.flatnonzero(counted[at] & _margins_keep(scores, counted, anchors, floor, config.filter))
    found[at[kept[first_n(anchor[kept], rescore.pairs)]]] = True
    return found


def _margins_keep(
    scores: Ragged, counted: np.ndarray, anchors: Ragged, floor: np.ndarray, config: FilterConfig
) -> np.ndarray:
    """Return whether the filter's margins keep each candidate for each anchor score, bool, anchor by anchor."""
    config = resolve_auto(config)
    at = scores.places(anchors.owners)
    query = np.repeat(anchors.owners, scores.lengths[anchors.owners])
    anchor = np.repeat(anchors.values, scores.lengths[anchors.owners])
    easy = easiest(scores.values, scores.owners, counted, config.easiest)[at]
    keep = np.ones(len(at), dtype=bool)
    for name, keeps in _MARGINS.items():
        if name in config.rules:
            keep &= easy | keeps(scores.values[at], anchor, floor[query], config)
    return keep
