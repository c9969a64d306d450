"""Which candidates become further positives of their query, by P(false negative) or by judgement files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.groups import ranges
from hnmine.arrays.ragged import Ragged, single_array
from hnmine.config.emit import EmitConfig
from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext, Tick
from hnmine.runtime.threads import in_threads
from hnmine.science.relabelling import pick_further_positives
from hnmine.stages.filter.bad_positives import SUSPECT_COLUMNS, needs_negatives
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.inputs import slices
from hnmine.stages.filter.verdicts import CODES, RULES, verdict_codes
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.emit import RELABELLED
from hnmine.storage.schemas.filter import CHECKED, JUDGED, JUDGED_CODED, KEEP, NOT_RESCORED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards, read_table

RELABELLED_PATH = "relabelled/relabelled.parquet"
JUDGED_FOLDER = "judged"
LIKELY = 0.9
"""P(false negative) from which a candidate is a likely positive where `emit.relabel` names none."""
LABEL, JUDGEMENT, BY_PROBABILITY = "label", "judgement", "relabelled"
"""The values of the column `positive_source`."""
OPEN_CODES = [CODES[name] for name in (KEEP, NOT_RESCORED, "outside_ranks", *RULES, CHECKED, "copy_of_negative")]
"""Verdicts on candidates of which no check says what they are: no positive, copy or document of an evaluation set."""
_COLUMNS = [
    *SUSPECT_COLUMNS, "query_row", "positive_rows", "doc_rows", "scores", "anchor_scores", "verdicts", "probabilities",
    "judged_negatives",
]  # fmt: skip


def judged_folder(context: RunContext, emit: Path) -> Path:
    """Return the folder of the candidates that the negatives in an emit folder were chosen from.

    It is that of the stage filter; with `emit.relabel` one inside the emit folder, in which the further positives count
    as positives.
    """
    return emit / JUDGED_FOLDER if context.config.emit.relabels else context.reading("filter")


def judged_shards(context: RunContext, schema: pa.Schema = JUDGED) -> Shards:
    """Return the candidates that the negatives of a finished emit stage were chosen from, by `JUDGED` or as coded."""
    return Shards(judged_folder(context, context.reading("emit")), schema)


def has_relabelled(manifest: Mapping[str, Any]) -> bool:
    """Return whether the emit stage of a manifest has a folder of judged candidates of its own."""
    return bool(manifest["parts"]["emit"].get("relabel"))


def read_relabelled(emit: Path) -> pa.Table:
    """Return the further positives from an emit folder, ordered by query row, then as the query's positives are."""
    return conform(read_table(emit / RELABELLED_PATH), RELABELLED, "emit/relabelled")


def relabel_all(context: RunContext, tick: Tick) -> pa.Table:
    """Return the further positives of all queries, as the table `emit/relabelled`.

    All queries are decided on at once, so that a document is relabelled for one of several queries with the same text.
    """
    config, ingest = context.config, context.reading("ingest")
    judged, queries = Shards(context.reading("filter"), JUDGED_CODED), Shards(ingest / "queries", QUERIES)
    documents = Shards(ingest / "corpus", CORPUS).column("text_key").to_numpy()
    texts = queries.column("text_key").to_numpy()

    def of_shard(number: int) -> list[pa.Table]:
        found = []
        for piece in slices(judged.read(number, _COLUMNS)):
            own = queries.take(piece.column("query_row").to_numpy(), ["text_key", "relevant_rows"])
            found.append(_eligible(piece, own, documents, config))
            tick(piece.num_rows)
        return found

    found = pa.concat_tables(
        [RELABELLED.empty_table(), *(part for parts in in_threads(of_shard, range(len(judged))) for part in parts)]
    )
    query, document = (found.column(name).to_numpy() for name in ("query_row", "doc_row"))
    certainty = found.column("probability").fill_null(np.float32(np.inf)).to_numpy()  # judgements come first
    picked = pick_further_positives(
        query, texts[query], document, documents[document], certainty, config.emit.max_relabelled
    )
    return found.take(pa.array(picked))


