"""Features of near queries without the labels of some queries, such as those that are tested on."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.science.near_queries import near_labels


@dataclass(frozen=True)
class HiddenLabels:
    """The labels that may be used of near queries.

    Attributes:
        labels: for each query of the run, the rows of its positives: see `labels_by_text`.
        hidden: rows of the queries whose labels may not be used, int64, ascending.
    """

    labels: Ragged
    hidden: np.ndarray

    def apply(self, table: pa.Table) -> pa.Table:
        """Return candidates with the near queries and what their labels say as if the hidden queries were not there.

        The table has the schema `CANDIDATES`.
        """
        if not len(self.hidden) or not table.num_rows:
            return table
        near, nearness, candidates = (
            Ragged.from_arrow(table.column(name)) for name in ("near_queries", "nearness", "doc_rows")
        )
        shown = ~np.isin(near.values, self.hidden)
        near, nearness = near.filter(shown), nearness.filter(shown)
        nearest, share = near_labels(candidates, near, nearness.values, self.labels)
        columns = {
            "near_queries": near.to_arrow(pa.int64()),
            "nearness": nearness.to_arrow(pa.float32()),
            "near_labels": candidates.with_values(nearest).to_arrow(pa.float32()),
            "near_label_shares": candidates.with_values(share).to_arrow(pa.float32()),
        }
        for name, values in columns.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(place), values)
        return table
