"""Rows of the mined set worth reading, the worst first: which they are, and their texts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.text_hashes import bucket, words
from hnmine.runtime.stage import RunContext
from hnmine.search.word_overlap import CorpusWords
from hnmine.stages.emit.source_labels import PREVIOUS_NEGATIVE, RANDOM_DOCUMENT
from hnmine.stages.report.negatives import Negatives
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.report import QUERY_REPORT
from hnmine.storage.store import Shards

_SOURCES = {RANDOM_DOCUMENT: "random", PREVIOUS_NEGATIVE: "previous"}

EACH = 15
"""Examples of each kind."""
POSITIVES, NEGATIVES = 2, 3
"""Shown for one example at most."""
LONGEST = 400
"""Characters of a text that are shown."""
_COMMON = 0.25


def pick_examples(context: RunContext, chosen: pa.Table, negatives: Negatives, bad: list[dict[str, Any]]) -> Any:
    """Return the examples without their texts: by kind, each with its query, positives and negatives.

    Kinds: `lowest_eci` (queries with negatives whose ECI is lowest), `missing` (queries with the fewest of the
    negatives wanted), `suspicious` (negatives with the highest P(false negative); with the smallest margin where there
    are no probabilities), `bad_positives` (labelled positives that most candidates outscore). Ties go by row.

    Args:
        context: the run.
        chosen: the chosen table.
        negatives: facts of the chosen.
        bad: the suspected positives, the worst first, by query_id and doc_id.
    """
    table = Shards(context.folder("report") / "queries", QUERY_REPORT)
    facts = {name: table.column(name).to_numpy() for name in ("eci", "chosen", "wanted")}
    rows = np.arange(table.rows)
    some, short = facts["chosen"] > 0, facts["chosen"] < facts["wanted"]
    picked: dict[str, list[tuple[int, np.ndarray]]] = {
        "lowest_eci": [(row, _of(negatives, row)) for row in _first(rows[some], facts["eci"][some])],
        "missing": [(row, _of(negatives, row)) for row in _first(rows[short], facts["chosen"][short])],
    }
    given = ~np.isnan(negatives.probability)
    doubt = np.where(given, -negatives.probability, 0.0) if given.any() else negatives.margin
    real = np.flatnonzero(given if given.any() else ~negatives.random)
    worst = _first(real, doubt[real])
    picked["suspicious"] = [(int(negatives.query[at]), np.array([at])) for at in worst]
    writer = _Writer(context, chosen, negatives, facts)
    found = {kind: writer.examples(entries) for kind, entries in picked.items()}
    return found | {"bad_positives": writer.positives(bad[:EACH])}


def _first(rows: np.ndarray, values: np.ndarray) -> list[int]:
    """Return the `EACH` rows with the lowest values, ties by row."""
    if len(values) > EACH:
        low = np.flatnonzero(~(values > np.partition(values, EACH - 1)[EACH - 1]))  # what is not a number comes last
        rows, values = rows[low], values[low]
    return [int(row) for row in rows[np.lexsort((rows, values))][:EACH]]


def _of(negatives: Negatives, query: int) -> np.ndarray:
    """Return a query's negatives that are shown: those of its first anchor that has any, the hardest first."""
    low, high = np.searchsorted(negatives.query, [query, query + 1])
    own = np.arange(low, high)
    own = own[negatives.anchor[own] == negatives.anchor[low]] if len(own) else own
    return own[np.argsort(negatives.margin[own], kind="stable")][:NEGATIVES]


