"""The previous run that a config names: where its stages are, and its negatives as rows of this run's corpus."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.groups import distinct_pairs
from hnmine.arrays.ragged import Ragged
from hnmine.errors import IncompleteStage, InputError
from hnmine.runtime.stage import RunContext
from hnmine.science.anchors import positive_of_anchor
from hnmine.science.eci import hardness
from hnmine.stages.emit.chosen import RANDOM_DOCUMENT, read_chosen
from hnmine.stages.emit.relabel.relabelled import JUDGED_FOLDER, has_relabelled
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.emit import PREVIOUS
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import ALIASES, CORPUS, QUERIES
from hnmine.storage.store import MANIFEST, Shards, read_json, read_table

PREVIOUS_PATH = "previous/negatives.parquet"
_NO_ROW = -2  # of queries and documents that this run does not have


@dataclass(frozen=True)
class PreviousRun:
    """Folders of a previous run.

    Attributes:
        emit: manifest of its emit stage.
        folder: its output folder.
        filter: the candidates that its negatives were chosen from: its filter stage, in its own folder or in that of
            `--from`; with relabelled positives a folder of its emit stage.
        ingest: its ingest stage, likewise; None if it was read from a third run.
    """

    emit: Mapping[str, Any]
    folder: Path
    filter: Path
    ingest: Path | None


def find_previous(context: RunContext) -> PreviousRun:
    """Return the previous run that a config names.

    Raises:
        InputError: the folder does not exist, or its filter used a cross-encoder's scores.
        IncompleteStage: the run is not complete as far as emit, or its filter stage is in an unknown folder.
    """
    folder = context.config.previous_folder
    assert folder is not None
    if not folder.is_dir():
        raise InputError(f"previous.run: no folder {folder}; name the output folder of a previous run")
    emit = read_json(folder / "emit" / MANIFEST)
    if emit is None:
        raise IncompleteStage(
            f"previous.run: the run in {folder} is not complete as far as emit; finish it with `hnmine run`, or name "
            "another"
        )
    judged = _stage_folder(context, folder, emit, "filter")
    if judged is None:
        raise IncompleteStage(
            f"previous.run: {folder} has read its filter stage from another run; name that run's folder with --from"
        )
    score = read_json(judged / MANIFEST)["parts"]["filter"].get("score")
    if score in ("rescored", "hub_normalised"):
        raise InputError(
            f'previous.run: {folder} was filtered with filter.score = "{score}", but runs are compared by their '
            "teachers' scores; name a run that was filtered by its teacher's"
        )
    if has_relabelled(emit):
        judged = folder / "emit" / JUDGED_FOLDER
    return PreviousRun(emit, folder, judged, _stage_folder(context, folder, emit, "ingest"))


def _stage_folder(context: RunContext, folder: Path, emit: Mapping[str, Any], stage: str) -> Path | None:
    """Return the folder of a stage that the previous run's emit has read; None if it is in neither known folder."""
    roots = [root for root in (folder, context.source) if root is not None]
    return next((root / stage for root in roots if _key(root / stage) == emit["upstream"][stage]), None)


def _key(folder: Path) -> str | None:
    found: str | None = (read_json(folder / MANIFEST) or {}).get("key")
    return found


def check_previous(context: RunContext, ingest_key: str) -> PreviousRun:
    """Return the previous run of a config, checked against the content key of the new run's ingest stage.

    The ingest stage need not be complete.

    Raises:
        HnmineError: as `find_previous`.
        IncompleteStage: the inputs of the two runs differ, and the previous run's ingest stage, which is needed to
            match ids, is in an unknown folder.
    """
    found = find_previous(context)
    if found.emit["upstream"]["ingest"] != ingest_key and found.ingest is None:
        raise IncompleteStage(
            f"previous.run: {found.folder} has other input than this run, and has read its ingest stage from another "
            "run; name that run's folder with --from, so that ids can be matched"
        )
    return found


