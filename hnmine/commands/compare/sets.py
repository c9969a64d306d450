"""Mined sets to compare, read from complete runs and files of any tool, and the match of their contents."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.groups import distinct_pairs
from hnmine.arrays.ragged import Ragged, single_array
from hnmine.commands.audit.reader import mined_sources, read_rows, read_shapes
from hnmine.commands.compare.settings import Recorded, recorded_values
from hnmine.errors import IncompleteStage, InputError, Problems
from hnmine.pipeline.stages import STAGES
from hnmine.runtime.stage import stage_of
from hnmine.science.agreement import agreement, jaccard
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.emit.relabel.relabelled import JUDGED_FOLDER, has_relabelled
from hnmine.stages.report.quality import headline_parts
from hnmine.storage.paths import path_of
from hnmine.storage.schemas.filter import JUDGED, KEEP
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import MANIFEST, STARTED, Shards, read_json

_READS = ("ingest", "filter", "emit")


@dataclass(frozen=True)
class RunFacts:
    """The facts that only runs have.

    Attributes:
        query_ids: one per query.
        doc_ids: one per negative.
        report: its report.json.
        parts: numerators and denominators of the headline numbers, see `hnmine.stages.report.quality.headline_parts`.
        recorded: its settings, input files and models, by name.
        ingest: the key of its input.
        unknown: stages whose settings are not known, since their folder was not given.
        judged: its judged candidates.
        corpus: its documents.
    """

    query_ids: pa.Array
    doc_ids: pa.Array
    report: dict[str, Any]
    parts: tuple[np.ndarray, np.ndarray]
    recorded: dict[str, Recorded]
    ingest: str
    unknown: tuple[str, ...]
    judged: Shards
    corpus: Shards

    def fates(self, owners: np.ndarray, doc_ids: pa.Array) -> dict[str, np.ndarray]:
        """Return what the run did with documents that it did not choose, given the row of each one's query and its id.

        Returns:
            fates (str, in words), scores and ranks (float64; NaN where the document is no candidate), one per document.
        """
        places = pc.index_in(doc_ids, value_set=single_array(self.corpus.column("doc_id")))
        rows = pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        fates = np.where(rows < 0, "not in its corpus", "not retrieved").astype(object)
        found = {"fates": fates, "scores": np.full(len(rows), np.nan), "ranks": np.full(len(rows), np.nan)}
        for number in range(len(self.judged)):
            first, last = self.judged.offsets[number : number + 2]
            own = np.flatnonzero((owners >= first) & (owners < last) & (rows >= 0))
            if not len(own):
                continue
            table = self.judged.read(number, ["doc_rows", "scores", "ranks", "verdicts"])
            lists = Ragged.from_arrow(table.column("doc_rows"))
            at, hit = lists.find(owners[own] - first, rows[own])
            own, at = own[hit], at[hit]
            for name in ("scores", "ranks"):
                found[name][own] = Ragged.from_arrow(table.column(name)).values[at]
            fates[own] = _verdicts(table, lists, at)
        return found


@dataclass(frozen=True)
class MinedSet:
    """Queries with their negatives, each document at most once per query.

    Attributes:
        name: as the user gave it.
        query_keys: uint64, shape (queries,): copy keys of the queries' texts.
        owners: int64, ascending, shape (negatives,): the position of each negative's query.
        doc_keys: uint64, shape (negatives,): copy keys of the negatives' texts.
        scores: float64, shape (negatives,); NaN where unknown.
        ranks: float64, likewise: ranks among the query's candidates; NaN also for random documents.
        examples: number of (query, positive) pairs.
        query_texts: returns the texts of queries, given their positions.
        texts: returns the texts of negatives, given their positions.
        run: None for files.
    """

    name: str
    query_keys: np.ndarray
    owners: np.ndarray
    doc_keys: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    examples: int
    query_texts: Callable[[np.ndarray], list[str]]
    texts: Callable[[np.ndarray], list[str]]
    run: RunFacts | None = None


def read_file(name: str) -> MinedSet:
    """Return the mined set of a file, folder, glob or URL, in any shape that `hnmine audit` reads.

    Queries are in the order in which they first occur; texts that are copies are one query or document.

    Raises:
        InputError: missing or damaged files, no known shape, ids instead of texts, values of the wrong kind.
    """
    sources = mined_sources([name], Path.cwd(), "compare")
    layouts, shape = read_shapes(sources, "compare")
    if shape.ids:
        raise InputError(
            f"{sources[0].name}: holds ids; compare needs texts: name the run, or rows of another emit.format"
        )
    rows = read_rows(sources, layouts, shape)
    if not len(rows):
        raise InputError(f"{name}: holds no rows")
    (query_keys, query_of), (doc_keys, doc_of) = (_first_of_each(keys) for keys in rows.hashes)
    no_query, no_document = rows.empty
    query = query_of[rows.anchors]
    negatives, positives = rows.negatives.documents, rows.positives.documents
    real = ~no_document[negatives.values] & ~no_query[rows.anchors[negatives.owners]]
    owners, documents = query[negatives.owners[real]], negatives.values[real]
    once = distinct_pairs(owners, doc_of[documents])
    owners, documents = owners[once], documents[once]
    scores = np.where(np.isfinite(rows.negatives.scores), rows.negatives.scores, np.nan)[real][once]
    right = ~no_document[positives.values]
    examples = np.unique(query[positives.owners[right]] * len(doc_keys) + doc_of[positives.values[right]])
    text_of = np.full(len(query_keys), -1)
    text_of[query_of[::-1]] = np.arange(len(query_of))[::-1]
    return MinedSet(
        name,
        query_keys,
        owners,
        doc_keys[doc_of[documents]],
        scores,
        np.full(len(once), np.nan),
        len(examples),
        lambda at: [rows.queries[i] for i in text_of[at].tolist()],
        lambda at: [rows.documents[i] for i in documents[at].tolist()],
    )


def _first_of_each(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct keys in the order of their first occurrence, and each key's position among them."""
    distinct, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return distinct[order], place[inverse]


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run's output folder, complete or not."""
    return any((folder / stage / name).exists() for stage in STAGES for name in (MANIFEST, STARTED))


