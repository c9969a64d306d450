"""Cells: consecutive texts that are encoded together, so that a text's numbers do not depend on how it is sharded."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hnmine.config.models import Kind, TeacherTable
from hnmine.errors import ModelError
from hnmine.models.encoders import CellModel, EncodeTexts
from hnmine.models.served import UnusableVector
from hnmine.runtime.stage import Item, RunContext, Tick
from hnmine.runtime.threads import Prefetcher
from hnmine.runtime.worker_slot import current_slot
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards, digest_of_texts, item_key, part_name, recorded

SIDES: dict[str, tuple[Kind, Any]] = {"corpus": ("document", CORPUS), "queries": ("query", QUERIES)}


class CellReader(Protocol):
    """Reads what is encoded: texts, or images as their files hold them."""

    def read(self, first: int, last: int) -> Sequence[Any]:
        """Return those at positions [first, last); fewer where the rows end before."""
        ...


class CellEncoder:
    """Encodes the `rows` texts, or images, of a side in cells of consecutive rows.

    The next cell is read and tokenised while one is encoded.
    """

    def __init__(self, encoder: CellModel, texts: CellReader, kind: Kind, rows: int, table: TeacherTable) -> None:
        self.encoder, self.rows, self.table = encoder, rows, table
        # no method of this object: a circle of references would keep the encoder, and its program, past the step
        self.cells = Prefetcher(partial(_load_cell, encoder, texts, kind))

    def parts(self, item: Item, tick: Tick) -> Iterator[Any]:
        """Yield what the model returns for each cell of an item's rows, which are whole cells: a row for each text."""
        last = item.first + item.rows
        # a process that works alone makes the next item too; of several, another one will
        end = self.rows if current_slot().count == 1 else last
        for first in range(item.first, last, self.encoder.cell_rows):
            following = first + self.encoder.cell_rows
            encode, distinct, which = self.cells.get(first, following if following < end else None)
            try:
                found = encode(tick)
            except UnusableVector as error:
                row = first + int(np.flatnonzero(which == error.place)[0])
                raise ModelError(f"{error}; row {row:,} of the texts to encode") from None
            if found.ndim != 2 or found.shape[0] != distinct:
                raise ModelError(f"{self.table}.model gave an array of shape {found.shape} for {distinct} texts")
            tick(len(which) - distinct)
            yield found[which]


def _load_cell(encoder: CellModel, texts: CellReader, kind: Kind, first: int) -> tuple[EncodeTexts, int, np.ndarray]:
    """Return a function that encodes a cell's distinct texts, their number, and the place of each row's text."""
    places: dict[Any, int] = {}
    read = texts.read(first, first + encoder.cell_rows)
    which = np.array([places.setdefault(text, len(places)) for text in read], dtype=np.int64)
    return encoder.prepare(list(places), kind), len(places), which


def cell_items(folder: Path, key: str, rows: int, shard_rows: int, cell: int) -> list[Item]:
    """Return the items of `rows` texts: files of about `shard_rows` rows and whole cells, in `folder`; one at least.

    No bit then depends on the shard size, nor on which files a stopped run left. `cell` is a multiple of the rows of
    the model's cells.
    """
    size = -(-shard_rows // cell) * cell
    parts = ((number, first, min(size, rows - first)) for number, first in enumerate(range(0, max(rows, 1), size)))
    return [Item(folder / part_name(part[0]), *part, item_key(key, folder.name, *part[1:])) for part in parts]


def texts_key(context: RunContext, stage: str, side: str) -> str | None:
    """Return what identifies the texts of a side for a stage that is begun, whatever else has changed; None before.

    The texts of documents are known by the key of ingest's corpus, those of queries by their content.
    """
    started = recorded(context.folder(stage))
    if started is None:
        return None
    if side == "corpus":
        return str(started["upstream"]["ingest.corpus"])
    shards = Shards(context.reading("ingest") / "queries", QUERIES)
    columns = ["text", "text_key"] if context.config.input.has_query_images else ["text"]
    return digest_of_texts(
        str(one) for name in columns for part in shards.column(name).chunks for one in part.to_pylist()
    )
