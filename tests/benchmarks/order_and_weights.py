"""What the order of the training rows and their weights give a static student.

    python -m tests.benchmarks.order_and_weights DATA WORK --collections NAME ... [--seeds 0 1 2] [--arms NAME ...]
        [--ways NAME ...] [--seconds N]

Arms are those of `WEIGHTED` in tests/benchmarks/training/arms.py, with one known label a query. Every way trains on the
same rows, those with all negatives wanted: `shuffled` by MultipleNegativesRankingLoss, the orders by the same loss in
that order in every epoch, and the weights by the loss of docs/examples/weighted_loss.py, shuffled. WORK keeps nDCG@10
of each test query: what is there is not trained again. After `--seconds` no training is begun. Differences to
`shuffled` are paired by query; the mean of several seeds counts as one.
"""

import runpy
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hnmine.arrays.ragged import Ragged
from hnmine.storage.store import read_npy, write_npy
from hnmine.students.task import Examples
from tests.benchmarks.score_losses import SCALE, Bench, Gains, Loss, differences, loss_of, train, training_parser
from tests.benchmarks.training.arms import ARMS, WEIGHTED
from tests.benchmarks.training.mine import mine
from tests.benchmarks.training.prepare import Prepared, prepare

ORDERS = ("shuffled", "easy_to_hard", "hard_to_easy")
WEIGHTS = ("focal_weight", "cluster_weight", "weight")
SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "weighted_loss.py"


def weighted_loss() -> Loss:
    """Return the loss that takes weights as labels."""
    made = runpy.run_path(str(SCRIPT))["WeightedRankingLoss"](lambda vectors: {"sentence_embedding": vectors}, SCALE)
    return made.forward  # type: ignore[no-any-return]


def rows_of(prepared: Prepared, arm: str) -> tuple[Examples, dict[str, np.ndarray]]:
    """Return the examples of an arm that have all negatives wanted, in the order of its rows, and their weights."""
    parts = sorted((mine(prepared, arm) / "emit").glob("part-*.parquet"))
    rows = [row for row in pq.read_table(parts).to_pylist() if len(row["negative_id"]) == ARMS[arm].wanted]
    at, corpus = {name: row for row, name in enumerate(prepared.training.ids)}, prepared.corpus.rows
    negatives = np.array([[corpus[name] for name in row["negative_id"]] for row in rows], dtype=np.int64)
    queries, positives = (
        np.array(found, dtype=np.int64)
        for found in zip(*((at[row["query_id"]], corpus[row["positive_id"]]) for row in rows), strict=True)
    )
    lengths = np.full(len(rows), negatives.shape[1])
    weights = {name: np.array([row[name] for row in rows], dtype=np.float32) for name in WEIGHTS}
    return Examples(queries, positives, Ragged.from_lengths(negatives.ravel(), lengths)), weights


def turned(examples: Examples) -> Examples:
    """Return the examples in the reverse order."""
    order = np.arange(len(examples.queries))[::-1]
    return Examples(examples.queries[order], examples.positives[order], examples.negatives.take(order))


class Ways(Bench):
    """The student on one prepared collection, trained in each order and with each weight."""

    def trained(self, way: str, arm: str, end: float) -> np.ndarray | None:
        """Return the gain of each test query; None where it is not known and the time is over."""
        path = self.folder / f"{way} {arm}.npy".replace(" ", "_")
        if not path.exists():
            if time.monotonic() > end:
                return None
            examples, weights = rows_of(self.prepared, arm)
            if way in WEIGHTS:
                found = train(self.student, examples, weights[way], weighted_loss(), self.prepared.seed)
            else:
                examples = turned(examples) if way == "hard_to_easy" else examples
                labels, shuffled = np.zeros(len(examples.queries), dtype=np.float32), way == "shuffled"
                found = train(self.student, examples, labels, loss_of("mnrl"), self.prepared.seed, shuffled=shuffled)
            write_npy(path, found)
        return np.asarray(read_npy(path) - self.untrained())


def main() -> None:
    parser = training_parser(__doc__, WEIGHTED)
    parser.add_argument("--ways", nargs="*", default=[*ORDERS, *WEIGHTS])
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    for name in options.collections:
        for arm in options.arms:
            gains: Gains = {}
            for seed in options.seeds:
                prepared = prepare(options.data, name, seed, options.work / "prepared" / f"{name}-seed{seed}")
                bench = Ways(prepared, options.work)
                for way in options.ways:
                    found = bench.trained(way, arm, end)
                    if found is not None:
                        own = gains.setdefault(("mnrl", way), {})
                        for query, value in zip(prepared.test.ids, found.tolist(), strict=True):
                            own.setdefault(query, []).append(value)
                        print(f"{name} seed {seed} | {arm} | {way} | {found.mean():+.4f}", flush=True)
            differences(f"{name} | {arm}", gains, "shuffled")


if __name__ == "__main__":
    main()
