"""Running stages from the command line, with progress and a summary."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hnmine.cli import show, showprevious, showreport
from hnmine.cli.progress import progress_on
from hnmine.config import Config
from hnmine.config.file import load_config
from hnmine.pipeline.run import RunOptions, StageResult, run
from hnmine.runtime.stage import RunContext
from hnmine.stages.report.limits import check_limits, parse_limits
from hnmine.storage.store import read_json


@dataclass(frozen=True)
class Invocation:
    """What the user gave a command that runs stages."""

    config: Path
    out: Path | None
    overrides: tuple[str, ...]
    source: Path | None
    overwrite: bool
    wait: bool


def remined(model: str | None, previous: Path | None) -> Iterator[str]:
    """Yield the settings that --model and --previous stand for; paths start at the working directory, as of --out."""
    if model is not None:
        local = Path(model).expanduser()
        name = str(local.absolute()) if local.is_dir() or model.startswith(("./", "../")) else model
        yield f"embed.model={json.dumps(name, ensure_ascii=False)}"
    if previous is not None:
        yield f"previous.run={json.dumps(str(previous.absolute()), ensure_ascii=False)}"


def run_stages(
    how: Invocation, stages: tuple[str, ...], as_json: bool, limits: tuple[list[str], list[str]] = ([], [])
) -> None:
    """Run stages, show what came of them, and hold a report to its limits.

    Args:
        how: the command's arguments.
        stages: names of the stages.
        as_json: print the result as JSON instead of the output folder's path.
        limits: texts of --fail-under and of --fail-over.

    Raises:
        HnmineError: see `hnmine.errors`.
    """
    under, over = parse_limits(limits[0], "--fail-under"), parse_limits(limits[1], "--fail-over")
    config = load_config(how.config, how.overrides, how.out)
    source = how.source.resolve() if how.source else None
    with progress_on() as progress:
        results = run(config, stages, RunOptions(source, how.overwrite, how.wait), progress)
    context = RunContext(config, config.out_folder, source)
    report = _report(context) if "report" in stages else None
    show.stages(results)
    if report is not None:
        showreport.report(report, context.reading("report") / "report.json")
        if "previous" in report:
            showprevious.section(report["previous"])
    show.emit(_result(config, results, report) if as_json else str(_place(config, stages)))
    if report is not None:
        check_limits(report, {**config.report.fail_under, **under}, {**config.report.fail_over, **over})


def _report(context: RunContext) -> dict[str, Any]:
    report: dict[str, Any] = read_json(context.reading("report") / "report.json")
    return report


def _place(config: Config, stages: tuple[str, ...]) -> Path:
    return config.out_folder if len(stages) > 1 else config.out_folder / stages[0]


def _result(config: Config, results: list[StageResult], report: dict[str, Any] | None) -> dict[str, Any]:
    stages = [{"stage": r.stage, "ran": r.ran, "seconds": r.seconds, "counts": r.counts} for r in results]
    return {"out": str(config.out_folder), "stages": stages, "report": report}
