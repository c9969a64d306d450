"""Mines the sets that students are trained on: what filter and emit make of some queries' stored candidates."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged, single_array
from hnmine.commands.tune.grid import Setting
from hnmine.commands.tune.near_labels import HiddenLabels
from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext
from hnmine.science.anchors import anchor_of_positive
from hnmine.search.near_queries import labels_by_text
from hnmine.stages.emit.choose import choose_negatives, teacher_vectors
from hnmine.stages.emit.formats import gets_rows
from hnmine.stages.filter.bad_positives import is_emitted
from hnmine.stages.filter.calibration import CachedScorer, Calibration, calibrate, set_threshold
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.deeper_search import DeeperSearch, searches_deeper
from hnmine.stages.filter.hidden_positives import ProtocolRows
from hnmine.stages.filter.inputs import FilterInputs
from hnmine.stages.filter.step import judge_candidates
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.report.false_negatives import try_setting
from hnmine.stages.report.quality import per_anchor
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import InMemory


class SetNumbers(NamedTuple):
    """Numbers of a mined set.

    Attributes:
        hardness: mean hardness of the negatives; None without any.
        fill: negatives over those wanted; None where none are wanted.
        expected: mean P(false negative) of the negatives, 0 for random documents; None without any.
    """

    hardness: float | None
    fill: float | None
    expected: float | None


class MinedSet(NamedTuple):
    """The examples that emit would write of some queries, by their rows in the run, and numbers of the set.

    Attributes:
        queries: query of each example, int64, shape (n,).
        positives: its positive, int64, shape (n,).
        negatives: its negatives; all lists are empty where nothing is mined.
        numbers: of the set.
    """

    queries: np.ndarray
    positives: np.ndarray
    negatives: Ragged
    numbers: SetNumbers


@dataclass(frozen=True)
class Candidates:
    """The stored candidates of the queries that take part.

    Attributes:
        context: of the run.
        rows: rows of the queries, int64, ascending.
        inputs: of the run's filter.
        table: their candidates, by the schema `CANDIDATES`, ordered by query row.
        labels: labels of all queries of the run, which the features of near queries are computed from.
        search: deeper lists that were found so far.
    """

    context: RunContext
    rows: np.ndarray
    inputs: FilterInputs
    table: pa.Table
    labels: Ragged
    search: "RememberedSearch"

    @classmethod
    def read(cls, context: RunContext, rows: np.ndarray) -> "Candidates":
        """Return the candidates of the queries with the given rows (int64, ascending)."""
        inputs = FilterInputs.open(context)
        parts = []
        for number in range(len(inputs.candidates)):
            table = inputs.candidates.read(number, CANDIDATES.names)
            parts.append(table.filter(pa.array(np.isin(table.column("query_row").to_numpy(), rows))))
        table = pa.concat_tables(parts).combine_chunks()
        labels = labels_by_text(inputs.queries)
        return cls(context, rows, inputs, table, labels, RememberedSearch(context, len(inputs.documents)))

    def side(self, rows: np.ndarray) -> "TrainingSide":
        """Return what is mined for some of the queries (rows, int64): the labels of the others are not used."""
        return TrainingSide(self, np.sort(rows))


@dataclass(frozen=True)
class TrainingSide:
    """Mines sets for some queries as a run would that had not the labels of the other ones.

    The model of P(false negative) is fitted on them, once for all settings; the threshold of the rule calibrated is set
    for each. Negatives of an earlier run, and positives by `emit.relabel`, are left out.
    """

    candidates: Candidates
    rows: np.ndarray

    @cached_property
    def _known(self) -> HiddenLabels:
        found = self.candidates
        return HiddenLabels(found.labels, np.setdiff1d(found.rows, self.rows))

    @cached_property
    def _inputs(self) -> FilterInputs:
        """The inputs of a filter that has these queries alone."""
        table = self.candidates.table
        own = table.filter(pa.array(np.isin(table.column("query_row").to_numpy(), self.rows)))
        return replace(self.candidates.inputs, candidates=InMemory(self._known.apply(own)))

    @cached_property
    def protocol(self) -> ProtocolRows:
        """The rows that the model and the threshold are fitted on."""
        return ProtocolRows.of(self._inputs.batches, self.candidates.context.config)

    @cached_property
    def calibration(self) -> Calibration:
        """The model; its threshold is not used."""
        return calibrate(self.protocol, _with_rule_none(self.candidates.context.config))

    @cached_property
    def cached(self) -> CachedScorer:
        """The model's probabilities of the protocol's rows, out of fold."""
        return CachedScorer.of(self.protocol.rows, self.calibration.out_of_fold())

    def mine(self, setting: Setting) -> MinedSet:
        """Return the set of a setting."""
        config = without_additions(setting.config)
        context = replace(self.candidates.context, config=config)
        judged = self._judge(context)
        if setting.role == "in_batch":
            return _without_negatives(judged, config)
        chosen = choose_negatives(context, InMemory(judged), None, lambda rows: None)
        return _examples(judged, chosen, config)

    def _judge(self, context: RunContext) -> pa.Table:
        config = context.config
        inputs = replace(self._inputs, config=config, scorer=self._scorer(config))
        deeper = self.candidates.search.under(context, self._known) if searches_deeper(config) else None
        return judge_candidates(inputs.read(0), inputs, deeper)

    def _scorer(self, config: Config) -> Calibration:
        if "calibrated" not in rule_names(config.filter):
            return self.calibration
        threshold, _ = set_threshold(self.protocol.rows, self.cached, config, measured=self.protocol.measured)
        return replace(self.calibration, threshold=threshold)

    def measured_rate(self, setting: Setting) -> float | None:
        """Return the false-negative rate of the retrieved negatives on hidden positives; None where not measurable."""
        if not self.protocol.measured or not setting.mines:
            return None
        config = without_additions(setting.config)
        vectors = teacher_vectors(replace(self.candidates.context, config=config))
        found = try_setting({}, self.protocol, config, (self.cached, vectors))
        return float(found["rate"]) if found["chosen"] else None


@dataclass(frozen=True)
class RememberedSearch(DeeperSearch):
    """A deeper search that keeps what it found, since many settings are short of candidates for the same queries.

    Attributes:
        known: hides some labels from the features of near queries; None: all labels are used.
    """

    known: HiddenLabels | None = None

    @cached_property
    def _found(self) -> dict[tuple[int, int], pa.Table]:
        return {}

    def under(self, context: RunContext, known: HiddenLabels) -> "RememberedSearch":
        """Return the search under other settings of filter and emit, and without some labels, with the same memory."""
        other = RememberedSearch(context, self.documents, known)
        # cached properties are entries of the instance's dictionary
        other.__dict__.update(_found=self._found, _search=self._search)
        return other

    def _find(self, rows: np.ndarray, depth: int) -> pa.Table:
        missing = np.array([row for row in rows.tolist() if (row, depth) not in self._found], dtype=np.int64)
        if len(missing):
            table = super()._find(missing, depth)
            for place, row in enumerate(missing.tolist()):
                self._found[row, depth] = table.slice(place, 1)
        found = pa.concat_tables([self._found[row, depth] for row in rows.tolist()]).combine_chunks()
        return found if self.known is None else self.known.apply(found)


def without_additions(config: Config) -> Config:
    """Return the config without what no grid changes: negatives kept of an earlier run, and relabelled positives."""
    update: dict[str, Any] = {"emit": config.emit.model_copy(update={"relabel": None})}
    if config.previous is not None:
        update["previous"] = config.previous.model_copy(update={"replace": "all"})
    return config.model_copy(update=update)


def _with_rule_none(config: Config) -> Config:
    return config.model_copy(update={"filter": config.filter.model_copy(update={"rule": "none"})})


def _lists(table: pa.Table, *names: str) -> list[Ragged]:
    return [Ragged.from_arrow(table.column(name)) for name in names]


def _without_negatives(judged: pa.Table, config: Config) -> MinedSet:
    """Return an example for every positive that emit gives rows to, with no negatives."""
    (positives,) = _lists(judged, "positive_rows")
    which = np.flatnonzero(is_emitted(judged, config))
    queries = judged.column("query_row").to_numpy()[positives.owners[which]]
    nothing = Ragged(np.zeros(0, dtype=np.int64), np.zeros(len(which) + 1, dtype=np.int64))
    return MinedSet(queries, positives.values[which], nothing, SetNumbers(None, None, None))


def _examples(judged: pa.Table, chosen: pa.Table, config: Config) -> MinedSet:
    """Return the examples that the stage emit writes, given judged candidates and the chosen negatives of them all."""
    positives, anchors = _lists(judged, "positive_rows", "anchor_scores")
    documents, scores, positions = _lists(chosen, "doc_rows", "scores", "positions")
    which = np.flatnonzero(is_emitted(judged, config))
    served_by = anchor_of_positive(anchors, positives)[which]
    has = gets_rows(config.emit.formats, documents.lengths[served_by], config.emit.num_negatives)
    which, served_by = which[has], served_by[has]
    wanted, total = int(chosen.column("wanted").to_numpy().sum()), len(documents.values)
    batch = Batch.from_table(judged)
    quality = per_anchor(batch, Cells.of(batch, anchors), scores)
    summed = np.nansum(quality["hardness"] * quality["chosen"])
    return MinedSet(
        queries=judged.column("query_row").to_numpy()[positives.owners[which]],
        positives=positives.values[which],
        negatives=documents.take(served_by),
        numbers=SetNumbers(
            hardness=float(summed / total) if total else None,
            fill=total / wanted if wanted else None,
            expected=float(_probabilities(judged, positions).sum() / total) if total else None,
        ),
    )


def _probabilities(judged: pa.Table, positions: Ragged) -> np.ndarray:
    """Return P(false negative) of each chosen candidate, float64; random documents are left out."""
    values = Ragged.from_arrow(single_array(judged.column("probabilities")).flatten())
    retrieved = positions.values >= 0
    at = values.starts[positions.owners[retrieved]] + positions.values[retrieved]
    return np.asarray(values.values[at].astype(np.float64))
