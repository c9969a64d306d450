"""What a mined set is worth before any real training: an adapter on the frozen vectors, trained on it and tested.

It is cheap and it is not a fine-tuned model: a linear map can only move directions that the teacher already has.
Sets are compared by it; the gain of a real training run is another number.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.science.adapter import Adam, adapted, info_nce
from hnmine.science.ranking_metrics import ndcg, reciprocal_rank

CUT = 10
BATCH = 64
RATE = 3e-4
TEMPERATURE = 0.05
# A round is one pass over the examples, or as many as make this many batches; the dev queries are asked after each.
BATCHES_A_ROUND = 8
ROUNDS, PATIENCE = 100, 6


@dataclass(frozen=True)
class TrainingSet:
    """What training sees.

    Attributes:
        queries: float32, shape (n, d): the query of each example.
        positives: int64, shape (n,): row of its positive.
        negatives: rows of its negatives; an empty list leaves it the batch's documents alone.
        known: rows of all positives that are labelled for training; never used against their query.
    """

    queries: np.ndarray
    positives: np.ndarray
    negatives: Ragged
    known: Ragged


@dataclass(frozen=True)
class Judged:
    """Queries to test on: float32 vectors, and the rows that are relevant to each, with their gains."""

    queries: np.ndarray
    relevant: Ragged
    gains: np.ndarray


def quality(corpus: np.ndarray, judged: Judged, adapter: np.ndarray) -> dict[str, np.ndarray]:
    """Return nDCG and MRR at 10 of each query over the whole corpus, float64, shape (queries,).

    Args:
        corpus: float32, shape (documents, d).
        judged: queries with what is relevant to them.
        adapter: W, shape (d, d); 0 for the untrained base.
    """
    documents = adapted(corpus, adapter)
    k = min(CUT, len(documents))
    gains = np.zeros((len(judged.queries), k))
    for first in range(0, len(gains), 512):
        scores = adapted(judged.queries[first : first + 512], adapter) @ documents.T
        top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.take_along_axis(scores, top, axis=1)
        top = np.take_along_axis(top, np.argsort(-order, axis=1, kind="stable"), axis=1)
        gains[first : first + 512] = _gains(judged, top, first)
    ideal = np.zeros_like(gains)
    order = np.lexsort((-judged.gains, judged.relevant.owners))
    place = judged.relevant.positions
    inside = place < k
    ideal[judged.relevant.owners[inside], place[inside]] = judged.gains[order][inside]
    return {"ndcg": ndcg(gains, ideal), "mrr": reciprocal_rank(gains)}


def _gains(judged: Judged, top: np.ndarray, first: int) -> np.ndarray:
    """Return the gain of each document of the top lists of queries first, first + 1, ..."""
    relevant = judged.relevant
    span = int(max(top.max(), relevant.values.max(initial=0))) + 1
    keys = relevant.owners * span + relevant.values
    order = np.argsort(keys)
    asked = (first + np.arange(len(top)))[:, None] * span + top
    place = np.minimum(np.searchsorted(keys[order], asked), len(keys) - 1)
    found = keys[order][place] == asked
    return np.where(found, judged.gains[order][place], 0.0)


def train(corpus: np.ndarray, examples: TrainingSet, dev: Judged, seed: int) -> tuple[np.ndarray, list[float]]:
    """Return the adapter with the best nDCG@10 on the dev queries, and that number round by round (0: untrained).

    Args:
        corpus: float32, shape (documents, d).
        examples: the mined set.
        dev: held-out queries; training stops when they gain no more.
        seed: of the order of examples.
    """
    rng = np.random.default_rng(seed)
    d = corpus.shape[1]
    adapter = best = np.zeros((d, d), dtype=np.float32)
    optimiser = Adam.of((d, d), RATE)
    curve = [float(quality(corpus, dev, adapter)["ndcg"].mean())]
    for _ in range(ROUNDS):
        for rows in _round(len(examples.queries), rng):
            documents, allowed = _batch(examples, rows)
            _, slope = info_nce(examples.queries[rows], corpus[documents], allowed, adapter, TEMPERATURE)
            adapter = optimiser.step(adapter, slope)
        curve.append(float(quality(corpus, dev, adapter)["ndcg"].mean()))
        if curve[-1] >= max(curve):
            best = adapter
        if len(curve) - 1 - int(np.argmax(curve)) >= PATIENCE:
            break
    return best, curve


def _round(examples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the examples of each batch of a round."""
    batches = 0
    while batches < BATCHES_A_ROUND:
        order = rng.permutation(examples)
        for first in range(0, len(order), BATCH):
            batches += 1
            yield order[first : first + BATCH]


def _batch(examples: TrainingSet, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch's documents, positives first, and which of them each query may be trained against."""
    documents = np.concatenate([examples.positives[rows], examples.negatives.take(rows).values])
    known = examples.known.take(rows)
    allowed = ~known.contains(np.repeat(np.arange(len(rows)), len(documents)), np.tile(documents, len(rows))).reshape(
        len(rows), len(documents)
    )
    own = np.arange(len(rows))
    allowed[own, own] = True
    return documents, allowed
