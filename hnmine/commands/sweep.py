"""`hnmine sweep`: many filter settings over the candidates that are stored, measured side by side; no retrieval."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hnmine.config import Config
from hnmine.errors import ConfigError, IncompleteStage
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.choose import teacher_vectors
from hnmine.stages.filter.calibration import CachedScorer, calibrate
from hnmine.stages.filter.hidden_positives import ProtocolRows
from hnmine.stages.filter.inputs import FilterInputs
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.report.false_negatives import NOTHING_RETRIEVED, mark_front, try_setting
from hnmine.storage.store import MANIFEST, read_json

GRID: tuple[tuple[dict[str, Any], ...], ...] = (
    ({"rule": "auto"}, {"rule": "none"}),
    tuple({"rule": "percent", "percent": p} for p in (0.8, 0.85, 0.9, 0.95, 0.98, 1.0)),
    tuple({"rule": "margin", "margin": m} for m in (0.0, 0.02, 0.05, 0.1, 0.2)),
    tuple({"rule": "adaptive", "adaptive": m} for m in (0.02, 0.05, 0.1, 0.2)),
    tuple({"rule": "two_sided", "two_sided": t} for t in (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)),
    tuple({"rule": ["percent", "two_sided"], "percent": 0.95, "two_sided": t} for t in (-0.5, 0.0, 0.5, 1.0, 2.0)),
    tuple({"rule": "calibrated", "max_false_negative_rate": r} for r in (0.01, 0.02, 0.05, 0.1, 0.2)),
    ({"rule": "calibrated"},),
    ({"rule": ["percent", "calibrated"], "percent": 0.95},),
)
"""What is tried by default: every rule by itself over its range, and the combinations that pay."""

GUIDED: tuple[dict[str, Any], ...] = (
    *({"rule": "guide", "guide_margin": m} for m in (0.0, 0.02, 0.05, 0.1)),
    {"rule": ["percent", "guide"], "percent": 0.95, "guide_margin": 0.0},
)
"""What is tried besides where a guide scored the candidates."""


@dataclass(frozen=True)
class Swept:
    """One setting and what it does.

    Attributes:
        settings: keys of the filter table.
        numbers: as `hnmine.stages.filter.calibration.measure` gives them, with eci.
        front: whether no other setting is both harder and safer.
    """

    settings: dict[str, Any]
    numbers: dict[str, Any]
    front: bool = False


def sweep(config: Config, source: Path | None = None, target: float | None = None) -> dict[str, Any]:
    """Return what each setting of the grid lets through, and the one to use.

    Args:
        config: the whole config; its retrieve stage must be done.
        source: another run's folder to read from.
        target: highest false-negative rate wanted; of the settings that meet it, the one with the highest
            ECI is recommended.

    Returns:
        measured (on hidden positives or not, and why), settings (a list), recommended (a filter table or None).

    Raises:
        IncompleteStage: retrieve is not done, or embed where choosing needs its vectors.
        ConfigError: all negatives wanted are random documents, so that no filter matters.
    """
    if not config.emit.retrieved_negatives:
        raise ConfigError(f"{NOTHING_RETRIEVED}; lower it")
    context = RunContext(config, config.out_folder, source.resolve() if source else None)
    if read_json(context.reading("retrieve") / MANIFEST) is None:
        raise IncompleteStage(f"{context.reading('retrieve')} is not complete; run `hnmine retrieve` first")
    state, vectors = FilterInputs.open(context), teacher_vectors(context)
    protocol = ProtocolRows.of(state.batches, config)
    guided = any(part.batch.has_guide for part in protocol.rows)
    if "guide" in rule_names(config.filter) and not guided:
        raise IncompleteStage(f"{context.reading('retrieve')} was made without [guide]; run `hnmine retrieve` again")
    scorer = CachedScorer.of(protocol.rows, calibrate(protocol, config).out_of_fold())
    means = (scorer, vectors)
    found = [Swept(keys, try_setting(keys, protocol, config, means)) for keys in _grid(config, guided)]
    found = _mark_front(found, protocol.measured)
    return {
        "measured_on_hidden_positives": protocol.measured,
        "reason": protocol.why,
        "settings": [_row(one, protocol.measured) for one in found],
        "recommended": _recommend(found, target) if protocol.measured else None,
        "target": target,
    }


def _grid(config: Config, guided: bool) -> Iterator[dict[str, Any]]:
    """Yield the settings to try, the config's own first; those of the rule guide where there are scores for it."""
    own = config.filter.semantic()
    keys = ("rule", "percent", "margin", "adaptive", "easiest", "two_sided", "max_false_negative_rate", "guide_margin")
    given = {key: own[key] for key in keys if key == "rule" or key in config.filter.model_fields_set}
    yield given
    groups = (*GRID, GUIDED) if guided else GRID
    yield from (settings for group in groups for settings in group if settings != given)


def _mark_front(found: list[Swept], measured: bool) -> list[Swept]:
    if not measured:
        return found
    front = mark_front([(one.numbers["rate"], one.numbers["hardness"]) for one in found])
    return [replace(one, front=best and one.numbers["chosen"] > 0) for one, best in zip(found, front, strict=True)]


def _row(one: Swept, measured: bool) -> dict[str, Any]:
    of_hidden = ("rate", "interval", "judged")
    numbers = {key: value for key, value in one.numbers.items() if key not in (*of_hidden, "hidden")}
    if measured:
        numbers |= {key: one.numbers[key] for key in of_hidden}
    return {"settings": one.settings, "front": one.front, **numbers}


def _recommend(found: list[Swept], target: float | None) -> dict[str, Any] | None:
    """Return the setting with the highest ECI among those that meet the target; None where none does, or no target."""
    if target is None:
        return None
    met = [one for one in found if one.numbers["rate"] <= target and one.numbers["chosen"]]
    return max(met, key=lambda one: one.numbers["eci"]).settings if met else None
