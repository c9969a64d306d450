"""What ways of choosing negatives give a static student under several losses, and what synthetic negatives add.

    python -m tests.benchmarks.score_losses DATA WORK --collections NAME ... [--seeds 0 1 2] [--losses NAME ...]
        [--arms NAME ...] [--seconds N]

Arms are those of `tests.benchmarks.training.arms`; every loss sees the same rows, those with all negatives wanted, and
one known label a query. Losses are those of sentence-transformers: MultipleNegativesRankingLoss (mnrl), and on the
teacher's cosines DistillKLDivLoss (kl) and MarginMSELoss (margin_mse); and MixingLoss of docs/examples/train_mixing.py.
All but margin_mse take cosines times 20. WORK keeps nDCG@10 of each test query: what is there is not trained again.
After `--seconds` no training is begun. Differences are paired by query; the mean of several seeds counts as one.
"""

import argparse
import runpy
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.runtime.torch_settings import one_torch_thread
from hnmine.science.mixing import draw_mixtures
from hnmine.stages.emit.chosen import text_seeds
from hnmine.storage.store import read_npy, write_npy
from hnmine.students.batches import batch_rows, steps_of
from hnmine.students.static import StaticStudent, mean_of_tokens
from hnmine.students.student import load_student, no_tick
from hnmine.students.task import Examples
from hnmine.students.training import minimise
from tests.benchmarks.measure import argument_parser
from tests.benchmarks.relabelling import TEACHER, task_of
from tests.benchmarks.training.arms import ARMS, WAYS
from tests.benchmarks.training.mine import measure, mine, read_set
from tests.benchmarks.training.prepare import Prepared, prepare
from tests.benchmarks.training.tables import with_interval

SCALE = 20.0
MIXTURES = {"mixing 4": (4, 0), "mixing 16": (16, 0), "mixing 4 with query": (0, 4)}
LOSSES = ("mnrl", "kl", "margin_mse", *MIXTURES)
SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "train_mixing.py"
Loss = Callable[[list[Any], Any], Any]
"""Takes the vectors of queries, of positives and of each negative, and labels; returns a scalar tensor."""


def loss_of(name: str) -> Loss:
    """Return a loss by its name in `LOSSES`."""
    from sentence_transformers import util
    from sentence_transformers.sentence_transformer import losses

    def scaled(queries: Any, documents: Any) -> Any:
        return SCALE * util.pairwise_cos_sim(queries, documents)

    nothing: Any = None  # the vectors are made without a model
    if name in MIXTURES:
        mixing = runpy.run_path(str(SCRIPT))["MixingLoss"](lambda vectors: {"sentence_embedding": vectors}, SCALE)
        return mixing.forward  # type: ignore[no-any-return]
    if name == "kl":
        found: Any = losses.DistillKLDivLoss(nothing, similarity_fct=scaled)
    elif name == "margin_mse":
        found = losses.MarginMSELoss(nothing, similarity_fct=util.pairwise_cos_sim)
    else:
        found = losses.MultipleNegativesRankingLoss(nothing, scale=SCALE)
    return found.compute_loss_from_embeddings  # type: ignore[no-any-return]


def labels_of(name: str, prepared: Prepared, examples: Examples) -> np.ndarray:
    """Return the labels of each example: the teacher's scores, positive first, or its mixtures; float32."""
    count = len(examples.queries)
    documents = np.column_stack([examples.positives, examples.negatives.values.reshape(count, -1)])
    if name in MIXTURES:
        seeds = text_seeds(f"{prepared.seed} {query}" for query in examples.queries)
        drawn = draw_mixtures(seeds, examples.negatives.lengths, *MIXTURES[name])
        parts = [getattr(drawn, part).reshape(count, -1) for part in ("first", "second", "alpha")]
        return np.concatenate(parts, axis=1).astype(np.float32)
    queries, corpus = prepared.vectors()
    scores = np.einsum("nd,nkd->nk", queries[examples.queries], corpus[documents])
    return np.asarray(scores * (SCALE if name == "kl" else 1), dtype=np.float32)


def train(
    student: StaticStudent, examples: Examples, labels: np.ndarray, loss: Loss, seed: int, *, shuffled: bool = True
) -> np.ndarray:
    """Return nDCG@10 of each test query after training on examples with as many negatives each.

    They are trained on in random order, or in their own order in every epoch.
    """
    import torch

    first, how = len(student.task.query_texts), student.training
    texts = np.column_stack(
        [examples.queries, first + examples.positives, first + examples.negatives.values.reshape(len(labels), -1)]
    )
    known, places = np.unique(texts, return_inverse=True)
    tokens = student.table.tokens.take(known)
    used, numbers = np.unique(tokens.values, return_inverse=True)
    tokens, places = tokens.with_values(numbers), places.reshape(texts.shape)
    with one_torch_thread():
        table = torch.nn.Parameter(torch.from_numpy(student.table.vectors[used]))

        def of_batch(rows: np.ndarray) -> Any:
            own, at = np.unique(places[rows], return_inverse=True)
            vectors = mean_of_tokens(tokens.take(own), table)[torch.from_numpy(at.reshape(len(rows), -1))]
            return loss(list(vectors.unbind(1)), torch.from_numpy(labels[rows]))

        order = batch_rows(examples, how.batch, how.epochs, seed)
        if not shuffled:
            rows = np.arange(len(labels))
            order = (part for _ in range(how.epochs) for part in np.split(rows, range(how.batch, len(rows), how.batch)))
        minimise([table], order, steps_of(examples, how.batch, how.epochs), how.rate, of_batch, no_tick)
        trained = student.table.vectors.copy()
        trained[used] = table.detach().numpy()
        return student._evaluate(trained)