class PreviousNegatives:
    """The negatives of a context's previous run as document rows of this run; one list per (query, anchor) of that run.

    Raises:
        InputError: the runs have no query in common.
        HnmineError: as `check_previous`.
    """

    def __init__(self, context: RunContext) -> None:
        ingest = context.reading("ingest")
        found = check_previous(context, _key(ingest) or "")
        chosen = read_chosen(found.folder / "emit")
        queries, documents = _current_rows(found, ingest)
        lists = {name: Ragged.from_arrow(chosen.column(name)) for name in ("positions", "doc_rows", "scores")}
        rows, scores = lists["doc_rows"], lists["scores"].values
        now = queries[chosen.column("query_row").to_numpy()]
        if not (now >= 0).any():
            raise InputError(f"previous.run: {found.folder}: no query id in common with this run; name another run")
        order = np.argsort(now, kind="stable")
        order = order[now[order] >= 0]
        count = Shards(ingest / "queries", QUERIES).rows
        anchors, backgrounds, positives = _read_anchors(found.filter, chosen)
        renamed = documents[rows.values]
        # for each query of this run, its lists
        self.rows = Ragged.from_lengths(order, np.bincount(now[order], minlength=count))
        # int64, one per list: the positive that the list belongs to, -1 if it serves all of the query's
        self.positives = np.where(positives >= 0, documents[positives], -1)
        # document rows; documents that this run does not have are negative numbers, each its own
        self.documents = rows.with_values(np.where(renamed >= 0, renamed, -1 - rows.values))
        # one per negative: whether it was a random document (bool), its score and first score (float32), see
        # `_first_scores`, and its hardness by the previous model (float64)
        self.random, self.scores = lists["positions"].values == RANDOM_DOCUMENT, scores
        self.first_scores = _first_scores(found, rows, scores)
        self.hardness = hardness(scores, anchors[rows.owners], backgrounds[rows.owners])

    def of(self, query_rows: np.ndarray, anchors: Ragged, positives: Ragged) -> tuple[Ragged, np.ndarray, np.ndarray]:
        """Return the previous negatives of each anchor of some queries.

        Anchors are matched by their positive. If either run has one anchor for all positives of a query, its negatives
        are matched with every anchor of the query.

        Returns:
            (documents of each anchor without repeats; int64, the index of each among all previous negatives; bool, one
            per anchor: whether the previous run has a list for it).
        """
        own = self.rows.take(query_rows[anchors.owners])
        wanted = _anchor_positives(anchors, positives)[own.owners]
        theirs = self.positives[own.values]
        fits = (wanted == -1) | (theirs == -1) | (wanted == theirs)
        which, rows = own.owners[fits], own.values[fits]
        owners = np.repeat(which, self.documents.lengths[rows])
        negatives = self.documents.places(rows)
        once = distinct_pairs(owners, self.documents.values[negatives])
        owners, negatives = owners[once], negatives[once]
        lists = Ragged.from_lengths(self.documents.values[negatives], np.bincount(owners, minlength=len(own)))
        return lists, negatives, np.bincount(which, minlength=len(own)) > 0


def _anchor_positives(anchors: Ragged, positives: Ragged) -> np.ndarray:
    """Return the document row of the positive that each anchor belongs to, -1 if it serves all of the query's."""
    at = positive_of_anchor(anchors, positives)
    return np.where(at >= 0, positives.values[at], -1)


def _current_rows(found: PreviousRun, ingest: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return this run's rows of the previous run's queries and documents, matched by id; `_NO_ROW` where missing."""
    if found.emit["upstream"]["ingest"] == _key(ingest):
        corpus, queries = Shards(ingest / "corpus", CORPUS), Shards(ingest / "queries", QUERIES)
        return np.arange(queries.rows), np.arange(corpus.rows)
    assert found.ingest is not None
    out = []
    for name, schema, column in (("queries", QUERIES, "query_id"), ("corpus", CORPUS, "doc_id")):
        ids = Shards(ingest / name, schema).column(column)
        rows = np.arange(len(ids), dtype=np.int64)
        if name == "corpus":
            aliases = Shards(ingest / "aliases", ALIASES)
            ids = pa.chunked_array([*ids.chunks, *aliases.column("doc_id").chunks], pa.string())
            rows = np.concatenate([rows, aliases.column("doc_row").to_numpy()])
        places = pc.index_in(Shards(found.ingest / name, schema).column(column), value_set=ids.combine_chunks())
        at = places.fill_null(-1).to_numpy().astype(np.int64)
        out.append(np.where(at >= 0, np.append(rows, _NO_ROW)[at], _NO_ROW))
    return out[0], out[1]


def _read_anchors(folder: Path, chosen: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each chosen row's anchor score, background mean and positive (previous row; -1 if it serves several)."""
    judged = Shards(folder, JUDGED)
    parts = [(np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))]
    for number in range(len(judged)):
        table = judged.read(number, ["anchor_scores", "background_mean", "positive_rows"])
        anchors, positives = (Ragged.from_arrow(table.column(name)) for name in ("anchor_scores", "positive_rows"))
        background = table.column("background_mean").to_numpy()[anchors.owners]
        parts.append((anchors.values, background, _anchor_positives(anchors, positives)))
    scores, backgrounds, positives_of = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(scores) != chosen.num_rows:
        raise IncompleteStage(
            f"previous.run: {folder} has {len(scores)} anchors, and emit beside it {chosen.num_rows}; run `hnmine emit`"
            " there again"
        )
    return scores, backgrounds, positives_of


def _first_scores(found: PreviousRun, rows: Ragged, scores: np.ndarray) -> np.ndarray:
    """Return each negative's score when it was first chosen, by the previous run or by one before it."""
    if "previous" not in found.emit["parts"]:
        return scores
    table = conform(read_table(found.folder / "emit" / PREVIOUS_PATH), PREVIOUS, "emit/previous")
    before = Ragged.from_arrow(table.column("doc_rows"))
    if not len(before.values):
        return scores
    place, hit = before.find(rows.owners, rows.values)
    stayed = Ragged.from_arrow(table.column("stays")).values.astype(bool)
    first = Ragged.from_arrow(table.column("first_scores")).values
    return np.where(hit & stayed[place], first[place], scores)