class _Writer:
    """Turns rows into ids and numbers.

    Args:
        context: the run.
        chosen: the chosen table.
        negatives: facts of the chosen.
        facts: eci, chosen and wanted of every query.
    """

    def __init__(
        self, context: RunContext, chosen: pa.Table, negatives: Negatives, facts: dict[str, np.ndarray]
    ) -> None:
        self.negatives, self.facts = negatives, facts
        self.queries = Shards(context.reading("ingest") / "queries", QUERIES)
        self.corpus = Shards(context.reading("ingest") / "corpus", CORPUS)
        self.place = chosen.column("anchor").to_numpy()
        self.anchors = np.bincount(chosen.column("query_row").to_numpy(), minlength=self.queries.rows)

    def examples(self, entries: list[tuple[int, np.ndarray]]) -> list[dict[str, Any]]:
        """Return an example for each (query row, places of its negatives)."""
        rows = np.array([row for row, _ in entries], dtype=np.int64)
        table = self.queries.take(rows, ["query_id", "positive_rows"])
        ids, positives = table.column("query_id").to_pylist(), Ragged.from_arrow(table.column("positive_rows"))
        shown = [self._shown(positives, place, own) for place, (_, own) in enumerate(entries)]
        documents = [
            np.concatenate([p, self.negatives.document[own]]) for p, (_, own) in zip(shown, entries, strict=True)
        ]
        every = np.concatenate([np.zeros(0, dtype=np.int64), *documents])
        names = iter(self.corpus.take(every, ["doc_id"]).column(0).to_pylist())
        found = []
        for place, (row, own) in enumerate(entries):
            found.append(
                {
                    "query_id": ids[place],
                    **{name: float(values[row]) for name, values in self.facts.items()},
                    "positives": [{"doc_id": next(names)} for _ in shown[place]],
                    "negatives": [{"doc_id": next(names), **self._numbers(at)} for at in own.tolist()],
                }
            )
        return found

    def _shown(self, positives: Ragged, place: int, own: np.ndarray) -> np.ndarray:
        """Return the positives to show beside some negatives: that of their anchor, else the first ones."""
        rows = positives.values[positives.offsets[place] : positives.offsets[place + 1]]
        if len(own) and self.anchors[self.negatives.query[own[0]]] == len(rows):
            anchor = int(self.place[self.negatives.anchor[own[0]]])
            return rows[anchor : anchor + 1]
        return rows[:POSITIVES]

    def _numbers(self, at: int) -> dict[str, Any]:
        names = ("score", "margin", "hardness", "similarity", "probability")
        values = {name: float(getattr(self.negatives, name)[at]) for name in names}
        kept = {name: None if np.isnan(value) else value for name, value in values.items()}
        return kept | {"source": _SOURCES.get(int(self.negatives.found_by[at]), "retrieved")}

    @staticmethod
    def positives(bad: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return an example for each suspected positive."""
        return [
            {
                "query_id": one["query_id"],
                "positives": [{"doc_id": one["doc_id"], "score": one["score"], "standing": one["standing"]}],
                "negatives": [],
            }
            for one in bad
        ]


@dataclass(frozen=True)
class Texts:
    """What the examples say.

    Attributes:
        queries: text by query_id, cut to `LONGEST` characters.
        documents: text by doc_id, likewise.
        words: by query_id, its words that at most a quarter of the documents hold, case-folded: those to be marked.
    """

    queries: dict[str, str]
    documents: dict[str, str]
    words: dict[str, set[str]]


def texts_of(context: RunContext, examples: dict[str, list[dict[str, Any]]]) -> Texts:
    """Return the texts of the examples."""
    every = [one for group in examples.values() for one in group]
    queries = {one["query_id"] for one in every}
    documents = {d["doc_id"] for one in every for side in ("positives", "negatives") for d in one[side]}
    ingest = context.reading("ingest")
    idf, least = CorpusWords(ingest).idf, np.log1p(1 / _COMMON)
    asked = _texts(Shards(ingest / "queries", QUERIES), "query_id", queries)
    rare = {name: {word for word in words(text) if idf[bucket(word)] >= least} for name, text in asked.items()}
    return Texts(asked, _texts(Shards(ingest / "corpus", CORPUS), "doc_id", documents), rare)


def _texts(shards: Shards, name: str, ids: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    if not ids:
        return found
    wanted = pa.array(sorted(ids))
    for number in range(len(shards)):
        names = shards.read(number, [name]).column(0)
        mask = pc.is_in(names, value_set=wanted)
        if pc.any(mask).as_py():
            table = shards.read(number, [name, "text"]).filter(mask)
            found |= {row[name]: cut(row["text"]) for row in table.to_pylist()}
    return found


def cut(text: str) -> str:
    """Return a text of at most `LONGEST` characters, with white space made plain; `...` stands for the rest."""
    line = " ".join(text[: 4 * LONGEST].split())
    return line if len(line) <= LONGEST and len(text) <= 4 * LONGEST else line[: LONGEST - 1] + "…"
