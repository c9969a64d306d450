"""Schemas of the tables of the stage report."""

import pyarrow as pa

from hnmine.storage.schemas.base import field, schema

BAD_POSITIVES = schema(
    field("query_id", pa.string(), "the query's id"),
    field("doc_id", pa.string(), "the positive's id"),
    field("score", pa.float32(), "the teacher's score"),
    field("standing", pa.float32(), "share of the query's candidates, positives apart, that it outscores"),
)
QUERY_REPORT = schema(
    field("query_id", pa.string(), "the query's id"),
    field("query_row", pa.int64(), "its row among the queries"),
    field("positives", pa.int32(), "labelled positives"),
    field("candidates", pa.int32(), "candidates that are not labelled positives"),
    field("kept", pa.float32(), "of them, verdict keep (mean over anchors)"),
    field("chosen", pa.float32(), "negatives chosen, mean over anchors that have a positive to emit"),
    field("wanted", pa.int32(), "negatives wanted for each"),
    field("positive_score", pa.float32(), "mean score of the positives"),
    field("negative_score", pa.float32(), "mean score of the chosen; null without any", nullable=True),
    field("margin", pa.float32(), "anchor minus the hardest chosen, mean over anchors", nullable=True),
    field("capacity", pa.float32(), "ln(1 + K)"),
    field("hardness", pa.float32(), "mean hardness of the chosen; null without any", nullable=True),
    field("safety", pa.float32(), "max-margin safety; null without any chosen", nullable=True),
    field("eci", pa.float32(), "capacity times the harmonic mean of hardness and safety; 0 without any"),
    field("eci_sem", pa.float32(), "log-determinant of the weighted residuals of the chosen; 0 without any"),
    field("pairs", pa.int32(), "negatives of its emitted positives; one of two positives counts twice"),
    field("at_or_above", pa.int32(), "of them, scored at or above their positive"),
)
