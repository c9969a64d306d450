"""What the filter knows of each negative that is emitted: its probability and the guide's score."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged, single_array
from hnmine.config import Config
from hnmine.stages.emit.previous.refresh import put_in
from hnmine.stages.emit.random_negatives import PREVIOUS


@dataclass(frozen=True)
class Known:
    """Which negatives of a shard stay from an earlier run without being candidates, and what is known of them."""

    previous: pa.Table | None
    stays: np.ndarray
    where: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(
        cls,
        previous: pa.Table | None,
        rows: tuple[int, int],
        position: np.ndarray,
        where: tuple[np.ndarray, np.ndarray],
    ) -> "Known":
        """Return what is known of negatives.

        Args:
            previous: `emit/previous` of the run; None where there is no earlier run.
            rows: (first, last) of its rows that stand for the shard.
            position: of each negative among its query's candidates.
            where: (anchor, as a position among the shard's, and document) of each negative.
        """
        own = None if previous is None else previous.slice(rows[0], rows[1] - rows[0])
        return cls(own, position == PREVIOUS, where)

    def put_in(self, values: pa.Array, name: str) -> pa.Array:
        """Return values of the negatives with those of such negatives, a column of `emit/previous`, in their places."""
        return put_in(values, self.stays, name, self.previous, self.where)


def probabilities(config: Config, table: pa.Table, place: np.ndarray, outside: Known) -> dict[str, pa.Array]:
    """Return P(false negative) by which each negative was judged, and 1 minus it; nothing where filter gave none.

    Args:
        config: the whole config.
        table: a judged table.
        place: int64, one a negative: its position among its query's candidates; below 0 where it is none of them. A
            random document was not judged and has weight 1.
        outside: knows each negative's anchor, and those that were judged without being candidates.
    """
    if not config.filter.gives_probabilities:
        return {}
    of_anchors = Ragged.from_arrow(single_array(table.column("probabilities")).flatten())
    at = pa.array(of_anchors.starts[outside.where[0]] + place, mask=place < 0)
    p = outside.put_in(pa.array(of_anchors.values).take(at), "probabilities")
    return {"p_false_negative": p, "weight": pc.subtract(pa.scalar(1, pa.float32()), pc.fill_null(p, 0))}


def guide_score(config: Config, table: pa.Table, at: pa.Array, outside: Known) -> dict[str, pa.Array]:
    """Return the guide's scores of the candidates at these positions (null gives null); nothing without a guide."""
    if config.guide is None:
        return {}
    values = pa.array(Ragged.from_arrow(table.column("guide_scores")).values).take(at)
    return {"guide_score": outside.put_in(values, "guide_scores")}
