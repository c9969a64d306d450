"""The user's collection as streams of documents, queries and judgements, from any kind of input."""

import itertools
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.config.tables import Config, InputConfig
from hnmine.errors import InputError, Problems
from hnmine.readers.columns import TableReader
from hnmine.readers.images import CHUNK_IMAGES, EncodedImage, read_images, require_pillow
from hnmine.readers.judgements import FileJudgement, Qrel, read_file_judgements, read_qrels
from hnmine.readers.tables import CHUNK_ROWS, Chunk, RowLocation
from hnmine.storage.input_files import QRELS_ENDINGS, TABLE_ENDINGS, Source, find_sources

PAIR = ("anchor", "positive")
"""The columns of a table of pairs."""
_COLUMNS = {"corpus": ("doc_id", "text", "title"), "queries": ("query_id", "query"), "pairs": PAIR}
"""The columns of the tables with texts; a title is optional."""
_Pair = tuple[int, str, str, int]
"""The number of a pair, its anchor, its positive, and its row in its chunk."""


class Entries(NamedTuple):
    """Some documents or queries, in input order.

    Attributes:
        ids: strings.
        texts: strings, without outer white space.
        chunk: the rows of a file that they are from.
        rows: int64: the row of each in the chunk.
        images: the image of each, None for one without; None where documents are no images.
    """

    ids: pa.Array
    texts: pa.Array
    chunk: Chunk
    rows: np.ndarray
    images: list[EncodedImage | None] | None = None

    def location(self, index: int) -> RowLocation:
        """Return the location of an entry."""
        return self.chunk.location(int(self.rows[index]))

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield (id, text) of each."""
        return zip(self.ids.to_pylist(), self.texts.to_pylist(), strict=True)


class Collection:
    """Streams over the files of a config; each may be read several times. Faults of rows and columns become problems.

    The documents of pairs are their distinct positives, with ids `positive-N`; their queries are their distinct
    anchors, with ids `anchor-N`. N is the number of the first pair that has the text.

    Raises:
        InputError: files do not exist; all of them are named.
    """

    def __init__(self, config: Config, problems: Problems) -> None:
        self.config: InputConfig = config.input
        self.problems = problems
        self.sources = input_sources(config)

    def documents(self) -> Iterator[Entries]:
        """Yield documents in input order; positives of pairs come after a corpus."""
        yield from self._images("corpus") if self.config.has_images else self._entries("corpus")
        yield from self._distinct("positive")

    def queries(self) -> Iterator[Entries]:
        """Yield queries in input order; pairs with the same anchor are one query."""
        yield from self._images("queries") if self.config.has_query_images else self._entries("queries")
        yield from self._distinct("anchor")

    def qrels(self) -> Iterator[Qrel]:
        """Yield qrels in input order; a pair is one."""
        for source in self.sources.get("qrels", ()):
            yield from read_qrels(source, self.config, self.problems)
        queries: dict[str, str] = {}
        documents: dict[str, str] = {}
        for chunk, pairs in self._pairs():
            for number, anchor, text, row in pairs:
                query = queries.setdefault(anchor, f"anchor-{number}")
                document = documents.setdefault(text, f"positive-{number}")
                yield Qrel(query, document, max(1, self.config.relevant_from), chunk.location(row))

    def evaluation(self) -> Iterator[Qrel]:
        """Yield the qrels of the evaluation set in input order."""
        for source in self.sources.get("eval_qrels", ()):
            yield from _evaluation_qrels(source, self.config, self.problems)

    def file_judgements(self) -> Iterator[FileJudgement]:
        """Yield the judgements of `input.judgements` in input order; an unreadable file becomes a problem."""
        for source in self.sources.get("judgements", ()):
            try:
                yield from read_file_judgements(source, self.config, self.problems)
            except InputError as error:
                self.problems.add(str(error))

    def _entries(self, role: str) -> Iterator[Entries]:
        wanted = _COLUMNS[role]
        for source in self.sources.get(role, ()):
            for chunk, columns in TableReader(source, wanted, self.config, self.problems, {"title"}).text_chunks():
                ids, texts, titles = columns[wanted[0]], columns[wanted[1]], columns.get("title")
                whole = pc.and_(ids.is_valid(), texts.is_valid())
                if titles is not None:
                    whole = pc.and_(whole, titles.is_valid())
                    texts = _with_titles(titles, texts)
                rows = np.flatnonzero(whole.to_numpy(zero_copy_only=False))
                if len(rows) < len(ids):
                    ids, texts = ids.filter(whole), texts.filter(whole)
                yield Entries(ids, texts, chunk, rows)

    def _images(self, role: str) -> Iterator[Entries]:
        """Yield documents or queries that may be images; one may have a text besides, or in place of an image."""
        setting = "image" if role == "corpus" else "query_image"
        name, wanted = str(getattr(self.config.columns, setting)), _COLUMNS[role]
        require_pillow()
        for source in self.sources.get(role, ()):
            reader = TableReader(source, wanted, self.config, self.problems, {*wanted[1:]})
            if name not in reader.layout.names:
                has = ", ".join(reader.layout.names)
                self.problems.add(
                    f"{source.name}: column {name!r} (input.columns.{setting}) is not there; it has: {has}"
                )
                continue
            for chunk, columns in reader.chunks([name], CHUNK_IMAGES):
                ids = columns[wanted[0]]
                given = (columns.get(own) or [""] * len(ids) for own in ("title", wanted[1]))
                titles, texts = (pa.array([text or "" for text in own], pa.string()) for own in given)
                both = _with_titles(titles, texts)
                for first in range(0, len(ids), CHUNK_IMAGES):
                    last = min(first + CHUNK_IMAGES, len(ids))
                    rows = np.array([row for row in range(first, last) if ids[row] is not None], dtype=np.int64)
                    images = read_images(chunk, name, rows.tolist(), self.problems)
                    own_ids = pa.array([ids[row] for row in rows], pa.string())
                    yield Entries(own_ids, both.take(pa.array(rows)), chunk, rows, images)

    def _pairs(self) -> Iterator[tuple[Chunk, list[_Pair]]]:
        """Yield the pairs of each chunk; a list of positives is several pairs."""
        count = itertools.count()
        for source in self.sources.get("pairs", ()):
            for chunk, columns in TableReader(source, PAIR, self.config, self.problems).chunks():
                rows = zip(columns["anchor"], columns["positive"], strict=True)
                yield (
                    chunk,
                    [
                        (next(count), anchor or "", text, index)
                        for index, (anchor, texts) in enumerate(rows)
                        for text in texts or [""]
                    ],
                )

    def _distinct(self, kind: str) -> Iterator[Entries]:
        """Yield the distinct anchors or positives of pairs, of each the first, with the ids KIND-N."""
        seen: set[str] = set()
        for chunk, pairs in self._pairs():
            first: dict[str, _Pair] = {}
            for pair in pairs:
                text = pair[1] if kind == "anchor" else pair[2]
                if text not in seen:
                    first.setdefault(text, pair)
            seen.update(first)
            ids = pa.array([f"{kind}-{number}" for number, *_ in first.values()], pa.string())
            rows = np.array([row for *_, row in first.values()], dtype=np.int64)
            yield Entries(ids, pa.array(first.keys(), pa.string()), chunk, rows)


def _evaluation_qrels(source: Source, given: InputConfig, problems: Problems) -> Iterator[Qrel]:
    """Yield the qrels of a file of the evaluation set, whose split is `input.eval_split`."""
    return read_qrels(source, given.model_copy(update={"split": given.eval_split}), problems, "input.eval_split")


def _with_titles(titles: pa.Array, texts: pa.Array) -> pa.Array:
    """Return each title before its text; the text alone if the title only repeats it. Both are without outer space."""
    both = pc.binary_join_element_wise(titles, texts, pa.scalar(" "))
    joined = pc.if_else(pc.equal(titles, ""), texts, pc.if_else(pc.equal(texts, ""), titles, both))
    # a folded text has at most three times as many characters
    own, other = pc.utf8_length(titles), pc.utf8_length(texts)
    alike = pc.and_(pc.less_equal(own, pc.multiply(other, 3)), pc.less_equal(other, pc.multiply(own, 3)))
    alike = np.flatnonzero(alike.fill_null(False).to_numpy(zero_copy_only=False))
    repeated = np.zeros(len(texts), dtype=bool)
    pairs = zip(*(column.take(pa.array(alike)).to_pylist() for column in (titles, texts)), strict=True)
    repeated[alike] = [title.casefold() == text.casefold() for title, text in pairs]
    return pc.if_else(pa.array(repeated), texts, joined)


def input_sources(config: Config) -> dict[str, list[Source]]:
    """Return the files of a config's table [input], by setting, such as corpus and queries.

    Raises:
        InputError: files do not exist; all of them are named.
    """
    given, problems = config.input, Problems()
    found: dict[str, list[Source]] = {}
    roles = ("corpus", "queries", "qrels", "pairs")
    entries = beir_files(given, config.base) if given.beir else {role: getattr(given, role) for role in roles}
    evaluation = given.eval_qrels
    if evaluation is None and given.eval_split is not None:
        of_split = given.model_copy(update={"split": given.eval_split})
        evaluation = beir_files(of_split, config.base, "eval_split")["qrels"] if given.beir else given.qrels
    further = {"judgements": given.judgements, "eval_qrels": evaluation}
    for role, entry in (entries | further).items():
        if entry is None:
            continue
        try:
            key = "beir" if given.beir and role not in further else role
            endings = QRELS_ENDINGS if role in ("qrels", "eval_qrels") else TABLE_ENDINGS
            found[role] = find_sources(entry, config.base, f"input.{key}", endings)
        except InputError as error:
            problems.add(str(error))
    problems.raise_if_any()
    return found


def check_files(config: Config, problems: Problems) -> None:
    """Note what is wrong with the files of [input] as far as their first rows, at most `CHUNK_ROWS` of each, say it.

    The messages are those of ingest, which reads all rows.

    Raises:
        InputError: files do not exist; all of them are named.
    """

    def rows(role: str, source: Source) -> Iterator[Any]:
        if role == "qrels":
            return islice(read_qrels(source, config.input, problems), CHUNK_ROWS)
        if role == "eval_qrels":
            return islice(_evaluation_qrels(source, config.input, problems), CHUNK_ROWS)
        if role == "judgements":
            return islice(read_file_judgements(source, config.input, problems), CHUNK_ROWS)
        may_be_images = {"corpus": config.input.has_images, "queries": config.input.has_query_images}.get(role)
        optional = {*_COLUMNS[role][1:]} if may_be_images else {"title"}
        return islice(TableReader(source, _COLUMNS[role], config.input, problems, optional).chunks(), 1)

    for role, sources in input_sources(config).items():
        for source in sources:
            try:
                deque(rows(role, source), maxlen=0)
            except InputError as error:
                problems.add(str(error))


def split_warning(config: Config) -> str | None:
    """Return a warning if the split that is mined of a BEIR folder is its test split; None otherwise.

    Raises:
        InputError: as `input_sources`.
    """
    given = config.input
    if not given.beir:
        return None
    (file,) = input_sources(config)["qrels"]
    if file.path.rsplit("/", 1)[-1].split(".")[0] != "test":
        return None
    chosen = "as input.split says" if given.split else "the only split there is"
    return (
        f"input.beir: the test split of {given.beir} is mined, {chosen}: a model trained on these rows must not be "
        'evaluated on it; if there are qrels of another split, set input.split to it and input.eval_split = "test"'
    )


def beir_files(given: InputConfig, base: Path, setting: str = "split") -> dict[str, str | list[str] | None]:
    """Return the globs of a BEIR folder's corpus and queries, and the file of one split of its qrels.

    The split is `input.split`; else train; else the only one. `setting` is where the split is from, for messages.

    Raises:
        InputError: there are no qrels, or the split cannot be determined.
    """
    folder = str(given.beir).rstrip("/")
    splits = {
        s.path.rsplit("/", 1)[-1].split(".")[0]: s
        for s in find_sources(f"{folder}/qrels", base, "input.beir", (".tsv",))
    }
    split = given.split or ("train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else None)
    if split not in splits:
        have = ", ".join(sorted(splits))
        raise InputError(
            f"input.{setting}: {folder}/qrels has {have}; " + (f"not {split}" if split else "name one of them")
        )
    return {
        "corpus": f"{folder}/corpus.jsonl*",
        "queries": f"{folder}/queries.jsonl*",
        "qrels": f"{folder}/qrels/{splits[split].path.rsplit('/', 1)[-1]}",
    }