def _eligible(table: pa.Table, queries: pa.Table, documents: np.ndarray, config: Config) -> pa.Table:
    """Return the candidates of some queries that may become positives, by the schema `RELABELLED`.

    Args:
        table: judged candidates.
        queries: text_key and relevant_rows of their queries.
        documents: uint64, text key of each document of the corpus.
        config: the whole config.
    """
    batch, emit, needed = Batch.from_table(table), config.emit, needs_negatives(table, config)
    anchors = Ragged.from_arrow(table.column("anchor_scores"))
    served = np.bincount(anchors.owners[needed], minlength=len(batch)) > 0
    codes, probability = _first_codes(table, batch), lowest_probabilities(table, batch, needed)
    text, own = documents[batch.candidates.values], queries.column("text_key").to_numpy()
    copies = batch.positives.with_values(documents[batch.positives.values]).contains(batch.owners, text)
    may = ~copies & (text != own[batch.owners]) & served[batch.owners]
    may &= ~Ragged.from_arrow(table.column("judged_negatives")).values.astype(bool)
    may &= np.isfinite(batch.scores)  # one that was not rescored has no score that negatives could be compared with
    by_judgement = may & (codes == CODES["judged_relevant"]) & emit.relabels_judged
    likely = may & is_likely(codes, probability, emit.relabel_probability or np.inf)
    at = np.flatnonzero(by_judgement | likely)
    sources = np.where(by_judgement[at], JUDGEMENT, BY_PROBABILITY)
    columns = {
        "query_row": batch.query_rows[batch.owners[at]],
        "doc_row": batch.candidates.values[at],
        "position": batch.candidates.positions[at],
        "source": pa.array(sources, pa.string()),
        "probability": pa.array(probability[at], pa.float32(), mask=by_judgement[at]),
    }
    return pa.table(columns, schema=RELABELLED)


def is_likely(codes: np.ndarray, probability: np.ndarray, least: float) -> np.ndarray:
    """Return whether each candidate is a likely positive, bool: of no known kind, and probable enough.

    Args:
        codes: int8, shape (n,), the verdicts on candidates.
        probability: float32, shape (n,), see `lowest_probabilities`.
        least: the lowest probability.
    """
    is_open = np.isin(codes, [*OPEN_CODES, CODES["judged_relevant"]])
    return np.asarray(is_open & (probability.astype(np.float64) >= least))


def likely_positives(table: pa.Table, emit: EmitConfig) -> np.ndarray:
    """Return whether each candidate of a judged table is a likely positive, bool, whether it is relabelled or not.

    The limit is that of `emit.relabel`, or `LIKELY` where it has none.
    """
    batch = Batch.from_table(table)
    every = np.ones(len(Ragged.from_arrow(table.column("anchor_scores")).values), dtype=bool)
    least = emit.relabel_probability or LIKELY
    return is_likely(_first_codes(table, batch), lowest_probabilities(table, batch, every), least)


def _first_codes(table: pa.Table, batch: Batch) -> np.ndarray:
    """Return the code of each candidate's verdict by the first anchor, int8; checks do not depend on anchors."""
    cells = Cells.of(batch, Ragged.from_arrow(table.column("anchor_scores")))
    codes = np.zeros(len(batch.scores), dtype=np.int8)
    codes[cells.candidate[::-1]] = verdict_codes(table.column("verdicts"))[::-1]
    return codes


def lowest_probabilities(table: pa.Table, batch: Batch, counted: np.ndarray) -> np.ndarray:
    """Return each candidate's lowest P(false negative) over the counted anchors of its query, float32.

    A candidate is relabelled only if every anchor score says so. It is -1 where there are no probabilities or no
    counted anchor, and NaN for a candidate without a score.

    Args:
        table: judged candidates.
        batch: the same.
        counted: bool, one an anchor.
    """
    cells, probabilities = Cells.of(batch, Ragged.from_arrow(table.column("anchor_scores"))), _probabilities(table)
    lowest = np.full(len(batch.scores), np.float32(np.inf))
    if len(probabilities):
        own = counted[cells.anchor]
        np.minimum.at(lowest, cells.candidate[own], probabilities[own])
    return np.where(np.isposinf(lowest), np.float32(-1), lowest)