def read_run(name: str, others: Sequence[Path]) -> MinedSet:
    """Return the mined set of a run.

    Args:
        name: its output folder, as the user gave it.
        others: output folders of other runs, whose stages are read where the run was made `--from` them.

    Raises:
        IncompleteStage: see `_folders`.
    """
    folders = _folders(name, others)
    report = path_of(name) / "report"
    manifests = {stage: read_json(folder / MANIFEST) for stage, folder in folders.items()}
    again = has_relabelled(manifests["emit"])
    judged = Shards(folders["emit"] / JUDGED_FOLDER if again else folders["filter"], JUDGED)
    chosen = read_chosen(folders["emit"])
    corpus, queries = Shards(folders["ingest"] / "corpus", CORPUS), Shards(folders["ingest"] / "queries", QUERIES)
    rows, scores = (Ragged.from_arrow(chosen.column(part)) for part in ("doc_rows", "scores"))
    owners = chosen.column("query_row").to_numpy()[rows.owners]
    once = distinct_pairs(owners, rows.values)
    documents, owners = rows.values[once], owners[once]
    ids = corpus.take(documents, ["doc_id", "text_key"])
    facts = RunFacts(
        single_array(queries.column("query_id")),
        single_array(ids.column("doc_id")),
        read_json(report / "report.json"),
        headline_parts(report, chosen),
        recorded_values(manifests),
        manifests["ingest"]["key"],
        tuple(sorted({stage_of(name) for one in manifests.values() for name in one["upstream"]} - folders.keys())),
        judged,
        corpus,
    )
    return MinedSet(
        name,
        queries.column("text_key").to_numpy(),
        owners,
        ids.column("text_key").to_numpy(),
        scores.values[once].astype(np.float64),
        _ranks(judged, chosen)[once],
        int(facts.report["shortage"]["examples"]),
        lambda at: queries.take(at, ["text"]).column(0).to_pylist(),
        lambda at: corpus.take(documents[at], ["text"]).column(0).to_pylist(),
        facts,
    )


def _folders(name: str, others: Sequence[Path]) -> dict[str, Path]:
    """Return the folders of the stages that the run was made by, without those whose folder was not given.

    Raises:
        IncompleteStage: stages that are needed are missing or were replaced since; all of them are named.
    """
    manifest = read_json(path_of(name) / "report" / MANIFEST)
    if manifest is None:
        raise IncompleteStage(f"{name}: the run is not complete; run `hnmine run` with its config first")
    if manifest.get("version") != STAGES["report"].version:
        raise IncompleteStage(
            f"{name}: its report was written by another version of hnmine; run `hnmine report --overwrite`"
        )
    problems, found = Problems(), {"report": path_of(name) / "report"}
    keys: dict[str, str] = dict(manifest["upstream"])
    for stage in reversed([other for other in STAGES if other != "report"]):
        if stage not in keys:
            continue
        places = [root / stage for root in (path_of(name), *others)]
        read = ((place, read_json(place / MANIFEST) or {}) for place in places)
        fitting = [(place, made) for place, made in read if made.get("key") == keys[stage]]
        if fitting:
            found[stage], made = fitting[0]
            keys |= made["upstream"]
        elif stage not in _READS:
            continue  # nothing but its settings is read
        elif (path_of(name) / stage / MANIFEST).exists():
            problems.add(f"{name}: {stage} was run again after the report; run `hnmine report --overwrite`")
        else:
            problems.add(f"{name}: reads {stage} of another run; name that run too, or give its folder with --from")
    problems.raise_if_any(IncompleteStage)
    return found


