"""The queries that are nearest to a query, and what their labels say of documents."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import dots, unit
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_rows
from hnmine.arrays.topk import NOTHING, unpack
from hnmine.config.tables import Config
from hnmine.science.near_queries import near_labels
from hnmine.science.z_scores import background, background_z_scores
from hnmine.search.bfloat16_products import RoundedProposer, bfloat16_pays
from hnmine.search.exact import ExactProposer, search
from hnmine.storage.store import Shards
from hnmine.storage.vectors import Block, VectorStore

NEAR = 20
"""Near queries of a query at most."""
MOST_QUERIES = 32_768
"""Queries that near ones are found among, a random sample of more, to bound memory and time."""
_RANDOM = 256
# Memory of their vectors rounded to bfloat16: more dimensions than any model has.
_ROOM = 4 * MOST_QUERIES * 16_384
# Makes the samples independent of the background documents, and of one another.
_AMONG, _BACKGROUND = 0x6E656172, 0x6E656162


@dataclass(frozen=True)
class _Held:
    """Vectors in memory, as one block."""

    block: Block

    def blocks(self) -> Iterator[Block]:
        yield self.block


def labels_by_text(queries: Shards) -> Ragged:
    """Return for each query of a run the rows of the positives of all queries with its text; some may repeat."""
    return Ragged.from_arrow(queries.column("positive_rows")).append(Ragged.from_arrow(queries.column("sibling_rows")))


@dataclass(frozen=True)
class NearQueries:
    """Finds the queries of a run that are nearest to a query by the teacher's vectors, and reads their labels.

    Of queries with the same text the first stands for all, with the labels of all. A query's own text is never near.

    Attributes:
        rows: int64, rows of the queries that are searched, ascending.
        vectors: their vectors at length 1, float32, shape (rows, dim).
        keys: uint64, their text keys.
        labels: see `labels_by_text`.
        random: int64, places in `rows` of the queries of the background.
        proposer: of the search among the vectors.
    """

    rows: np.ndarray
    vectors: np.ndarray
    keys: np.ndarray
    labels: Ragged
    random: np.ndarray
    proposer: ExactProposer

    @classmethod
    def open(cls, queries: Shards, vectors: VectorStore, config: Config) -> "NearQueries":
        """Return the near queries of a run, given its queries by the schema `QUERIES` and their vectors."""
        keys, first = np.unique(queries.column("text_key").to_numpy(), return_index=True)
        order = np.argsort(first)
        chosen = order[sample_rows(len(order), MOST_QUERIES, config.seed, _AMONG)]
        rows = first[chosen].astype(np.int64)
        random = sample_rows(len(rows), _RANDOM, config.seed, _BACKGROUND)
        own = unit(vectors.gather(rows))
        rounded = bfloat16_pays(config, (len(rows), queries.rows, vectors.dim))
        proposer = RoundedProposer(_Held(Block(0, own)), _ROOM) if rounded else ExactProposer(_Held(Block(0, own)))
        return cls(rows, own, keys[chosen], labels_by_text(queries), random, proposer)

    def find(self, vectors: np.ndarray, keys: np.ndarray) -> tuple[Ragged, np.ndarray]:
        """Return the near queries of some queries, given their vectors (float32, (q, dim)) and text keys (uint64).

        Returns:
            (rows of the `NEAR` nearest, the nearest first, ties by row; their nearness, float32: the cosine in
            deviations of the query's cosines to random queries with another text, 0 where these are all equal).
        """
        asked = unit(vectors)
        found = search(self.proposer.corpus, asked, min(NEAR + 1, len(self.rows)), self.proposer)
        cosines, places = unpack(found)
        there = found != NOTHING
        same = self.keys[np.where(there, places, 0)] == keys[:, None]
        kept = there & ~same
        kept &= np.cumsum(kept, axis=1) <= NEAR
        near = Ragged.from_lengths(self.rows[places[kept]], kept.sum(axis=1))
        mean, std = background(dots(asked, self.vectors[self.random]), self.keys[self.random] == keys[:, None])
        nearness = background_z_scores(cosines[kept], mean[near.owners], std[near.owners])
        return near, nearness.astype(np.float32)

    def columns(self, vectors: np.ndarray, keys: np.ndarray, candidates: Ragged) -> dict[str, pa.Array]:
        """Return the columns on near queries and their labels, given queries as in `find` and their candidates."""
        near, nearness = self.find(vectors, keys)
        nearest, share = near_labels(candidates, near, nearness, self.labels)
        return {
            "near_queries": near.to_arrow(pa.int64()),
            "nearness": near.with_values(nearness).to_arrow(pa.float32()),
            "near_labels": candidates.with_values(nearest).to_arrow(pa.float32()),
            "near_label_shares": candidates.with_values(share).to_arrow(pa.float32()),
        }