def _probabilities(table: pa.Table) -> np.ndarray:
    """Return P(false negative) of each cell of a judged table, float32; empty where it has none."""
    found: np.ndarray = pc.list_flatten(pc.list_flatten(table.column("probabilities"))).to_numpy()
    return found


def further_positives(relabelled: pa.Table, queries: int) -> Ragged:
    """Return the rows of each query's further positives, in their order, for all queries of the run."""
    owners = relabelled.column("query_row").to_numpy()
    return Ragged.from_lengths(relabelled.column("doc_row").to_numpy(), np.bincount(owners, minlength=queries))


def source_of_positives(relabelled: pa.Table, queries: np.ndarray, documents: np.ndarray) -> dict[str, pa.Array]:
    """Return the columns positive_source and positive_probability of (query, positive) pairs.

    Args:
        relabelled: further positives of these queries, at least.
        queries: int64, shape (n,): query rows.
        documents: int64, shape (n,): document rows of positives.
    """
    owners, rows = (relabelled.column(name).to_numpy() for name in ("query_row", "doc_row"))
    first = int(queries.min(initial=0))
    own = Ragged.from_lengths(rows, np.bincount(owners - first, minlength=int(queries.max(initial=first)) - first + 1))
    at, is_further = own.find(queries - first, documents)
    places = pa.array(at, mask=~is_further)
    return {
        "positive_source": single_array(relabelled.column("source")).take(places).fill_null(LABEL),
        "positive_probability": single_array(relabelled.column("probability")).take(places),
    }


def count_relabelled(relabelled: pa.Table) -> dict[str, int]:
    """Return the number of further positives by probability and by judgement, and of the queries that have one."""
    by_judgement = pc.sum(pc.equal(relabelled.column("source"), JUDGEMENT)).as_py() or 0
    return {
        "positives_relabelled": relabelled.num_rows - by_judgement,
        "positives_by_judgement": by_judgement,
        "queries_relabelled": len(pc.unique(relabelled.column("query_row"))),
    }


def sibling_rows(context: RunContext, emit: Path) -> Ragged:
    """Return for each query of the run the rows of the positives of other queries with the same text.

    Further positives of such queries are among them, with all copies of these.
    """
    ingest = context.reading("ingest")
    queries = Shards(ingest / "queries", QUERIES)
    labelled = Ragged.from_arrow(queries.column("sibling_rows"))
    if not context.config.emit.relabels:
        return labelled
    documents = Shards(ingest / "corpus", CORPUS).column("text_key").to_numpy()
    more = further_positives(read_relabelled(emit), queries.rows)
    return labelled.append(relabelled_siblings(queries.column("text_key").to_numpy(), documents, more))


def relabelled_siblings(queries: np.ndarray, documents: np.ndarray, more: Ragged) -> Ragged:
    """Return for each query the further positives of other queries with its text, and all copies of these, ascending.

    Args:
        queries: uint64, text key of each query of the run.
        documents: uint64, text key of each document of the corpus.
        more: rows of each query's further positives.
    """
    texts, text = np.unique(queries, return_inverse=True)
    group = Ragged.from_lengths(np.argsort(text, kind="stable"), np.bincount(text, minlength=len(texts)))
    own = more.filter(group.lengths[text[more.owners]] > 1)
    asking = group.take(text[own.owners])  # for each further positive: the queries with the text of its query
    keys, order = np.sort(documents), np.argsort(documents, kind="stable")
    first, last = (np.searchsorted(keys, documents[own.values], side) for side in ("left", "right"))
    copies = Ragged.from_lengths(order[ranges(first, last - first)], last - first).take(asking.owners)
    asked = asking.values[copies.owners]
    pairs = np.stack([asked, copies.values], axis=1)[asked != own.owners[asking.owners[copies.owners]]]
    pairs = np.unique(pairs, axis=0)
    return Ragged.from_lengths(pairs[:, 1], np.bincount(pairs[:, 0], minlength=len(queries)))
