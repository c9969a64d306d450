"""Running stages in order: keys first, then the lock, then each stage that is not done yet."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hnmine.config import Config
from hnmine.errors import ConfigError, IncompleteStage, StaleOutput
from hnmine.pipeline.keys import Expected, changes, expected_keys, refuse_stale
from hnmine.pipeline.runner import Progress, Silent, StageResult, run_stage
from hnmine.pipeline.stages import STAGES
from hnmine.runtime.engines import Engine, InlineEngine, PoolEngine
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.previous.previous_run import check_previous
from hnmine.storage.digests import Digests
from hnmine.storage.keys import is_done, recorded
from hnmine.storage.lock import lock_folder
from hnmine.storage.store import remove_folder


@dataclass(frozen=True)
class RunOptions:
    """How a run treats what is there already.

    Attributes:
        source: another run's folder; its finished stages are read where they fit.
        overwrite: recompute stages that hold results of another config instead of refusing.
        wait: wait for another live run on the same folder instead of refusing.
    """

    source: Path | None = None
    overwrite: bool = False
    wait: bool = False


def run(
    config: Config,
    stages: Sequence[str] = tuple(STAGES),
    options: RunOptions | None = None,
    progress: Progress | None = None,
) -> list[StageResult]:
    """Run stages of a config in order and return what came of each.

    Args:
        config: from `load_config`.
        stages: names, a contiguous part of the pipeline; all of it by default. Those the config lacks are left out.
        options: what to do with results that are there already.
        progress: shows how far it is; silent by default.

    Raises:
        HnmineError: see `hnmine.errors`; finished shards stay and the next run continues.
    """
    options, progress = options or RunOptions(), progress or Silent()
    stages = applying(config, stages)
    with lock_folder(config.out_folder, wait=options.wait):
        context = RunContext(config, config.out_folder, options.source, Digests.read(config.out_folder))
        try:
            expected = expected_keys(list(STAGES.values())[: list(STAGES).index(stages[-1]) + 1], context)
        finally:
            context.digests.write(context.out)
        if config.previous is not None and "emit" in expected:
            check_previous(context, expected["ingest"]["key"])
        _check_upstream(stages, context, expected)
        if options.overwrite:
            _clear_stale(stages, context, expected)
        refuse_stale(stages, context, expected)
        results = []
        with _engine(context, progress) as engine:
            for name in stages:
                if _reusable(name, context, expected):
                    manifest: Mapping[str, Any] = recorded(context.reading(name)) or {}
                    results.append(StageResult(name, False, 0.0, manifest["counts"]))
                else:
                    results.append(run_stage(STAGES[name], context, expected[name], engine, progress))
        return results


def applying(config: Config, stages: Sequence[str] = tuple(STAGES)) -> tuple[str, ...]:
    """Return those of the stages that a config has.

    Raises:
        ConfigError: it has none of them.
    """
    found = tuple(name for name in stages if STAGES[name].applies(config))
    if not found:
        missing = " and ".join(f"[{name}]" for name in stages)
        raise ConfigError(f"{', '.join(stages)}: the config has no such stage; add a table {missing}")
    return found


@contextmanager
def _engine(context: RunContext, progress: Progress) -> Iterator[Engine]:
    """Yield the engine that the config names, and close it."""
    engine = make_engine(context, progress)
    try:
        yield engine
    finally:
        engine.close()


def make_engine(context: RunContext, progress: Progress) -> Engine:
    """Return the engine that the config names; nothing is started before there is work for it."""
    config = context.config
    if config.engine == "ray":
        from hnmine.runtime.ray_cluster import Cluster
        from hnmine.runtime.ray_engine import RayEngine

        sources = (context.source,) if context.source is not None else ()
        where = (config.ray_address, context.out, sources, config.ray_wait, config.workers)
        return RayEngine(Cluster(*where, progress.note))
    pooled = config.engine == "pool" or (config.engine == "auto" and config.workers > 1)
    return PoolEngine(config.workers) if pooled else InlineEngine()


def _reusable(name: str, context: RunContext, expected: Expected) -> bool:
    """Tell whether a stage can be read from the source run as it is."""
    folder = context.reading(name)
    return folder != context.folder(name) and is_done(folder, expected[name]["key"])


def _check_upstream(stages: Sequence[str], context: RunContext, expected: Expected) -> None:
    """Hold stages that these ones read, and that are not run now, to being complete and of this config."""
    needed = {name for stage in stages for name in STAGES[stage].reading(context)} - set(stages)
    for name in STAGES:
        if name not in needed or is_done(context.reading(name), expected[name]["key"]):
            continue
        folder = context.reading(name)
        old = recorded(folder)
        if old is not None and old["key"] != expected[name]["key"]:
            lines = "\n".join(f"  {name}: {line}" for line in changes(old, expected[name]))
            raise StaleOutput(
                f"{folder} was made with other settings or inputs:\n{lines}\nrun `hnmine {name} --overwrite`"
            )
        raise IncompleteStage(f"{folder} is not complete; run `hnmine {name}` first, or `hnmine run` for all stages")


def _clear_stale(stages: Sequence[str], context: RunContext, expected: Expected) -> None:
    for name in stages:
        old = recorded(context.folder(name))
        if old is not None and old["key"] != expected[name]["key"]:
            remove_folder(context.folder(name))
