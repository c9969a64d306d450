"""The shapes of training rows, recognised by the names of a file's columns."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from hnmine.config.emit import ExtraColumn
from hnmine.errors import InputError
from hnmine.readers.columns import COLUMNS
from hnmine.readers.tables import Layout, read_layout
from hnmine.storage.input_files import Source

ACCEPTED = (
    "triplet (anchor, positive, negative); n-tuple (anchor, positive, negative_1 .. negative_n); "
    "labeled-pair (anchor, document, label or score); labeled-list (anchor, documents, labels or scores); "
    "bge (query, pos, neg); ids (query_id, positive_id, negative_id); distillation (query_id, document_ids, scores); "
    "triples (.tsv without a header: query, positive, negative)"
)

# Names of columns that are neither an anchor nor a positive.
_EXTRA = {
    *get_args(ExtraColumn), "label", "labels", "score", "scores", "pos_scores", "neg_scores", "id", "_id", "qid",
    "pid", "idx", "index", "type", "prompt", "instruction", "split", "task", "subset", "__index_level_0__",
}  # fmt: skip
_EXTRA_ENDINGS = ("_id", "_ids", "_score", "_scores", "_rank")
_DOCUMENTS = (*COLUMNS["positive"].names, "documents", "docs", "passages", "positives")
_LABELS = {"labels": "labeled-list", "label": "labeled-pair", "scores": "labeled-list", "score": "labeled-pair"}


@dataclass(frozen=True)
class Shape:
    """A shape of rows, with the columns of one file.

    Attributes:
        name: triplet, n-tuple, labeled-pair, labeled-list, bge, ids, distillation or triples.
        anchor: column of the query.
        positive: column of the positive or positives; of all documents where labels or scores tell them apart.
        negatives: columns of the negatives; empty where they are in the column of all documents.
        label: column of the labels; without one a query's first document is its positive.
        scores: (role, column) of the score columns; roles are "all" (the positive first), "positive" and "negative".
        ids: whether the values are ids, whose texts are in a corpus and queries.
    """

    name: str
    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()
    label: str | None = None
    scores: tuple[tuple[str, str], ...] = ()
    ids: bool = False

    @property
    def labeled(self) -> bool:
        """Whether positives and negatives share a column."""
        return self.name.startswith("labeled") or self.name == "distillation"

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        named = [self.anchor, self.positive, *self.negatives, self.label, *(column for _, column in self.scores)]
        return list(dict.fromkeys(name for name in named if name is not None))

    def described(self) -> str:
        """Return the shape and its columns in words."""
        document = "documents" if self.labeled else "positive"
        parts = [f"anchor = {self.anchor!r}", f"{document} = {self.positive!r}"]
        if self.negatives:
            last = f" .. {self.negatives[-1]!r}" if len(self.negatives) > 1 else ""
            parts.append(f"negatives = {self.negatives[0]!r}{last}")
        if self.labeled:
            parts.append(
                f"labels = {self.label!r}" if self.label else "no labels: a query's first document is positive"
            )
        parts.extend(f"scores = {column!r}" for _, column in self.scores)
        return f"{self.name} ({', '.join(parts)})"


def layout_of(source: Source) -> tuple[Layout, Shape]:
    """Return the layout and the shape of a file.

    Raises:
        InputError: it is unreadable, or its columns fit no shape or several.
    """
    layout = read_layout(source, None, whole=True)  # a column that only later rows have is part of the shape
    headerless = source.ending == ".tsv" and len(layout.names) == 3 and not _is_header(layout.names)
    if headerless:
        names = ["query", "positive", "negative"]
        return Layout(names, False, False, "\t"), Shape("triples", "query", "positive", ("negative",))
    return layout, recognise(layout.names, source.name)


def _is_header(names: Sequence[str]) -> bool:
    """Return whether three fields look like column names: one word each."""
    return all(re.fullmatch(r"[A-Za-z_][A-Za-z_-]{0,30}|\w+_\w+", name.strip()) and " " not in name for name in names)


def recognise(names: Sequence[str], source: str) -> Shape:
    """Return the shape that column names fit.

    Args:
        names: in the file's order.
        source: the file's name, for messages.

    Raises:
        InputError: they fit no shape, or several.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{source}: column {twice[0]!r} is there {names.count(twice[0])} times; rename all but one")
    bge = Shape("bge", "query", "pos", ("neg",)) if {"query", "pos", "neg"} <= set(names) else None
    fits = [
        shape
        for shape in (bge, _with_negatives(names), _labeled(names), _ids(names), _distillation(names))
        if shape is not None
    ]
    if len(fits) > 1:
        which = " and ".join(shape.name for shape in fits)
        raise InputError(f"{source}: mixed shapes: the columns fit {which} ({', '.join(names)}); keep those of one")
    if not fits:
        raise InputError(
            f"{source}: columns of no known shape; it has: {', '.join(names)}; accepted: {ACCEPTED}; "
            "where an anchor or a positive is not found, name the columns anchor and positive"
        )
    return replace(fits[0], scores=_scores(fits[0], names))


def _with_negatives(names: Sequence[str]) -> Shape | None:
    numbered = sorted((n for n in names if re.fullmatch(r"negative_\d+", n)), key=lambda n: int(n.rpartition("_")[2]))
    single = [name for name in ("negative", "negatives") if name in names]
    negatives = numbered or single
    found = _texts(names, negatives) if negatives else None
    if found is None:
        return None
    return Shape("n-tuple" if numbered else "triplet", *found, tuple(negatives))


def _labeled(names: Sequence[str]) -> Shape | None:
    label = next((name for name in _LABELS if name in names), None)
    negatives = [name for name in names if re.fullmatch(r"neg|negatives?|negative_\d+", name)]
    found = _texts(names, []) if label is not None and not negatives else None
    if label is None or found is None:
        return None
    return Shape(_LABELS[label], *found, label=label if label.startswith("label") else None)


def _ids(names: Sequence[str]) -> Shape | None:
    wanted = ("query_id", "positive_id", "negative_id")
    if not set(wanted) <= set(names) or "document_ids" in names or any(not _extra(name) for name in names):
        return None
    return Shape("ids", wanted[0], wanted[1], (wanted[2],), ids=True)


def _distillation(names: Sequence[str]) -> Shape | None:
    wanted = ("query_id", "document_ids", "scores")
    return Shape("distillation", "query_id", "document_ids", ids=True) if set(wanted) <= set(names) else None


def _texts(names: Sequence[str], negatives: Sequence[str]) -> tuple[str, str] | None:
    """Return the columns of the anchor and the positive: by their usual names, or the only ones that are left."""
    left = [name for name in names if name not in negatives and not _extra(name)]
    anchor = next((name for name in COLUMNS["anchor"].names if name in left), None)
    positive = next((name for name in _DOCUMENTS if name in left and name != anchor), None)
    left = [name for name in left if name not in (anchor, positive)]
    missing = (anchor is None) + (positive is None)
    if missing > len(left) or (missing and len(left) != missing):
        return None
    return anchor or left.pop(0), positive or left.pop(0)


def _extra(name: str) -> bool:
    return name in _EXTRA or name.endswith(_EXTRA_ENDINGS)


def _scores(shape: Shape, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return (role, column) of a shape's score columns."""
    apart = {"positive": ("pos_scores", "positive_score"), "negative": ("neg_scores", "negative_score")}
    together = "score" if shape.name == "labeled-pair" else "scores"
    if together in names:
        return (("all", together),)
    found = ((role, next((name for name in options if name in names), None)) for role, options in apart.items())
    return tuple((role, name) for role, name in found if name is not None)
