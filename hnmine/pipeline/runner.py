"""Running stages: what is already done is skipped, what another config made is refused, the rest is mapped.

A `Stage` is a description. Its steps are maps over items: an item is one output file and what it takes to
make it. `ShardWorker` makes one item of one step, and is the only execution unit, whatever the engine.
"""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from hnmine.errors import HnmineError, OutputError
from hnmine.pipeline.stages import STAGES
from hnmine.runtime.background_writer import Behind
from hnmine.runtime.engines import Engine
from hnmine.runtime.stage import MANIFEST, STARTED, TIMINGS, Item, RunContext, Stage, Step, Tick
from hnmine.storage.digests import Digests
from hnmine.storage.paths import ask_each
from hnmine.storage.store import read_json, read_key, write_json


@dataclass(frozen=True)
class ShardWorker:
    """Makes one item of one step: the only execution unit. Loads the step's state once in each process.

    `run` tells one map from the next where worker processes outlive a run. With `behind`, in this process
    alone, an item is written while the next one is made.
    """

    stage: str
    step: str
    context: RunContext
    key: str
    tick: Tick | None = field(default=None, compare=False)
    run: str = ""
    behind: Behind | None = field(default=None, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to the parent process: the progress callback, its thread for writing, the digests."""
        return {**self.__dict__, "context": replace(self.context, digests=Digests()), "tick": None, "behind": None}

    def __call__(self, item: Item) -> int:
        """Make the item, unless it is there already, and return its rows."""
        if read_key(item.output) == item.key:  # a task that is done again after its worker was lost
            return item.rows
        step = next(s for s in STAGES[self.stage].steps if s.name == self.step)
        table = step.process(self._state(step), item, self.tick or _no_tick)
        if self.behind is None:
            step.write(table, item)
        else:
            self.behind(lambda: step.write(table, item))
        return int(table.num_rows)

    def _state(self, step: Step) -> Any:
        name = f"{self.key} {self.step} {self.context.out} {self.run}"
        if name not in _STATES:
            _STATES.clear()  # one step runs at a time: what the last one loaded is not needed any more
            _STATES[name] = step.setup(self.context)
        return _STATES[name]


_STATES: dict[str, Any] = {}


def _no_tick(rows: int) -> None:
    return None


class Progress(Protocol):
    """Shows how far a step is; `hnmine.cli.progress` draws bars, the default shows nothing."""

    def start(self, stage: str, step: str, unit: str, total: int, done: int) -> None:
        """Begin a step of `total` rows, `done` of which were there already."""
        ...

    def advance(self, rows: int) -> None:
        """Count rows done; several threads may call it."""
        ...

    def note(self, message: str) -> None:
        """Say something worth knowing."""
        ...

    def end(self) -> None:
        """End the step."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, stage: str, step: str, unit: str, total: int, done: int) -> None:
        """Begin a step."""

    def advance(self, rows: int) -> None:
        """Count rows done."""

    def note(self, message: str) -> None:
        """Say something worth knowing."""

    def end(self) -> None:
        """End the step."""


@dataclass(frozen=True)
class StageResult:
    """What came of a stage: whether it had to run, its counts and how long it took."""

    stage: str
    ran: bool
    seconds: float
    counts: Mapping[str, Any]


def pending(items: list[Item]) -> list[Item]:
    """Return the items whose file is not there with the key expected."""
    keys = ask_each(read_key, [item.output for item in items])
    return [item for item, key in zip(items, keys, strict=True) if key != item.key]


def run_stage(
    stage: Stage, context: RunContext, expected: Mapping[str, Any], engine: Engine, progress: Progress
) -> StageResult:
    """Run one stage: skip what is done, map what is not, write the manifest last.

    Args:
        stage: the description.
        context: config and folders.
        expected: the stage's key and its parts, from `hnmine.pipeline.keys`.
        engine: where items are worked on.
        progress: shows how far it is.

    Raises:
        HnmineError: whatever the stage raises; finished shards stay.
    """
    folder = context.folder(stage.name)
    manifest = read_json(folder / MANIFEST)
    if manifest and manifest["key"] == expected["key"]:
        return StageResult(stage.name, False, 0.0, manifest["counts"])
    (folder / MANIFEST).unlink(missing_ok=True)
    write_json(expected, folder / STARTED)
    began = time.perf_counter()
    for step in stage.steps:
        _run_step(stage, step, context, expected["key"], (engine, progress))
    if any(step.runs_model for step in stage.steps):
        engine.release()
    counts = stage.finish(context, expected["key"])
    seconds = time.perf_counter() - began
    _note_time(context.out, stage.name, seconds)
    write_json({**expected, "stage": stage.name, "version": stage.version, "counts": counts}, folder / MANIFEST)
    return StageResult(stage.name, True, seconds, counts)


def _run_step(stage: Stage, step: Step, context: RunContext, key: str, means: tuple[Engine, Progress]) -> None:
    engine, progress = means
    items = step.plan(context, key)
    if not items:
        return
    todo = pending(items)
    _remove_strangers(items)
    done = sum(item.rows for item in items) - sum(item.rows for item in todo)
    progress.start(stage.name, step.name, step.unit, sum(item.rows for item in items), done)
    gpus = context.config.model_gpus if step.runs_model else 0.0
    try:
        with Behind() as behind:
            worker = ShardWorker(stage.name, step.name, context, key, run=secrets.token_hex(4))
            if engine.inline:
                worker = replace(worker, tick=progress.advance, behind=behind)
            for index, _ in engine.map(worker, todo, cpus=context.config.task_cpus, gpus=gpus):
                if not engine.inline:
                    progress.advance(todo[index].rows)
    except OSError as error:
        raise OutputError(f"{stage.name} {step.name}: {error}") from error
    finally:
        _STATES.clear()  # what this process loaded: a library user's next run must not meet it
        progress.end()


def _remove_strangers(items: list[Item]) -> None:
    """Remove shards of an earlier run with other shard sizes; the key check has already agreed to this config."""
    wanted = {item.output for item in items}
    for folder in {item.output.parent for item in items}:
        for path in folder.glob("part-*"):
            if path not in wanted:
                path.unlink()


def _note_time(out: Path, stage: str, seconds: float) -> None:
    timings = read_json(out / TIMINGS) or {}
    timings[stage] = round(seconds, 3)
    try:
        write_json(timings, out / TIMINGS)
    except HnmineError:
        return
