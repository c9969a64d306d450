"""The table that emit writes of an earlier run's negatives: a part of the data contract of `hnmine.storage.schemas`."""

import pyarrow as pa


def _field(name: str, kind: pa.DataType, text: str) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"description": text})


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("item", kind, nullable=False))


PREVIOUS = pa.schema(
    [
        _field("query_row", pa.int64(), "the query's row; rows are those of `emit/chosen`"),
        _field("anchor", pa.int32(), "which of the query's anchor scores, from 0"),
        _field("compared", pa.bool_(), "whether the earlier run has a row for it"),
        _field("gone", pa.int32(), "earlier negatives that are no documents of the corpus any more"),
        _field("doc_rows", _list(pa.int64()), "rows of the other earlier negatives, as they stood there"),
        _field(
            "positions",
            _list(pa.int32()),
            "their positions among the query's candidates; -2, as in `emit/chosen` of those that stay: not among them",
        ),
        _field("first_scores", _list(pa.float32()), "their scores when they were chosen, by the model of then"),
        _field("previous_scores", _list(pa.float32()), "their scores in the earlier run"),
        _field("previous_hardness", _list(pa.float32()), "their hardness there"),
        _field("scores", _list(pa.float32()), "their scores by the model of now, always exact"),
        _field("hardness", _list(pa.float32()), "their hardness now"),
        _field(
            "verdicts",
            _list(pa.string()),
            "the verdict of now, on those outside the candidates as if they were retrieved",
        ),
        _field("probabilities", pa.list_(pa.float32()), "P(false negative), null where no rule asked for it"),
        _field("guide_scores", pa.list_(pa.float32()), "the guide's scores, null without a guide"),
        _field(
            "fates",
            _list(pa.string()),
            "random (a random document there), barred (retrieve.where does not allow it), rejected, easy or hard: the "
            "first that holds",
        ),
        _field("stays", _list(pa.bool_()), "whether it is a negative of this run because it was one there"),
    ]
)
