"""What candidates share in words with their query and its positives, from the hashed words that ingest stored."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hnmine.ragged import Ragged
from hnmine.schemas import CORPUS, TERMS, conform
from hnmine.science.lexical import BUCKETS, coverage, overlap, rarity, shared_weight
from hnmine.store import Shards


class Words:
    """The words of a corpus and their rarity.

    Args:
        ingest: the folder of the ingest stage.
    """

    def __init__(self, ingest: Path) -> None:
        self.corpus = Shards(ingest / "corpus", CORPUS)
        table = conform(pq.read_table(ingest / "terms.parquet"), TERMS, "ingest/terms.parquet")
        documents_with = np.zeros(BUCKETS, dtype=np.int64)
        documents_with[table.column("term").to_numpy()] = table.column("documents").to_numpy()
        self.idf = rarity(documents_with, self.corpus.rows)

    def of(self, rows: np.ndarray) -> Ragged:
        """Return the words of the given rows of the corpus."""
        return Ragged.from_arrow(self.corpus.take(rows, ["terms"]).column(0))

    def overlaps(self, queries: Ragged, candidates: Ragged, positives: Ragged) -> tuple[np.ndarray, np.ndarray]:
        """Return how much each candidate shares with its query, and with each of the query's positives.

        Args:
            queries: words of each query.
            candidates: rows of each query's candidates.
            positives: rows of each query's positives.

        Returns:
            (share of the query's word weight, float32, one a candidate; weighted overlap, float32, candidate by
            candidate with each positive of its query).
        """
        unique, inverse = np.unique(np.concatenate([candidates.values, positives.values]), return_inverse=True)
        words = self.of(unique)
        totals = np.bincount(words.owners, weights=self.idf[words.values], minlength=len(unique))
        own, theirs = inverse[: len(candidates.values)], inverse[len(candidates.values) :]
        with_query = np.empty(len(own), dtype=np.float32)
        with_positives = []
        for query in range(len(queries)):
            span = slice(candidates.offsets[query], candidates.offsets[query + 1])
            docs = own[span]
            found, owners = words.values[words.places(docs)], np.repeat(np.arange(len(docs)), words.lengths[docs])
            asked = queries.values[queries.offsets[query] : queries.offsets[query + 1]]
            shared = shared_weight(asked, found, owners, len(docs), self.idf)
            with_query[span] = coverage(shared, float(self.idf[asked].sum()))
            mine = theirs[positives.offsets[query] : positives.offsets[query + 1]]
            block = np.empty((len(docs), len(mine)), dtype=np.float32)
            for column, positive in enumerate(mine):
                wanted = words.values[words.offsets[positive] : words.offsets[positive + 1]]
                shared = shared_weight(wanted, found, owners, len(docs), self.idf)
                block[:, column] = overlap(shared, totals[docs], totals[positive])
            with_positives.append(block.ravel())
        return with_query, np.concatenate([*with_positives, np.empty(0, dtype=np.float32)])
