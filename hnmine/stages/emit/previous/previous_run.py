"""An earlier run that this one goes on from: where it lies, and its negatives as rows of this run's corpus."""

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
from hnmine.stages.emit.choose import read_chosen
from hnmine.stages.emit.random_negatives import RANDOM
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.emit import PREVIOUS
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import ALIASES, CORPUS, QUERIES
from hnmine.storage.store import MANIFEST, Shards, read_json, read_table

NEGATIVES_FILE = "negatives.parquet"
_GONE = -2  # no row of this run's


@dataclass(frozen=True)
class PreviousRun:
    """Where an earlier run lies.

    Attributes:
        emit: what its emit stage recorded.
        folder: its output folder.
        filter: its filter stage, there or in the folder of `--from`.
        ingest: its ingest stage likewise; None where it was read from yet another run.
    """

    emit: Mapping[str, Any]
    folder: Path
    filter: Path
    ingest: Path | None


def find_previous(context: RunContext) -> PreviousRun:
    """Return the earlier run that a config names.

    Raises:
        InputError: there is no such folder, or its filter went by a cross-encoder's scores.
        IncompleteStage: it is not complete as far as emit.
    """
    folder = context.config.previous_folder
    assert folder is not None
    if not folder.is_dir():
        raise InputError(f"previous.run: no folder {folder}; name the output folder of an earlier run")
    emit = read_json(folder / "emit" / MANIFEST)
    if emit is None:
        raise IncompleteStage(
            f"previous.run: {folder} holds no run that is complete as far as emit; finish it with `hnmine run`, "
            "or name another"
        )
    judged = _place(context, folder, emit, "filter")
    if judged is None:
        raise IncompleteStage(f"previous.run: {folder} reads filter of another run; give that run's folder with --from")
    if (read_json(judged / MANIFEST) or {})["parts"]["filter"].get("score") == "rescored":
        raise InputError(
            f"previous.run: {folder} went by a cross-encoder's scores (filter.score), and runs are compared by their "
            "teachers'; name a run that went by its teacher's"
        )
    return PreviousRun(emit, folder, judged, _place(context, folder, emit, "ingest"))


def _place(context: RunContext, folder: Path, emit: Mapping[str, Any], stage: str) -> Path | None:
    """Return the folder of a stage that the earlier run's emit read; None where it is not known."""
    roots = [root for root in (folder, context.source) if root is not None]
    fitting = (root / stage for root in roots if _key(root / stage) == emit["upstream"][stage])
    return next(fitting, None)


def _key(folder: Path) -> str | None:
    found: str | None = (read_json(folder / MANIFEST) or {}).get("key")
    return found


def check_previous(context: RunContext, ingest_key: str) -> None:
    """Hold an earlier run to being usable, before anything of this one is made.

    Args:
        context: of this run.
        ingest_key: the key that this run's ingest has, or will have.

    Raises:
        IncompleteStage: its input differs, and what it ingested is not at hand to match ids by.
    """
    found = find_previous(context)
    if found.emit["upstream"]["ingest"] != ingest_key and found.ingest is None:
        raise IncompleteStage(
            f"previous.run: {found.folder} mined other input, and reads ingest of another run; "
            "give that run's folder with --from, so that ids can be matched"
        )


