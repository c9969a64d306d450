"""Runs stages for the command line: progress while they run, then their summary, their result and limits."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hnmine.cli.progress import progress_on
from hnmine.cli.run_tables import draw_previous, draw_report, draw_stages
from hnmine.cli.terminal import print_result
from hnmine.config import Config
from hnmine.pipeline.run import RunOptions, run
from hnmine.runtime.stage import RunContext
from hnmine.stages.report.limits import check_limits, parse_limits
from hnmine.storage.store import read_json


def option_settings(
    engine: str | None, ray_address: str | None, model: str | None, previous: Path | None
) -> Iterator[str]:
    """Yield the settings that options of their own stand for, as `--set` takes them.

    Paths start at the working directory, as that of --out does.
    """
    if engine is not None:
        yield f"engine={engine}"
    if ray_address is not None:
        yield f"ray_address={ray_address}"
    if model is not None:
        local = Path(model).expanduser()
        name = str(local.absolute()) if local.is_dir() or model.startswith(("./", "../")) else model
        yield f"embed.model={json.dumps(name, ensure_ascii=False)}"
    if previous is not None:
        yield f"previous.run={json.dumps(str(previous.absolute()), ensure_ascii=False)}"


def run_stages(
    config: Config, stages: tuple[str, ...], options: RunOptions, as_json: bool, limits: tuple[list[str], list[str]]
) -> None:
    """Run stages, draw their summary, print the result and check the limits of a report.

    Args:
        config: the config.
        stages: names of the stages.
        options: how existing output is treated.
        as_json: print stages and report as JSON instead of the output folder's path.
        limits: values of --fail-under and of --fail-over.

    Raises:
        HnmineError: see `hnmine.errors`.
    """
    under, over = parse_limits(limits[0], "--fail-under"), parse_limits(limits[1], "--fail-over")
    with progress_on() as progress:
        results = run(config, stages, options, progress)
    report: dict[str, Any] | None = None
    draw_stages(results)
    if "report" in stages:
        path = RunContext(config, config.out_folder, options.source).reading("report") / "report.json"
        report = read_json(path)
        assert report is not None
        draw_report(report, path)
        if "previous" in report:
            draw_previous(report["previous"])
    if as_json:
        ran = [{"stage": r.stage, "ran": r.ran, "seconds": r.seconds, "counts": r.counts} for r in results]
        print_result({"out": str(config.out_folder), "stages": ran, "report": report})
    else:
        print_result(str(config.out_folder if len(stages) > 1 else config.out_folder / stages[0]))
    if report is not None:
        check_limits(report, {**config.report.fail_under, **under}, {**config.report.fail_over, **over})
