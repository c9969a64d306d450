"""Reads mined files of one shape into `Mined`: each distinct text once, a chunk of rows at a time."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.arrays.ragged import Ragged
from hnmine.commands.audit.mined import Mined, Scored
from hnmine.commands.audit.shapes import Shape, layout_of
from hnmine.errors import HnmineError, InputError, Problems, reason
from hnmine.readers.columns import as_id, as_text
from hnmine.readers.tables import ABSENT, CHUNK_ROWS, Chunk, Layout, read_chunks
from hnmine.stages.emit.batches.step import BATCHES_PATH
from hnmine.stages.emit.chosen import CHOSEN_PATH
from hnmine.stages.emit.clusters import CLUSTERS_PATH
from hnmine.stages.emit.example_scores import ORDER_PATH
from hnmine.stages.emit.mixing import MIXING_FOLDER
from hnmine.stages.emit.previous.previous_run import PREVIOUS_PATH
from hnmine.stages.emit.relabel.relabelled import JUDGED_FOLDER, RELABELLED_PATH
from hnmine.stages.emit.text_tables import TEXT_TABLES
from hnmine.storage.input_files import TABLE_ENDINGS, Source, find_sources
from hnmine.storage.paths import path_of
from hnmine.storage.store import MANIFEST, read_json

# A quoted text inside a list, as Python, numpy and JSON write it.
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)

_RECORD_PATHS = (CHOSEN_PATH, BATCHES_PATH, CLUSTERS_PATH, ORDER_PATH, PREVIOUS_PATH, RELABELLED_PATH)
_RECORDS = rf"(^|/)((_keys|{JUDGED_FOLDER}|{MIXING_FOLDER})/[^/]+|{'|'.join(map(re.escape, _RECORD_PATHS))})$"
Row = tuple[str, list[str | None], list[float | None], list[bool]]
"""One row: its anchor; and of each document the text (None for none), the score (likewise), and if it is a positive."""


class Block(NamedTuple):
    """Some rows of a file, as arrays.

    Attributes:
        anchors: int64, one per row: the number of its query.
        lines: int64, one per row: its line or row number.
        lengths: int64, one per row: how many documents it has.
        documents: int64, one per document: its number; -1 for none.
        scores: float64, one per document; NaN where there is none.
        given: bool, one per document: whether it has a score.
        is_positive: bool, one per document.
    """

    anchors: np.ndarray
    lines: np.ndarray
    lengths: np.ndarray
    documents: np.ndarray
    scores: np.ndarray
    given: np.ndarray
    is_positive: np.ndarray


_KINDS = ("i8", "i8", "i8", "i8", "f8", "?", "?")


def mined_sources(entries: Sequence[str], base: Path, command: str = "audit") -> list[Source]:
    """Return the files that entries name; of a run's output folder the files that emit wrote.

    Args:
        entries: files, folders, globs or URLs.
        base: folder that relative paths start at.
        command: the name of the command, for messages.

    Raises:
        InputError: entries without a file, all of them.
    """
    if "" in entries:  # it would stand for the working directory
        raise InputError(f"{command}: an empty path")
    given = [f"{e.rstrip('/')}/emit" if _is_run(path_of(e, base)) else e for e in entries]
    for entry in given:
        if len(names := _formats(path_of(entry, base))) > 1:
            folders = ", ".join(f"{entry.rstrip('/')}/{name}" for name in names)
            raise InputError(f"{command}: {entry}: holds the same examples in several formats; name one of {folders}")
    found = find_sources(given, base, command, TABLE_ENDINGS)
    # an emit folder also has hnmine's own records, which are no training files
    kept = [s for s in found if not re.search(_RECORDS, s.path)]
    tables = {f"{s.path.rpartition('/')[0]}/{name}" for s in kept for name in TEXT_TABLES}
    kept = [s for s in kept if s.path.rpartition("/")[0] not in tables]
    if not kept:
        raise InputError(f"{command}: {', '.join(entries)}: no training file there")
    return kept


def text_tables(sources: Sequence[Source]) -> dict[str, list[str]] | None:
    """Return the tables of texts beside rows of the shape distillation, by their option; None where they have none."""
    folder = sources[0].path.rpartition("/")[0]
    options = {"corpus": "documents", "queries": "queries"}
    if not all(sources[0].system.isdir(f"{folder}/{name}") for name in options.values()):
        return None
    return {option: [sources[0].system.unstrip_protocol(f"{folder}/{name}")] for option, name in options.items()}


def _is_run(folder: Path) -> bool:
    try:
        return (folder / "emit" / "_manifest.json").is_file()
    except HnmineError:  # a store that is not supported; opening the file reports it
        return False


def _formats(emit: Path) -> list[str]:
    """Return the formats in a run's emit folder, if it has several; none for another folder."""
    try:
        manifest = read_json(emit / MANIFEST) or {}
    except HnmineError:  # as in `_is_run`
        return []
    return list(manifest.get("counts", {}).get("formats", {})) if manifest.get("stage") == "emit" else []


