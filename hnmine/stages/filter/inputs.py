"""The candidates of a run with what judging needs beside them, piece by piece; for filter, report and sweeps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.config import Config
from hnmine.runtime.stage import RunContext
from hnmine.runtime.threads import Prefetcher
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.stages.filter.calibration import Calibration, Drawn
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.verdicts import Scorer, TextKeys
from hnmine.stages.rescore.rescored import Rescored
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.filter import CALIBRATION
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards, read_table

# Verdicts are made for about this many (anchor, candidate) cells at a time.
CELLS = 2_000_000
CALIBRATION_FILE = "models.parquet"


@dataclass(frozen=True)
class FilterState:
    """What judging needs besides the candidates: the config, and the keys of texts."""

    config: Config
    candidates: Shards
    queries: Shards
    documents: np.ndarray
    shared: np.ndarray
    scorer: Scorer | None = None
    where: MetadataFilter | None = None
    rescored: Rescored | None = None

    def read(self, number: int, drawn: Drawn | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a shard of candidates, or some of its queries, with the scores that the filter goes by."""
        wanted = list(columns) if columns is not None and self.rescored is None else None  # a swap needs all
        table = self.candidates.read(number, wanted)
        if drawn is not None:
            table = table.filter(pa.array(drawn(table.column("query_row").to_numpy())))
        return table if self.rescored is None else self.rescored.swap(table)

    def pieces(
        self, drawn: Drawn | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[Batch, TextKeys]]:
        """Yield candidates with their text keys, some queries at a time: see `calibration.Pieces`."""
        # the next shard is read while this one is worked on
        coming = Prefetcher(lambda number: self.read(number, drawn, columns))
        shards = len(self.candidates)
        for number in range(shards):
            for _, piece in pieces(coming.get(number, number + 1 if number + 1 < shards else None)):
                rows = piece.column("query_row").to_numpy()
                yield self._permitted(Batch.from_table(piece)), self.keys(rows if columns is None else rows[:0])

    def _permitted(self, batch: Batch) -> Batch:
        """Return the batch with what `retrieve.where` says of each candidate beside each positive."""
        if self.where is None:
            return batch
        widths = batch.positives.lengths[batch.owners]
        documents, queries = (
            np.repeat(batch.candidates.values, widths),
            np.repeat(batch.query_rows[batch.owners], widths),
        )
        known = batch.positives.take(batch.owners).values
        return replace(batch, permitted=self.where.allows_knowing(queries, known, documents))

    def keys(self, rows: np.ndarray) -> TextKeys:
        """Return the text keys of queries, by their rows."""
        # by row and not by shard: candidates may have been found under another shard size than the queries now have
        lists = ("sibling_rows", "negative_rows", "relevant_rows")
        table = self.queries.take(rows, ["text_key", *lists])
        siblings, negatives, relevant = (Ragged.from_arrow(table.column(name)) for name in lists)
        text_keys = table.column("text_key").to_numpy()
        is_cosine = self.config.embed.similarity == "cosine"
        return TextKeys(self.documents, self.shared, text_keys, siblings, negatives, relevant, is_cosine)


def read_calibration(folder: Path, seed: int) -> Calibration | None:
    """Return the models that a filter folder was judged with, None where its rules need none."""
    table = read_table(folder / "calibration" / CALIBRATION_FILE)
    return Calibration.from_table(conform(table, CALIBRATION, "filter/calibration"), seed)


def setup(context: RunContext, scorer: Scorer | None = None) -> FilterState:
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
        scorer,
        MetadataFilter.open(context, context.reading("retrieve")),
        Rescored.open(context),
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
