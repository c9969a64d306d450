"""The user's collection as streams of documents, queries and judgements, from any kind of input."""

import itertools
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from hnmine.config.tables import Config, InputConfig
from hnmine.errors import InputError, Problems
from hnmine.readers.columns import TableReader
from hnmine.readers.judgements import FileJudgement, Qrel, read_file_judgements, read_qrels
from hnmine.readers.tables import CHUNK_ROWS, RowLocation
from hnmine.storage.input_files import QRELS_ENDINGS, TABLE_ENDINGS, Source, find_sources

PAIR = ("anchor", "positive")
"""The columns of a table of pairs."""
_COLUMNS = {"corpus": ("doc_id", "text", "title"), "queries": ("query_id", "query"), "pairs": PAIR}
"""The columns of the tables with texts; a title is optional."""


class Entry(NamedTuple):
    """A document or a query."""

    id: str
    text: str
    location: RowLocation


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

    def documents(self) -> Iterator[Entry]:
        """Yield documents in input order; positives of pairs come after a corpus."""
        yield from self._entries("corpus")
        yield from _distinct((f"positive-{number}", text, location) for number, _, text, location in self._pairs())

    def queries(self) -> Iterator[Entry]:
        """Yield queries in input order; pairs with the same anchor are one query."""
        yield from self._entries("queries")
        yield from _distinct((f"anchor-{number}", anchor, location) for number, anchor, _, location in self._pairs())

    def qrels(self) -> Iterator[Qrel]:
        """Yield qrels in input order; a pair is one."""
        for source in self.sources.get("qrels", ()):
            yield from read_qrels(source, self.config, self.problems)
        queries: dict[str, str] = {}
        documents: dict[str, str] = {}
        for number, anchor, text, location in self._pairs():
            query = queries.setdefault(anchor, f"anchor-{number}")
            document = documents.setdefault(text, f"positive-{number}")
            yield Qrel(query, document, max(1, self.config.relevant_from), location)

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

    def _entries(self, role: str) -> Iterator[Entry]:
        wanted = _COLUMNS[role]
        id_name, text_name = wanted[:2]
        for source in self.sources.get(role, ()):
            for chunk, columns in TableReader(source, wanted, self.config, self.problems, {"title"}).chunks():
                titles = columns.get("title") or [""] * len(chunk.lines)
                rows = zip(columns[id_name], titles, columns[text_name], strict=True)
                for index, (entry, title, text) in enumerate(rows):
                    if entry is not None and title is not None and text is not None:
                        yield Entry(entry, _with_title(title, text), chunk.location(index))

    def _pairs(self) -> Iterator[tuple[int, str, str, RowLocation]]:
        """Yield (number of the pair, anchor, positive, location); a list of positives is several pairs."""
        count = itertools.count()
        for source in self.sources.get("pairs", ()):
            for chunk, columns in TableReader(source, PAIR, self.config, self.problems).chunks():
                rows = zip(columns["anchor"], columns["positive"], strict=True)
                for index, (anchor, texts) in enumerate(rows):
                    for text in texts or [""]:
                        yield next(count), anchor or "", text, chunk.location(index)


def _evaluation_qrels(source: Source, given: InputConfig, problems: Problems) -> Iterator[Qrel]:
    """Yield the qrels of a file of the evaluation set, whose split is `input.eval_split`."""
    return read_qrels(source, given.model_copy(update={"split": given.eval_split}), problems, "input.eval_split")


def _distinct(entries: Iterator[tuple[str, str, RowLocation]]) -> Iterator[Entry]:
    """Yield the first entry of each text."""
    seen: set[str] = set()
    for name, text, location in entries:
        if text not in seen:
            seen.add(text)
            yield Entry(name, text, location)


def _with_title(title: str, text: str) -> str:
    """Return the title before the text; the text alone if the title only repeats it."""
    if not title:
        return text.strip()
    return text if title.casefold() == text.casefold() else f"{title} {text}".strip()


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
        return islice(TableReader(source, _COLUMNS[role], config.input, problems, {"title"}).chunks(), 1)

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
