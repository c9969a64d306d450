"""The table that emit writes of an earlier run's negatives: a part of the data contract of `hnmine.storage.schemas`."""

import pyarrow as pa

from hnmine.storage.schemas import field


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("item", kind, nullable=False))


PREVIOUS = pa.schema(
    [
        field("query_row", pa.int64(), "the query's row; rows are those of `emit/chosen`"),
        field("anchor", pa.int32(), "which of the query's anchor scores, from 0"),
        field("compared", pa.bool_(), "whether the earlier run has a row for it"),
        field("gone", pa.int32(), "earlier negatives that are no documents of the corpus any more"),
        field("doc_rows", _list(pa.int64()), "rows of the other earlier negatives, as they stood there"),
        field(
            "positions",
            _list(pa.int32()),
            "their positions among the query's candidates; -2, as in `emit/chosen` of those that stay: not among them",
        ),
        field("first_scores", _list(pa.float32()), "their scores when they were chosen, by the model of then"),
        field("previous_scores", _list(pa.float32()), "their scores in the earlier run"),
        field("previous_hardness", _list(pa.float32()), "their hardness there"),
        field("scores", _list(pa.float32()), "their scores by the model of now, always exact"),
        field("hardness", _list(pa.float32()), "their hardness now"),
        field(
            "verdicts",
            _list(pa.string()),
            "the verdict of now, on those outside the candidates as if they were retrieved",
        ),
        field("probabilities", pa.list_(pa.float32()), "P(false negative), null where no rule asked for it"),
        field("guide_scores", pa.list_(pa.float32()), "the guide's scores, null without a guide"),
        field(
            "fates",
            _list(pa.string()),
            "random (a random document there), barred (retrieve.where does not allow it), rejected, easy or hard: the "
            "first that holds",
        ),
        field("stays", _list(pa.bool_()), "whether it is a negative of this run because it was one there"),
    ]
)
