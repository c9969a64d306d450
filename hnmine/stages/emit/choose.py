"""Chooses each anchor's negatives among the candidates that the filter kept, and adds previous and random ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import unit
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import random_numbers
from hnmine.config.emit import EmitConfig
from hnmine.config.tables import Config
from hnmine.errors import IncompleteStage
from hnmine.runtime.stage import RunContext, Tick
from hnmine.runtime.threads import in_threads
from hnmine.runtime.worker_slot import CHOOSING_THREADS, cache_bytes
from hnmine.science.diversity import marginal_relevance
from hnmine.science.ensembling import random_source, round_robin
from hnmine.science.sampling import choose, choose_capped, count_used, judged_first, select_capped, simans_priority
from hnmine.science.stratified import quantile_strata, take_in_turn
from hnmine.science.z_scores import background_z_scores
from hnmine.stages.emit.chosen import anchor_seeds, cells_of, rows_of
from hnmine.stages.emit.previous.refresh import KeptNegatives
from hnmine.stages.emit.random_negatives import RandomNegatives
from hnmine.stages.emit.relabel.relabelled import judged_folder
from hnmine.stages.filter.bad_positives import SUSPECT_COLUMNS, needs_negatives
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.inputs import slices
from hnmine.storage.schemas.emit import CHOSEN
from hnmine.storage.schemas.filter import JUDGED_CODED
from hnmine.storage.store import MANIFEST, Shards, Tables, read_json
from hnmine.storage.vectors import BLOCK_ROWS, VectorStore

# Kept candidates that `diverse` compares at a time: their vectors stay in the processor's cache.
_IN_CACHE = 1024
_CHOOSE_COLUMNS = [
    *SUSPECT_COLUMNS, "query_id", "query_row", "positive_rows", "doc_rows", "scores", "anchor_scores", "verdicts",
    "judged_negatives", "source_ranks",
]  # fmt: skip
_RANDOM_COLUMNS = ["query_id", "query_row", "doc_rows", "positive_rows", "anchor_scores", "background_mean"]


def teacher_vectors(context: RunContext) -> VectorStore | None:
    """Return the corpus vectors if the run's way of choosing needs them (`diverse`), else None.

    Raises:
        IncompleteStage: they are needed, and the stage embed is not complete.
    """
    if context.config.emit.choose != "diverse":
        return None
    folder = context.reading("embed")
    if read_json(folder / MANIFEST) is None:
        raise IncompleteStage(
            f'{folder} is not complete, and emit.choose = "diverse" needs its vectors; run `hnmine embed` first'
        )
    return VectorStore(folder / "corpus", cache_bytes(context.config))


def choose_all(context: RunContext, tick: Tick) -> pa.Table:
    """Return the chosen negatives of every (query, anchor), as the table `emit/chosen`."""
    judged = Shards(judged_folder(context, context.folder("emit")), JUDGED_CODED)
    return choose_negatives(context, judged, KeptNegatives.open(context), tick)


def choose_negatives(context: RunContext, judged: Tables, kept: KeptNegatives | None, tick: Tick) -> pa.Table:
    """Return the chosen negatives of every (query, anchor) of judged candidates, as a table by the schema `CHOSEN`.

    Random documents are drawn after all candidates are chosen, so that a cap on documents serves candidates first,
    however the queries are split into parts. `kept` are the negatives kept of a previous run.
    """
    config = context.config
    cosine = config.embed.similarity == "cosine"
    chooser = Chooser(config.emit, config.seed, vectors=teacher_vectors(context), cosine=cosine)
    if kept is not None:
        count_used(kept.documents.values, chooser.used)

    def choose_shard(number: int) -> list[pa.Table]:
        parts = []
        for piece in slices(judged.read(number, _CHOOSE_COLUMNS)):
            parts.append(_choose_table(piece, chooser, config, kept))
            tick(piece.num_rows)
        return parts

    # one shard after another under a cap, which earlier choices use up, and where threads would share the vectors
    threads = CHOOSING_THREADS if config.emit.max_per_document is None and chooser.vectors is None else 1
    found = in_threads(choose_shard, range(len(judged)), threads)
    chosen = pa.concat_tables([CHOSEN.empty_table(), *(part for parts in found for part in parts)])
    if not config.emit.draws_random:
        return chosen
    random = RandomNegatives(context, chooser.used)
    parts = [CHOSEN.empty_table()]
    for number in range(len(judged)):
        for piece in slices(judged.read(number, _RANDOM_COLUMNS)):
            first, last = piece.column("query_row")[0].as_py(), piece.column("query_row")[-1].as_py()
            parts.append(random.add(piece, rows_of(chosen, first, last + 1)))
    return pa.concat_tables(parts)


def _choose_table(table: pa.Table, chooser: "Chooser", config: Config, kept: KeptNegatives | None) -> pa.Table:
    """Return the chosen negatives of the queries of a judged table, with the kept negatives of a previous run."""
    batch = Batch.from_table(table)
    cells, keep = cells_of(table, batch)
    needed = needs_negatives(table, config)
    keep &= needed[cells.anchor]
    wanted = config.emit.retrieved_negatives * needed
    if kept is not None:
        kept = kept.take(batch.query_rows)
        at = np.flatnonzero(keep)
        keep[at] = kept.allows(cells.anchor[at], batch.candidates.values[cells.candidate[at]])
        wanted -= kept.documents.lengths
    judged = Ragged.from_arrow(table.column("judged_negatives")).values
    chosen = chooser.choose(batch, cells, keep, table.column("query_id").to_pylist(), judged, wanted=wanted)
    owners = cells.anchors.owners
    at = batch.candidates.starts[owners][chosen.owners] + chosen.values
    documents, scores = batch.candidates.values[at], batch.scores[at]
    if kept is not None:
        chosen, documents, scores = kept.merge(chosen, documents, scores)
    columns = {
        "query_row": batch.query_rows[owners],
        "anchor": cells.anchors.positions,
        "wanted": np.where(needed, config.emit.num_negatives, 0),
        "positions": chosen.to_arrow(pa.int32()),
        "doc_rows": chosen.with_values(documents).to_arrow(pa.int64()),
        "scores": chosen.with_values(scores).to_arrow(pa.float32()),
    }
    return pa.table(columns, schema=CHOSEN)


Select = Callable[[np.ndarray], np.ndarray]
"""Takes positions of kept cells (int64, ascending) and returns the chosen ones, ascending; each anchor by itself."""


@dataclass
class Chooser:
    """Chooses negatives batch by batch, with one cap on documents over all batches.

    Attributes:
        config: the emit table. Of `mixed`, only the retrieved part is chosen here.
        seed: seed of random choices, together with the query's id.
        used: how often each document has been chosen so far; kept up to date where there is a cap.
        vectors: the teacher's vectors; needed for `diverse` only.
        cosine: whether scores are cosines. Other scores are scaled to at most 1 for `diverse`.
    """

    config: EmitConfig
    seed: int
    used: dict[int, int] = field(default_factory=dict)
    vectors: VectorStore | None = None
    cosine: bool = True

    def choose(
        self,
        batch: Batch,
        cells: Cells,
        keep: np.ndarray,
        query_ids: list[str],
        judged: np.ndarray | None = None,
        *,
        wanted: np.ndarray | None = None,
    ) -> Ragged:
        """Return for each anchor the positions of its negatives among the query's candidates, ascending.

        Args:
            batch: candidates.
            cells: cells of the batch.
            keep: bool, shape (cells,): cells that may be chosen.
            query_ids: ids of the batch's queries.
            judged: bool, shape (candidates,): judged irrelevant; chosen first under `emit.prefer_judged`.
            wanted: int64, shape (anchors,): number of negatives; `retrieved_negatives` of the config by default.
        """
        if wanted is None:
            wanted = np.full(len(cells.anchors.values), self.config.retrieved_negatives)
        kept, priority = np.flatnonzero(keep), None
        if self.config.ensemble == "cross":
            # ranks in the source drawn for the anchor; 0 if that source did not find the candidate
            ranks = batch.source_ranks
            source = random_source(anchor_seeds(self.seed, query_ids, cells.anchors), max(1, ranks.shape[1]))
            ranks = ranks[cells.candidate[kept], source[cells.anchor[kept]]]
            kept, priority = kept[ranks > 0], ranks[ranks > 0]
        groups, at = cells.anchor[kept], cells.candidate[kept]
        documents, n = batch.candidates.values[at], wanted[groups]
        if self.config.choose == "diverse":
            picked = self._pick_diverse(groups, documents, batch.scores[at], n)
        elif self.config.ensemble == "intra":
            ranks = batch.source_ranks[at]
            picked = self._pick(lambda own: own[round_robin(groups[own], ranks[own], n[own])], groups, documents)
        elif self.config.choose == "stratified":
            first = judged[at] if self.config.prefer_judged and judged is not None else None
            numbers = self._random_numbers(batch, cells, kept, query_ids)
            picked = self._pick(self._stratified(groups, batch.scores[at], numbers, first, n), groups, documents)
        else:
            if self.config.choose in ("random", "simans"):
                priority = self._random_priority(batch, cells, kept, query_ids)
            if self.config.prefer_judged and judged is not None:
                priority = judged_first(groups, judged[at], priority)
            picked = self._pick_first(groups, documents, priority, n)
        chosen = kept[picked]
        starts = batch.candidates.starts[cells.anchors.owners]
        positions = cells.candidate[chosen] - starts[cells.anchor[chosen]]
        return Ragged.from_lengths(positions, np.bincount(cells.anchor[chosen], minlength=len(cells.anchors.values)))

    def _random_priority(self, batch: Batch, cells: Cells, kept: np.ndarray, query_ids: list[str]) -> np.ndarray:
        """Return the priority of each kept cell for `random` and `simans`; the smallest are chosen."""
        at, numbers = cells.candidate[kept], self._random_numbers(batch, cells, kept, query_ids)
        if self.config.choose == "random":
            return numbers
        distance = background_z_scores(batch.scores[at], cells.scores[kept], batch.background_std[batch.owners[at]])
        return simans_priority(distance, numbers, self.config.simans_a, self.config.simans_b)

    def _random_numbers(self, batch: Batch, cells: Cells, kept: np.ndarray, query_ids: list[str]) -> np.ndarray:
        """Return a random uint64 for each kept cell."""
        seeds = anchor_seeds(self.seed, query_ids, cells.anchors)
        return random_numbers(seeds[cells.anchor[kept]], batch.candidates.values[cells.candidate[kept]])

    def _stratified(
        self, groups: np.ndarray, scores: np.ndarray, numbers: np.ndarray, first: np.ndarray | None, n: np.ndarray
    ) -> Select:
        """Return what chooses from the quantiles of each anchor's scores in turn; `first`: chosen before others."""
        strata = quantile_strata(groups, scores, np.minimum(self.config.strata, np.maximum(n, 1)))

        def select(which: np.ndarray) -> np.ndarray:
            own = None if first is None else first[which]
            return np.asarray(which[take_in_turn(groups[which], strata[which], numbers[which], n[which], own)])

        return select

    def _pick(self, select: Select, groups: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the positions that `select` chooses of all, under the cap where there is one."""
        if self.config.max_per_document is None:
            return select(np.arange(len(groups)))
        return select_capped(select, groups, documents, self.config.max_per_document, self.used)

    def _pick_first(
        self, groups: np.ndarray, documents: np.ndarray, priority: np.ndarray | None, n: np.ndarray
    ) -> np.ndarray:
        cap = self.config.max_per_document
        if cap is None:
            return choose(groups, priority, n)
        order = np.arange(len(groups)) if priority is None else np.lexsort((priority, groups))
        return np.sort(order[choose_capped(groups[order], documents[order], n[order], cap, self.used)])

    def _pick_diverse(self, groups: np.ndarray, documents: np.ndarray, scores: np.ndarray, n: np.ndarray) -> np.ndarray:
        relevance = scores if self.cosine else _scaled(groups, scores)
        picked = [np.zeros(0, dtype=np.int64)]
        for first, last in spans(groups, BLOCK_ROWS // 2):
            part = slice(first, last)
            select = self._diverse(groups[part], documents[part], relevance[part], n[part])
            picked.append(first + self._pick(select, groups[part], documents[part]))
        return np.concatenate(picked)

    def _diverse(self, groups: np.ndarray, documents: np.ndarray, relevance: np.ndarray, n: np.ndarray) -> Select:
        """Return what chooses by maximal marginal relevance; documents' vectors are compared in the CPU cache."""
        assert self.vectors is not None
        rows, at = np.unique(documents, return_inverse=True)
        vectors, diversity = unit(self.vectors.gather(rows)), self.config.diversity

        def select(which: np.ndarray) -> np.ndarray:
            chosen = [which[:0]]
            for count in np.unique(n[which]).tolist():  # several numbers only beside kept negatives of a previous run
                alike = which[n[which] == count]
                for first, last in spans(groups[alike], _IN_CACHE):
                    own = alike[first:last]
                    picked = marginal_relevance(groups[own], relevance[own], vectors, at[own], count, diversity)
                    chosen.append(own[picked])
            return np.sort(np.concatenate(chosen))

        return select


def spans(groups: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of runs of whole groups (int64, ascending) with at most `most` elements, or one group."""
    first = 0
    while first < len(groups):
        last = len(groups)
        if last - first > most:
            last = int(np.searchsorted(groups, groups[first + most]))
            if last <= first:
                last = int(np.searchsorted(groups, groups[first], side="right"))
        yield first, last
        first = last


def _scaled(groups: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return scores divided by the largest absolute score of their group, float64; 0 stays 0."""
    values = scores.astype(np.float64)
    largest = np.zeros(int(groups.max(initial=-1)) + 1)
    np.maximum.at(largest, groups, np.abs(values))
    return np.asarray(np.divide(values, largest[groups], out=np.zeros_like(values), where=largest[groups] > 0))
