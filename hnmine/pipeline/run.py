"""Runs the stages of a config in order: skips finished stages, refuses stale output, computes missing shards."""

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hnmine.config.tables import Config
from hnmine.errors import ConfigError, HnmineError, InputError, OutputError
from hnmine.pipeline.inputs import refuse_late_faults
from hnmine.pipeline.keys import check_upstream, expected_keys, refuse_stale
from hnmine.pipeline.stages import STAGES
from hnmine.runtime.engines import Engine, PoolEngine, Progress
from hnmine.runtime.stage import TIMINGS, Item, RunContext, Stage, Step, Tick
from hnmine.runtime.threads import BackgroundWriter
from hnmine.stages.emit.previous.previous_run import check_previous
from hnmine.storage.digest_cache import DigestCache
from hnmine.storage.lock import lock_folder
from hnmine.storage.paths import map_paths, remove_tree
from hnmine.storage.store import MANIFEST, STARTED, is_done, read_json, read_key, recorded, write_json

_WRITES = 2
"""Shards that are written at a time while the next is computed: the disk stores one while another is encoded."""


@dataclass(frozen=True)
class RunOptions:
    """How a run treats existing output.

    Attributes:
        source: folder of another run, whose finished stages are read where they fit.
        overwrite: recompute stages that hold results of another config, instead of refusing.
        wait: wait for another live run on the same folder, instead of refusing.
    """

    source: Path | None = None
    overwrite: bool = False
    wait: bool = False


@dataclass(frozen=True)
class StageResult:
    """Outcome of a stage: whether it had to run, its duration in seconds and its counts."""

    stage: str
    ran: bool
    seconds: float
    counts: Mapping[str, Any]


def run(
    config: Config,
    stages: Sequence[str] = tuple(STAGES),
    options: RunOptions | None = None,
    progress: Progress | None = None,
) -> list[StageResult]:
    """Run stages of a config in order and return the outcome of each.

    Args:
        config: from `load_config`.
        stages: names of consecutive stages; all by default. Those that the config lacks are left out.
        options: how existing output is treated.
        progress: shows how far the run is; silent by default.

    Raises:
        InputError: the source run of the options has no finished stage.
        HnmineError: see `hnmine.errors`. Finished shards are kept and the next run continues from them.
    """
    options, progress = options or RunOptions(), progress or Progress()
    if options.source is not None and not any((options.source / name / MANIFEST).exists() for name in STAGES):
        raise InputError(f"--from {options.source}: no such folder, or it holds no finished stage of a run")
    stages = applying(config, stages)
    with lock_folder(config.out_folder, wait=options.wait):
        context = RunContext(config, config.out_folder, options.source, DigestCache.read(config.out_folder))
        try:
            expected = expected_keys(list(STAGES.values())[: list(STAGES).index(stages[-1]) + 1], context)
        finally:
            context.digests.write(context.out)
        if config.previous is not None and "emit" in expected:
            check_previous(context, expected["ingest"]["key"])
        check_upstream([STAGES[name] for name in stages], context, expected)
        refuse_stale([STAGES[name] for name in stages], context, expected, overwrite=options.overwrite)
        missing = {name for name in stages if not is_done(context.reading(name), expected[name]["key"])}
        if missing & {"embed", "index"}:
            refuse_late_faults(config, ingested="ingest" not in missing)
        with closing(make_engine(context, progress)) as engine:
            return [_run_stage(STAGES[name], context, expected[name], engine, progress) for name in stages]


def applying(config: Config, stages: Sequence[str] = tuple(STAGES)) -> tuple[str, ...]:
    """Return the stages that a config has, of those given.

    Raises:
        ConfigError: it has none of them.
    """
    found = tuple(name for name in stages if STAGES[name].applies(config))
    if not found:
        missing = " and ".join(f"[{name}]" for name in stages)
        raise ConfigError(f"{', '.join(stages)}: the config has no such stage; add a table {missing}")
    return found


def make_engine(context: RunContext, progress: Progress) -> Engine:
    """Return the engine that the config names. It starts no process before its first task."""
    config = context.config
    if config.engine == "ray":
        from hnmine.runtime.ray_cluster import Cluster
        from hnmine.runtime.ray_engine import RayEngine

        sources = (context.source,) if context.source is not None else ()
        wait, workers, note = config.ray_wait, config.workers, progress.note
        return RayEngine(Cluster(config.ray_address, context.out, sources, wait, workers, note))
    pooled = config.engine == "pool" or (config.engine == "auto" and config.workers > 1)
    return PoolEngine(config.workers) if pooled else Engine()


