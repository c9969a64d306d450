"""All examples of a run with their scores: for their order and their weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.config.emit import EmitConfig
from hnmine.runtime.stage import RunContext, Tick
from hnmine.science.curriculum import curriculum_order, example_hardness
from hnmine.science.example_weights import focal_weight, positive_probability
from hnmine.stages.emit.batches.conflicts import Examples
from hnmine.stages.emit.batches.step import read_batches, read_examples
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.emit.relabel.relabelled import judged_folder
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.emit import ORDER
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.store import Shards, read_table

ORDER_PATH = "order/order.parquet"


@dataclass(frozen=True)
class ExampleScores:
    """The examples that get rows, ordered by query, then by positive, with the scores that the run uses.

    Attributes:
        examples: the (query, positive) pairs.
        positive: float32, shape (n,): the positive's score.
        anchor: float32, shape (n,): the anchor score.
        background: float32, shape (n,): the query's mean score to random documents.
        negatives: float32, the scores of each example's negatives.
    """

    examples: Examples
    positive: np.ndarray
    anchor: np.ndarray
    background: np.ndarray
    negatives: Ragged

    @classmethod
    def read(cls, context: RunContext, emit: Path) -> "ExampleScores":
        """Return the examples of an emit folder whose negatives are chosen (and batched, where there are batches)."""
        examples = read_examples(context, emit)
        if context.config.emit.batch_size is not None:
            examples = examples.take(np.flatnonzero(read_batches(emit).column("batch_id").to_numpy() >= 0))
        judged = Shards(judged_folder(context, emit), JUDGED)
        of_positives, anchors = (Ragged.from_arrow(judged.column(name)) for name in ("positive_rows", "anchor_scores"))
        places, _ = of_positives.find(examples.query_row, examples.positive_row)
        return cls(
            examples,
            Ragged.from_arrow(judged.column("positive_scores")).values[places],
            anchors.values[examples.anchor],
            judged.column("background_mean").to_numpy()[examples.query_row],
            Ragged.from_arrow(read_chosen(emit).column("scores")).take(examples.anchor),
        )

    def hardness(self) -> np.ndarray:
        """Return the mean hardness of each example's negatives, float64, shape (n,)."""
        return example_hardness(self.negatives.values, self.negatives.owners, self.anchor, self.background)


def focal_weights(positive: np.ndarray, negatives: Ragged, emit: EmitConfig) -> np.ndarray:
    """Return the focal weight of each example, float64, shape (n,), from its positive's and its negatives' scores."""
    p = positive_probability(positive, negatives.values, negatives.owners, emit.focal_temperature)
    return focal_weight(p, emit.focal_gamma)


def order_examples(context: RunContext, tick: Tick) -> pa.Table:
    """Return the examples in the order of their training rows, as the table `emit/order`."""
    emit, folder = context.config.emit, context.folder("emit")
    found = ExampleScores.read(context, folder)
    hardness, batch = found.hardness(), None
    if emit.batch_size is not None:
        batch = read_batches(folder).column("batch_id").to_numpy()
        batch = batch[batch >= 0]
    order = curriculum_order(hardness, batch, hardest_first=emit.order == "hard_to_easy")
    tick(Shards(judged_folder(context, folder), JUDGED).rows)
    columns = [found.examples.query_row[order], found.examples.positive_row[order], hardness[order]]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=ORDER)


def read_order(emit: Path) -> pa.Table:
    """Return the examples in the order of their training rows, from an emit folder."""
    return conform(read_table(emit / ORDER_PATH), ORDER, "emit/order")
