"""False-negative rate against hardness for a few filter settings, so that the chosen one can be seen among others."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hnmine.config import Config
from hnmine.stages.emit.choose import Vectors
from hnmine.stages.filter.calibration import MOST_QUERIES, Calibration, Pieces, Protocol, Remembered, hidden_rows
from hnmine.stages.filter.thresholds import set_threshold
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.report.filter_outcome import outcome

CANDIDATES = 400_000
"""At most so many candidates are tried on, so that the report of a large run does not wait for this."""
KEYS = ("queries", "chosen", "rate", "interval", "hardness", "fill", "eci")

PLAIN: tuple[dict[str, Any], ...] = (
    {"rule": "none"},
    *({"rule": "percent", "percent": p} for p in (0.7, 0.8, 0.9, 0.95, 1.0)),
    *({"rule": "two_sided", "two_sided": t} for t in (-0.5, 0.5, 1.0, 2.0)),
)
CALIBRATED = tuple({"rule": "calibrated", "max_false_negative_rate": r} for r in (0.01, 0.02, 0.05, 0.1))
"""Tried besides where the run's filter fitted a model, which is used as it is."""


def tradeoff(
    source: tuple[Pieces, Protocol],
    config: Config,
    calibration: Calibration | None,
    own: dict[str, Any],
    vectors: Vectors | None,
) -> dict[str, Any]:
    """Return the rate, hardness and fill of a short grid of settings, and of the run's own.

    Args:
        source: gives the candidates; and the rows of the protocol, which are tried on where they are not too many.
        config: the whole config.
        calibration: the models that the run's filter fitted, if any.
        own: what `hnmine.stages.report.filter_outcome.measure` says of the run's own filter, whose rate is measured.
        vectors: the teacher's, where choosing needs them.

    Returns:
        settings, the run's own first: each with its keys of the filter table, its numbers, whether it is the run's own
        and whether no other beats it in rate and hardness at once.
    """
    pieces, protocol = source
    at_most = min(MOST_QUERIES, max(1, CANDIDATES // config.retrieve.most))
    if at_most < MOST_QUERIES:
        protocol = replace(protocol, rows=list(hidden_rows(pieces, config, at_most / max(1, protocol.several))))
    rows = protocol.rows
    grid = (*PLAIN, *(CALIBRATED if calibration is not None else ()))
    scorer = Remembered.of(rows, calibration.scorer(out_of_fold=True)) if calibration is not None else None
    found = [(_own_keys(config), own)] + [(s, try_setting(s, protocol, config, (scorer, vectors))) for s in grid]
    front = mark_front([(numbers["rate"], numbers["hardness"]) for _, numbers in found])
    settings = [
        {"settings": keys, "own": not place, "front": bool(best), **{key: numbers[key] for key in KEYS}}
        for place, ((keys, numbers), best) in enumerate(zip(found, front, strict=True))
        if numbers["chosen"]
    ]
    return {"settings": settings, "queries_at_most": at_most}


def _own_keys(config: Config) -> dict[str, Any]:
    """Return the keys of the filter table that the user set, the rule in any case."""
    return {"rule": config.filter.rule} | config.filter.model_dump(mode="json", include=config.filter.model_fields_set)


def try_setting(
    settings: dict[str, Any], protocol: Protocol, config: Config, means: tuple[Remembered | None, Vectors | None]
) -> dict[str, Any]:
    """Return what a setting does with the protocol's rows: see `hnmine.stages.report.filter_outcome.Tally`.

    Args:
        settings: keys of the filter table.
        protocol: the collection's rows.
        config: the whole config.
        means: gives P(false negative) of the rows, and the teacher's vectors where choosing needs them.
    """
    scorer, vectors = means
    tried, used = setting_of(config, settings), None
    if scorer is not None and "calibrated" in rule_names(tried.filter):
        threshold, _ = set_threshold(protocol.rows, scorer, tried, measured=protocol.measured)
        used = replace(scorer, threshold=threshold)
    return outcome(protocol.rows, tried, used, vectors)


def setting_of(config: Config, settings: dict[str, Any]) -> Config:
    """Return the config with other keys of its filter table; each positive by itself, as the protocol knows one."""
    return config.model_copy(update={"filter": config.filter.model_copy(update={**settings, "anchor": "each"})})


def mark_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Tell for each (rate, hardness) whether no other beats it in both at once (the Pareto front)."""
    costs = np.array([[rate, -hardness] for rate, hardness in points])
    beaten = [((costs <= one).all(axis=1) & (costs < one).any(axis=1)).any() for one in costs]
    return [not one for one in beaten]
