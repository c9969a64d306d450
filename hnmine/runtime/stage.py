"""Descriptions of stages. A stage is a series of steps, each a map over items; `hnmine.pipeline.run` runs them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.groups import spans_within
from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.storage.digest_cache import DigestCache
from hnmine.storage.store import MANIFEST, Shards, item_key, part_name, write_table

TIMINGS = "timings.json"

Tick = Callable[[int], None]
"""Counts finished rows."""


@dataclass(frozen=True)
class RunContext:
    """The config and folders of a run.

    Attributes:
        out: the output folder.
        source: folder of another run, whose finished stages are read if this run has none of its own.
        digests: digests of the files that the config names.
        local_models: a model that is on this machine is not looked for on the hub.
    """

    config: Config
    out: Path
    source: Path | None = None
    digests: DigestCache = field(default_factory=DigestCache, compare=False, repr=False)
    local_models: bool = field(default=False, compare=False, repr=False)

    def folder(self, stage: str) -> Path:
        """Return the folder that a stage writes to."""
        return self.out / stage

    def reading(self, stage: str) -> Path:
        """Return the folder that a stage is read from: the run's own if complete, else the source run's.

        The stage ingest may also be that of the earlier run in the table [previous].
        """
        for root in (self.out, self.source, self.config.previous_folder if stage == "ingest" else None):
            if root is not None and (root / stage / MANIFEST).exists():
                return root / stage
        return (self.source or self.out) / stage


@dataclass(frozen=True)
class Item:
    """One output file of a step: shard `number`, for `rows` rows from row `first` on, and its content key."""

    output: Path
    number: int = 0
    first: int = 0
    rows: int = 0
    key: str = ""


def write_parquet(table: pa.Table, item: Item, *, plain: bool = False, lists: bool = False) -> None:
    """Write an item's table: see `hnmine.storage.store.write_table`."""
    write_table(table, item.output, item.key, plain=plain, lists=lists)


write_plain = partial(write_parquet, plain=True)
"""Writes a table of numbers that hardly repeat, such as vectors."""
write_lists = partial(write_parquet, lists=True)
"""Writes a table that is mostly lists of numbers."""


@dataclass(frozen=True)
class Step:
    """A map over items.

    Attributes:
        name: of the step.
        unit: of its rows, for the progress bar.
        plan: returns all items, for the stage's key.
        setup: loads the state that a process needs for its items.
        process: returns an item's table from that state; calls the tick with the number of rows as they are finished.
        write: writes the table.
        runs_model: whether it runs a model: its tasks may get a GPU on a cluster, and worker processes end with the
            stage, since a model takes more memory than other stages are given.
    """

    name: str
    unit: str
    plan: Callable[[RunContext, str], list[Item]]
    setup: Callable[[RunContext], Any]
    process: Callable[[Any, Item, Tick], pa.Table]
    write: Callable[[pa.Table, Item], None] = write_parquet
    runs_model: bool = False


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline.

    Attributes:
        name: of the stage, its command, its config table and its folder.
        version: increased when the same settings write other bytes than before.
        reads: what it reads under every config: stages, or parts of their output, such as `ingest.corpus`.
        parts: returns everything else that determines its output, as JSON values.
        steps: in order.
        finish: writes the files that are no shards, and returns counts for the manifest.
        also_reads: returns what it reads under some configs only.
        applies: returns whether a config has this stage; if not, it has no folder and no key.
        outputs: returns, for parts of its output with a key of their own, what determines that part alone; given the
            context and `parts`.
        reusable: returns the folders, relative to its own, whose shards may fit although the stage's key has changed:
            the keys of these shards do not depend on that of the stage.
        of_input: returns the folders, relative to its own, of what is made of the user's files while these are checked:
            nothing of a refused input is kept, so that a corrected one starts anew.
    """

    name: str
    version: int
    reads: tuple[str, ...]
    parts: Callable[[RunContext], dict[str, Any]]
    steps: tuple[Step, ...]
    finish: Callable[[RunContext, str], dict[str, Any]]
    also_reads: Callable[[RunContext], tuple[str, ...]] = lambda context: ()
    applies: Callable[[Config], bool] = lambda config: True
    outputs: Callable[[RunContext, dict[str, Any]], dict[str, Any]] = lambda context, parts: {}
    reusable: Callable[[RunContext], tuple[str, ...]] = lambda context: ()
    of_input: Callable[[RunContext], tuple[str, ...]] = lambda context: ()

    def reading(self, context: RunContext) -> tuple[str, ...]:
        """Return all stages, and parts of their output, that it reads under the context's config."""
        return (*self.reads, *self.also_reads(context))


def stage_of(name: str) -> str:
    """Return the stage whose output, or a part of it, has this name: ingest for `ingest.corpus`."""
    return name.partition(".")[0]


def no_setup(context: RunContext) -> RunContext:
    """Return the context as the state of a step that loads nothing beforehand."""
    return context


def shard_items(shards: Shards, folder: Path, key: str, ending: str = "parquet") -> list[Item]:
    """Return an item for each shard of a table: the same rows, in a shard with the same number in `folder`."""
    items = []
    for number in range(len(shards)):
        first, last = (int(offset) for offset in shards.offsets[number : number + 2])
        output = folder / part_name(number, ending)
        items.append(Item(output, number, first, last - first, item_key(key, folder.name, first, last - first)))
    return items


def row_items(rows: int, most: int, folder: Path, key: str, ending: str = "parquet") -> list[Item]:
    """Return items of at most `most` rows each for that many rows in all; without rows one item."""
    items: list[Item] = []
    for first in range(0, max(rows, 1), most):
        count, number = min(most, rows - first), len(items)
        items.append(
            Item(folder / part_name(number, ending), number, first, count, item_key(key, folder.name, first, count))
        )
    return items


def cut_shard_items(shards: Shards, folder: Path, key: str, candidates: int, most: int, least: int = 1) -> list[Item]:
    """Return items as `shard_items` does, but several for a shard of many (candidate, positive) pairs: to bound memory.

    Args:
        shards: of queries, with a column `positive_rows`.
        folder: where the items are written, each as a shard of its own.
        key: of the stage.
        candidates: of a query at most, positives not counted.
        most: pairs of an item.
        least: queries of an item, which may have more pairs than `most` then.
    """
    items: list[Item] = []
    for number, start in enumerate(shards.offsets[:-1].tolist()):
        positives = Ragged.from_arrow(shards.read(number, ["positive_rows"]).column(0)).lengths
        for first, last in spans_within((candidates + positives) * np.maximum(positives, 1), most, least):
            row, rows, place = start + first, last - first, len(items)
            items.append(Item(folder / part_name(place), place, row, rows, item_key(key, folder.name, row, rows)))
    return items