def _ranks(judged: Shards, chosen: pa.Table) -> np.ndarray:
    """Return the rank of each chosen negative, float64; NaN for documents that are no candidates."""
    positions = Ragged.from_arrow(chosen.column("positions"))
    owners = chosen.column("query_row").to_numpy()[positions.owners]
    out = np.full(len(owners), np.nan)
    for number in range(len(judged)):
        first, last = judged.offsets[number : number + 2]
        ranks = Ragged.from_arrow(judged.read(number, ["ranks"]).column(0))
        low, high = np.searchsorted(owners, [first, last])
        own = low + np.flatnonzero(positions.values[low:high] >= 0)
        out[own] = ranks.values[ranks.offsets[:-1][owners[own] - first] + positions.values[own]]
    return out


def _verdicts(table: pa.Table, lists: Ragged, at: np.ndarray) -> Any:
    """Return the fate of candidates at positions `at`: kept where it is kept for any anchor, else the first verdict."""
    column = table.column("verdicts").combine_chunks()
    of_anchors = column.flatten()
    outer, inner = (part.offsets.to_numpy().astype(np.int64) for part in (column, of_anchors))
    outer, inner, names = outer - outer[0], inner - inner[0], of_anchors.flatten()
    query = lists.owners[at]
    anchors = Ragged(np.arange(len(of_anchors)), outer).take(query)
    spots = inner[anchors.values] + (at - lists.offsets[:-1][query])[anchors.owners]
    found = names.take(pa.array(spots))
    kept = np.bincount(anchors.owners[pc.equal(found, KEEP).to_numpy(zero_copy_only=False)], minlength=len(at)) > 0
    first = found.take(pa.array(anchors.offsets[:-1])).to_numpy(zero_copy_only=False)
    return np.where(kept, "kept, not chosen", "rejected: " + first.astype(object))


@dataclass(frozen=True)
class MatchedSet:
    """A mined set whose queries and documents have numbers that are the same in all sets of a match.

    Attributes:
        mined: the set.
        queries: int64, one per query of the set.
        owners: int64, ascending: the query of each negative, of the queries that all sets have.
        documents: int64: the document of each.
        at: int64: its position among the negatives of the set.
        sets: int64: how many of the sets have it.
    """

    mined: MinedSet
    queries: np.ndarray
    owners: np.ndarray
    documents: np.ndarray
    at: np.ndarray
    sets: np.ndarray


@dataclass(frozen=True)
class Match:
    """Mined sets over the queries that all of them have.

    Attributes:
        by_ids: whether they are matched by ids: all of them are runs. Otherwise by texts, without case, punctuation
            and spacing.
        sets: the sets, in the order given.
        queries: int64, ascending: numbers of the queries that all sets have.
        shared: int64, one per query: negatives that all sets have.
        union: int64, likewise: negatives that any set has.
        jaccard: float64, likewise: shared / union; NaN without negatives.
    """

    by_ids: bool
    sets: list[MatchedSet]
    queries: np.ndarray
    shared: np.ndarray
    union: np.ndarray
    jaccard: np.ndarray


def match(sets: Sequence[MinedSet]) -> Match:
    """Return the match of mined sets."""
    by_ids = all(mined.run is not None for mined in sets)
    queries = _numbers([m.run.query_ids if by_ids and m.run else pa.array(m.query_keys) for m in sets])
    documents = _numbers([m.run.doc_ids if by_ids and m.run else pa.array(m.doc_keys) for m in sets])
    common = np.unique(queries[0])
    for own in queries[1:]:
        common = np.intersect1d(common, own)
    span = max(int(names.max(initial=0)) for names in documents) + 1
    pairs = []
    for mined, own, names in zip(sets, queries, documents, strict=True):
        codes, at = np.unique(own[mined.owners] * span + names, return_index=True)
        inside = np.isin(codes // span, common)
        pairs.append((codes[inside], at[inside]))
    unique, counts = np.unique(np.concatenate([codes for codes, _ in pairs]), return_counts=True)
    matched = [
        MatchedSet(mined, own, codes // span, codes % span, at, counts[np.searchsorted(unique, codes)])
        for mined, own, (codes, at) in zip(sets, queries, pairs, strict=True)
    ]
    lists = [(np.searchsorted(common, one.owners), one.documents) for one in matched]
    shared, union = agreement(lists, len(common))
    return Match(by_ids, matched, common, shared, union, jaccard(shared, union))


def _numbers(columns: list[pa.Array]) -> list[np.ndarray]:
    """Return a number for each name, the same for equal names."""
    names = pc.unique(pa.chunked_array(columns))
    return [pc.index_in(column, value_set=names).to_numpy().astype(np.int64) for column in columns]
