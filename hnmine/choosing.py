"""Which of the candidates that were kept become negatives."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.candidates import Batch, Cells
from hnmine.config import EmitConfig
from hnmine.ragged import Ragged
from hnmine.schemas import KEEP
from hnmine.science.judged import judged_first
from hnmine.science.sampling import choose, choose_capped, random_order


@dataclass
class Chooser:
    """Chooses negatives batch after batch; a cap on documents counts over all of them.

    Attributes:
        config: the emit table.
        seed: of random choices, together with the query's id.
        used: how often each document was chosen so far, where there is a cap.
    """

    config: EmitConfig
    seed: int
    used: dict[int, int] = field(default_factory=dict)

    def choose(
        self, batch: Batch, cells: Cells, keep: np.ndarray, query_ids: list[str], judged: np.ndarray | None = None
    ) -> Ragged:
        """Return for each anchor the positions of its negatives among the query's candidates.

        Args:
            batch: candidates.
            cells: the batch's cells.
            keep: bool, one a cell.
            query_ids: one a query of the batch.
            judged: bool, one a candidate: what qrels judge irrelevant, chosen first where the config prefers it.
        """
        kept = np.flatnonzero(keep)
        groups = cells.anchor[kept]
        documents = batch.candidates.values[cells.candidate[kept]]
        priority = None
        if self.config.choose == "random":
            priority = random_order(self._seeds(batch, cells, query_ids)[groups], documents)
        if self.config.prefer_judged and judged is not None:
            priority = judged_first(groups, judged[cells.candidate[kept]], priority)
        picked = self._pick(groups, documents, priority)
        chosen = kept[picked]
        starts = batch.candidates.offsets[:-1][cells.anchors.owners]
        positions = cells.candidate[chosen] - starts[cells.anchor[chosen]]
        return Ragged.from_lengths(positions, np.bincount(cells.anchor[chosen], minlength=len(cells.anchors.values)))

    def _pick(self, groups: np.ndarray, documents: np.ndarray, priority: np.ndarray | None) -> np.ndarray:
        n, cap = self.config.num_negatives, self.config.max_per_document
        if cap is None:
            return choose(groups, priority, n)
        order = np.arange(len(groups)) if priority is None else np.lexsort((priority, groups))
        return np.sort(order[choose_capped(groups[order], documents[order], n, cap, self.used)])

    def _seeds(self, batch: Batch, cells: Cells, query_ids: list[str]) -> np.ndarray:
        """Return a seed for each anchor, from the run's seed, the query's id and the anchor's place."""
        queries = np.array([_hash(f"{self.seed} {query_id}") for query_id in query_ids], dtype=np.uint64)
        place = np.arange(len(cells.anchors.values)) - cells.anchors.offsets[:-1][cells.anchors.owners]
        return random_order(queries[cells.anchors.owners], place)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def cells_of(table: pa.Table, batch: Batch) -> tuple[Cells, np.ndarray]:
    """Return the cells of a judged table and which of them were kept."""
    cells = Cells.of(batch, Ragged.from_arrow(table.column("anchor_scores")))
    flat = table.column("verdicts").combine_chunks().flatten().flatten()
    keep = pc.equal(flat, KEEP).to_numpy(zero_copy_only=False)
    return cells, np.asarray(keep, dtype=bool)
