"""filter: a verdict for every candidate. Nothing is dropped, so another margin costs seconds and no retrieval."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.candidates import Batch
from hnmine.config import Config
from hnmine.judging import TextKeys, judge
from hnmine.keys import item_key
from hnmine.ragged import Ragged
from hnmine.runner import Item, RunContext, Stage, Step, Tick
from hnmine.schemas import CANDIDATES, CORPUS, JUDGED, QUERIES, VERDICTS
from hnmine.store import Shards, part_name

# Verdicts are made for about this many (anchor, candidate) cells at a time.
CELLS = 2_000_000


@dataclass(frozen=True)
class FilterState:
    """What judging needs besides the candidates: the config, and the keys of texts."""

    config: Config
    candidates: Shards
    queries: Shards
    documents: np.ndarray
    shared: np.ndarray

    def keys(self, number: int, first: int, rows: int) -> TextKeys:
        """Return the text keys for rows [first, first + rows) of query shard `number`."""
        table = self.queries.read(number, ["text_key", "sibling_rows"]).slice(first, rows)
        return TextKeys(
            self.documents,
            self.shared,
            table.column("text_key").to_numpy(),
            Ragged.from_arrow(table.column("sibling_rows")),
            self.config.embed.similarity == "cosine",
        )


def _plan(context: RunContext, key: str) -> list[Item]:
    shards = Shards(context.reading("retrieve"), CANDIDATES)
    items = []
    for number, (first, last) in enumerate(zip(shards.offsets[:-1], shards.offsets[1:], strict=True)):
        rows, output = int(last - first), context.folder("filter") / part_name(number)
        items.append(Item(output, number, int(first), rows, item_key(key, "filter", int(first), rows)))
    return items


def setup(context: RunContext) -> FilterState:
    """Return the state for judging a run's candidates."""
    ingest = context.reading("ingest")
    documents = Shards(ingest / "corpus", CORPUS).column("text_key").to_numpy()
    _, inverse, counts = np.unique(documents, return_inverse=True, return_counts=True)
    return FilterState(
        context.config,
        Shards(context.reading("retrieve"), CANDIDATES),
        Shards(ingest / "queries", QUERIES),
        documents,
        counts[inverse] > 1,
    )


def pieces(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Yield (first row, slice) of a table of candidates, about `CELLS` cells each."""
    candidates = Ragged.from_arrow(table.column("doc_rows")).lengths
    positives = Ragged.from_arrow(table.column("positive_rows")).lengths
    cells = np.cumsum(candidates * np.maximum(positives, 1))
    first = 0
    while first < table.num_rows:
        done = cells[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(cells, done + CELLS, side="right")))
        yield first, table.slice(first, last - first)
        first = last


def _process(state: FilterState, item: Item, tick: Tick) -> pa.Table:
    table = state.candidates.read(item.number)
    parts = [JUDGED.empty_table()]
    for first, piece in pieces(table):
        parts.append(_judged(piece, state, state.keys(item.number, first, piece.num_rows)))
        tick(piece.num_rows)
    return pa.concat_tables(parts)


def _judged(table: pa.Table, state: FilterState, keys: TextKeys) -> pa.Table:
    batch = Batch.from_table(table)
    cells, codes = judge(batch, state.config.filter, keys)
    names = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(VERDICTS))).cast(pa.string())
    columns = [*table.columns, cells.anchors.to_arrow(pa.float32()), cells.nest(batch, names)]
    return pa.Table.from_arrays(columns, schema=JUDGED)


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    shards = Shards(context.folder("filter"), JUDGED)
    counts = dict.fromkeys(VERDICTS, 0)
    for number in range(len(shards)):
        verdicts = shards.read(number, ["verdicts"]).column(0)
        for chunk in verdicts.chunks:
            for pair in chunk.flatten().flatten().value_counts().to_pylist():
                counts[pair["values"]] += pair["counts"]
    return {"queries": shards.rows, "verdicts": counts}


STAGE = Stage(
    name="filter",
    version=1,
    reads=("ingest", "retrieve"),
    parts=lambda context: {"filter": context.config.filter.semantic()},
    steps=(Step("judge", "queries", _plan, setup, _process),),
    finish=_finish,
)
