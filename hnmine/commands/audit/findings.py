"""What an audit looks for: what each finding means, how much of it a good set may hold, and what to do about it."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hnmine.commands.audit.mined import Mined
from hnmine.config.tables import NEAR_COPY

EXAMPLES = 10
TEXT = 300

HUB_QUERIES, HUB_SHARE = 20, 0.02
TOLERANCE = 0.02
LARGE_EFFECT, LARGEST_USUAL_EFFECT = 0.8, 2.5
SAME_MODEL = 0.05

Needs = Literal["", "scores", "qrels", "model", "model and scores"]


@dataclass(frozen=True)
class Kind:
    """One thing that is looked for.

    Attributes:
        name: its name in audit.json.
        of: what is counted.
        limit: share, or size of the effect, above which it is a fault; None where it is information only.
        meaning: what it is.
        advice: what to do.
        needs: what it cannot be measured without.
    """

    name: str
    of: str
    limit: float | None
    meaning: str
    advice: str
    needs: Needs = ""


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
    Kind("scores_at_or_above_positive", "negatives", 0.01, "the file's score is no lower than the positive's",
         _FILTER, "scores"),
    Kind("model_at_or_above_positive", "negatives", 0.05, "the model's score is no lower than the positive's",
         _FILTER, "model"),
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
    Kind("duplicate_row", "rows", 0, "the same row again", "remove them: they count twice"),
    Kind("repeated_negative", "negatives", 0, "the same negative again in one example", "remove them"),
    Kind("hub", "documents", 0, f"negative of over {HUB_SHARE:.0%} of the queries, and of at least {HUB_QUERIES}",
         "limit how often a document may serve (emit.max_per_document)"),
    Kind("length_bias", "negatives", LARGE_EFFECT, "negatives are longer, or shorter, than positives",
         "mine from documents of the positives' kind: length gives the answer away"),
    Kind("overlap_bias", "negatives", LARGEST_USUAL_EFFECT,
         "negatives share more words with the query, or fewer, than positives",
         "mix kinds of retrieval: shared words give the answer away"),
    Kind("negative_of_other_rows", "negatives", None, "also a negative of another row of the same query",
         "normal where a query has several positives"),
    Kind("positive_elsewhere", "negatives", None, "a positive of another query",
         "none to speak of means that negatives and positives are different kinds of text"),
)  # fmt: skip
BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class Hits:
    """What was found of one kind.

    Attributes:
        count: how many.
        total: of how many.
        examples: some of them for people, the worst first, at most `EXAMPLES`.
        effect: Cohen's d, whose size is compared with the limit in place of the share.
        limit: in place of the kind's.
    """

    count: int
    total: int
    examples: list[dict[str, Any]]
    effect: float | None = None
    limit: float | None = None


def finding(kind: Kind, hits: Hits | None) -> dict[str, Any]:
    """Return a finding as it stands in audit.json; without hits it says what it needs."""
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


def some(mask: np.ndarray, worst: np.ndarray | None = None) -> np.ndarray:
    """Return places where the mask holds, at most `EXAMPLES`: those of the highest `worst` first, else the first."""
    places = np.flatnonzero(mask)
    if worst is not None:
        places = places[np.argsort(-worst[places], kind="stable")]
    return places[:EXAMPLES]


def of_negatives(mined: Mined, mask: np.ndarray, worst: np.ndarray | None = None, **numbers: np.ndarray | None) -> Hits:
    """Return the negatives where the mask holds.

    Args:
        mined: examples.
        mask: bool, one a negative.
        worst: numbers to sort examples by, highest first; the order of the files by default.
        numbers: shown with each example, one value a negative.
    """
    lists = mined.negatives.documents
    shown = []
    for place in some(mask, worst):
        example = int(lists.owners[place])
        entry = row(mined, example, int(mined.negatives.rows[place]))
        entry["negative"] = cut(mined.documents[lists.values[place]])
        entry |= {name: plain(values[place]) for name, values in numbers.items() if values is not None}
        shown.append(entry)
    return Hits(int(mask.sum()), len(mask), shown)


def of_examples(mined: Mined, mask: np.ndarray, worst: np.ndarray | None = None) -> Hits:
    """Return the examples where the mask holds; bool, one an example."""
    shown = []
    for place in some(mask, worst):
        entry = row(mined, int(place), int(mined.first[place]))
        lists = mined.negatives.documents
        first = lists.values[lists.offsets[place] : lists.offsets[place + 1]][:1]
        entry["negative"] = cut(mined.documents[first[0]]) if len(first) else None
        shown.append(entry | {"negatives": int(lists.lengths[place])})
    return Hits(int(mask.sum()), len(mask), shown)


def row(mined: Mined, example: int, file_row: int) -> dict[str, Any]:
    """Return where an example stands, its query and its first positive."""
    lists = mined.positives.documents
    low, high = lists.offsets[example : example + 2]
    return {
        "file": mined.sources[mined.files[file_row]],
        "row": int(mined.lines[file_row]),
        "query": cut(mined.queries[mined.anchors[example]]),
        "positive": cut(mined.documents[lists.values[low]]) if high > low else None,
    }


def cut(text: str) -> str:
    """Return a text short enough to look at."""
    return text if len(text) <= TEXT else text[: TEXT - 3] + "..."


def plain(value: Any) -> Any:
    """Return a number as JSON can hold it: what is not finite as its name."""
    number = float(value)
    return number if np.isfinite(number) else str(number)