def read_shapes(sources: Sequence[Source], command: str = "audit") -> tuple[list[Layout], Shape]:
    """Return each file's layout, and the shape that all files have.

    Raises:
        InputError: files of no known shape, or of different shapes; all problems at once.
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
        problems.add(f"{command}: files with different columns: {which}; {command} them separately")
    problems.raise_if_any()
    return layouts, next(iter(shapes))


def read_rows(sources: Sequence[Source], layouts: Sequence[Layout], shape: Shape) -> Mined:
    """Return the rows of files of one shape.

    Raises:
        InputError: damaged files, or values of the wrong kind; all problems at once.
    """
    problems = Problems()
    reader = _Reader(shape, problems)
    blocks, files = [Block(*(np.zeros(0, dtype=kind) for kind in _KINDS))], [np.zeros(0, dtype=np.int64)]
    for number, (source, layout) in enumerate(zip(sources, layouts, strict=True)):
        for block in reader.blocks(source, layout):
            blocks.append(block)
            files.append(np.full(len(block.lines), number, dtype=np.int64))
    problems.raise_if_any()
    rows = Block(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))
    queries, documents, names = list(reader.queries), list(reader.documents), [source.name for source in sources]
    sides = _side(rows, rows.is_positive), _side(rows, ~rows.is_positive)
    first = np.arange(len(rows.anchors))
    return Mined(queries, documents, rows.anchors, *sides, first, np.concatenate(files), rows.lines, names)


def _side(rows: Block, mask: np.ndarray) -> Scored:
    """Return the documents of each row where the mask holds."""
    there = mask & (rows.documents >= 0)
    owners = np.repeat(np.arange(len(rows.lengths)), rows.lengths)[there]
    lists = Ragged.from_lengths(rows.documents[there], np.bincount(owners, minlength=len(rows.lengths)))
    return Scored(lists, rows.scores[there], rows.given[there], owners)


class _Reader:
    """Numbers the texts of rows.

    Args:
        shape: of the files.
        problems: collects what is wrong with rows.
    """

    def __init__(self, shape: Shape, problems: Problems) -> None:
        self.shape, self.problems = shape, problems
        self.queries: dict[str, int] = {}
        self.documents: dict[str, int] = {}
        self._last: str | None = None

    def blocks(self, source: Source, layout: Layout) -> Iterator[Block]:
        """Yield a file's rows, at most `CHUNK_ROWS` at a time.

        Raises:
            InputError: the file is damaged.
        """
        if is_plain(source, self.shape):
            yield from self._columns(source)
            return
        for chunk in read_chunks(source, layout, self.shape.columns):
            if source.ending in (".csv", ".tsv"):
                _parse_lists(chunk, self.shape)
            yield self._rows(chunk)

    def _columns(self, source: Source) -> Iterator[Block]:
        """Yield the rows of a file of plain columns (see `is_plain`), without a Python object per row."""
        shape, done = self.shape, 0
        try:
            file = pq.ParquetFile(source.system.open(source.path, "rb"))
            for batch in file.iter_batches(CHUNK_ROWS, columns=shape.columns):
                names = (shape.positive, *shape.negatives)
                texts = np.stack([_numbered(batch.column(name), self.documents) for name in names], axis=1)
                anchors = _numbered(pc.fill_null(batch.column(shape.anchor), ""), self.queries)
                scores, given = _score_columns(batch, shape, texts.shape, f"{source.name} row", done)
                lines, lengths = done + 1 + np.arange(len(texts)), np.full(len(texts), len(names))
                columns = (texts, scores, given, np.broadcast_to(np.arange(len(names)) == 0, texts.shape))
                yield Block(anchors, lines, lengths, *(column.ravel() for column in columns))
                done += batch.num_rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{source.name}: damaged after row {done:,}: {reason(error)}") from None

    def _rows(self, chunk: Chunk) -> Block:
        """Return the rows of a chunk; one with a value of the wrong kind becomes a problem."""
        anchors, lines, lengths = [], [], []
        documents: list[tuple[int, float | None, bool]] = []
        for index in range(len(chunk.lines)):
            values = {name: column[index] for name, column in chunk.columns.items()}
            try:
                anchor, texts, scores, is_positive = self._row(values)
            except ValueError as error:
                self.problems.add(f"{chunk.location(index)}: {error}")
                continue
            anchors.append(self.queries.setdefault(anchor, len(self.queries)))
            lines.append(chunk.lines[index])
            lengths.append(len(texts))
            entries = zip(texts, scores, is_positive, strict=True)
            for text, score, positive in sorted(entries, key=lambda entry: not entry[2]):
                number = -1 if text is None else self.documents.setdefault(text, len(self.documents))
                documents.append((number, score, positive))
        numbers, found, positives = zip(*documents, strict=True) if documents else ((), (), ())
        known, real = [score is not None for score in found], [np.nan if score is None else score for score in found]
        columns = (anchors, lines, lengths, numbers, real, known, positives)
        return Block(*(np.array(column, dtype=kind) for column, kind in zip(columns, _KINDS, strict=True)))

    def _row(self, values: dict[str, Any]) -> Row:
        shape = self.shape
        for name in (shape.anchor, shape.positive):
            if values[name] is ABSENT:
                raise ValueError(f"no {name!r}, which rows of the shape {shape.name} have; mixed shapes?")
        anchor = self._text(values[shape.anchor], shape.anchor) or ""
        documents = self._texts(values[shape.positive], shape.positive)
        if shape.labeled:
            is_positive = self._labels(anchor, len(documents), values)
        else:
            negatives = [text for name in shape.negatives for text in self._texts(values[name], name)]
            is_positive = [True] * len(documents) + [False] * len(negatives)
            documents += negatives
        return anchor, documents, self._scores(values, is_positive), is_positive

    def _labels(self, anchor: str, count: int, values: dict[str, Any]) -> list[bool]:
        """Return whether each document of a labelled row is a positive; without labels a query's first one is."""
        if self.shape.label is None:
            first = self.shape.name != "labeled-pair" or anchor != self._last
            self._last = anchor
            return [first and place == 0 for place in range(count)]
        labels = _as_list(values[self.shape.label])
        if len(labels) != count:
            raise ValueError(f"{len(labels)} labels for {count} documents")
        return [_is_positive(label) for label in labels]

    def _scores(self, values: dict[str, Any], is_positive: list[bool]) -> list[float | None]:
        """Return the score of each document of a row; None where there is none."""
        columns = dict(self.shape.scores)
        if "all" in columns:
            return _score_list(values, columns["all"], len(is_positive))
        sides = {
            side: iter(_score_list(values, columns.get(role), is_positive.count(side)))
            for role, side in (("positive", True), ("negative", False))
        }
        return [next(sides[side]) for side in is_positive]

    def _text(self, value: Any, name: str) -> str | None:
        """Return a text, or an id where the shape has ids; None where there is none."""
        if value is None or value is ABSENT:
            return None
        text = as_id(value) if self.shape.ids else as_text(value)
        if text is None:
            raise ValueError(f"{name}: {'an id' if self.shape.ids else 'text'} expected, found {str(value)[:40]!r}")
        return text

    def _texts(self, value: Any, name: str) -> list[str | None]:
        """Return a list of texts; a single text is a list of one."""
        if value is None or value is ABSENT:
            # an empty cell of a column for one text keeps its place, so that the scores stay with their texts
            return [None] if self.shape.name in ("triplet", "n-tuple") else []
        return [self._text(part, name) for part in _as_list(value)]