def full_rows(prepared: Prepared, arm: str) -> tuple[Examples, str]:
    """Return the examples of an arm that have all negatives wanted, and what its set is like."""
    mined, wanted = read_set(prepared, mine(prepared, arm)), ARMS[arm].wanted
    full = np.flatnonzero(mined.negatives.lengths == wanted)
    made = measure(prepared, mined, wanted)
    text = f"{made['false_negatives']:.3f} false | cosine {made['cosine']:.3f} | fill {made['fill']:.2f}"
    return Examples(mined.asked[full], mined.positives[full], mined.negatives.take(full)), text


Gains = dict[tuple[str, str], dict[str, list[float]]]
"""By loss and arm: the gains of each test query, one a seed."""


class Bench:
    """The student on one prepared collection, and what is kept of its trainings."""

    def __init__(self, prepared: Prepared, work: Path) -> None:
        self.prepared, self.folder = prepared, work / "score_losses" / f"{prepared.name}-seed{prepared.seed}"

    @cached_property
    def student(self) -> StaticStudent:
        one = np.arange(len(self.prepared.known) + 1)
        found: Any = load_student("static", TEACHER, task_of(self.prepared, Ragged(self.prepared.known, one)))
        return found

    def untrained(self) -> np.ndarray:
        path = self.folder / "untrained.npy"
        if not path.exists():
            write_npy(path, self.student.untrained())
        return read_npy(path)

    def gain(self, loss: str, arm: str, examples: Examples, end: float) -> np.ndarray | None:
        """Return the gain of each test query; None where it is not known and the time is over."""
        path = self.folder / f"{loss} {arm}.npy".replace(" ", "_")
        if not path.exists():
            if time.monotonic() > end:
                return None
            labels = labels_of(loss, self.prepared, examples)
            write_npy(path, train(self.student, examples, labels, loss_of(loss), self.prepared.seed))
        return read_npy(path) - self.untrained()

    def measure(self, arm: str, losses: Sequence[str], end: float, gains: Gains) -> None:
        """Add the gains of an arm under several losses, and print their means."""
        examples, made = full_rows(self.prepared, arm)
        for loss in losses:
            found = self.gain(loss, arm, examples, end)
            if found is None:
                continue
            own = gains.setdefault((loss, arm), {})
            for query, value in zip(self.prepared.test.ids, found.tolist(), strict=True):
                own.setdefault(query, []).append(value)
            name = f"{self.prepared.name} seed {self.prepared.seed}"
            print(f"{name} | {loss} | {arm} | {found.mean():+.4f} | {made}", flush=True)


def differences(name: str, gains: Gains, first: str) -> None:
    """Print the differences of each loss and arm to the first arm, and to the same arm under mnrl."""
    for (loss, arm), values in gains.items():
        for other in dict.fromkeys([(loss, first), ("mnrl", arm)]):
            theirs = gains.get(other, {})
            if other != (loss, arm) and {k: len(v) for k, v in theirs.items()} == {
                k: len(v) for k, v in values.items()
            }:
                paired = np.array([np.mean(values[query]) - np.mean(theirs[query]) for query in values])
                print(f"{name} | {loss}, {arm} | minus {', '.join(other)} | {with_interval(paired)}")


def training_parser(doc: str | None, arms: Iterable[str]) -> argparse.ArgumentParser:
    """Return a parser of what is trained on: collections, seeds and arms."""
    made = argument_parser(doc)
    made.add_argument("data", type=Path)
    made.add_argument("work", type=Path)
    made.add_argument("--collections", nargs="+", required=True)
    made.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    made.add_argument("--arms", nargs="*", default=list(arms))
    made.add_argument("--seconds", type=float, default=np.inf)
    return made


def main() -> None:
    parser = training_parser(__doc__, WAYS)
    parser.add_argument("--losses", nargs="*", default=LOSSES)
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    for name in options.collections:
        gains: Gains = {}
        for seed in options.seeds:
            prepared = prepare(options.data, name, seed, options.work / "prepared" / f"{name}-seed{seed}")
            bench = Bench(prepared, options.work)
            for arm in options.arms:
                bench.measure(arm, options.losses, end, gains)
        differences(name, gains, options.arms[0])


if __name__ == "__main__":
    main()
