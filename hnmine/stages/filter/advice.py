"""What to change where a filter leaves too little."""

from collections.abc import Mapping
from typing import Any

from hnmine.config import FilterConfig
from hnmine.stages.filter.verdicts import rule_names

MARGINS = ("margin", "percent", "adaptive")
CHECKS = {
    "near_copy_of_positive": "raise filter.max_positive_similarity",
    "near_copy_of_query": "raise filter.max_query_similarity",
    "outside_ranks": "widen filter.ranks",
}
NO_LABELS = (
    "keep", "positive", "sibling_positive", "judged_relevant", "copy_of_positive", "copy_of_query", "copy_of_negative",
)  # fmt: skip


def empty_rows(counts: Mapping[str, Any], config: FilterConfig) -> str | None:
    """Return what to change where most (query, positive) pairs are left without any candidate; None where they are not.

    Args:
        counts: the filter stage's: anchors, anchors_without_candidates, verdicts.
        config: the filter table that judged.
    """
    empty, all_of_them = counts["anchors_without_candidates"], counts["anchors"]
    if not all_of_them or empty <= all_of_them / 2:
        return None
    judged = {name: count for name, count in counts["verdicts"].items() if name not in NO_LABELS}
    worst = max(judged, key=lambda name: judged[name], default=None)
    text = f"the filter leaves {empty:,} of {all_of_them:,} rows without a candidate"
    if worst is None or not judged[worst]:
        return f"{text}; raise retrieve.top_k"
    return f"{text}, most of them by {worst}; {_remedy(worst, config)}"


def _remedy(worst: str, config: FilterConfig) -> str:
    if worst in CHECKS:
        return CHECKS[worst]
    if worst in MARGINS and not config.easiest:
        return 'set filter.easiest = 0.2, raise retrieve.top_k, or use filter.rule = "auto"'
    if worst == "absolute":
        return 'limits on scores differ from teacher to teacher: use filter.rule = "auto", or see `hnmine sweep`'
    if worst == "calibrated" and config.max_false_negative_rate is not None and rule_names(config):
        return f"raise filter.max_false_negative_rate from {config.max_false_negative_rate:g}"
    return 'use filter.rule = "auto", or see `hnmine sweep` for what other settings keep'