def _run_stage(
    stage: Stage, context: RunContext, expected: Mapping[str, Any], engine: Engine, progress: Progress
) -> StageResult:
    """Run one stage unless it is done, here or in the source run. Its manifest is written last."""
    reading, folder = context.reading(stage.name), context.folder(stage.name)
    if is_done(reading, expected["key"]):
        progress.stage_end(stage.name, None)
        return StageResult(stage.name, False, 0.0, (recorded(reading) or {})["counts"])
    (folder / MANIFEST).unlink(missing_ok=True)
    write_json(expected, folder / STARTED)
    progress.stage_start(stage.name)
    began, runs_model = time.perf_counter(), False
    try:
        for step in stage.steps:
            has_items = _run_step(stage, step, context, expected["key"], engine, progress)
            runs_model |= has_items and step.runs_model
    except InputError:
        for name in stage.of_input(context):
            remove_tree(folder / name)
        raise
    if runs_model:
        engine.release()
    counts = stage.finish(context, expected["key"])
    seconds = time.perf_counter() - began
    _write_timing(context.out, stage.name, seconds)
    write_json({**expected, "stage": stage.name, "counts": counts}, folder / MANIFEST)
    progress.stage_end(stage.name, seconds)
    return StageResult(stage.name, True, seconds, counts)


def _run_step(stage: Stage, step: Step, context: RunContext, key: str, engine: Engine, progress: Progress) -> bool:
    """Compute the items of a step that are missing or have another key; return whether it has any items."""
    items = step.plan(context, key)
    if not items:
        return False
    keys = map_paths(read_key, [item.output for item in items])
    todo = [item for item, found in zip(items, keys, strict=True) if found != item.key]
    _remove_other_shards(items)
    total = sum(item.rows for item in items)
    progress.start(stage.name, step.name, step.unit, total, total - sum(item.rows for item in todo))
    gpus = context.config.model_gpus if step.runs_model else 0.0
    try:
        with BackgroundWriter(_WRITES) as writer:
            worker = ShardWorker(stage.name, step.name, context, key, run=secrets.token_hex(4))
            if engine.inline:
                worker = replace(worker, tick=progress.advance, writer=writer)
            for index, _ in engine.map(worker, todo, cpus=context.config.task_cpus, gpus=gpus):
                if not engine.inline:
                    progress.advance(todo[index].rows)
    except OSError as error:
        raise OutputError(f"{stage.name} {step.name}: {error}") from error
    finally:
        _STATES.clear()  # a later run in this process must not use what this one loaded
        progress.end()
    return True


def _remove_other_shards(items: list[Item]) -> None:
    """Remove shards that are no items of the step: an earlier run with other shard sizes wrote them."""
    wanted = {item.output for item in items}
    for folder in {item.output.parent for item in items}:
        for path in folder.glob("part-*"):
            if path not in wanted:
                path.unlink()


def _write_timing(out: Path, stage: str, seconds: float) -> None:
    timings = read_json(out / TIMINGS) or {}
    timings[stage] = round(seconds, 3)
    with suppress(HnmineError):
        write_json(timings, out / TIMINGS)


@dataclass(frozen=True)
class ShardWorker:
    """Computes and writes one item of one step: the function that engines map.

    A process loads the step's state once.

    Attributes:
        stage: name of the stage; likewise for the step.
        key: of the stage.
        tick: counts rows while an item is computed; only in the process of the run.
        run: random id of the map; a worker process that outlives it drops its state.
        writer: writes an item while the next is computed; only in the process of the run.
    """

    stage: str
    step: str
    context: RunContext
    key: str
    tick: Tick | None = field(default=None, compare=False)
    run: str = ""
    writer: BackgroundWriter | None = field(default=None, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to the parent process: progress callback, background writer and file digests."""
        return {**self.__dict__, "context": replace(self.context, digests=DigestCache()), "tick": None, "writer": None}

    def __call__(self, item: Item) -> int:
        """Return the rows of the item, after making it unless it exists."""
        if read_key(item.output) == item.key:  # written before the task's worker was lost
            return item.rows
        step = next(s for s in STAGES[self.stage].steps if s.name == self.step)
        table = step.process(self._state(step), item, self.tick or (lambda rows: None))
        if self.writer is None:
            step.write(table, item)
        else:
            self.writer.submit(lambda: step.write(table, item))
        return int(table.num_rows)

    def _state(self, step: Step) -> Any:
        name = f"{self.key} {self.step} {self.context.out} {self.run}"
        if name not in _STATES:
            _STATES.clear()  # one step runs at a time
            _STATES[name] = step.setup(self.context)
        return _STATES[name]


_STATES: dict[str, Any] = {}