@dataclass(frozen=True)
class Earlier:
    """The negatives of an earlier run, in this run's rows. Its own rows stand for one (query, anchor) each.

    Attributes:
        rows: for each query of this run, its rows there.
        positives: int64, one a row there: the positive it serves alone, -1 where it serves all of the query's.
        documents: one list a row there; those that are no documents of this run are below 0, each its own number.
        random: bool, one a negative: whether it was a random document.
        scores: float32, one a negative.
        first_scores: float32, its score when it was chosen; another one where it stayed over several runs.
        hardness: float64, by the model of then.
    """

    rows: Ragged
    positives: np.ndarray
    documents: Ragged
    random: np.ndarray
    scores: np.ndarray
    first_scores: np.ndarray
    hardness: np.ndarray

    @classmethod
    def open(cls, context: RunContext) -> "Earlier":
        """Return the negatives of the earlier run of a context.

        Raises:
            InputError: it has no query in common with this run.
            IncompleteStage: as `find_previous` and `check_previous`.
        """
        found = find_previous(context)
        ingest = context.reading("ingest")
        check_previous(context, _key(ingest) or "")
        chosen = read_chosen(found.folder / "emit")
        queries, documents = _rows_now(found, ingest)
        lists = {name: Ragged.from_arrow(chosen.column(name)) for name in ("positions", "doc_rows", "scores")}
        rows, scores = lists["doc_rows"], lists["scores"].values
        now = queries[chosen.column("query_row").to_numpy()]
        if not (now >= 0).any():
            raise InputError(f"previous.run: {found.folder}: no query id in common with this run; name another run")
        order = np.argsort(now, kind="stable")
        order = order[now[order] >= 0]
        count = Shards(ingest / "queries", QUERIES).rows
        anchors, s0, positives = _anchors(found.filter, chosen)
        renamed = documents[rows.values]
        return cls(
            Ragged.from_lengths(order, np.bincount(now[order], minlength=count)),
            np.where(positives >= 0, documents[positives], -1),
            rows.with_values(np.where(renamed >= 0, renamed, -1 - rows.values)),
            lists["positions"].values == RANDOM,
            scores,
            _first_scores(found, rows, scores),
            hardness(scores, anchors[rows.owners], s0[rows.owners]),
        )

    def of(self, query_rows: np.ndarray, anchors: Ragged, positives: Ragged) -> tuple[Ragged, np.ndarray, np.ndarray]:
        """Return what the earlier run has for each anchor of some queries.

        An anchor of its own positive is matched with that positive's; where either run has one anchor for the whole
        query, with all of the query's.

        Args:
            query_rows: int64, rows of the queries.
            anchors: their anchor scores.
            positives: their positives.

        Returns:
            documents, one list an anchor, each once; which negative there each is; and bool, one an anchor: whether
            there is a row for it.
        """
        own = self.rows.take(query_rows[anchors.owners])
        at = positive_of_anchor(anchors, positives)
        mine = np.where(at >= 0, positives.values[at], -1)[own.owners]
        theirs = self.positives[own.values]
        fits = (mine == -1) | (theirs == -1) | (mine == theirs)
        which, rows = own.owners[fits], own.values[fits]
        owners = np.repeat(which, self.documents.lengths[rows])
        negatives = self.documents.places(rows)
        once = distinct_pairs(owners, self.documents.values[negatives])
        owners, negatives = owners[once], negatives[once]
        lists = Ragged.from_lengths(self.documents.values[negatives], np.bincount(owners, minlength=len(own)))
        return lists, negatives, np.bincount(which, minlength=len(own)) > 0


def _rows_now(found: PreviousRun, ingest: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that each query and each document of the earlier run has in this one; below 0: none."""
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
        out.append(np.where(at >= 0, np.append(rows, _GONE)[at], _GONE))
    return out[0], out[1]


def _anchors(folder: Path, chosen: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each row of `chosen` its anchor score, its background, and its own positive, -1 where it has none."""
    judged = Shards(folder, JUDGED)
    scores, backgrounds, positives = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
    for number in range(len(judged)):
        table = judged.read(number, ["anchor_scores", "background_mean", "positive_rows"])
        anchors, own = (Ragged.from_arrow(table.column(name)) for name in ("anchor_scores", "positive_rows"))
        at = positive_of_anchor(anchors, own)
        scores.append(anchors.values)
        backgrounds.append(table.column("background_mean").to_numpy()[anchors.owners])
        positives.append(np.where(at >= 0, own.values[at], -1))
    found = np.concatenate(scores), np.concatenate(backgrounds), np.concatenate(positives)
    if len(found[0]) != chosen.num_rows:
        raise IncompleteStage(f"{folder} and the emit stage beside it do not fit together; run `hnmine emit` again")
    return found


def _first_scores(found: PreviousRun, rows: Ragged, scores: np.ndarray) -> np.ndarray:
    """Return each negative's score when it was chosen: in the earlier run, or before it where it stayed there."""
    path = found.folder / "emit" / "previous" / NEGATIVES_FILE
    if "previous" not in found.emit["parts"]:
        return scores
    table = conform(read_table(path), PREVIOUS, "emit/previous")
    before = Ragged.from_arrow(table.column("doc_rows"))
    place, hit = before.find(rows.owners, rows.values)
    stayed = Ragged.from_arrow(table.column("stays")).values.astype(bool)
    first = Ragged.from_arrow(table.column("first_scores")).values
    if not len(first):
        return scores
    return np.where(hit & stayed[place], first[place], scores)
