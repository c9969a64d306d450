"""Schemas of the tables of the stage emit."""

import pyarrow as pa

from hnmine.storage.schemas.base import FLOATS, INT64S, INTS, STRINGS, field, list_of, schema

CHOSEN = schema(
    field("query_row", pa.int64(), "the query's row"),
    field("anchor", pa.int32(), "which of the query's anchor scores the negatives were chosen by, from 0"),
    field("wanted", pa.int32(), "negatives wanted; 0 where emit.bad_positives leaves all its positives out"),
    field(
        "positions",
        INTS,
        "positions of the chosen among the query's candidates; -1: a random document; -2: a negative of the earlier "
        "run that is not among them",
    ),
    field("doc_rows", INT64S, "their rows"),
    field("scores", FLOATS, "their scores"),
)
RELABELLED = schema(
    field("query_row", pa.int64(), "the query's row, ascending"),
    field("doc_row", pa.int64(), "row of a candidate that becomes a positive, in the order of the query's positives"),
    field("position", pa.int32(), "its position among the query's candidates"),
    field("source", pa.string(), "judgement, or relabelled"),
    field(
        "probability",
        pa.float32(),
        "lowest P(false negative) over the query's anchor scores; null for judgement",
        nullable=True,
    ),
)
BATCHES = schema(
    field("query_row", pa.int64(), "the query's row"),
    field("positive_row", pa.int64(), "the positive's row; with the query it names the example"),
    field("batch_id", pa.int32(), "the batch of the example, from 0; -1: none, by emit.batch_leftover"),
    field("cluster", pa.int32(), "the cluster of its query; 0 for all where emit.batch_by is random"),
    field("score", pa.float32(), "mean score of the query to its batch's other positives", nullable=True),
    field("random_score", pa.float32(), "the same in a random batch of emit.batch_size", nullable=True),
    field("conflicts", pa.int32(), "examples that it was compared with and must not share a batch with"),
    field("conflicts_within", pa.int32(), "of these, examples of its batch; above 0 only where short ones are merged"),
)
MIXING = schema(
    field("query_id", pa.string(), "the query's id"),
    field("positive_id", pa.string(), "the positive's id; with the query it names the example"),
    field("first", INTS, "for each synthetic negative: place of one of the example's negatives from 0; -1: the query"),
    field("second", INTS, "likewise of another negative, never the query"),
    field("alpha", FLOATS, "the share of the first, in (0, 1); of the query at most 1/2"),
)
CLUSTERS = schema(
    field("doc_row", pa.int64(), "row of a positive or negative of the training rows, ascending"),
    field("cluster", pa.int32(), "its cluster"),
    field("rate", pa.float64(), "mean P(false negative) of the cluster's own negatives; 0 where it has none"),
)
ORDER = schema(
    field("query_row", pa.int64(), "the query's row; rows are in the order of the training rows"),
    field("positive_row", pa.int64(), "the positive's row; with the query it names the example"),
    field("hardness", pa.float64(), "mean hardness of the example's negatives"),
)
PREVIOUS = schema(
    field("query_row", pa.int64(), "the query's row; rows are those of `emit/chosen`"),
    field("anchor", pa.int32(), "which of the query's anchor scores, from 0"),
    field("compared", pa.bool_(), "whether the earlier run has a row for it"),
    field("gone", pa.int32(), "earlier negatives that are no documents of the corpus any more"),
    field("doc_rows", INT64S, "rows of the other earlier negatives, as they stood there"),
    field(
        "positions",
        INTS,
        "their positions among the query's candidates; -2, as in `emit/chosen` of those that stay: not among them",
    ),
    field("first_scores", FLOATS, "their scores when they were chosen, by the model of then"),
    field("previous_scores", FLOATS, "their scores in the earlier run"),
    field("previous_hardness", FLOATS, "their hardness there"),
    field("scores", FLOATS, "their scores by the model of now, always exact"),
    field("hardness", FLOATS, "their hardness now"),
    field("verdicts", STRINGS, "the verdict of now, on those outside the candidates as if they were retrieved"),
    field("probabilities", pa.list_(pa.float32()), "P(false negative), null where no rule asked for it"),
    field("guide_scores", pa.list_(pa.float32()), "the guide's scores, null without a guide"),
    field(
        "fates",
        STRINGS,
        "random (a random document there), barred (retrieve.where does not allow it), rejected, easy or hard: the "
        "first that holds",
    ),
    field("stays", list_of(pa.bool_()), "whether it is a negative of this run because it was one there"),
)
