"""`hnmine sweep`: the false-negative rate and hardness of many filter settings, on stored candidates."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hnmine.commands.finished_run import finished_run
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, IncompleteStage
from hnmine.stages.emit.choose import teacher_vectors
from hnmine.stages.filter.calibration import CachedScorer, calibrate
from hnmine.stages.filter.hidden_positives import ProtocolRows
from hnmine.stages.filter.inputs import FilterInputs
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.report.false_negatives import NOTHING_RETRIEVED, mark_front, try_setting

GRID: tuple[dict[str, Any], ...] = (
    {"rule": "auto"},
    {"rule": "none"},
    *({"rule": "percent", "percent": p} for p in (0.8, 0.85, 0.9, 0.95, 0.98, 1.0)),
    *({"rule": "margin", "margin": m} for m in (0.0, 0.02, 0.05, 0.1, 0.2)),
    *({"rule": "adaptive", "adaptive": m} for m in (0.02, 0.05, 0.1, 0.2)),
    *({"rule": "two_sided", "two_sided": t} for t in (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)),
    *({"rule": ["percent", "two_sided"], "percent": 0.95, "two_sided": t} for t in (-0.5, 0.0, 0.5, 1.0, 2.0)),
    *({"rule": ["percent", "multi_similarity"], "multi_similarity": e} for e in (0.05, 0.1, 0.2)),
    *({"rule": "calibrated", "max_false_negative_rate": r} for r in (0.01, 0.02, 0.05, 0.1, 0.2)),
    {"rule": "calibrated"},
    {"rule": ["percent", "calibrated"], "percent": 0.95},
)
"""Settings tried by default: every rule alone over its range, and useful combinations."""

_AUTO = {"rule": "auto"}

GUIDED: tuple[dict[str, Any], ...] = (
    *({"rule": "guide", "guide_margin": m} for m in (0.0, 0.02, 0.05, 0.1)),
    {"rule": ["percent", "guide"], "percent": 0.95, "guide_margin": 0.0},
)
"""Further settings where a guide scored the candidates."""

UNMEASURED = "false negatives could not be measured, so no setting is known to meet it"
_OF_HIDDEN = ("rate", "interval", "judged")
"""Numbers of a setting that exist only where they were measured on hidden positives."""


def sweep(config: Config, source: Path | None = None, target: float | None = None) -> dict[str, Any]:
    """Measure every setting of the grid on the stored candidates; nothing is retrieved again.

    Args:
        config: the whole config; its retrieve stage must be done.
        source: output folder of another run to read finished stages from.
        target: highest acceptable false-negative rate; see `recommend`.

    Returns:
        measured_on_hidden_positives, and the reason where it is false; settings, a list of the keys of the filter
        table, whether it is on the front of rate, hardness and fill (see `mark_front`), and the numbers of
        `try_setting`; target; recommended (a filter table, or None without a target or a setting that keeps to it),
        recommended_reason (None without a target), and what `FinishedRun.differences` says of the stored candidates.

    Raises:
        IncompleteStage: retrieve is not done, or embed where choosing needs its vectors.
        ConfigError: all negatives wanted are random documents, so that no filter matters.
    """
    if not config.emit.retrieved_negatives:
        raise ConfigError(f"{NOTHING_RETRIEVED}; lower it")
    run = finished_run(config, source, ("retrieve",))
    context = run.context
    config = context.config  # with the sources and top_k that the candidates were found with
    protocol, vectors = ProtocolRows.of(FilterInputs.open(context).batches, config), teacher_vectors(context)
    guided = any(part.batch.has_guide for part in protocol.rows)
    if "guide" in rule_names(config.filter) and not guided:
        raise IncompleteStage(f"{context.reading('retrieve')} was made without [guide]; run `hnmine retrieve` again")
    scorer = CachedScorer.of(protocol.rows, calibrate(protocol, config).out_of_fold())
    tried = list(_grid(config, guided))
    numbers = [try_setting(settings, protocol, config, (scorer, vectors)) for settings in tried]
    front = [False] * len(tried)
    names = [name for name in numbers[0] if name not in ("hidden", *_OF_HIDDEN)]
    if protocol.measured:
        names += _OF_HIDDEN
        front = mark_front(numbers)
    rows: list[dict[str, Any]] = [
        {"settings": settings, "front": best} | {name: one[name] for name in names}
        for settings, one, best in zip(tried, numbers, front, strict=True)
    ]
    best, why = None, None
    if target is not None:
        best, why = recommend(rows, target) if protocol.measured else (None, UNMEASURED)
    return {
        "measured_on_hidden_positives": protocol.measured,
        "reason": protocol.why,
        "settings": rows,
        "recommended": best["settings"] if best is not None else None,
        "recommended_reason": why,
        "target": target,
        **run.differences,
    }


def recommend(rows: Sequence[dict[str, Any]], target: float) -> tuple[dict[str, Any] | None, str]:
    """Return the best setting whose rate is at most `target`, and why it is; None where there is none.

    It is the one with the highest ECI of those that neither auto nor the run's own beats in rate, hardness and fill at
    once. It may be off the front, because ECI also contains safety, which the front does not.

    Args:
        rows: settings with front, rate, hardness, fill, chosen and eci, the run's own first.
        target: highest acceptable rate.
    """
    auto = next((row for row in rows if row["settings"] == _AUTO), rows[0])
    named = {"the run's own": rows[0]} | ({"auto": auto} if auto is not rows[0] else {})
    usable = [row for row in rows if mark_front([row, *named.values()])[0]]
    met = [row for row in usable if row["rate"] <= target]
    if not met:
        lowest = f"the lowest is {min(row['rate'] for row in usable):.3g}" if usable else "none has true negatives"
        return None, f"no setting has a measured rate of at most {target:g}; {lowest}"
    best = max(met, key=lambda row: float(row["eci"]))
    unbeaten = "that neither the run's own nor auto beats" if len(named) > 1 else "that the run's own does not beat"
    why = f"best ECI ({_numbers(best)}) of the {len(met):,} settings within {target:g} {unbeaten}"
    for name, row in named.items():
        if row is not best:
            why += f"; {name}: {_numbers(row)}"
    return best, why


def _numbers(row: dict[str, Any]) -> str:
    eci, rate, hardness, fill = (row[name] for name in ("eci", "rate", "hardness", "fill"))
    return f"ECI {eci:.3f}, false negatives {rate:.3f}, hardness {hardness:.3f}, fill {fill:.2f}"


def _grid(config: Config, guided: bool) -> Iterator[dict[str, Any]]:
    """Yield the settings to try, the config's own first, and those of the rule guide where there are scores for it."""
    keys = (
        "rule", "percent", "margin", "adaptive", "easiest", "two_sided", "max_false_negative_rate", "guide_margin",
        "multi_similarity",
    )  # fmt: skip
    own = config.filter.chosen()
    given = {key: own[key] for key in keys if key in own}
    yield given
    yield from (settings for settings in (*GRID, *(GUIDED if guided else ())) if settings != given)
