"""The task that students are compared on: the texts, labels and ranked documents of a run's queries."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.commands.tune.mined import Candidates, MinedSet
from hnmine.runtime.stage import RunContext
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards
from hnmine.storage.vectors import VectorStore
from hnmine.students.pool import ranked_documents, ranks_all
from hnmine.students.task import Examples, Task, TestQueries

BEST_CANDIDATES = 30
"""Candidates of each query that are ranked where the corpus is too large for the student to rank whole."""


@dataclass(frozen=True)
class Labels:
    """The labels of the queries that take part, by document rows.

    Attributes:
        rows: row of each query, int64, ascending.
        relevant: labelled positives, and documents judged relevant.
        linked: the same with the positives of queries with the same text: queries that share one are kept together.
    """

    rows: np.ndarray
    relevant: Ragged
    linked: Ragged

    @classmethod
    def read(cls, context: RunContext, rows: np.ndarray) -> "Labels":
        """Return the labels of the queries with the given rows."""
        names = ["positive_rows", "relevant_rows", "sibling_rows"]
        table = Shards(context.reading("ingest") / "queries", QUERIES).take(rows, names)
        lists = [Ragged.from_arrow(table.column(name)) for name in names]
        return cls(rows, _joined(lists[:2]), _joined(lists))


def _joined(parts: list[Ragged]) -> Ragged:
    owners = np.concatenate([part.owners for part in parts])
    values = np.concatenate([part.values for part in parts])
    order = np.argsort(owners, kind="stable")
    return Ragged.from_lengths(values[order], np.bincount(owners, minlength=len(parts[0])))


@dataclass(frozen=True)
class Pool:
    """The queries and the ranked documents of a task.

    Attributes:
        context: of the run.
        labels: of the queries.
        documents: their rows, int64, ascending.
        of_corpus: number of documents in the corpus.
    """

    context: RunContext
    labels: Labels
    documents: np.ndarray
    of_corpus: int

    def examples(self, mined: MinedSet) -> Examples:
        """Return a mined set in the numbers of the task."""
        return Examples(
            np.searchsorted(self.labels.rows, mined.queries),
            np.searchsorted(self.documents, mined.positives),
            mined.negatives.with_values(np.searchsorted(self.documents, mined.negatives.values)),
        )

    @cached_property
    def task(self) -> Task:
        """The task, on which every query is tested: a training counts for those that it was not trained on."""
        ingest, embed = self.context.reading("ingest"), self.context.config.embed
        queries = Shards(ingest / "queries", QUERIES).take(self.labels.rows, ["text"]).column("text").to_pylist()
        documents = Shards(ingest / "corpus", CORPUS).take(self.documents, ["text"]).column("text").to_pylist()
        relevant = self.labels.relevant.with_values(np.searchsorted(self.documents, self.labels.relevant.values))
        return Task(
            query_texts=[embed.query_prompt + text for text in queries],
            document_texts=[embed.document_prompt + text for text in documents],
            known=relevant,
            test=TestQueries(np.arange(len(queries)), relevant),
        )

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the run's vectors of queries and documents, float32, for a student without a model."""
        embed = self.context.reading("embed")
        corpus = VectorStore(embed / "corpus")
        return VectorStore(embed / "queries").gather(self.labels.rows), corpus.gather(self.documents)


def best_first(candidates: Ragged, depth: int) -> np.ndarray:
    """Return each query's first `depth` candidates, rows: first the best of all queries, then their second ones."""
    first = np.flatnonzero(candidates.positions < depth)
    return np.asarray(candidates.values[first[np.argsort(candidates.positions[first], kind="stable")]])


def whole_corpus(context: RunContext, most: int) -> bool:
    """Return whether all documents are ranked: there are at most `most`, and each has a vector."""
    corpus = VectorStore(context.reading("embed") / "corpus")
    return ranks_all(Shards(context.reading("ingest") / "corpus", CORPUS).rows, corpus.held, most)


def make_pool(candidates: Candidates, labels: Labels, mined: list[MinedSet], most: int) -> Pool:
    """Return the pool of a run for a student that ranks up to `most` documents; it holds those of the given sets."""
    context = candidates.context
    total = Shards(context.reading("ingest") / "corpus", CORPUS).rows
    held = VectorStore(context.reading("embed") / "corpus").held
    best = best_first(Ragged.from_arrow(candidates.table.column("doc_rows")), BEST_CANDIDATES)
    needed = [labels.relevant.values, *(part for one in mined for part in (one.positives, one.negatives.values))]
    rows = ranked_documents(total, held, np.concatenate(needed), best, most, context.config.seed)
    return Pool(context, labels, rows, total)
