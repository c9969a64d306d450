"""Reading mined files of one shape into flat arrays, chunk by chunk, each text once."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.commands.audit.cells import as_list, is_positive, sized, unfold
from hnmine.commands.audit.columns import Block, blocks, is_plain
from hnmine.commands.audit.mined import Mined, Scored
from hnmine.commands.audit.shapes import Shape, layout_of
from hnmine.errors import HnmineError, InputError, Problems
from hnmine.readers.columns import as_id, as_text
from hnmine.readers.tables import ABSENT, Chunk, Layout, read_chunks
from hnmine.storage.input_files import TABLE_ENDINGS, Source, find_sources
from hnmine.storage.paths import path_of


def mined_sources(entries: Sequence[str], base: Path, command: str = "audit") -> list[Source]:
    """Return the files behind what the user named; of a run's folder those that emit wrote.

    Raises:
        InputError: nothing there; all entries are checked first.
    """
    given = [f"{e.rstrip('/')}/emit" if _is_run(path_of(e, base)) else e for e in entries]
    found = find_sources(given, base, command, TABLE_ENDINGS)
    kept = [source for source in found if not _beside(source)]
    if not kept:
        raise InputError(f"{command}: {', '.join(entries)}: no training file there")
    return kept


def _is_run(folder: Path) -> bool:
    try:
        return (folder / "emit" / "_manifest.json").is_file()
    except HnmineError:  # no store that could hold a run; whether it holds a file is seen when it is opened
        return False


def _beside(source: Source) -> bool:
    """Tell whether a file found in a folder is a record that hnmine keeps beside its training files."""
    path = PurePosixPath(source.path)
    return path.parent.name == "_keys" or (path.parent.name, path.name) == ("chosen", "chosen.parquet")


def read_shapes(sources: Sequence[Source], command: str = "audit") -> tuple[list[Layout], Shape]:
    """Return each file's layout, and the shape they all have.

    Raises:
        InputError: a file of no known shape, or files of different shapes; all problems at once.
    """
    problems, layouts = Problems(), []
    shapes: dict[Shape, list[str]] = {}
    for source in sources:
        try:
            layout, shape = layout_of(source)
        except InputError as error:
            problems.add(str(error))
            continue
        layouts.append(layout)
        shapes.setdefault(shape, []).append(source.name)
    if len({shape.name for shape in shapes}) > 1:
        which = "; ".join(f"{names[0]} is {shape.name}" for shape, names in shapes.items())
        problems.add(f"{command}: files of mixed shapes: {which}; {command} them one shape at a time")
    elif len(shapes) > 1:
        which = "; ".join(f"{names[0]} has {shape.described()}" for shape, names in shapes.items())
        problems.add(f"{command}: files with different columns: {which}; {command} them apart")
    problems.raise_if_any()
    return layouts, next(iter(shapes))


@dataclass
class _Side:
    """Grows the lists of one side."""

    documents: "array[int]" = field(default_factory=lambda: array("q"))
    lengths: "array[int]" = field(default_factory=lambda: array("q"))
    scores: "array[float]" = field(default_factory=lambda: array("d"))
    given: "array[int]" = field(default_factory=lambda: array("b"))
    rows: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, documents: Sequence[int], scores: Sequence[float | None], row: int) -> None:
        self.documents.extend(documents)
        self.lengths.append(len(documents))
        self.scores.extend(np.nan if score is None else score for score in scores)
        self.given.extend(score is not None for score in scores)
        self.rows.extend([row] * len(documents))

    def add_block(self, documents: np.ndarray, scores: np.ndarray, given: np.ndarray, first: int) -> None:
        """Add rows from `first` on, all arrays of shape (rows, n); documents below 0 are none."""
        there = documents >= 0
        owners = np.nonzero(there)[0] + first
        for grown, values in (
            (self.documents, documents[there].astype(np.int64)), (self.scores, scores[there].astype(np.float64)),
            (self.given, given[there].astype(np.int8)), (self.rows, owners.astype(np.int64)),
            (self.lengths, there.sum(axis=1).astype(np.int64)),
        ):  # fmt: skip
            grown.frombytes(values.tobytes())

    def done(self) -> Scored:
        lists = Ragged.from_lengths(_numbers(self.documents), _numbers(self.lengths))
        given = np.frombuffer(self.given, dtype=np.int8) if len(self.given) else np.zeros(0, dtype=np.int8)
        return Scored(lists, np.array(self.scores, dtype=np.float64), given.astype(bool), _numbers(self.rows))


def _numbers(values: "array[int]") -> np.ndarray:
    return np.array(values, dtype=np.int64)


@dataclass(frozen=True)
class _Row:
    """One row: texts, None where there is none; scores one a text, None where there is none."""

    anchor: str
    positives: list[str | None]
    negatives: list[str | None]
    positive_scores: list[float | None]
    negative_scores: list[float | None]


class Reader:
    """Reads files of one shape.

    Args:
        shape: that they have.
        problems: collects what is wrong with rows.
    """

    def __init__(self, shape: Shape, problems: Problems) -> None:
        self.shape, self.problems = shape, problems
        self.queries: dict[str, int] = {}
        self.documents: dict[str, int] = {}
        self.anchors, self.files, self.lines = array("q"), array("q"), array("q")
        self.positives, self.negatives = _Side(), _Side()
        self.sources: list[str] = []
        self._last: str | None = None

    def read(self, source: Source, layout: Layout) -> None:
        """Add a file's rows.

        Raises:
            InputError: the file is damaged.
        """
        number = len(self.sources)
        self.sources.append(source.name)
        if is_plain(source, self.shape):
            for block in blocks(source, self.shape, self.queries, self.documents):
                self._add_block(block, number)
            return
        for chunk in read_chunks(source, layout, self.shape.columns):
            if source.ending in (".csv", ".tsv"):
                unfold(chunk, self.shape)
            for index, row in self._rows(chunk):
                self._add(row, number, chunk.lines[index])

    def done(self) -> Mined:
        """Return all rows read."""
        return Mined(
            list(self.queries), list(self.documents), _numbers(self.anchors), self.positives.done(),
            self.negatives.done(), np.arange(len(self.anchors)), _numbers(self.files), _numbers(self.lines),
            self.sources,
        )  # fmt: skip

    def _add_block(self, block: Block, file: int) -> None:
        first = len(self.anchors)
        before = int(self.lines[-1]) if first and self.files[-1] == file else 0
        self.anchors.frombytes(block.anchors.tobytes())
        self.files.extend([file] * len(block.anchors))
        self.lines.extend(range(before + 1, before + len(block.anchors) + 1))
        self.positives.add_block(block.positives, block.scores[:, :1], block.given[:, :1], first)
        self.negatives.add_block(block.negatives, block.scores[:, 1:], block.given[:, 1:], first)

    def _add(self, row: _Row, file: int, line: int) -> None:
        number = len(self.anchors)
        self.anchors.append(self.queries.setdefault(row.anchor, len(self.queries)))
        self.files.append(file)
        self.lines.append(line)
        for side, texts, scores in (
            (self.positives, row.positives, row.positive_scores),
            (self.negatives, row.negatives, row.negative_scores),
        ):
            there = [(text, score) for text, score in zip(texts, scores, strict=True) if text is not None]
            numbers = [self.documents.setdefault(text, len(self.documents)) for text, _ in there]
            side.add(numbers, [score for _, score in there], number)

    def _rows(self, chunk: Chunk) -> Iterator[tuple[int, _Row]]:
        for index in range(len(chunk.lines)):
            try:
                yield index, self._row(chunk, index)
            except ValueError as error:
                self.problems.add(f"{chunk.location(index)}: {error}")

    def _row(self, chunk: Chunk, index: int) -> _Row:
        values = {name: column[index] for name, column in chunk.columns.items()}
        for name in (self.shape.anchor, self.shape.positive):
            if values[name] is ABSENT:
                raise ValueError(f"no {name!r}, which rows of the shape {self.shape.name} have; mixed shapes?")
        anchor = self._text(values[self.shape.anchor], self.shape.anchor)
        if self.shape.labeled:
            return self._labeled(anchor or "", values)
        positives = self._texts(values[self.shape.positive], self.shape.positive)
        negatives = [text for name in self.shape.negatives for text in self._texts(values[name], name)]
        scores = self._scores(values, len(positives), len(negatives))
        return _Row(anchor or "", positives, negatives, *scores)

    def _labeled(self, anchor: str, values: dict[str, Any]) -> _Row:
        documents = self._texts(values[self.shape.positive], self.shape.positive)
        count = len(documents)
        if self.shape.label is None:
            fresh = self.shape.name == "labeled-list" or anchor != self._last
            self._last = anchor
            positive = [fresh and place == 0 for place in range(count)]
        else:
            labels = as_list(values[self.shape.label])
            if len(labels) != count:
                raise ValueError(f"{len(labels)} labels for {count} documents")
            positive = [is_positive(label) for label in labels]
        ups = [place for place in range(count) if positive[place]]
        downs = [place for place in range(count) if not positive[place]]
        first, second = self._scores(values, len(ups), len(downs))
        if dict(self.shape.scores).get("all"):
            every = first + second  # in the order of the documents
            first, second = [every[place] for place in ups], [every[place] for place in downs]
        return _Row(anchor, [documents[p] for p in ups], [documents[p] for p in downs], first, second)

    def _scores(self, values: dict[str, Any], up: int, down: int) -> tuple[list[float | None], list[float | None]]:
        """Return the scores of a row's positives and negatives; None each where there is no score."""
        columns = dict(self.shape.scores)
        if "all" in columns:
            every = sized(values[columns["all"]], up + down, columns["all"])
            return every[:up], every[up:]
        sides: list[list[float | None]] = []
        for role, count in (("positive", up), ("negative", down)):
            sides.append(sized(values[columns[role]], count, columns[role]) if role in columns else [None] * count)
        return sides[0], sides[1]

    def _text(self, value: Any, name: str) -> str | None:
        """Return a text, None where there is none."""
        if value is None or value is ABSENT:
            return None
        text = as_id(value) if self.shape.ids else as_text(value)
        if text is None:
            raise ValueError(f"{name}: {'an id' if self.shape.ids else 'text'} expected, found {str(value)[:40]!r}")
        return text

    def _texts(self, value: Any, name: str) -> list[str | None]:
        """Return a list of texts; a single text is a list of one, a missing one a list of none."""
        if value is None or value is ABSENT:
            # a cell of its own keeps its place, so that scores beside it stay with their texts
            return [None] if self.shape.name in ("triplet", "n-tuple") else []
        return [self._text(part, name) for part in as_list(value)]
