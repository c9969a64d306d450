"""Plain files of triplets as mined sets: a query, its positive, and one negative or several a row."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.errors import InputError, Problems
from hnmine.minedset import MinedSet, once_a_query
from hnmine.readers.columns import as_texts
from hnmine.readers.files import TABLE_ENDINGS, Source, find_sources
from hnmine.readers.tables import ABSENT, Chunk, chunks, look
from hnmine.science.textkeys import copy_key

ANCHORS = ("anchor", "query", "question")
POSITIVES = ("positive", "pos", "answer")
NEGATIVES = ("negative", "negatives", "neg")
SCORES = ("negative_score", "negative_scores", "neg_scores")
ALL_SCORES = ("scores", "score")
_NUMBERED = re.compile(r"negative_(\d+)$")


@dataclass
class _Texts:
    """Texts by their copy key, each once."""

    place: dict[int, int] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    _keys: dict[str, int] = field(default_factory=dict)

    def add(self, text: str) -> int:
        """Return the position of a text among those that differ."""
        key = self._keys.get(text)
        if key is None:
            key = self._keys[text] = copy_key(text)
        if key not in self.place:
            self.place[key] = len(self.texts)
            self.texts.append(text)
        return self.place[key]

    def keys(self) -> np.ndarray:
        """Return the copy key of each text, uint64."""
        return np.fromiter(self.place, dtype=np.uint64, count=len(self.place))


@dataclass
class _Rows:
    queries: _Texts = field(default_factory=_Texts)
    documents: _Texts = field(default_factory=_Texts)
    owners: list[int] = field(default_factory=list)
    negatives: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    examples: set[tuple[int, int]] = field(default_factory=set)


def read_file(name: str) -> MinedSet:
    """Return the mined set of a file, folder, glob or URL of triplet files.

    Raises:
        InputError: missing, of no known type, damaged, without the columns, or with something else than texts in
            them; all of it is named.
    """
    problems, rows = Problems(), _Rows()
    for source in find_sources(name, Path.cwd(), "compare", TABLE_ENDINGS):
        _read(source, rows, problems)
    problems.raise_if_any()
    if not rows.queries.texts:
        raise InputError(f"{name}: holds no rows")
    owners, documents = (np.array(part, dtype=np.int64) for part in (rows.owners, rows.negatives))
    once = once_a_query(owners, documents)
    owners, documents = owners[once], documents[once]
    return MinedSet(
        name,
        rows.queries.keys(),
        owners,
        rows.documents.keys()[documents],
        np.array(rows.scores, dtype=np.float64)[once],
        np.full(len(once), np.nan),
        len(rows.examples),
        lambda at: [rows.queries.texts[i] for i in at.tolist()],
        lambda at: [rows.documents.texts[i] for i in documents[at].tolist()],
    )


def _read(source: Source, rows: _Rows, problems: Problems) -> None:
    layout = look(source, None)
    anchor, positive = (_first(names, layout.names) for names in (ANCHORS, POSITIVES))
    negatives = _negatives(layout.names)
    lacking = [
        f"no column for the {what} (looked for {looked})"
        for what, found, looked in (
            ("query", anchor, ", ".join(ANCHORS)),
            ("positive", positive, ", ".join(POSITIVES)),
            ("negatives", negatives, f"{', '.join(NEGATIVES)}, negative_1 ... negative_n"),
        )
        if not found
    ]
    if lacking:
        problems.add(f"{source.name}: {'; '.join(lacking)}; it has: {', '.join(layout.names)}")
        return
    assert anchor is not None
    assert positive is not None
    scores = _first((*SCORES, *ALL_SCORES), layout.names)
    wanted = [anchor, positive, *negatives, *([scores] if scores else [])]
    for chunk in chunks(source, layout, wanted):
        _take(chunk, (anchor, positive, negatives, scores), rows, problems)


def _first(names: Sequence[str], there: Sequence[str]) -> str | None:
    return next((name for name in names if name in there), None)


def _negatives(there: Sequence[str]) -> list[str]:
    numbered = sorted((name for name in there if _NUMBERED.match(name)), key=lambda name: int(name.split("_")[1]))
    one = _first(NEGATIVES, there)
    return [one] if one else numbered


def _take(chunk: Chunk, names: tuple[str, str, list[str], str | None], rows: _Rows, problems: Problems) -> None:
    anchor, positive, negatives, scores = names
    columns = chunk.columns
    for index in range(len(chunk.lines)):
        query, right = (as_texts(columns[name][index]) for name in (anchor, positive))
        wrong = [as_texts(columns[name][index]) for name in negatives]
        if not query or not query[0] or right is None or None in wrong:
            problems.add(f"{chunk.place(index)}: texts expected in {', '.join((anchor, positive, *negatives))}")
            continue
        owner = rows.queries.add(query[0])
        rows.examples |= {(owner, copy_key(text)) for text in right if text}
        texts = [text for part in wrong for text in part or []]
        known = _scores(columns[scores][index] if scores else None, scores, len(texts))
        for text, score in zip(texts, known, strict=True):
            if text:
                rows.owners.append(owner)
                rows.negatives.append(rows.documents.add(text))
                rows.scores.append(score)


def _scores(given: Any, name: str | None, count: int) -> list[float]:
    """Return a score for each negative of a row; NaN where the row has none that fit."""
    values = given if isinstance(given, list) else [given]
    if name in ALL_SCORES:
        values = values[1:]  # the positive's comes first
    if given is None or given is ABSENT or len(values) != count:
        return [math.nan] * count
    return [_number(value) for value in values]


def _number(value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return math.nan
    return found if math.isfinite(found) else math.nan
