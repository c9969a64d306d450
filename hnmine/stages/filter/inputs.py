"""Inputs of the filter: the candidates of a run in batches with their text keys; used by filter, report and sweep."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.arrays.groups import spans_within
from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext
from hnmine.runtime.threads import prefetched
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.search.near_queries import labels_by_text
from hnmine.stages.filter.calibration import Calibration
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.hidden_positives import QueryFilter
from hnmine.stages.filter.verdicts import Scorer, TextKeys
from hnmine.stages.hubs.normalised import HubNormalised, other_scores, replaces_scores
from hnmine.stages.ingest.evaluation import read_evaluation
from hnmine.stages.rescore.rescored import Rescored
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.filter import CALIBRATION
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards, Tables, read_table

CELLS = 2_000_000
"""About how many (anchor, candidate) cells are given verdicts at a time."""
CALIBRATION_FILE = "models.parquet"


@dataclass(frozen=True)
class FilterInputs:
    """The candidates of a run, with the other data that their verdicts depend on.

    Attributes:
        config: the whole config.
        candidates: those of retrieve or of filter; their shards, or some of them in memory.
        queries: shards of ingest.
        documents: uint64, text key of each row of the corpus.
        shared: bool, whether another row has the same key.
        scorer: gives P(false negative); None where no rule needs it.
        where: the metadata filter; None without conditions.
        rescored: scores in the place of the teacher's or beside them; None where the filter uses the teacher's alone.
        evaluation: bool, whether each row of the corpus belongs to the evaluation set; None without one.
        siblings: rows of the positives of queries with the same text, for each query of the run, where they are not
            those that ingest stored; else None.
    """

    config: Config
    candidates: Tables
    queries: Shards
    documents: np.ndarray
    shared: np.ndarray
    scorer: Scorer | None
    where: MetadataFilter | None
    rescored: Rescored | HubNormalised | None
    evaluation: np.ndarray | None
    siblings: Ragged | None = None

    @classmethod
    def open(cls, context: RunContext, scorer: Scorer | None = None, *, deeper: bool = False) -> "FilterInputs":
        """Return the inputs of a run's filter.

        With `deeper`, candidates are those that the finished filter judged, with the lists that it searched deeper,
        instead of those of retrieve.
        """
        ingest, retrieve = context.reading("ingest"), context.reading("retrieve")
        judged = context.reading("filter") if deeper and not replaces_scores(context.config) else retrieve
        candidates, queries = Shards(judged, CANDIDATES), Shards(ingest / "queries", QUERIES)
        documents = Shards(ingest / "corpus", CORPUS).column("text_key").to_numpy()
        _, inverse, counts = np.unique(documents, return_inverse=True, return_counts=True)
        shared, where = counts[inverse] > 1, MetadataFilter.open(context, retrieve)
        rescored, evaluation = other_scores(context), None
        if context.config.input.has_evaluation:
            evaluation = np.zeros(len(documents), dtype=bool)
            evaluation[read_evaluation(ingest)] = True
        return cls(context.config, candidates, queries, documents, shared, scorer, where, rescored, evaluation)

    def read(self, number: int, wanted: QueryFilter | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a shard of candidates with the scores that the filter uses; see `batches` for the arguments."""
        # other scores need all columns; a judged table has more than these
        names = CANDIDATES.names if columns is None or self.rescored is not None else list(columns)
        table = self.candidates.read(number, names)
        if wanted is not None:
            asked = wanted(table.column("query_row").to_numpy())
            table = table if asked.all() else table.filter(pa.array(asked))
        return table if self.rescored is None else self.rescored.add_to(table)

    def batches(
        self, wanted: QueryFilter | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[Batch, TextKeys]]:
        """Yield candidates with their text keys, some queries at a time.

        `wanted` returns which queries to read, `columns` are the columns to read (text keys are then empty); None reads
        all.
        """
        # the next shard is read while this one is worked on
        for table in prefetched(self.read(number, wanted, columns) for number in range(len(self.candidates))):
            for piece in slices(table):
                batch, rows = Batch.from_table(piece), piece.column("query_row").to_numpy()
                yield self.with_permitted(batch), self.keys(rows if columns is None else rows[:0])

    def with_permitted(self, batch: Batch) -> Batch:
        """Return a batch with its attribute `permitted`, where the run has a metadata filter."""
        if self.where is None:
            return batch
        known = batch.positives.take(batch.owners)
        queries = batch.query_rows[batch.owners[known.owners]]
        documents = batch.candidates.values[known.owners]
        return replace(batch, permitted=self.where.allows(queries, documents, known.values))

    def keys(self, rows: np.ndarray) -> TextKeys:
        """Return the text keys of the queries with the given rows."""
        # by row and not by shard: candidates may have been found under another shard size than the queries now have
        lists = ("sibling_rows", "negative_rows", "relevant_rows")
        table = self.queries.take(rows, ["text_key", *lists])
        siblings, negatives, relevant = (Ragged.from_arrow(table.column(name)) for name in lists)
        siblings = siblings if self.siblings is None else self.siblings.take(rows)
        text_keys = table.column("text_key").to_numpy()
        is_cosine = self.config.embed.similarity == "cosine"
        return TextKeys(
            self.documents, self.shared, text_keys, siblings, negatives, relevant, is_cosine, self.evaluation,
            self._labels,
        )  # fmt: skip

    @cached_property
    def _labels(self) -> Ragged:
        return labels_by_text(self.queries)


def read_calibration(folder: Path, seed: int) -> Calibration | None:
    """Return the calibration that a filter folder was made with; None where its config gives no probabilities."""
    table = read_table(folder / "calibration" / CALIBRATION_FILE)
    return Calibration.from_table(conform(table, CALIBRATION, "filter/calibration"), seed)


def slices(table: pa.Table) -> Iterator[pa.Table]:
    """Yield a table of candidates in slices of about `CELLS` cells each, of one query at least."""
    candidates = Ragged.from_arrow(table.column("doc_rows")).lengths
    positives = Ragged.from_arrow(table.column("positive_rows")).lengths
    for first, last in spans_within(candidates * np.maximum(positives, 1), CELLS):
        yield table.slice(first, last - first)
