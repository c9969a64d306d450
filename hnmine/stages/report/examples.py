"""The report's examples and their texts: random rows, then the worst queries, negatives and positives."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_rows
from hnmine.arrays.text_hashes import bucket, words
from hnmine.display import one_line, shorten
from hnmine.runtime.stage import RunContext
from hnmine.search.word_overlap import CorpusWords
from hnmine.stages.emit.negative_columns import source_label, source_sets
from hnmine.stages.emit.relabel.relabelled import judged_shards
from hnmine.stages.filter.candidates import source_ranks
from hnmine.stages.report.negatives import Negatives
from hnmine.stages.report.thumbnails import thumbnails
from hnmine.storage.schemas.filter import KEEP
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.report import QUERY_REPORT
from hnmine.storage.store import Shards

_OF_CANDIDATES = ["doc_rows", "scores", "anchor_scores", "verdicts", "probabilities", "source_ranks"]
_NUMBERS = ("score", "margin", "hardness", "similarity", "probability")

_SIDES = ("positives", "negatives", "rejected")

EACH = 15
"""Examples of each kind, at most."""
POSITIVES, NEGATIVES = 2, 3
"""Documents shown in an example, at most."""
NEGATIVES_OF_ROW, REJECTED_OF_ROW = 8, 3
"""Negatives and rejected candidates shown of a random row, at most."""
LONGEST = 400
"""Characters shown of a text."""
ROWS_SALT = 0x726F7773
"""Sets the draw of random rows apart from other draws with the same seed."""
_COMMON = 0.25
"""Words that a larger share of the documents hold are not marked."""


def pick_examples(context: RunContext, chosen: pa.Table, negatives: Negatives, bad: list[dict[str, Any]]) -> Any:
    """Return the examples of each kind, without texts.

    Kinds: `random` (rows drawn at random, with the highest-scored candidates that were rejected), `lowest_eci` (queries
    with negatives whose ECI is lowest), `missing` (queries with the fewest of the negatives wanted), `suspicious`
    (negatives with the highest P(false negative), or with the smallest margin where there are no probabilities),
    `bad_positives` (labelled positives that score no higher than random documents do: the first of `bad`). Ties go by
    row.
    """
    table = Shards(context.folder("report") / "queries", QUERY_REPORT)
    facts = {name: table.column(name).to_numpy() for name in ("eci", "chosen", "wanted")}
    rows = np.arange(table.rows)
    some, short = facts["chosen"] > 0, facts["chosen"] < facts["wanted"]
    given = ~np.isnan(negatives.probability)
    doubt = np.where(given, -negatives.probability, 0.0) if given.any() else negatives.margin
    real = np.flatnonzero(given if given.any() else ~negatives.random)
    drawn = _random_rows(chosen, context.config.seed)
    picked: dict[str, list[tuple[int, np.ndarray]]] = {
        "random": [_row(negatives, anchor) for anchor in drawn],
        "lowest_eci": [(row, _hardest(negatives, row)) for row in _lowest(rows[some], facts["eci"][some])],
        "missing": [(row, _hardest(negatives, row)) for row in _lowest(rows[short], facts["chosen"][short])],
        "suspicious": [(int(negatives.query[at]), np.array([at])) for at in _lowest(real, doubt[real])],
    }
    writer = _Writer(context, chosen, negatives, facts)
    found = {kind: writer.examples(entries) for kind, entries in picked.items()}
    for one, rejected in zip(found["random"], writer.rejected(drawn), strict=True):
        one["rejected"] = rejected
    return found | {
        "bad_positives": [
            {
                "query_id": one["query_id"],
                "positives": [{"doc_id": one["doc_id"], "score": one["score"], "standing": one["standing"]}],
                "negatives": [],
            }
            for one in bad[:EACH]
        ]
    }


def _random_rows(chosen: pa.Table, seed: int) -> list[int]:
    """Return `EACH` random rows of the chosen table that have a negative, ascending."""
    some = np.flatnonzero(Ragged.from_arrow(chosen.column("doc_rows")).lengths)
    return [int(row) for row in some[sample_rows(len(some), EACH, seed, ROWS_SALT)]]


def _row(negatives: Negatives, anchor: int) -> tuple[int, np.ndarray]:
    """Return the query row of a row of the chosen table, and the positions of its first negatives."""
    own = np.arange(*np.searchsorted(negatives.anchor, [anchor, anchor + 1]))
    return int(negatives.query[own[0]]), own[:NEGATIVES_OF_ROW]


def _lowest(rows: np.ndarray, values: np.ndarray) -> list[int]:
    """Return the `EACH` rows with the lowest values, ties by row."""
    if len(values) > EACH:
        low = np.flatnonzero(~(values > np.partition(values, EACH - 1)[EACH - 1]))  # NaN sorts last
        rows, values = rows[low], values[low]
    return [int(row) for row in rows[np.lexsort((rows, values))][:EACH]]


def _hardest(negatives: Negatives, query: int) -> np.ndarray:
    """Return the hardest `NEGATIVES` negatives of the query's first anchor that has any, the hardest first."""
    low, high = np.searchsorted(negatives.query, [query, query + 1])
    own = np.arange(low, high)
    own = own[negatives.anchor[own] == negatives.anchor[low]] if len(own) else own
    return own[np.argsort(negatives.margin[own], kind="stable")][:NEGATIVES]


