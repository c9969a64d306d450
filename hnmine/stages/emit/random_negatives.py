"""Random documents as negatives: those that `mixed` wants, and those that fill up where too few were kept."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import pair_dots
from hnmine.arrays.ragged import Ragged
from hnmine.config import Config
from hnmine.runtime.memory import cache_bytes
from hnmine.runtime.stage import RunContext
from hnmine.science.random_documents import draw_documents
from hnmine.science.sampling import count_used, first_refused
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.stages.emit.choose import anchor_seeds
from hnmine.stages.rescore.rescored import uses_rescored
from hnmine.storage.schemas.emit import CHOSEN
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards
from hnmine.storage.vectors import BLOCK_ROWS, VectorStore

RANDOM = -1
"""The position of a chosen negative that is no candidate of its query."""

PREVIOUS = -2
"""The position of one that is no candidate either, but was chosen by an earlier run that this one goes on from."""

# Sets the seeds of random documents apart from those that candidates are chosen by.
_SALT = np.uint64(0x66696C6C)
# Anchors that are served at a time where a cap counts over all of them.
_SERVED = 256


def counts_of(chosen: pa.Table, config: Config) -> dict[str, int]:
    """Return how many of the chosen negatives are random documents, and how many of them fill up."""
    positions = Ragged.from_arrow(chosen.column("positions"))
    random = np.bincount(positions.owners[positions.values == RANDOM], minlength=len(positions))
    filled = np.maximum(random - config.emit.random_negatives, 0)
    return {
        "negatives_random": int(random.sum()),
        "negatives_filled_up": int(filled.sum()),
        "examples_filled_up": int((filled > 0).sum()),
    }


@dataclass
class Filler:
    """Adds random documents to what was chosen of the candidates; a cap on documents goes on counting.

    Attributes:
        config: the whole config.
        used: how often each document was chosen before.
        names: int64, one a document: the same for copies of one text.
        keys: uint64, ascending: the text key of each name.
        queries: for their text keys, and the positives of others with the same text.
        corpus: the teacher's vectors of documents.
        query_vectors: and of queries.
    """

    config: Config
    used: dict[int, int]
    names: np.ndarray
    keys: np.ndarray
    queries: Shards
    corpus: VectorStore
    query_vectors: VectorStore
    where: MetadataFilter | None = None

    @classmethod
    def open(cls, context: RunContext, used: dict[int, int]) -> "Filler":
        """Return the filler of a run."""
        ingest, embed = context.reading("ingest"), context.reading("embed")
        texts = Shards(ingest / "corpus", CORPUS).column("text_key").to_numpy()
        keys, names = np.unique(texts, return_inverse=True)
        corpus = VectorStore(embed / "corpus", cache_bytes(context.config))
        queries = Shards(ingest / "queries", QUERIES)
        where = MetadataFilter.open(context, context.reading("retrieve"))
        return cls(context.config, used, names, keys, queries, corpus, VectorStore(embed / "queries"), where)

    def fill(self, table: pa.Table, chosen: pa.Table) -> pa.Table:
        """Return `chosen` with random documents after the candidates chosen: position -1, score from the vectors.

        Args:
            table: candidates of some queries: query_id, query_row, doc_rows, positive_rows, anchor_scores and
                background_mean.
            chosen: what was chosen of them, one row an anchor.
        """
        anchors = Ragged.from_arrow(table.column("anchor_scores"))
        seeds = anchor_seeds(self.config.seed, table.column("query_id").to_pylist(), anchors) ^ _SALT
        before = Ragged.from_arrow(chosen.column("positions"))
        missing = self.config.emit.num_negatives - before.lengths
        if self.config.emit.fallback == "none":
            missing = np.minimum(missing, self.config.emit.random_negatives)
        lacking = np.flatnonzero(missing)
        barred = self._barred(table, _staying(chosen, anchors.owners)).take(anchors.owners[lacking])
        classes = self._classes(table.column("query_row").to_numpy()[anchors.owners[lacking]])
        places, rows = self._draw(seeds[lacking], missing[lacking], (barred, classes))
        groups = lacking[places]
        if uses_rescored(self.config):  # a random document's expected percentile: it has no score of its own
            scores = table.column("background_mean").to_numpy()[anchors.owners[groups]]
        else:
            scores = self._scores(rows, table.column("query_row").to_numpy()[anchors.owners[groups]])
        new = {"positions": np.full(len(rows), RANDOM, dtype=np.int32), "doc_rows": rows, "scores": scores}
        for name, values in new.items():
            number, field = CHOSEN.get_field_index(name), CHOSEN.field(name)
            joined = _append(Ragged.from_arrow(chosen.column(name)), groups, values)
            chosen = chosen.set_column(number, field, joined.to_arrow(field.type.value_type))
        return chosen

    def _barred(self, table: pa.Table, staying: tuple[np.ndarray, np.ndarray]) -> Ragged:
        """Return for each query the names that it may not draw: its own, and those of what it has labelled or found.

        Args:
            table: candidates of some queries.
            staying: (query, document) of negatives of an earlier run that are no candidates.
        """
        rows = table.column("query_row").to_numpy()
        queries = self.queries.take(rows, ["text_key", "sibling_rows", "relevant_rows"])
        keys = queries.column("text_key").to_numpy()
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        own = np.flatnonzero(self.keys[at] == keys)
        lists = [Ragged.from_arrow(table.column(name)) for name in ("positive_rows", "doc_rows")]
        lists += [Ragged.from_arrow(queries.column(name)) for name in ("sibling_rows", "relevant_rows")]
        owners = np.concatenate([own, *(part.owners for part in lists), staying[0]])
        names = np.concatenate([at[own], *(self.names[part.values] for part in lists), self.names[staying[1]]])
        order = np.argsort(owners, kind="stable")
        return Ragged.from_lengths(names[order], np.bincount(owners, minlength=len(rows)))

    def _classes(self, queries: np.ndarray) -> np.ndarray:
        """Return the class of each query (row), by what `retrieve.where` allows it; all one where it says nothing."""
        return np.zeros(len(queries), dtype=np.int64) if self.where is None else self.where.classes[queries]

    def _draw_allowed(
        self, seeds: np.ndarray, wanted: np.ndarray, of: tuple[Ragged, np.ndarray], free: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (anchor, document) as `draw_documents` does, of the documents that the class of each anchor allows."""
        barred, classes = of
        if self.where is None:
            return draw_documents(seeds, wanted, self.names, (barred.owners, barred.values), free)
        found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
        for number in np.unique(classes):
            own = np.flatnonzero(classes == number)
            rows = np.flatnonzero(self.where.mask(int(number), 0, len(self.names)))
            names, renamed = np.unique(self.names[rows], return_inverse=True)
            kept = barred.take(own)
            at = np.searchsorted(names, kept.values)
            there = (at < len(names)) & (names[np.minimum(at, len(names) - 1)] == kept.values) if len(names) else at < 0
            pairs = (kept.owners[there], at[there])
            open_rows = None if free is None else free[rows]
            groups, places = draw_documents(seeds[own], wanted[own], renamed.reshape(-1), pairs, open_rows)
            found.append((own[groups], rows[places]))
        groups, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(groups, kind="stable")
        return groups[order], rows[order]

    def _draw(
        self, seeds: np.ndarray, wanted: np.ndarray, of: tuple[Ragged, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (anchor, document) as `draw_documents` does, no document more often than the cap allows.

        Args:
            seeds: uint64, one an anchor.
            wanted: int64, one an anchor.
            of: the names that each anchor may not take, and its class.
        """
        barred, classes = of
        cap = self.config.emit.max_per_document
        free = self._embedded()
        if cap is None:
            return self._draw_allowed(seeds, wanted, of, free)
        found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
        free = np.ones(len(self.names), dtype=bool) if free is None else free
        free[[row for row, times in self.used.items() if times >= cap]] = False
        first = 0
        while first < len(seeds):
            part = np.arange(first, min(first + _SERVED, len(seeds)))
            own = (barred.take(part), classes[part])
            groups, rows = self._draw_allowed(seeds[part], wanted[part], own, free)
            # what is drawn stands up to the first anchor that would take a document once too often
            border = first_refused(groups, rows, cap, self.used)
            served = len(part) if border is None else border
            groups, rows = groups[groups < served], rows[groups < served]
            count_used(rows, self.used)
            free[[row for row in rows.tolist() if self.used[row] >= cap]] = False
            found.append((first + groups, rows))
            first += served
        anchors, documents = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return anchors, documents

    def _embedded(self) -> np.ndarray | None:
        """Return which documents have a vector, bool; None where all have."""
        if self.corpus.rows == len(self.names):
            return None
        found = np.zeros(len(self.names), dtype=bool)
        found[self.corpus.row_of(np.arange(self.corpus.rows))] = True
        return found

    def _scores(self, documents: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """Return the teacher's score of each pair, as retrieve computes it; float32."""
        parts = [np.zeros(0, dtype=np.float32)]
        for first in range(0, len(documents), BLOCK_ROWS):
            part = slice(first, first + BLOCK_ROWS)
            parts.append(pair_dots(self.corpus.gather(documents[part]), self.query_vectors.gather(queries[part])))
        return np.concatenate(parts)


def _staying(chosen: pa.Table, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (query, document) of chosen negatives that stay from an earlier run without being candidates."""
    positions, documents = (Ragged.from_arrow(chosen.column(name)) for name in ("positions", "doc_rows"))
    at = positions.values == PREVIOUS
    return queries[positions.owners[at]], documents.values[at]


def _append(lists: Ragged, rows: np.ndarray, values: np.ndarray) -> Ragged:
    """Return the lists with each value (row ascending) put after those of its row."""
    owners = np.concatenate([lists.owners, rows])
    order = np.argsort(owners, kind="stable")
    joined = np.concatenate([lists.values, values.astype(lists.values.dtype)])[order]
    return Ragged.from_lengths(joined, np.bincount(owners, minlength=len(lists)))
