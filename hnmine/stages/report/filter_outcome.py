"""Measuring what a filter lets through: rate of hidden positives, hardness, fill and ECI."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.config import Config
from hnmine.science.calibration import calibration_error, reliability
from hnmine.science.hidden_positives import wilson
from hnmine.stages.emit.choose import Chooser, Vectors
from hnmine.stages.filter.calibration import ENOUGH_HIDDEN, ENOUGH_QUERIES, Pieces, Protocol
from hnmine.stages.filter.candidates import Cells
from hnmine.stages.filter.hidden_positives import Hidden
from hnmine.stages.filter.verdicts import Scorer
from hnmine.stages.report.quality import per_anchor

NOTHING_RETRIEVED = "emit.random_share leaves no negative to retrieval, and random documents are not measured"


def chooser_for(config: Config, vectors: Vectors | None) -> Chooser:
    """Return what chooses under the protocol: the run's way of choosing, without a cap and without random documents."""
    uncapped = config.emit.model_copy(update={"max_per_document": None})
    return Chooser(uncapped, config.seed, vectors=vectors, cosine=config.embed.similarity == "cosine")


def measure(pieces: Pieces, config: Config, scorer: Scorer | None, vectors: Vectors | None = None) -> dict[str, Any]:
    """Return what a filter lets through of the hidden positives of some candidates: see `measure_rows`."""
    return measure_rows(Protocol.of(pieces, config), config, scorer, vectors)


def measure_rows(
    protocol: Protocol, config: Config, scorer: Scorer | None, vectors: Vectors | None = None
) -> dict[str, Any]:
    """Return what a filter lets through of hidden positives: rate with its interval, hardness and fill.

    All of it is over the negatives that are retrieved: random documents are left out, and are not wanted either.

    Args:
        protocol: the collection's rows.
        config: the whole config; its filter and emit tables are what is measured.
        scorer: out of fold; None where no rule needs it.
        vectors: the teacher's, where choosing needs them: see `hnmine.stages.emit.choose.teacher_vectors`.

    Returns:
        queries, chosen, hidden, rate, interval, hardness, fill, judged (the rate among what was judged at all); and,
        where probabilities were given, how well they are calibrated. rate is None, with the reason, where too few
        queries have several positives.
    """
    if not config.emit.retrieved_negatives:
        return {"rate": None, "reason": NOTHING_RETRIEVED}
    if not protocol.measured:
        reason = (
            f"{protocol.several:,} queries have several positives, {protocol.hidden:,} of which are among the "
            f"candidates; {ENOUGH_QUERIES} and {ENOUGH_HIDDEN} are needed"
        )
        return {"rate": None, "reason": reason}
    each = config.model_copy(update={"filter": config.filter.model_copy(update={"anchor": "each"})})
    return outcome(protocol.rows, each, scorer, vectors, reliable=True)


def outcome(
    rows: Sequence[Hidden],
    config: Config,
    scorer: Scorer | None,
    vectors: Vectors | None = None,
    *,
    reliable: bool = False,
) -> dict[str, Any]:
    """Return what a config's filter and choice do with the protocol's rows: see `Tally`.

    Args:
        rows: of the protocol.
        config: the whole config.
        scorer: out of fold; None where no rule needs it.
        vectors: the teacher's, where choosing needs them.
        reliable: whether the result tells how reliable the scorer's probabilities are.
    """
    chooser = chooser_for(config, vectors)
    tally = Tally()
    for part in rows:
        judged = part.judge(config.filter, scorer)
        ids = [str(row) for row in part.batch.query_rows]
        chosen = chooser.choose(part.batch, judged.cells, judged.keep, ids, part.keys.is_judged(part.batch))
        tally.add(part, judged.cells, chosen, judged.probabilities if reliable else None)
    return tally.result(config.emit.retrieved_negatives)


class Tally:
    """Adds up what was chosen over several pieces."""

    def __init__(self) -> None:
        self.queries: set[int] = set()
        self.chosen = self.hidden = self.judged = self.judgements = 0
        self.hardness: list[np.ndarray] = []
        self.score: list[np.ndarray] = []
        self.eci: list[np.ndarray] = []
        self.anchors = 0
        self.said: list[np.ndarray] = []
        self.was: list[np.ndarray] = []

    def add(self, rows: Hidden, cells: Cells, chosen: Ragged, probabilities: np.ndarray | None) -> None:
        """Count one piece: what was chosen of it, and the probabilities given, if any."""
        batch = rows.batch
        at = batch.candidates.offsets[:-1][cells.anchors.owners][chosen.owners] + chosen.values
        s = batch.scores[at]
        self.queries |= set(batch.query_rows.tolist())
        self.chosen += len(at)
        self.hidden += int(rows.is_hidden[at].sum())
        self.judged += int(rows.keys.is_judged(batch)[at].sum())
        self.judgements += len(rows.keys.judged.values)
        quality = per_anchor(batch, cells, chosen.with_values(s))
        self.hardness.append(np.nan_to_num(quality["hardness"] * quality["chosen"]))
        self.eci.append(quality["eci"])
        self.anchors += len(quality["eci"])
        self.score.append(s.astype(np.float64))
        if probabilities is not None:
            others = batch.counted
            self.said.append(probabilities[others])
            self.was.append(rows.is_hidden[others])

    def result(self, n: int) -> dict[str, Any]:
        """Return the rates and means, n negatives being wanted for each anchor."""
        some = max(1, self.chosen)
        out: dict[str, Any] = {
            "queries": len(self.queries),
            "chosen": self.chosen,
            "hidden": self.hidden,
            "rate": self.hidden / some,
            "interval": list(wilson(self.hidden, self.chosen)),
            "hardness": _total(self.hardness) / some,
            "score": _total(self.score) / some,
            "fill": self.chosen / max(1, n * self.anchors),
            "eci": _total(self.eci) / max(1, self.anchors),
            "judged": self._judged(),
        }
        if self.said:
            said, was = np.concatenate(self.said), np.concatenate(self.was)
            out["reliability"] = reliability(said, was)
            out["calibration_error"] = calibration_error(said, was)
        return out

    def _judged(self) -> dict[str, Any]:
        """Return the share of hidden positives among the chosen that are judged either way."""
        trials = self.hidden + self.judged
        counts = {"chosen": trials, "hidden": self.hidden}
        if not self.judgements:
            return counts | {"rate": None, "reason": "qrels judge no negatives of these queries"}
        if not trials:
            return counts | {"rate": None, "reason": "nothing that was chosen is judged"}
        return counts | {"rate": self.hidden / trials, "interval": list(wilson(self.hidden, trials))}


def _total(parts: list[np.ndarray]) -> float:
    """Return the exactly rounded sum, which does not depend on how the queries were cut into pieces."""
    return math.fsum(np.concatenate([*parts, np.zeros(0)]).tolist())
