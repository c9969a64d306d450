"""Clusters of the documents in the training rows, and how likely negatives in their positive's cluster are false."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import unit
from hnmine.arrays.kmeans import nearest_centroid, spherical_kmeans
from hnmine.arrays.ragged import Ragged
from hnmine.config.emit import EmitConfig
from hnmine.runtime.stage import RunContext, Tick
from hnmine.science.example_weights import cluster_rates, cluster_weight
from hnmine.stages.emit.batches.conflicts import Examples
from hnmine.stages.emit.batches.step import read_examples
from hnmine.stages.emit.chosen import read_chosen, rows_of
from hnmine.stages.emit.negative_columns import EmittedNegatives, false_negative_probabilities
from hnmine.stages.emit.previous.refresh import read_previous
from hnmine.stages.emit.relabel.relabelled import judged_folder
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.emit import CLUSTERS
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.store import Shards, read_table
from hnmine.storage.vectors import BLOCK_ROWS, VectorStore

CLUSTERS_PATH = "clusters/clusters.parquet"
POINTS = 64
"""Documents that centroids are fitted on, for each centroid."""
_COLUMNS = ["doc_rows", "anchor_scores", "probabilities"]


@dataclass(frozen=True)
class Clusters:
    """The clusters of the documents in the training rows.

    Attributes:
        rows: int64, ascending: the documents.
        cluster: int64, shape (documents,): the cluster of each.
        rates: float64, shape (clusters,): mean P(false negative) of the negatives in their positive's cluster.
    """

    rows: np.ndarray
    cluster: np.ndarray
    rates: np.ndarray

    @classmethod
    def read(cls, emit: Path) -> "Clusters":
        """Return the clusters of an emit folder."""
        table = conform(read_table(emit / CLUSTERS_PATH), CLUSTERS, "emit/clusters")
        rows, cluster, rate = (table.column(name).to_numpy() for name in CLUSTERS.names)
        rates = np.zeros(int(cluster.max(initial=-1)) + 1)
        rates[cluster] = rate
        return cls(rows, cluster.astype(np.int64), rates)

    @property
    def count(self) -> int:
        """Number of clusters with a document of the training rows."""
        return len(np.unique(self.cluster))

    def of(self, negatives: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the cluster of each negative (int64), and whether its positive is in it (bool); rows, shape (m,)."""
        of_negatives, of_positives = (self.cluster[np.searchsorted(self.rows, rows)] for rows in (negatives, positives))
        return of_negatives, of_negatives == of_positives

    def weights(self, negatives: np.ndarray, positives: np.ndarray, written: np.ndarray) -> np.ndarray:
        """Return the cluster weight of each negative, given its row and its positive's; float64, shape (m,).

        It is 1 where `written` (bool) is False: only documents of examples that get rows have a cluster.
        """
        found = np.ones(len(negatives))
        cluster, own = self.of(negatives[written], positives[written])
        found[written] = cluster_weight(cluster, own, self.rates)
        return found


def cluster_count(emit: EmitConfig, documents: int) -> int:
    """Return the number of clusters of a corpus of some documents."""
    return max(1, min(emit.clusters or round(documents**0.5), documents))


def cluster_documents(context: RunContext, tick: Tick) -> pa.Table:
    """Return the clusters of all positives and negatives of the training rows, as the table `emit/clusters`.

    Centroids are those of spherical k-means on documents spread evenly over the corpus.
    """
    emit = context.folder("emit")
    examples, vectors = read_examples(context, emit), VectorStore(context.reading("embed") / "corpus")
    count = cluster_count(context.config.emit, vectors.rows)
    sample = np.unique(np.linspace(0, vectors.rows - 1, num=min(vectors.rows, POINTS * count)).astype(np.int64))
    points = unit(vectors.gather(vectors.row_of(sample)))
    centroids = spherical_kmeans(points, count, POINTS, context.config.seed % 2**31)
    rows = np.unique(np.concatenate([examples.positive_row, examples.negative_rows.values]))
    parts = [np.zeros(0, dtype=np.int64)]
    for first in range(0, len(rows), BLOCK_ROWS):
        parts.append(nearest_centroid(unit(vectors.gather(rows[first : first + BLOCK_ROWS])), centroids))
    cluster = np.concatenate(parts)
    found = Clusters(rows, cluster, np.zeros(count))
    negatives = examples.negative_rows
    in_cluster, own = found.of(negatives.values, examples.positive_row[negatives.owners])
    rates = cluster_rates(_probabilities(context, emit, examples).values, in_cluster, own, count)
    tick(Shards(judged_folder(context, emit), JUDGED).rows)
    return pa.Table.from_arrays(
        [pa.array(rows), pa.array(cluster.astype(np.int32)), pa.array(rates[cluster])], schema=CLUSTERS
    )


def _probabilities(context: RunContext, emit: Path, examples: Examples) -> Ragged:
    """Return P(false negative) of each negative of the examples, float64; NaN for random documents."""
    judged, chosen = Shards(judged_folder(context, emit), JUDGED), read_chosen(emit)
    previous = read_previous(emit) if context.config.previous is not None else None
    parts = [np.zeros(0)]
    for number, (first, last) in enumerate(zip(judged.offsets[:-1].tolist(), judged.offsets[1:].tolist(), strict=True)):
        table, own = judged.read(number, _COLUMNS), rows_of(chosen, first, last)
        negatives = EmittedNegatives.of(table, own, np.arange(own.num_rows))
        before = None if previous is None else rows_of(previous, first, last)
        p = false_negative_probabilities(table, negatives, before)
        parts.append(p.to_numpy(zero_copy_only=False).astype(np.float64))  # null is NaN
    lists = Ragged.from_arrow(chosen.column("doc_rows"))
    return lists.with_values(np.concatenate(parts)).take(examples.anchor)