def is_plain(source: Source, shape: Shape) -> bool:
    """Return whether a file is Parquet with one text per cell, and scores one per cell or in one list column."""
    if source.ending not in (".parquet", ".pq") or shape.labeled or shape.ids:
        return False
    schema = pq.ParquetFile(source.system.open(source.path, "rb")).schema_arrow
    texts = [schema.field(name).type for name in (shape.anchor, shape.positive, *shape.negatives)]
    if not all(pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in texts):
        return False
    for role, name in shape.scores:
        kind = schema.field(name).type
        listed = pa.types.is_list(kind) and pa.types.is_floating(kind.value_type)
        if not (listed if role == "all" else pa.types.is_floating(kind) and len(shape.negatives) == 1):
            return False
    return True


def _numbered(column: pa.Array, numbers: dict[str, int]) -> np.ndarray:
    """Return the number of each text, int64; -1 for null. Texts not seen before get the next numbers."""
    coded = column.dictionary_encode()
    own = [numbers.setdefault(text.strip(), len(numbers)) for text in coded.dictionary.to_pylist()]
    at = pc.fill_null(coded.indices, len(own)).to_numpy(zero_copy_only=False)
    return np.asarray(np.array([*own, -1], dtype=np.int64)[at])


def _score_columns(
    batch: pa.RecordBatch, shape: Shape, size: tuple[int, ...], place: str, done: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (scores, whether there is one) of a batch, arrays of `size` (rows, documents per row).

    Raises:
        InputError: a list of scores whose length is not the number of documents.
    """
    scores, given = np.full(size, np.nan), np.zeros(size, dtype=bool)
    for role, name in shape.scores:
        column = batch.column(name)
        there = column.is_valid().to_numpy(zero_copy_only=False)
        if role != "all":
            side = int(role == "negative")
            scores[:, side], given[:, side] = column.to_numpy(zero_copy_only=False), there
            continue
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(there & (lengths != size[1]))
        if len(wrong):
            row = f"{place} {done + int(wrong[0]) + 1:,}"
            raise InputError(f"{row}: {name}: {lengths[wrong[0]]} scores for {size[1]} documents")
        flat = column.flatten()
        scores[there] = flat.to_numpy(zero_copy_only=False).reshape(-1, size[1])
        given[there] = flat.is_valid().to_numpy(zero_copy_only=False).reshape(-1, size[1])
    return scores, given


def _parse_lists(chunk: Chunk, shape: Shape) -> None:
    """Parse the cells of a text file that hold lists, as `datasets` and pandas write them: `[0.5 nan]`, `['a' 'b']`."""
    numbers = [name for _, name in shape.scores]
    if shape.name == "labeled-list":
        numbers += [shape.label] if shape.label is not None else []
        chunk.columns[shape.positive] = [_texts_in(cell) for cell in chunk.columns[shape.positive]]
    for name in numbers:
        chunk.columns[name] = [
            cell[1:-1].replace(",", " ").split() if _is_list(cell) else cell for cell in chunk.columns[name]
        ]


def _is_list(cell: Any) -> bool:
    return isinstance(cell, str) and cell.startswith("[") and cell.endswith("]")


def _texts_in(cell: Any) -> Any:
    """Return the texts of a cell like `['a' 'b']` or `["a", "b"]`; any other cell as it is."""
    try:
        return [ast.literal_eval(part) for part in _QUOTED.findall(cell)] if _is_list(cell) else cell
    except (ValueError, SyntaxError):
        return cell


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_positive(label: Any) -> bool:
    """Return whether a label says relevant: at least 1; soft labels of negatives are lower.

    Raises:
        ValueError: it is no finite number.
    """
    number = _score(label)
    if number is None or not np.isfinite(number):
        raise ValueError(f"label: a number expected, found {str(label)[:40]!r}")
    return number >= 1


def _score(value: Any) -> float | None:
    """Return a score, which may be NaN or infinite; None where there is none."""
    if value is None or value is ABSENT or value == "":
        return None
    try:
        return float(str(value) if isinstance(value, bool) else value)  # True is no number
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"score: a number expected, found {str(value)[:40]!r}") from None


def _score_list(values: dict[str, Any], name: str | None, count: int) -> list[float | None]:
    """Return `count` scores from a column with a list of that length, or with one number or nothing for all of them.

    Raises:
        ValueError: a list of another length, or a value that is no number.
    """
    value = values[name] if name is not None else None
    if value is None or value is ABSENT:
        return [None] * count
    if not isinstance(value, list):
        return [_score(value)] * count
    if len(value) != count:
        raise ValueError(f"{name}: {len(value)} scores for {count} documents")
    return [_score(part) for part in value]
