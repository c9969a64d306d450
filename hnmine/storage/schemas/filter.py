"""Schemas of the tables of the stage filter, and the verdicts."""

import pyarrow as pa

from hnmine.storage.schemas.base import FLOATS, STRINGS, field, list_of, schema
from hnmine.storage.schemas.retrieve import CANDIDATES

KEEP, NOT_RESCORED, EVALUATED, CHECKED = "keep", "not_rescored", "evaluation", "rescored"
VERDICTS: dict[str, str] = {
    KEEP: "may become a negative",
    "positive": "labelled as a positive of this query",
    EVALUATED: "relevant to a query of the evaluation set, or the same text as such a document",
    "sibling_positive": "a positive of another query with the same text",
    "judged_relevant": "judged relevant in input.judgements, without being a labelled positive; or a copy of such",
    "copy_of_positive": "the same text as a positive, apart from case, punctuation and spacing",
    "copy_of_query": "the same text as the query, likewise",
    "near_copy_of_positive": "cosine to a positive above filter.max_positive_similarity",
    "near_copy_of_query": "cosine to the query above filter.max_query_similarity",
    NOT_RESCORED: "beyond rescore.top_n, so without a score where filter.score = rescored",
    "outside_ranks": "rank outside filter.ranks",
    "absolute": "rejected by the rule absolute",
    "margin": "rejected by the rule margin",
    "percent": "rejected by the rule percent",
    "adaptive": "rejected by the rule adaptive",
    "two_sided": "rejected by the rule two_sided",
    "calibrated": "rejected by the rule calibrated",
    "guide": "rejected by the rule guide",
    "multi_similarity": "rejected by the rule multi_similarity",
    CHECKED: "the model of [rescore] scores it like a positive, with filter.score = checked",
    "copy_of_negative": "the same text as a better ranked candidate that was kept",
}
"""Every verdict, in the order in which they are given: a candidate keeps the first that applies."""
BY_LABEL_OR_COPY = (
    KEEP, "positive", EVALUATED, "sibling_positive", "judged_relevant", "copy_of_positive", "copy_of_query",
    "copy_of_negative",
)  # fmt: skip
"""Verdicts that no setting changes."""
JUDGED = schema(
    *CANDIDATES,
    field("anchor_scores", FLOATS, "score that margins start from: one, or one a positive (anchor = each)"),
    field("verdicts", list_of(STRINGS), "for each anchor score, a verdict for every candidate"),
    field("probabilities", list_of(FLOATS), "likewise P(false negative); empty lists where no rule asked for it"),
    field("judged_negatives", list_of(pa.bool_()), "for each candidate: whether it is judged irrelevant"),
    field(
        "positive_standing",
        FLOATS,
        "for each positive: share of the candidates that are no positives that it outscores; 1 without any",
    ),
)
JUDGED_CODED = JUDGED.set(
    JUDGED.get_field_index("verdicts"),
    field("verdicts", list_of(list_of(pa.dictionary(pa.int32(), pa.string()))), "as in `JUDGED`"),
)
"""How a judged table is read where verdicts are counted or compared: the same file, each verdict a small number."""
CALIBRATION = schema(
    field("fold", pa.int32(), "fold of queries left out of the fit; null: fitted on all of them", nullable=True),
    field("mean", list_of(pa.float64()), "of each feature"),
    field("scale", list_of(pa.float64()), "standard deviation of each feature"),
    field("weights", list_of(pa.float64()), "of each standardised feature"),
    field("bias", pa.float64(), "the constant"),
    field("threshold", pa.float64(), "candidates with a P(false negative) above it are rejected"),
    field("fitted_on", pa.string(), "own labels, or other collections"),
    field("reason", pa.string(), "why, and how the threshold was set"),
)
