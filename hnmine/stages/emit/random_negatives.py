"""Adds random documents to the chosen negatives: the random share of `mixed`, and those that fill up short rows."""

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.science.random_documents import draw_documents
from hnmine.science.sampling import count_used, first_refused
from hnmine.search.metadata_filter import MetadataFilter
from hnmine.search.pair_scores import pair_scores
from hnmine.stages.emit.chosen import PREVIOUS_NEGATIVE, RANDOM_DOCUMENT, anchor_seeds
from hnmine.stages.emit.relabel.relabelled import sibling_rows
from hnmine.stages.hubs.normalised import replaces_scores
from hnmine.stages.ingest.evaluation import read_evaluation
from hnmine.storage.schemas.emit import CHOSEN
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards
from hnmine.storage.vectors import VectorStore

# Makes the seeds of random documents differ from those of chosen candidates.
_SALT = np.uint64(0x66696C6C)
# Anchors that draw together under a cap over all of them.
_ANCHORS = 256
_NOTHING = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


def count_random(chosen: pa.Table, config: Config) -> dict[str, int]:
    """Return the number of random documents among the chosen negatives, and of those that fill up short rows."""
    positions = Ragged.from_arrow(chosen.column("positions"))
    random = positions.filter(positions.values == RANDOM_DOCUMENT).lengths
    filled = np.maximum(random - config.emit.random_negatives, 0)
    return {
        "negatives_random": int(random.sum()),
        "negatives_filled_up": int(filled.sum()),
        "examples_filled_up": int((filled > 0).sum()),
    }


