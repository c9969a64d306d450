"""Schemas of the tables of the stage retrieve."""

import pyarrow as pa

from hnmine.storage.schemas.base import FLOATS, INT64S, INTS, field, list_of, schema

SOURCES = schema(
    field("name", pa.string(), "the source's name; sources stand in the order of `source_ranks`"),
    field("kind", pa.string(), "dense, bm25 or run"),
    field("depth", pa.int64(), "candidates it gives a query, positives not counted"),
)
FIELD_VALUES = schema(
    field("row", pa.int64(), "row of the canonical corpus, or of the queries, ascending"),
    field("field", pa.string(), "a column that `[[retrieve.where]]` asks for"),
    field("value", pa.string(), "a value it has there, as text; of copies of one text, those of all"),
)
CANDIDATES = schema(
    field("query_id", pa.string(), "the query's id"),
    field("query_row", pa.int64(), "its row among the queries"),
    field("positive_rows", INT64S, "rows of the labelled positives"),
    field("positive_scores", FLOATS, "the teacher's score of each positive, always exact"),
    field("doc_rows", INT64S, "rows of the candidates, best first; ties by row; positives are among them"),
    field("scores", FLOATS, "the teacher's score of each candidate, always exact"),
    field("ranks", INTS, "rank of each candidate by score among all candidates of the query, from 1"),
    field(
        "similarities",
        FLOATS,
        "cosine of candidate and positive, candidate by candidate: (candidates x positives) values",
    ),
    field("query_overlaps", FLOATS, "share of the query's word weight (idf) that each candidate holds"),
    field("positive_overlaps", FLOATS, "weighted word overlap of candidate and positive, as similarities"),
    field("background_mean", pa.float32(), "mean score of the query to random documents"),
    field("background_std", pa.float32(), "standard deviation of the same"),
    field("positive_background_mean", FLOATS, "for each positive: mean cosine to the same random documents"),
    field("positive_background_std", FLOATS, "standard deviation of the same"),
    field("near_queries", INT64S, "rows of the most similar queries with another text, the nearest first"),
    field(
        "nearness",
        FLOATS,
        "for each near query: its cosine, in deviations of the query's cosines to random queries",
    ),
    field(
        "near_labels",
        FLOATS,
        "for each candidate: nearness of the nearest near query that has it as a positive, 0 where none has",
    ),
    field(
        "near_label_shares", FLOATS, "for each candidate: share of the near queries' weight that has it as a positive"
    ),
    field("guide_scores", FLOATS, "the guide's score of each candidate, always exact; empty without a guide"),
    field("guide_positive_scores", FLOATS, "likewise of each positive"),
    field(
        "source_scores",
        pa.list_(pa.float32()),
        "score in each source, candidate by candidate: (candidates x sources) values, null where a source did "
        "not find it; empty where the teacher alone finds candidates",
    ),
    field("source_ranks", pa.list_(pa.int32()), "rank in each source from 1, positives counted; likewise"),
)
SPLIT_KEYS = schema(
    field(
        "keys",
        list_of(pa.uint64()),
        "a query's best documents of some rows of the corpus, best first: a score and a place "
        "in one number (`hnmine.arrays.topk`); its labelled positives take no place",
    )
)
