"""The filter's verdicts once more, with further positives known: on them, their copies and all other candidates."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_rows
from hnmine.runtime.stage import Item, RunContext, Tick, shard_items
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.search.pair_scores import pair_cosines
from hnmine.search.word_overlap import CorpusWords
from hnmine.stages.emit.relabel.relabelled import (
    JUDGED_FOLDER,
    further_positives,
    read_relabelled,
    sibling_rows,
)
from hnmine.stages.filter.inputs import FilterInputs, read_calibration, slices
from hnmine.stages.filter.step import judge_candidates
from hnmine.stages.rescore.rescored import TEACHER
from hnmine.stages.retrieve.candidate_search import positive_backgrounds
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.store import Shards
from hnmine.storage.vectors import VectorStore


def plan_judging(context: RunContext, key: str) -> list[Item]:
    """Return an item for each shard of the filter; none where nothing is relabelled."""
    if not context.config.emit.relabels:
        return []
    return shard_items(Shards(context.reading("filter"), JUDGED), context.folder("emit") / JUDGED_FOLDER, key)


@dataclass(frozen=True)
class JudgingState:
    """What judging again needs.

    Attributes:
        inputs: of the filter, with the further positives of queries with the same text.
        stored: the filter's verdicts.
        more: rows of the further positives of each query of the run.
        again: bool, which queries of the run are judged again.
        positives: adds positives to tables of candidates.
    """

    inputs: FilterInputs
    stored: Shards
    more: Ragged
    again: np.ndarray
    positives: "PositiveColumns"


def open_judging(context: RunContext) -> JudgingState:
    """Return the state of the step, for a run whose further positives are written."""
    judged, emit = context.reading("filter"), context.folder("emit")
    inputs = FilterInputs.open(context, read_calibration(judged, context.config.seed), deeper=True)
    siblings = sibling_rows(context, emit)
    more = further_positives(read_relabelled(emit), inputs.queries.rows)
    labelled = Ragged.from_arrow(inputs.queries.column("sibling_rows"))
    again = (more.lengths > 0) | (siblings.lengths > labelled.lengths)
    inputs = replace(inputs, siblings=siblings)
    return JudgingState(inputs, Shards(judged, JUDGED), more, again, PositiveColumns.open(context))


def judge_again(state: JudgingState, item: Item, tick: Tick) -> pa.Table:
    """Return a shard of the filter's table with the queries judged again that the further positives concern.

    The others stay as they are. Candidates are the same, at the same positions.
    """
    stored = state.stored.read(item.number)
    rows = stored.column("query_row").to_numpy()
    again = np.flatnonzero(state.again[rows])
    tick(item.rows)
    if not len(again):
        return stored
    table = state.inputs.read(item.number, lambda asked: np.isin(asked, rows[again]))
    parts = [stored]
    for piece in slices(table):
        own = state.more.take(piece.column("query_row").to_numpy())
        parts.append(judge_candidates(state.positives.add(piece, own, state.inputs.queries), state.inputs))
    source = np.arange(len(rows))
    source[again] = len(rows) + np.arange(len(again))
    return pa.concat_tables(parts).take(pa.array(source))


@dataclass(frozen=True)
class PositiveColumns:
    """The columns of retrieve that depend on a query's positives, for documents that become positives afterwards.

    A query's background is still measured without its labelled positives alone.

    Attributes:
        corpus: the teacher's vectors.
        words: of the corpus.
        sample: rows of the random documents of the backgrounds, and their vectors.
    """

    corpus: VectorStore
    words: CorpusWords
    sample: tuple[np.ndarray, np.ndarray]

    @classmethod
    def open(cls, context: RunContext) -> "PositiveColumns":
        """Return the columns of a run whose stages ingest and embed are complete."""
        config, ingest = context.config, context.reading("ingest")
        corpus, words = VectorStore(context.reading("embed") / "corpus", cache_bytes(config)), CorpusWords(ingest)
        sample = sample_rows(words.corpus.rows, config.retrieve.background, config.seed)
        return cls(corpus, words, (sample, corpus.gather(sample)))

    def add(self, table: pa.Table, more: Ragged, queries: Shards) -> pa.Table:
        """Return candidates with more positives of each query, after those that it has.

        Args:
            table: candidates, with the columns of `CANDIDATES` and, with a cross-encoder's scores, the teacher's.
            more: rows of the further positives of each of the table's queries, all candidates of it.
            queries: the queries of ingest.
        """
        candidates, known = (Ragged.from_arrow(table.column(name)) for name in ("doc_rows", "positive_rows"))
        at, _ = candidates.find(more.owners, more.values)
        unique, which = np.unique(more.values, return_inverse=True)
        vectors = self.corpus.gather(unique)
        places = candidates.with_values(self.corpus.positions(candidates.values))
        cosines = pair_cosines(self.corpus, places, more.with_values(which), vectors)
        terms = Ragged.from_arrow(queries.take(table.column("query_row").to_numpy(), ["terms"]).column(0))
        mean, std = (values[which] for values in positive_backgrounds(unique, vectors, self.sample))
        of_positives: dict[str, np.ndarray] = {
            "positive_rows": more.values,
            "positive_background_mean": mean,
            "positive_background_std": std,
        }
        for prefix in ("", TEACHER, "guide_"):
            own, theirs = f"{prefix}scores", f"{prefix}positive_scores"
            if theirs in table.column_names and len(scores := Ragged.from_arrow(table.column(own)).values):
                of_positives[theirs] = scores[at]
        _, overlaps = self.words.overlaps(terms, candidates, more)
        of_pairs = {"similarities": cosines.values, "positive_overlaps": overlaps}
        for name, values in of_positives.items():
            table = _set(table, name, Ragged.from_arrow(table.column(name)).append(more.with_values(values)))
        before, added = (lists.lengths[candidates.owners] for lists in (known, more))
        lengths = candidates.lengths * (known.lengths + more.lengths)
        for name, values in of_pairs.items():
            stored = Ragged.from_lengths(Ragged.from_arrow(table.column(name)).values, before)
            pairs = stored.append(Ragged.from_lengths(values, added))
            table = _set(table, name, Ragged.from_lengths(pairs.values, lengths))
        return table


def _set(table: pa.Table, name: str, lists: Ragged) -> pa.Table:
    place: Any = table.column_names.index(name)
    field = table.schema.field(name)
    return table.set_column(place, field, lists.to_arrow(field.type.value_type))
