"""Which of the candidates that were kept become negatives."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import unit
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import random_numbers
from hnmine.config import EmitConfig
from hnmine.errors import IncompleteStage
from hnmine.runtime.memory import cache_bytes
from hnmine.runtime.stage import RunContext
from hnmine.science.diversity import marginal_relevance
from hnmine.science.ensembling import random_source, round_robin
from hnmine.science.sampling import choose, choose_capped, judged_first, select_capped, simans_priority
from hnmine.science.z_scores import background_z_scores
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.verdicts import verdict_codes
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.emit import CHOSEN
from hnmine.storage.schemas.filter import KEEP, VERDICTS
from hnmine.storage.store import MANIFEST, read_json, read_table
from hnmine.storage.vectors import BLOCK_ROWS, VectorStore

# Kept candidates that `diverse` compares at a time: their vectors stay in the processor's cache.
_IN_CACHE = 1024
CHOSEN_FILE = "chosen.parquet"


def read_chosen(folder: Path) -> pa.Table:
    """Return which negatives were chosen, out of an emit folder: one row for each (query, anchor)."""
    return conform(read_table(folder / "chosen" / CHOSEN_FILE), CHOSEN, "emit/chosen")


class Vectors(Protocol):
    """Gives the teacher's vectors of documents."""

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of the given rows, float32, shape (len(rows), dim)."""
        ...


def teacher_vectors(context: RunContext) -> VectorStore | None:
    """Return the corpus' vectors where choosing needs them, else None.

    Raises:
        IncompleteStage: they are needed and are not there.
    """
    if context.config.emit.choose != "diverse":
        return None
    folder = context.reading("embed")
    if read_json(folder / MANIFEST) is None:
        raise IncompleteStage(
            f'{folder} is not complete, and emit.choose = "diverse" needs its vectors; run `hnmine embed` first'
        )
    return VectorStore(folder / "corpus", cache_bytes(context.config))


@dataclass
class Chooser:
    """Chooses negatives batch after batch; a cap on documents counts over all of them.

    Attributes:
        config: the emit table; of `mixed` the part that is retrieved is chosen here.
        seed: of random choices, together with the query's id.
        used: how often each document was chosen so far, where there is a cap.
        vectors: the teacher's; needed by `diverse` alone.
        cosine: whether scores are cosines; where not, `diverse` brings them to at most 1.
    """

    config: EmitConfig
    seed: int
    used: dict[int, int] = field(default_factory=dict)
    vectors: Vectors | None = None
    cosine: bool = True

    @property
    def each_alone(self) -> bool:
        """Whether what is chosen for one query has no say in another's, so that batches may go side by side."""
        return self.config.max_per_document is None and self.vectors is None

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
        """Return for each anchor the positions of its negatives among the query's candidates.

        Args:
            batch: candidates.
            cells: the batch's cells.
            keep: bool, one a cell.
            query_ids: one a query of the batch.
            judged: bool, one a candidate: what is judged irrelevant, chosen first where the config prefers it.
            wanted: int64, how many negatives for each anchor; as many as the config says by default.
        """
        kept = np.flatnonzero(keep)
        if self.config.ensemble == "cross":
            kept = kept[self._drawn(batch, cells, kept, query_ids) > 0]
        groups = cells.anchor[kept]
        documents = batch.candidates.values[cells.candidate[kept]]
        n = self.config.retrieved_negatives if wanted is None else wanted[groups]
        if self.config.choose == "diverse":
            picked = self._pick_diverse(groups, documents, batch.scores[cells.candidate[kept]], n)
        elif self.config.ensemble == "intra":
            picked = self._pick_in_turn(groups, documents, batch.source_ranks[cells.candidate[kept]], n)
        else:
            priority = self._priority(batch, cells, kept, query_ids)
            if self.config.prefer_judged and judged is not None:
                priority = judged_first(groups, judged[cells.candidate[kept]], priority)
            picked = self._pick(groups, documents, priority, n)
        chosen = kept[picked]
        starts = batch.candidates.starts[cells.anchors.owners]
        positions = cells.candidate[chosen] - starts[cells.anchor[chosen]]
        return Ragged.from_lengths(positions, np.bincount(cells.anchor[chosen], minlength=len(cells.anchors.values)))

    def _priority(self, batch: Batch, cells: Cells, kept: np.ndarray, query_ids: list[str]) -> np.ndarray | None:
        """Return what each kept cell is sorted by, ascending; None: by its place."""
        if self.config.choose not in ("random", "simans"):
            return self._drawn(batch, cells, kept, query_ids) if self.config.ensemble == "cross" else None
        at, groups = cells.candidate[kept], cells.anchor[kept]
        numbers = random_numbers(anchor_seeds(self.seed, query_ids, cells.anchors)[groups], batch.candidates.values[at])
        if self.config.choose == "random":
            return numbers
        distance = background_z_scores(batch.scores[at], cells.scores[kept], batch.background_std[batch.owners[at]])
        return simans_priority(distance, numbers, self.config.simans_a, self.config.simans_b)

    def _drawn(self, batch: Batch, cells: Cells, kept: np.ndarray, query_ids: list[str]) -> np.ndarray:
        """Return each kept cell's rank in the source that its anchor draws, 0 where that did not find it."""
        ranks = batch.source_ranks
        source = random_source(anchor_seeds(self.seed, query_ids, cells.anchors), max(1, ranks.shape[1]))
        return np.asarray(ranks[cells.candidate[kept], source[cells.anchor[kept]]])

    def _pick_in_turn(
        self, groups: np.ndarray, documents: np.ndarray, ranks: np.ndarray, n: int | np.ndarray
    ) -> np.ndarray:
        cap = self.config.max_per_document
        if cap is None:
            return round_robin(groups, ranks, n)

        def select(places: np.ndarray) -> np.ndarray:
            wanted = n if isinstance(n, int) else n[places]
            return np.asarray(places[round_robin(groups[places], ranks[places], wanted)])

        return select_capped(select, groups, documents, cap, self.used)

    def _pick(
        self, groups: np.ndarray, documents: np.ndarray, priority: np.ndarray | None, n: int | np.ndarray
    ) -> np.ndarray:
        cap = self.config.max_per_document
        if cap is None:
            return choose(groups, priority, n)
        order = np.arange(len(groups)) if priority is None else np.lexsort((priority, groups))
        wanted = n if isinstance(n, int) else n[order]
        return np.sort(order[choose_capped(groups[order], documents[order], wanted, cap, self.used)])

    def _pick_diverse(
        self, groups: np.ndarray, documents: np.ndarray, scores: np.ndarray, n: int | np.ndarray
    ) -> np.ndarray:
        assert self.vectors is not None
        config, picked = self.config, [np.zeros(0, dtype=np.int64)]
        for first, last in spans(groups, BLOCK_ROWS // 2):
            group, document = groups[first:last], documents[first:last]
            rows, at = np.unique(document, return_inverse=True)
            found = unit(self.vectors.gather(rows))
            relevance = scores[first:last] if self.cosine else _to_one(group, scores[first:last])
            part = _Part(config, group, relevance, found, at, np.broadcast_to(n, groups.shape)[first:last])
            if config.max_per_document is None:
                picked.append(first + part.select(np.arange(len(group))))
            else:
                picked.append(first + select_capped(part.select, group, document, config.max_per_document, self.used))
        return np.concatenate(picked)


@dataclass(frozen=True)
class _Part:
    """Kept candidates of some anchors, with the vectors that `diverse` compares them by."""

    config: EmitConfig
    groups: np.ndarray
    relevance: np.ndarray
    vectors: np.ndarray
    at: np.ndarray
    wanted: np.ndarray

    def select(self, places: np.ndarray) -> np.ndarray:
        """Return those of the places (int64, ascending) that are chosen, a few anchors at a time."""
        chosen = [np.zeros(0, dtype=np.int64)]
        for n in np.unique(self.wanted[places]).tolist():  # one number, but where some negatives are there already
            alike = places[self.wanted[places] == n]
            for first, last in spans(self.groups[alike], _IN_CACHE):
                own = alike[first:last] if n else alike[:0]
                groups, relevance, at = self.groups[own], self.relevance[own], self.at[own]
                chosen.append(own[marginal_relevance(groups, relevance, self.vectors, at, n, self.config.diversity)])
        return np.sort(np.concatenate(chosen))


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


def _to_one(groups: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return scores divided by the largest absolute one of their group, float64; 0 stays 0."""
    values = scores.astype(np.float64)
    largest = np.zeros(int(groups.max(initial=-1)) + 1)
    np.maximum.at(largest, groups, np.abs(values))
    return np.asarray(np.divide(values, largest[groups], out=np.zeros_like(values), where=largest[groups] > 0))


def anchor_seeds(seed: int, query_ids: list[str], anchors: Ragged) -> np.ndarray:
    """Return a seed for each anchor, from the run's seed, the query's id and the anchor's place; uint64."""
    queries = np.array([_hash(f"{seed} {query_id}") for query_id in query_ids], dtype=np.uint64)
    return random_numbers(queries[anchors.owners], anchors.positions)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def cells_of(table: pa.Table, batch: Batch) -> tuple[Cells, np.ndarray]:
    """Return the cells of a judged table and which of them were kept."""
    cells = Cells.of(batch, Ragged.from_arrow(table.column("anchor_scores")))
    return cells, verdict_codes(table.column("verdicts")) == list(VERDICTS).index(KEEP)