class RandomNegatives:
    """Draws random documents for anchors, under the run's cap on documents.

    An anchor never draws a copy of its query, or of a document that is labelled, judged relevant, a candidate, or a
    kept negative of a previous run, nor a document of the evaluation set.

    Args:
        context: the run.
        used: how often each document has been chosen so far; kept up to date where there is a cap.
    """

    def __init__(self, context: RunContext, used: dict[int, int]) -> None:
        ingest, embed = context.reading("ingest"), context.reading("embed")
        self.config, self.used = context.config, used
        self.queries = Shards(ingest / "queries", QUERIES)
        self.siblings = sibling_rows(context, context.folder("emit"))
        # documents are drawn by text number (int64, one per document): copies of a text share one
        keys = Shards(ingest / "corpus", CORPUS).column("text_key").to_numpy()
        self.text_keys, self.text_numbers = np.unique(keys, return_inverse=True)
        self.corpus = VectorStore(embed / "corpus", cache_bytes(context.config))
        self.query_vectors = VectorStore(embed / "queries")
        self.where = MetadataFilter.open(context, context.reading("retrieve"))
        self.evaluation = read_evaluation(ingest) if self.config.input.has_evaluation else _NOTHING[0]

    def add(self, table: pa.Table, chosen: pa.Table) -> pa.Table:
        """Return the chosen negatives of some queries with random documents added at the end of each list.

        The judged table needs the columns query_id, query_row, doc_rows, positive_rows, anchor_scores and
        background_mean; the chosen negatives have one row per anchor.
        """
        query_rows = table.column("query_row").to_numpy()
        anchors = Ragged.from_arrow(table.column("anchor_scores"))
        seeds = anchor_seeds(self.config.seed, table.column("query_id").to_pylist(), anchors) ^ _SALT
        before = {name: Ragged.from_arrow(chosen.column(name)) for name in ("positions", "doc_rows", "scores")}
        missing = self.config.emit.num_negatives - before["positions"].lengths
        if self.config.emit.fallback == "none":
            missing = np.minimum(missing, self.config.emit.random_negatives)
        lacking = np.flatnonzero(missing)
        queries = anchors.owners[lacking]
        is_previous = before["positions"].values == PREVIOUS_NEGATIVE
        previous = anchors.owners[before["positions"].owners[is_previous]], before["doc_rows"].values[is_previous]
        excluded = self._excluded(table, previous).take(queries)
        classes = np.zeros(len(queries), np.int64) if self.where is None else self.where.classes[query_rows[queries]]
        groups, rows = self._draw(seeds[lacking], missing[lacking], excluded, classes)
        if not len(rows):
            return chosen
        groups = lacking[groups]
        if replaces_scores(self.config):  # a random document has no such score: it gets the expected one
            scores = table.column("background_mean").to_numpy()[anchors.owners[groups]]
        else:  # bit for bit as retrieve computes them
            asked, of_asked = np.unique(query_rows[anchors.owners[groups]], return_inverse=True)
            places, vectors = self.corpus.positions(rows), self.query_vectors.gather(asked)
            scores = pair_scores(self.corpus, places, vectors, of_asked)
        owners = np.concatenate([before["positions"].owners, groups])
        order, lengths = np.argsort(owners, kind="stable"), np.bincount(owners, minlength=len(anchors.values))
        added = {"positions": np.full(len(rows), RANDOM_DOCUMENT), "doc_rows": rows, "scores": scores}
        for name, values in added.items():
            number, field, old = CHOSEN.get_field_index(name), CHOSEN.field(name), before[name].values
            joined = Ragged.from_lengths(np.concatenate([old, values.astype(old.dtype)])[order], lengths)
            chosen = chosen.set_column(number, field, joined.to_arrow(field.type.value_type))
        return chosen

    def _excluded(self, table: pa.Table, previous: tuple[np.ndarray, np.ndarray]) -> Ragged:
        """Return for each query of a judged table the text numbers that it may not draw.

        `previous` are the kept negatives of a previous run: (query, document row).
        """
        rows = table.column("query_row").to_numpy()
        queries = self.queries.take(rows, ["text_key", "relevant_rows"])
        keys = queries.column("text_key").to_numpy()
        at = np.minimum(np.searchsorted(self.text_keys, keys), len(self.text_keys) - 1)
        own = np.flatnonzero(self.text_keys[at] == keys)
        lists = [Ragged.from_arrow(table.column(name)) for name in ("positive_rows", "doc_rows")]
        lists += [self.siblings.take(rows), Ragged.from_arrow(queries.column("relevant_rows"))]
        owners = np.concatenate([own, *(part.owners for part in lists), previous[0]])
        documents = np.concatenate([*(part.values for part in lists), previous[1]])
        numbers = np.concatenate([at[own], self.text_numbers[documents]])
        return Ragged.from_lengths(numbers[np.argsort(owners, kind="stable")], np.bincount(owners, minlength=len(rows)))

    def _draw(
        self, seeds: np.ndarray, wanted: np.ndarray, excluded: Ragged, classes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (anchor, document row) of random documents, anchors ascending, no document above the cap.

        Each anchor has a seed (uint64), a number of documents (int64), the text numbers that it may not draw, and a
        class of allowed documents (int64, see `MetadataFilter.classes`).
        """
        cap = self.config.emit.max_per_document
        free = None
        if self.corpus.rows < len(self.text_numbers):  # some documents have no vector
            free = np.zeros(len(self.text_numbers), dtype=bool)
            free[self.corpus.row_of(np.arange(self.corpus.rows))] = True
        if len(self.evaluation):
            free = np.ones(len(self.text_numbers), dtype=bool) if free is None else free
            free[self.evaluation] = False
        if cap is None:
            return self._draw_allowed(seeds, wanted, excluded, classes, free)
        free = np.ones(len(self.text_numbers), dtype=bool) if free is None else free
        free[[row for row, times in self.used.items() if times >= cap]] = False
        found, first = [_NOTHING], 0
        while first < len(seeds):
            part = np.arange(first, min(first + _ANCHORS, len(seeds)))
            groups, rows = self._draw_allowed(seeds[part], wanted[part], excluded.take(part), classes[part], free)
            # the draws are valid up to the first anchor that would take a document above the cap; the rest draw again
            border = first_refused(groups, rows, cap, self.used)
            done = len(part) if border is None else border
            groups, rows = groups[groups < done], rows[groups < done]
            count_used(rows, self.used)
            free[[row for row in rows.tolist() if self.used[row] >= cap]] = False
            found.append((first + groups, rows))
            first += done
        anchors, documents = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return anchors, documents

    def _draw_allowed(
        self, seeds: np.ndarray, wanted: np.ndarray, excluded: Ragged, classes: np.ndarray, free: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the same without a cap: each anchor draws among the free documents that its class allows."""
        if self.where is None:
            return draw_documents(seeds, wanted, self.text_numbers, (excluded.owners, excluded.values), free)
        found = [_NOTHING]
        for number in np.unique(classes):
            own = np.flatnonzero(classes == number)
            rows = np.flatnonzero(self.where.mask(int(number), 0, len(self.text_numbers)))
            names, renamed = np.unique(self.text_numbers[rows], return_inverse=True)
            mine = excluded.take(own)
            inside = np.isin(mine.values, names)
            pairs = (mine.owners[inside], np.searchsorted(names, mine.values[inside]))
            open_rows = None if free is None else free[rows]
            groups, places = draw_documents(seeds[own], wanted[own], renamed, pairs, open_rows)
            found.append((own[groups], rows[places]))
        groups, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(groups, kind="stable")
        return groups[order], rows[order]