class _Writer:
    """Writes examples with ids and numbers in place of rows; `facts` are eci, chosen and wanted of every query."""

    def __init__(
        self, context: RunContext, chosen: pa.Table, negatives: Negatives, facts: dict[str, np.ndarray]
    ) -> None:
        self.config, self.chosen, self.negatives, self.facts = context.config, chosen, negatives, facts
        self.judged = judged_shards(context)
        self.corpus = Shards(context.reading("ingest") / "corpus", CORPUS)
        self.place = chosen.column("anchor").to_numpy()
        self.anchors = np.bincount(chosen.column("query_row").to_numpy(), minlength=self.judged.rows)

    def examples(self, entries: list[tuple[int, np.ndarray]]) -> list[dict[str, Any]]:
        """Return an example for each (query row, positions of its negatives among the facts)."""
        columns = ["query_id", "positive_rows", "positive_scores"]
        table = self.judged.take(np.array([row for row, _ in entries], dtype=np.int64), columns)
        lists, scores = Ragged.from_arrow(table[1]), Ragged.from_arrow(table[2]).values
        positives = [
            self._shown(np.arange(low, high), own)
            for low, high, (_, own) in zip(lists.offsets[:-1], lists.offsets[1:], entries, strict=True)
        ]
        documents = [
            [lists.values[at], self.negatives.document[own]] for at, (_, own) in zip(positives, entries, strict=True)
        ]
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *(part for parts in documents for part in parts)])
        names = iter(self.corpus.take(rows, ["doc_id"]).column(0).to_pylist())
        return [
            {
                "query_id": query_id,
                **{name: float(values[row]) for name, values in self.facts.items()},
                "positives": [{"doc_id": next(names), "score": _finite(scores[at])} for at in shown],
                "negatives": [{"doc_id": next(names), **self._numbers(at)} for at in own.tolist()],
            }
            for query_id, (row, own), shown in zip(table[0].to_pylist(), entries, positives, strict=True)
        ]

    def _shown(self, positives: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Return which of a query's positives to show: that of the negatives' anchor, or the first ones."""
        if len(own) and self.anchors[self.negatives.query[own[0]]] == len(positives):
            anchor = int(self.place[self.negatives.anchor[own[0]]])
            return positives[anchor : anchor + 1]
        return positives[:POSITIVES]

    def _numbers(self, at: int) -> dict[str, Any]:
        values = {name: _finite(getattr(self.negatives, name)[at]) for name in _NUMBERS}
        return values | {"source": source_label(int(self.negatives.found_by[at]), self.config)}

    def rejected(self, anchors: list[int]) -> list[list[dict[str, Any]]]:
        """Return, for rows of the chosen table, the rejected candidates with the highest scores, the highest first."""
        rows = self.chosen.column("query_row").to_numpy()[anchors]
        table = self.judged.take(rows, _OF_CANDIDATES)
        sets = source_sets(source_ranks(table))
        first, found = 0, []
        for anchor, row in zip(anchors, table.to_pylist(), strict=True):
            place = int(self.place[anchor])
            verdicts, probabilities = row["verdicts"][place], row["probabilities"][place]
            scores = np.array(row["scores"], dtype=np.float64)
            out = [i for i, verdict in enumerate(verdicts) if verdict not in (KEEP, "positive")]
            best = sorted((i for i in out if np.isfinite(scores[i])), key=lambda i: (-scores[i], i))[:REJECTED_OF_ROW]
            ids = self.corpus.take(np.array(row["doc_rows"], dtype=np.int64)[best], ["doc_id"]).column(0).to_pylist()
            found.append(
                [
                    {
                        "doc_id": name,
                        "score": float(scores[i]),
                        "margin": row["anchor_scores"][place] - float(scores[i]),
                        "probability": _finite(probabilities[i]) if probabilities else None,
                        "verdict": verdicts[i],
                        "source": source_label(int(sets[first + i]), self.config),
                    }
                    for i, name in zip(best, ids, strict=True)
                ]
            )
            first += len(scores)
        return found


def _finite(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


@dataclass(frozen=True)
class Texts:
    """Texts that the page shows.

    Attributes:
        queries: text by query_id, cut to `LONGEST` characters.
        documents: text by doc_id, likewise.
        words: by query_id, the case-folded words of the query to mark: those that few enough documents hold.
        images: data URI of a thumbnail by doc_id, where documents are images.
    """

    queries: dict[str, str]
    documents: dict[str, str]
    words: dict[str, set[str]]
    images: dict[str, str] = field(default_factory=dict)


def texts_of(context: RunContext, report: dict[str, Any]) -> Texts:
    """Return the texts of a report's examples and of its busiest documents."""
    every = [one for group in report["examples"].values() for one in group]
    queries = {one["query_id"] for one in every}
    shown = dict.fromkeys(d["doc_id"] for one in every for side in _SIDES for d in one.get(side, ()))
    documents = {*shown, *(hub["doc_id"] for hub in report["hubs"]["top"])}
    ingest = context.reading("ingest")
    idf, least = CorpusWords(ingest).idf, np.log1p(1 / _COMMON)
    asked = _texts(Shards(ingest / "queries", QUERIES), "query_id", queries)
    rare = {name: {word for word in words(text) if idf[bucket(word)] >= least} for name, text in asked.items()}
    images = thumbnails(ingest, list(shown)) if context.config.input.has_images else {}
    return Texts(asked, _texts(Shards(ingest / "corpus", CORPUS), "doc_id", documents), rare, images)


def _texts(shards: Shards, name: str, ids: set[str]) -> dict[str, str]:
    """Return the texts of ids, cut; a shard's texts are read only where it holds one of the ids."""
    found: dict[str, str] = {}
    for number in range(len(shards)) if ids else ():
        mask = pc.is_in(shards.read(number, [name]).column(0), value_set=pa.array(sorted(ids)))
        if pc.any(mask).as_py():
            table = shards.read(number, [name, "text"]).filter(mask)
            found |= {row[name]: cut(row["text"]) for row in table.to_pylist()}
    return found


def cut(text: str) -> str:
    """Return a text on one line, cut to `LONGEST` characters."""
    return shorten(one_line(text), LONGEST, "…")
