"""What a stage is: a description made of steps, each a map over items. How they are run is `runner`'s part."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from hnmine.config import Config
from hnmine.storage.digest_cache import DigestCache
from hnmine.storage.keys import item_key
from hnmine.storage.store import MANIFEST as MANIFEST
from hnmine.storage.store import STARTED as STARTED
from hnmine.storage.store import Shards, part_name, write_table

TIMINGS = "timings.json"


@dataclass(frozen=True)
class RunContext:
    """A config, its output folder, and the folder that stages before this one may be read from instead.

    What an earlier run ingested is read from there too, where it fits: see `hnmine.config.previous`. `digests` knows
    what is in the files that the config names.
    """

    config: Config
    out: Path
    source: Path | None = None
    digests: DigestCache = field(default_factory=DigestCache, compare=False, repr=False)

    def folder(self, stage: str) -> Path:
        """Folder that a stage writes to."""
        return self.out / stage

    def reading(self, stage: str) -> Path:
        """Folder that a finished stage is read from: the run's own, else the source run's."""
        own = self.out / stage
        if (own / MANIFEST).exists():
            return own
        previous = self.config.previous_folder
        roots = [root for root in (self.source, previous if stage == "ingest" else None) if root is not None]
        complete = [root / stage for root in roots if (root / stage / MANIFEST).exists()]
        return complete[0] if complete else (self.source or self.out) / stage


@dataclass(frozen=True)
class Item:
    """One output file: where it goes, which part of the data it covers, and its key."""

    output: Path
    number: int = 0
    first: int = 0
    rows: int = 0
    key: str = ""


Tick = Callable[[int], None]


Process = Callable[[Any, Item, Tick], pa.Table]
"""Makes one item's table out of the state that `setup` loaded; the last argument counts rows done."""


def _write_parquet(table: pa.Table, item: Item) -> None:
    write_table(table, item.output, item.key)


def write_lists(table: pa.Table, item: Item) -> None:
    """Put a table that is mostly lists of numbers on disk: see `hnmine.storage.store.write_table`."""
    write_table(table, item.output, item.key, lists=True)


@dataclass(frozen=True)
class Step:
    """A map over items: `setup` alone loads things, `process` makes one table, `write` puts it on disk.

    `runs_model` says that it may use a GPU: on a cluster its tasks ask for one where the config says so. Worker
    processes end with the stage then, as what runs a model takes more memory than other stages are given.
    """

    name: str
    unit: str
    plan: Callable[[RunContext, str], list[Item]]
    setup: Callable[[RunContext], Any]
    process: Process
    write: Callable[[pa.Table, Item], None] = _write_parquet
    runs_model: bool = False


def _always(config: Config) -> bool:
    return True


def _nothing_else(context: RunContext) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline.

    Attributes:
        name: of the stage, its command, its config table and its folder.
        version: raised when the same settings would write something else than before.
        reads: stages whose output it reads, whatever the config.
        parts: everything that determines its output, as JSON values, upstream keys apart.
        steps: run in order.
        finish: writes what is not a shard, and returns counts for the manifest.
        also_reads: stages whose output it reads under some configs only.
        applies: whether there is such a stage under a config; where not, it has no folder and no key.
    """

    name: str
    version: int
    reads: tuple[str, ...]
    parts: Callable[[RunContext], dict[str, Any]]
    steps: tuple[Step, ...]
    finish: Callable[[RunContext, str], dict[str, Any]]
    also_reads: Callable[[RunContext], tuple[str, ...]] = _nothing_else
    applies: Callable[[Config], bool] = _always

    def reading(self, context: RunContext) -> tuple[str, ...]:
        """Return the stages whose output it reads under a config."""
        return (*self.reads, *self.also_reads(context))


def shard_items(shards: Shards, folder: Path, key: str, ending: str = "parquet") -> list[Item]:
    """Return one item for each shard: the same rows, in a shard of the same number in `folder`."""
    items = []
    for number in range(len(shards)):
        first, last = (int(offset) for offset in shards.offsets[number : number + 2])
        output = folder / part_name(number, ending)
        items.append(Item(output, number, first, last - first, item_key(key, folder.name, first, last - first)))
    return items
