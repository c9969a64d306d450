"""The columns that `[[retrieve.where]]` asks for, in rows of the ingested input: read once, stored beside retrieve."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.errors import Problems
from hnmine.readers.fields import read_fields, wanted_fields
from hnmine.runtime.stage import Item, RunContext, Tick
from hnmine.search.imported_run import known_rows
from hnmine.storage.keys import item_key
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.retrieve import FIELD_VALUES
from hnmine.storage.store import Shards, read_table

SIDES = ("corpus", "queries")
_PART = 65_536


def field_file(folder: Path, side: str) -> Path:
    """Return where the values of documents (`side` is corpus) or queries lie in retrieve's folder."""
    return folder / "fields" / f"{side}.parquet"


def plan_fields(context: RunContext, key: str, stage: str = "retrieve") -> list[Item]:
    """Return an item for each side that has columns to read, in a stage's folder; none where there are no conditions.

    Retrieve is the stage that needs them, and embed where the conditions say which documents are embedded.
    """
    if not context.config.retrieve.where:
        return []
    ingest, folder = context.reading("ingest"), context.folder(stage)
    rows = {"corpus": Shards(ingest / "corpus", CORPUS).rows, "queries": Shards(ingest / "queries", QUERIES).rows}
    return [
        Item(field_file(folder, side), number, rows=rows[side], key=item_key(key, f"fields-{side}", 0, rows[side]))
        for number, side in enumerate(SIDES)
        if wanted_fields(context.config)[side]
    ]


def read_values(context: RunContext, item: Item, tick: Tick) -> pa.Table:
    """Return the values of one side as a table of `schemas.FIELD_VALUES`; the item's number says which.

    Copies of a text are one document, which has the values of all of them. What ingest left out is left out.

    Raises:
        InputError: a column is not there, or holds what is no value; all problems are named.
    """
    side, problems = SIDES[item.number], Problems()
    ids, rows = known_rows(context.reading("ingest"), "document" if side == "corpus" else "query")
    place_of = dict(zip(ids.to_pylist(), rows.tolist(), strict=True))
    held = read_fields(context.config, side, problems)
    parts = [FIELD_VALUES.empty_table()]
    while part := list(itertools.islice(held, _PART)):
        found = [(place_of.get(id_, -1), field, value) for id_, field, values in part for value in values]
        columns = list(zip(*found, strict=True)) or [(), (), ()]
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, FIELD_VALUES, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=FIELD_VALUES)
        parts.append(table.filter(pc.greater_equal(table.column("row"), 0)))
    problems.raise_if_any()
    tick(item.rows)
    keys = FIELD_VALUES.names
    once = pa.concat_tables(parts).group_by(keys).aggregate([]).sort_by([(name, "ascending") for name in keys])
    return conform(once, FIELD_VALUES, f"retrieve/fields/{side}")


def load_values(folder: Path, side: str, field: str) -> tuple[np.ndarray, pa.ChunkedArray]:
    """Return (rows int64 ascending, values) of one field, out of retrieve's folder."""
    table = conform(read_table(field_file(folder, side)), FIELD_VALUES, f"retrieve/fields/{side}")
    table = table.filter(pc.equal(table.column("field"), field))
    return table.column("row").to_numpy(), table.column("value")
