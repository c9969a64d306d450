"""The findings of an audit: their meanings, limits and advice, and how negatives and examples become one."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hnmine.commands.audit.mined import Mined
from hnmine.config.filter import NEAR_COPY
from hnmine.display import shorten
from hnmine.stages.report.headline import AT_OR_ABOVE, MOST_AT_OR_ABOVE

EXAMPLES = 10
"""Examples listed for a finding, at most."""
TEXT = 300
"""Characters listed of a text, at most."""

HUB_QUERIES, HUB_SHARE = 20, 0.05
"""A document is a hub from here on; on five public collections none was a negative of more than 2.3% of the queries."""
LARGE_EFFECT, LARGEST_USUAL_EFFECT = 0.8, 2.5
"""Cohen's d: large by convention; and the largest of shared words, below 0, that is usual for good sets."""


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        name: its name in audit.json.
        of: the things that are counted.
        limit: share, or size of the effect, above which it is a fault; None where it is information only.
        meaning: its definition.
        advice: what to do about it.
        needs: the input without which it is not measured.
    """

    name: str
    of: str
    limit: float | None
    meaning: str
    advice: str
    needs: Literal["", "scores", "qrels", "model", "model and scores"] = ""


_FALSE = "remove them: the model would learn that a right answer is wrong"
_FILTER = "mine again with a margin below the positive, or remove them"

KINDS = (
    Kind("positive_as_negative", "negatives", 0, "the row's own positive", _FALSE),
    Kind("copy_of_positive", "negatives", 0, "the row's positive but for case, punctuation or spacing", _FALSE),
    Kind("sibling_positive", "negatives", 0, "a positive of the same query in another row", _FALSE),
    Kind("positive_by_qrels", "negatives", 0, "judged relevant to the query by the qrels", _FALSE, "qrels"),
    Kind("copy_of_query", "negatives", 0, "the query itself but for case, punctuation or spacing", "remove them"),
    Kind("near_copy_of_positive", "negatives", 0, f"cosine above {NEAR_COPY} to the row's positive", _FALSE, "model"),
    Kind("near_copy_of_query", "negatives", 0, f"cosine above {NEAR_COPY} to the query", "remove them", "model"),
    Kind(AT_OR_ABOVE, "negatives", MOST_AT_OR_ABOVE, "the file's score is no lower than the positive's",
         _FILTER, "scores"),
    Kind("model_at_or_above_positive", "negatives", MOST_AT_OR_ABOVE,
         "the model's score is no lower than the positive's", _FILTER, "model"),
    Kind("scores_not_finite", "scores", 0, "NaN or infinite scores",
         "remove the rows: some tools give -inf to candidates that they rejected", "scores"),
    Kind("scores_contradict_model", "scores", 0.1, "the file's scores and the model's disagree",
         "check that scores belong to their rows; else another model made them", "model and scores"),
    Kind("random_padding", "negatives", 0.1, "no nearer to the query than random documents",
         "fewer negatives a query, or a larger top k: random documents teach little", "model"),
    Kind("empty_text", "examples", 0, "an empty query, positive or negative", "remove them"),
    Kind("without_positive", "examples", 0, "no positive", "remove them"),
    Kind("without_negatives", "examples", 0, "no negative", "remove them, or mine with a looser filter"),
    Kind("fewer_negatives", "examples", 0.1, "fewer negatives than most examples have",
         "mine with a larger top k; shapes with a fixed number of negatives lose these rows"),
    Kind("duplicate_row", "rows", 0.01, "the same row again", "remove them: they count twice"),
    Kind("repeated_negative", "negatives", 0, "the same negative again in one example", "remove them"),
    Kind("hub", "documents", 0, f"negative of over {HUB_SHARE:.0%} of the queries, and of at least {HUB_QUERIES}",
         "limit how often a document may serve (emit.max_per_document)"),
    Kind("length_bias", "negatives", LARGE_EFFECT, "negatives are longer or shorter than positives",
         "mine from documents of the positives' kind: length gives the answer away"),
    Kind("overlap_bias", "negatives", LARGEST_USUAL_EFFECT,
         "negatives share more or fewer words with the query than positives",
         "mix kinds of retrieval: shared words give the answer away"),
    Kind("negative_of_other_rows", "negatives", None, "also a negative of another row of the same query",
         "normal where a query has several positives"),
    Kind("positive_elsewhere", "negatives", None, "a positive of another query",
         "none to speak of means that negatives and positives are different kinds of text"),
)  # fmt: skip


@dataclass(frozen=True)
class Hits:
    """The things found of one kind.

    Attributes:
        count: their number.
        total: the number of things looked at.
        examples: the worst of them, at most `EXAMPLES`.
        effect: Cohen's d, whose size is compared with the limit instead of count / total.
        limit: replaces the kind's limit.
    """

    count: int
    total: int
    examples: list[dict[str, Any]]
    effect: float | None = None
    limit: float | None = None


def finding(kind: Kind, hits: Hits | None) -> dict[str, Any]:
    """Return a finding for audit.json; without hits, with the reason why it was not measured."""
    out: dict[str, Any] = {"of": kind.of, "limit": kind.limit, "meaning": kind.meaning, "advice": kind.advice}
    if hits is None:
        needs = {"scores": "the files have no scores", "qrels": "no qrels were given", "model": "no model was given"}
        reason = needs.get(kind.needs, "no model was given, or the files have no scores")
        return out | {"count": None, "share": None, "fault": False, "reason": reason, "examples": []}
    share = hits.count / hits.total if hits.total else 0.0
    measured = share if hits.effect is None else abs(hits.effect)
    limit = kind.limit if hits.limit is None else hits.limit
    effect = {} if hits.effect is None else {"effect": hits.effect}
    return out | {
        "count": hits.count, "total": hits.total, "share": share, **effect, "limit": limit,
        "fault": limit is not None and measured > limit, "examples": hits.examples,
    }  # fmt: skip


def of_negatives(mined: Mined, mask: np.ndarray, worst: np.ndarray | None = None, **numbers: np.ndarray) -> Hits:
    """Return the negatives where the mask holds.

    Args:
        mined: examples.
        mask: bool, one per negative.
        worst: numbers to sort the listed ones by, highest first; by default they are in the order of the files.
        numbers: listed with each, one value per negative.
    """
    lists, shown = mined.negatives.documents, []
    for at in _listed(mask, worst):
        entry = location(mined, int(lists.owners[at]), int(mined.negatives.rows[at]))
        entry["negative"] = shown_text(mined.documents[lists.values[at]])
        shown.append(entry | {name: json_number(values[at]) for name, values in numbers.items()})
    return Hits(int(mask.sum()), len(mask), shown)


def of_examples(mined: Mined, mask: np.ndarray, worst: np.ndarray | None = None) -> Hits:
    """Return the examples where the mask holds, as `of_negatives`; bool, one per example."""
    lists, shown = mined.negatives.documents, []
    for at in _listed(mask, worst):
        first = lists.values[lists.offsets[at] : lists.offsets[at + 1]][:1]
        negative = shown_text(mined.documents[first[0]]) if len(first) else None
        entry = location(mined, int(at), int(mined.first[at]))
        shown.append(entry | {"negative": negative, "negatives": int(lists.lengths[at])})
    return Hits(int(mask.sum()), len(mask), shown)


def _listed(mask: np.ndarray, worst: np.ndarray | None) -> np.ndarray:
    """Return at most `EXAMPLES` positions where the mask holds: those with the highest `worst`, or the first ones."""
    at = np.flatnonzero(mask)
    return (at if worst is None else at[np.argsort(-worst[at], kind="stable")])[:EXAMPLES]


def location(mined: Mined, example: int, row: int) -> dict[str, Any]:
    """Return file and row number of a row, and the query and first positive of its example."""
    lists = mined.positives.documents
    low, high = lists.offsets[example : example + 2]
    return {
        "file": mined.sources[mined.files[row]],
        "row": int(mined.lines[row]),
        "query": shown_text(mined.queries[mined.anchors[example]]),
        "positive": shown_text(mined.documents[lists.values[low]]) if high > low else None,
    }


def shown_text(text: str) -> str:
    """Return a text, cut to `TEXT` characters."""
    return shorten(text, TEXT)


def json_number(value: Any) -> Any:
    """Return a number for JSON: one that is not finite as text."""
    number = float(value)
    return number if np.isfinite(number) else str(number)
