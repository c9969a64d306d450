"""Tries settings on the stored candidates of a run, and returns the report's numbers that they would lead to."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_share
from hnmine.config.tables import Config
from hnmine.runtime.threads import in_threads
from hnmine.science.eci import hardness
from hnmine.stages.emit.choose import Chooser
from hnmine.stages.emit.formats import gets_rows
from hnmine.stages.filter.bad_positives import anchors_needed, suspected_of_batch
from hnmine.stages.filter.calibration import CachedScorer, Calibration, calibrate, set_threshold
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.hidden_positives import PART, ProtocolRows
from hnmine.stages.filter.inputs import FilterInputs, slices
from hnmine.stages.filter.verdicts import TextKeys, give_verdicts, rule_names
from hnmine.stages.report.changes import Change, changed
from hnmine.stages.report.false_negatives import Protocol, outcome
from hnmine.stages.report.headline import AT_OR_ABOVE, ENOUGH_DOCUMENTS, RATE
from hnmine.stages.report.negatives import CLOSE_TO_POSITIVE
from hnmine.stages.report.quality import count_at_or_above, per_query
from hnmine.stages.report.statistics import hub_statistics, share
from hnmine.stages.report.untried import ListEnd
from hnmine.storage.store import recorded

MOST_QUERIES, MOST_CELLS = 1000, 1_000_000
"""Settings are tried on about this many queries, and (anchor, candidate) cells, at most."""
Numbers = dict[str, float | None]
"""The numbers of a trial by their names in the report, and `examples_with_rows`: a count."""


@dataclass(frozen=True)
class _Piece:
    """Candidates of some sampled queries.

    Attributes:
        batch: candidates.
        keys: their text keys.
        ids: ids of the queries.
        suspected: bool, one per positive.
    """

    batch: Batch
    keys: TextKeys
    ids: list[str]
    suspected: np.ndarray


@dataclass(frozen=True)
class _Choice:
    """The negatives that a config leads to for a piece.

    Attributes:
        piece: the candidates.
        cells: their cells.
        keep: bool, one per cell: the verdict is keep.
        chosen: positions of each anchor's negatives among the query's candidates.
        needed: bool, one per anchor.
        emitted: bool, one per positive.
    """

    piece: _Piece
    cells: Cells
    keep: np.ndarray
    chosen: Ragged
    needed: np.ndarray
    emitted: np.ndarray

    @property
    def at(self) -> np.ndarray:
        """Position of each chosen negative in the batch, int64."""
        starts = self.piece.batch.candidates.starts[self.cells.anchors.owners]
        return np.asarray(starts[self.chosen.owners] + self.chosen.values)


class Trials:
    """Tries changes of the settings of filter and emit on a run's candidates, of a sample of the queries.

    The numbers are a report's, of the sampled queries, with three approximations: random documents are negatives with
    the background's score, negatives of an earlier run are left out, and candidates are those of the run, even where a
    change would make the search deeper or less deep. The threshold of the rule calibrated is set for each change as the
    stage filter sets it.

    Attributes:
        config: the run's.
        queries: number of sampled queries.
        whole: whether these are all of them.
    """

    def __init__(self, protocol: Protocol) -> None:
        context, self._of_run = protocol.context, protocol
        self.config, self._inputs = context.config, FilterInputs.open(context, deeper=True)
        counts = (recorded(context.reading("filter")) or {})["counts"]
        total = max(1, counts["queries"])
        cells = self.config.retrieve.max_candidates * max(1.0, counts["anchors"] / total)
        part = min(MOST_QUERIES, MOST_CELLS / cells) / total
        read = in_threads(lambda number: self._read(number, part), range(len(self._inputs.candidates)))
        # in few pieces, as every change takes some time for each
        self._pieces = _in_large_pieces([piece for pieces in read for piece in pieces])
        self.queries = sum(len(piece.batch) for piece in self._pieces)
        self.whole = self.queries == counts["queries"]
        self._known: dict[str, Numbers] = {}
        self._rates: dict[str, float | None] = {}
        self._thresholds: dict[str, float] = {}

    def _read(self, number: int, part: float) -> list[_Piece]:
        """Return the candidates of a share of a shard's queries."""
        inputs, seed, quantile, pieces = self._inputs, self.config.seed, self.config.filter.bad_positive_quantile, []
        for table in slices(inputs.read(number, lambda rows: sample_share(rows, part, seed))):
            batch = Batch.from_table(table)
            ids, keys = table.column("query_id").to_pylist(), inputs.keys(batch.query_rows)
            pieces.append(_Piece(batch, keys, ids, suspected_of_batch(batch, quantile)))
        return pieces

    @property
    def _protocol(self) -> ProtocolRows:
        return self._of_run.bounded[0]

    @cached_property
    def _calibration(self) -> Calibration:
        return self._of_run.calibration or calibrate(self._protocol, self.config)

    @cached_property
    def _cached(self) -> CachedScorer:
        return CachedScorer.of(self._protocol.rows, self._calibration.out_of_fold())

    def numbers(self, change: Change) -> Numbers:
        """Return the numbers with some settings changed; with none changed, those of the run.

        The false-negative rate is measured on rows of its own, those of the hidden-positive protocol.
        """
        return self._of_change(change) | {RATE: self._rate_of_change(change)}

    def number(self, change: Change, name: str) -> float | None:
        """Return one of the numbers; without measuring the false-negative rate unless it is the one."""
        return self._rate_of_change(change) if name == RATE else self._of_change(change)[name]

    def _of_change(self, change: Change) -> Numbers:
        """Return all numbers but the false-negative rate."""
        key = json.dumps(change, sort_keys=True)
        if key not in self._known:
            config = changed(self.config, change)
            self._known[key] = self._of_choices(list(self._choices(config, self._scorer(change))), config)
        return self._known[key]

    def _rate_of_change(self, change: Change) -> float | None:
        key = json.dumps(change, sort_keys=True)
        if key not in self._rates:
            self._rates[key] = self._false_negative_rate(changed(self.config, change), self._scorer(change))
        return self._rates[key]

    def short_lists(self, end: ListEnd) -> tuple[int, int]:
        """Return how many anchors get too few negatives, and for how many of them the list ends at its limit."""
        short = cut = 0
        for one in self._choices(self.config, self._scorer({})):
            lacking = one.needed & (one.chosen.lengths < self.config.emit.retrieved_negatives)
            short += int(lacking.sum())
            cut += int((lacking & end.reached(one.piece.batch)[one.cells.anchors.owners]).sum())
        return short, cut

    def _scorer(self, change: Change) -> Calibration | None:
        """Return the model with the threshold that a change leads to; None where its filter uses no model."""
        own, config, key = self.config, changed(self.config, change), json.dumps(change, sort_keys=True)
        if not config.filter.gives_probabilities:
            return None
        same = config.filter == own.filter and config.emit.num_negatives == own.emit.num_negatives
        if same or "calibrated" not in rule_names(config.filter):
            return self._calibration
        if key not in self._thresholds:
            rows, measured = self._protocol.rows, self._protocol.measured
            self._thresholds[key] = set_threshold(rows, self._cached, config, measured=measured)[0]
        return replace(self._calibration, threshold=self._thresholds[key])

    def _false_negative_rate(self, config: Config, scorer: Calibration | None) -> float | None:
        if not config.emit.retrieved_negatives or not self._protocol.measured:
            return None
        known = None if scorer is None else replace(self._cached, threshold=scorer.threshold)
        each = changed(config, {"filter.anchor": "each"})
        found = outcome(self._protocol.rows, each, known, self._of_run.vectors)
        return float(found["rate"]) if found["chosen"] else None

    def _choices(self, config: Config, scorer: Calibration | None) -> Iterator[_Choice]:
        cosine = config.embed.similarity == "cosine"
        chooser = Chooser(config.emit, config.seed, vectors=self._of_run.vectors, cosine=cosine)
        for piece in self._pieces:
            judged = give_verdicts(piece.batch, config.filter, piece.keys, scorer)
            cells, anchors = judged.cells, judged.cells.anchors
            emitted = (
                ~piece.suspected if config.emit.bad_positives == "leave_out" else np.ones(len(piece.suspected), bool)
            )
            needed = anchors_needed(anchors, piece.batch.positives, emitted)
            keep = judged.keep & needed[cells.anchor]
            wanted = config.emit.retrieved_negatives * needed
            judged_negatives = piece.keys.is_judged(piece.batch)
            chosen = chooser.choose(piece.batch, cells, keep, piece.ids, judged_negatives, wanted=wanted)
            yield _Choice(piece, cells, judged.keep, chosen, needed, emitted)

    def _of_choices(self, choices: list[_Choice], config: Config) -> Numbers:
        """Return the numbers of the chosen negatives of all pieces."""
        n, treated = config.emit.num_negatives, config.emit.bad_positives != "keep"
        sums = dict.fromkeys(
            ("negatives", "random", "wanted", "pairs", "over", "close", "rows", "positives", "suspected", "served"), 0
        )
        means: dict[str, list[np.ndarray]] = {"hardness": [], "safety": []}
        retrieved = [np.zeros(0)]
        documents = [np.zeros(0, dtype=np.int64)]
        for one in choices:
            batch, at = one.piece.batch, one.at
            scores, random = _with_random(one, config)
            values = per_query(batch, one.cells, one.keep, scores, n, one.needed)
            above = count_at_or_above(batch, one.cells, scores, one.emitted)
            for name, parts in means.items():
                parts.append(values[name][~np.isnan(values[name])])
            retrieved.append(_hardness_of_retrieved(one))
            documents.append(batch.candidates.values[np.unique(at)])  # once a query
            sums["served"] += int((values["chosen"] > 0).sum())
            sums["negatives"] += len(scores.values)
            sums["random"] += random
            sums["wanted"] += n * int(one.needed.sum())
            sums["pairs"] += int(above["pairs"].sum())
            sums["over"] += int(above["at_or_above"].sum())
            sums["close"] += int((batch.similarity_of(at) >= CLOSE_TO_POSITIVE).sum())
            sums["rows"] += int(gets_rows(config.emit.formats, scores.lengths[one.needed], n).sum())
            sums["positives"] += len(one.emitted)
            sums["suspected"] += 0 if treated else int(one.piece.suspected.sum())
        counts = np.unique(np.concatenate(documents), return_counts=True)[1]
        hubs = self.whole and len(counts) >= ENOUGH_DOCUMENTS
        return {
            "coverage": share(sums["served"], self.queries),
            "fill": share(sums["negatives"], sums["wanted"]),
            **{name: _mean(parts) for name, parts in means.items()},
            AT_OR_ABOVE: sums["over"] / sums["pairs"] if sums["pairs"] else None,
            "near_copies.chosen_share": share(sums["close"], sums["negatives"]),
            "sources.retrieved.hardness": _mean(retrieved),
            "sources.random.share": share(sums["random"], sums["negatives"]),
            "suspected_bad_positives.untreated_share": share(sums["suspected"], sums["positives"]),
            "hubs.top_percent_share": hub_statistics(counts)["top_percent_share"] if hubs else None,
            "examples_with_rows": sums["rows"],
        }


