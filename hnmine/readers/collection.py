"""The user's collection, whatever it was given as: streams of documents, queries and judgements."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hnmine.config import Config, InputConfig
from hnmine.errors import InputError, Problems
from hnmine.readers.answers import Answer, read_answers
from hnmine.readers.columns import Wanted, as_id, as_text, as_texts, convert, resolve
from hnmine.readers.qrels import Judgement, read_qrels
from hnmine.readers.tables import Place, chunks, look
from hnmine.storage.input_files import QRELS_ENDINGS, TABLE_ENDINGS, Source, find_sources


class Entry(NamedTuple):
    """A document or a query, and where it stands."""

    id: str
    text: str
    place: Place


class Collection:
    """Streams over the files that a config names; each stream may be read once or again.

    Args:
        config: the whole config.
        problems: collects what is wrong with rows.

    Raises:
        InputError: files that are not there; all of them are named.
    """

    def __init__(self, config: Config, problems: Problems) -> None:
        self.config: InputConfig = config.input
        self.problems = problems
        self.sources = input_sources(config)

    def documents(self) -> Iterator[Entry]:
        """Yield documents in input order; positives of pairs come after a corpus."""
        for source in self.sources.get("corpus", ()):
            yield from self._entries(source, "doc_id", "text")
        if "pairs" in self.sources:
            seen: set[str] = set()
            for number, _, text, place in self._pairs():
                if text not in seen:
                    seen.add(text)
                    yield Entry(f"positive-{number}", text, place)

    def queries(self) -> Iterator[Entry]:
        """Yield queries in input order; pairs with the same anchor are one query."""
        for source in self.sources.get("queries", ()):
            yield from self._entries(source, "query_id", "query")
        if "pairs" in self.sources:
            seen: set[str] = set()
            for number, anchor, _, place in self._pairs():
                if anchor not in seen:
                    seen.add(anchor)
                    yield Entry(f"anchor-{number}", anchor, place)

    def judgements(self) -> Iterator[Judgement]:
        """Yield judgements in input order."""
        for source in self.sources.get("qrels", ()):
            yield from read_qrels(source, self.config, self.problems)
        if "pairs" in self.sources:
            queries: dict[str, str] = {}
            documents: dict[str, str] = {}
            for number, anchor, text, place in self._pairs():
                query = queries.setdefault(anchor, f"anchor-{number}")
                document = documents.setdefault(text, f"positive-{number}")
                yield Judgement(query, document, max(1, self.config.relevant_from), place)

    def answers(self) -> Iterator[Answer]:
        """Yield the judgements by file in input order; a file that cannot be read is a problem."""
        for source in self.sources.get("judgements", ()):
            try:
                yield from read_answers(source, self.config, self.problems)
            except InputError as error:
                self.problems.add(str(error))

    def _entries(self, source: Source, id_name: str, text_name: str) -> Iterator[Entry]:
        layout = look(source, self.config.quoting)
        wanted = [Wanted(id_name), Wanted(text_name)]
        if text_name == "text":
            wanted.append(Wanted("title", optional=True))
        names = resolve(wanted, layout.names, self.config.columns, source.name, self.problems)
        if not {id_name, text_name} <= set(names):
            return
        for chunk in chunks(source, layout, list(dict.fromkeys(names.values()))):
            ids = convert(chunk.columns[names[id_name]], as_id, f"a {id_name}", chunk.place, self.problems)
            texts = convert(chunk.columns[names[text_name]], as_text, "text", chunk.place, self.problems)
            titles: Sequence[str | None] = [""] * len(ids)
            if "title" in names:
                titles = convert(chunk.columns[names["title"]], as_text, "a title", chunk.place, self.problems)
            for index, (entry, title, text) in enumerate(zip(ids, titles, texts, strict=True)):
                if entry is not None and title is not None and text is not None:
                    yield Entry(entry, _with_title(title, text), chunk.place(index))

    def _pairs(self) -> Iterator[tuple[int, str, str, Place]]:
        """Yield (number of the pair, anchor, positive, place); a list of positives is several pairs."""
        count = itertools.count()
        for source in self.sources["pairs"]:
            layout = look(source, self.config.quoting)
            wanted = [Wanted("anchor"), Wanted("positive")]
            names = resolve(wanted, layout.names, self.config.columns, source.name, self.problems)
            if len(names) < 2:
                return
            for chunk in chunks(source, layout, list(names.values())):
                anchors = convert(chunk.columns[names["anchor"]], as_text, "text", chunk.place, self.problems)
                positives = convert(
                    chunk.columns[names["positive"]],
                    as_texts,
                    "a text or a list of texts",
                    chunk.place,
                    self.problems,
                )
                for index, (anchor, texts) in enumerate(zip(anchors, positives, strict=True)):
                    for text in texts or [""]:
                        yield next(count), anchor or "", text, chunk.place(index)


def _with_title(title: str, text: str) -> str:
    """Return the title before the text; a text without a body of its own is not said twice."""
    if not title:
        return text.strip()
    return text if title.casefold() == text.casefold() else f"{title} {text}".strip()


def input_sources(config: Config) -> dict[str, list[Source]]:
    """Return the files behind a config's input table, by role.

    Raises:
        InputError: files that are not there; all of them are named.
    """
    given, problems = config.input, Problems()
    found: dict[str, list[Source]] = {}
    wanted = {
        "corpus": TABLE_ENDINGS,
        "queries": TABLE_ENDINGS,
        "qrels": QRELS_ENDINGS,
        "pairs": TABLE_ENDINGS,
    }
    entries = beir_files(given, config.base) if given.beir else {role: getattr(given, role) for role in wanted}
    wanted["judgements"] = TABLE_ENDINGS
    entries["judgements"] = given.judgements
    for role, entry in entries.items():
        if entry is None:
            continue
        try:
            key = "beir" if given.beir and role != "judgements" else role
            found[role] = find_sources(entry, config.base, f"input.{key}", wanted[role])
        except InputError as error:
            problems.add(str(error))
    problems.raise_if_any()
    return found


def beir_files(given: InputConfig, base: Path) -> dict[str, str | list[str] | None]:
    """Return the entries that a BEIR folder stands for: corpus, queries and one split of the qrels.

    Raises:
        InputError: no qrels there, or several splits and none is named train or asked for.
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
            f"input.split: {folder}/qrels has {have}; " + (f"not {split}" if split else "name one of them")
        )
    return {
        "corpus": f"{folder}/corpus.jsonl*",
        "queries": f"{folder}/queries.jsonl*",
        "qrels": f"{folder}/qrels/{splits[split].path.rsplit('/', 1)[-1]}",
    }
