"""Schemas of the tables of the stage hubs."""

import pyarrow as pa

from hnmine.storage.schemas.base import FLOATS, field, schema

HUBS = schema(
    field("doc_row", pa.int64(), "a document that is a candidate, a positive or a document of the background"),
    field("highest", pa.float32(), "its highest score over the queries of the bank"),
    field("query_row", pa.int64(), "the query that gives it"),
    field("rest", pa.float64(), "ln of the sum of exp(hub_beta s) over the other queries of the bank"),
)
HUB_SCORES = schema(
    field("query_row", pa.int64(), "the query's row"),
    field("scores", FLOATS, "the hub-normalised score of each candidate, as retrieve has them"),
    field("positive_scores", FLOATS, "likewise of each labelled positive"),
    field("background_mean", pa.float32(), "mean of the query's hub-normalised scores to random documents"),
    field("background_std", pa.float32(), "standard deviation of the same"),
)