def _in_large_pieces(pieces: list[_Piece]) -> list[_Piece]:
    """Return the same candidates in pieces of at least `PART` candidates."""
    ends = np.cumsum([len(piece.batch.scores) for piece in pieces]) // PART
    return [
        _Piece(
            Batch.concatenate([piece.batch for piece in own]),
            TextKeys.concatenate([piece.keys for piece in own]),
            [name for piece in own for name in piece.ids],
            np.concatenate([piece.suspected for piece in own]),
        )
        for own in ([pieces[at] for at in np.flatnonzero(ends == number)] for number in np.unique(ends))
    ]


def _mean(parts: list[np.ndarray]) -> float | None:
    values = np.concatenate([np.zeros(0), *parts])
    return float(values.mean()) if len(values) else None


def _hardness_of_retrieved(one: _Choice) -> np.ndarray:
    """Return the hardness of each chosen negative that was retrieved."""
    owners, anchors = one.chosen.owners, one.cells.anchors
    background = one.piece.batch.background_mean[anchors.owners[owners]]
    return hardness(one.piece.batch.scores[one.at], anchors.values[owners], background)


def _with_random(one: _Choice, config: Config) -> tuple[Ragged, int]:
    """Return the scores of each anchor's negatives with those of random documents, and how many of these there are."""
    batch, anchors = one.piece.batch, one.cells.anchors
    scores = one.chosen.with_values(batch.scores[one.at])
    extra = np.where(one.needed, config.emit.random_negatives, 0)
    if config.emit.fallback == "random":
        extra = np.where(one.needed, config.emit.num_negatives - scores.lengths, 0)
    if not extra.any():
        return scores, 0
    owners = np.concatenate([scores.owners, np.repeat(np.arange(len(extra)), extra)])
    values = np.concatenate([scores.values, np.repeat(batch.background_mean[anchors.owners], extra)])
    order = np.argsort(owners, kind="stable")
    return Ragged.from_lengths(values[order], scores.lengths + extra), int(extra.sum())
