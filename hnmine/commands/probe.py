"""`hnmine probe`: trains a small adapter on a run's negatives and measures its ranking quality on held-out queries.

The adapter is a linear map of the teacher's vectors, trained in minutes without a GPU. It serves to compare mined sets.
It is no fine-tuned model: it can only reweight directions that the teacher's vectors already have.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_rows
from hnmine.commands.finished_run import finished_run
from hnmine.config.tables import Config
from hnmine.errors import HnmineError, OutputError
from hnmine.runtime.stage import RunContext
from hnmine.runtime.worker_slot import cache_bytes
from hnmine.science.adapter import Adam, adapted, info_nce
from hnmine.science.anchors import anchor_of_positive
from hnmine.science.ranking_metrics import ndcg, reciprocal_rank
from hnmine.science.statistics import randomisation_test
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.emit.relabel.relabelled import judged_shards
from hnmine.stages.report.step import keep_probe
from hnmine.storage.vectors import VectorStore

MAX_QUERIES, MIN_QUERIES = 2_000, 40
TRAIN_SHARE, DEV_SHARE = 0.6, 0.15
"""Shares of the queries to train on and to stop training by; the rest are tested on."""
ALL_DOCUMENTS, RANDOM_DOCUMENTS, BEST_CANDIDATES = 50_000, 20_000, 30
"""A corpus of up to `ALL_DOCUMENTS` is searched whole; of a larger one the positives, the negatives, the best
candidates of each query, and random documents."""
CUT_OFF = 10
BATCH, LEARNING_RATE, TEMPERATURE = 64, 3e-4, 0.05
BATCHES_A_ROUND, MAX_ROUNDS, PATIENCE = 8, 100, 6
"""A round is as many passes over the examples as make this many batches. The quality on the dev queries is measured
after each round, and training stops after `PATIENCE` rounds without a better one."""


class TooFewQueries(HnmineError):
    """A run has too few queries to train on some and test on others."""

    exit_code = 3


class TrainingSet(NamedTuple):
    """Examples to train on.

    Attributes:
        queries: vector of each example's query, float32, shape (n, d).
        positives: document of each example's positive, int64, shape (n,).
        negatives: documents of each example's negatives; with an empty list, it trains on those of the batch alone.
        known: documents of all labelled positives of each example's query, which never count as its negatives.
    """

    queries: np.ndarray
    positives: np.ndarray
    negatives: Ragged
    known: Ragged


class LabelledQueries(NamedTuple):
    """Queries to measure on: their vectors, float32, shape (n, d), and the relevant documents of each."""

    queries: np.ndarray
    relevant: Ragged


def probe(config: Config, source: Path | None = None, seeds: int = 3) -> dict[str, Any]:
    """Train adapters on a finished run's negatives and test them on held-out queries.

    Args:
        config: the whole config; its emit stage must be done.
        source: output folder of another run to read finished stages from.
        seeds: number of random splits of the queries; each trains once with the mined negatives and once without.

    Returns:
        queries, documents, seeds and examples; for untrained, without_mined and with_mined nDCG@10 and MRR@10, means
        over the test queries; the gains of with_mined over the two others, with p-values; and what
        `FinishedRun.differences` says of the run. It is also written to `probe.json` in the output folder, and shown on
        the run's report page; where that fails, not_kept says why.

    Raises:
        IncompleteStage: embed, filter or emit is not done.
        TooFewQueries: fewer than 40 queries have a negative.
    """
    run = finished_run(config, source, ("embed", "filter", "emit"))
    context, config = run.context, run.context.config
    corpus, (queries, positives), negatives = _read(context)
    found: dict[str, list[dict[str, np.ndarray]]] = {"untrained": [], "without_mined": [], "with_mined": []}
    tested = []
    for seed in range(seeds):
        order = np.random.default_rng([config.seed, seed, 0x70726F62]).permutation(len(queries))
        ends = [int(TRAIN_SHARE * len(order)), int((TRAIN_SHARE + DEV_SHARE) * len(order))]
        training, dev, test = (np.sort(rows) for rows in np.split(order, ends))
        tested.append(test)
        examples = np.flatnonzero(np.isin(positives.owners, training))
        query = positives.owners[examples]
        for name, parts in found.items():
            adapter = np.zeros((corpus.shape[1],) * 2, dtype=np.float32)
            if name != "untrained":
                mined = negatives.take(examples)
                mined = mined if name == "with_mined" else mined.filter(np.zeros(len(mined.values), dtype=bool))
                known = positives.take(query)
                training_set = TrainingSet(queries[query], positives.values[examples], mined, known)
                adapter, _ = train(corpus, training_set, LabelledQueries(queries[dev], positives.take(dev)), seed)
            parts.append(quality(corpus, LabelledQueries(queries[test], positives.take(test)), adapter))
    rows = np.concatenate(tested)
    result = {
        "queries": len(queries), "documents": len(corpus), "seeds": seeds, "examples": len(positives.values),
        **{name: _means(parts) for name, parts in found.items()},
        "gain_over_untrained": _gain(found["with_mined"], found["untrained"], rows, config.seed),
        "gain_over_without_mined": _gain(found["with_mined"], found["without_mined"], rows, config.seed),
    }  # fmt: skip
    kept: dict[str, Any] = {}
    try:
        keep_probe(context, result)
    except OutputError as error:  # the answer is not lost with a folder that cannot be written to
        kept = {"not_kept": str(error)}
    return result | kept | run.differences


def _means(parts: list[dict[str, np.ndarray]]) -> dict[str, float]:
    return {f"{name}_at_{CUT_OFF}": float(np.mean([part[name].mean() for part in parts])) for name in ("ndcg", "mrr")}


def _gain(
    better: list[dict[str, np.ndarray]], worse: list[dict[str, np.ndarray]], rows: np.ndarray, seed: int
) -> dict[str, Any]:
    """Return the mean differences; a query that several splits test (`rows`) counts once, with its mean difference."""
    queries, place, times = np.unique(rows, return_inverse=True, return_counts=True)
    out: dict[str, Any] = {}
    for name in ("ndcg", "mrr"):
        difference = np.concatenate([a[name] - b[name] for a, b in zip(better, worse, strict=True)])
        mean = np.bincount(place, weights=difference) / times
        out[f"{name}_at_{CUT_OFF}"] = float(mean.mean())
        out[f"{name}_p"] = randomisation_test(mean, seed)
    return out | {"test_queries": len(queries)}


def quality(corpus: np.ndarray, test: LabelledQueries, adapter: np.ndarray) -> dict[str, np.ndarray]:
    """Return nDCG@10 and MRR@10 of each query, ranking the whole corpus by cosine: ndcg and mrr, float64, shape (n,).

    Args:
        corpus: float32, shape (documents, d).
        test: queries with their relevant documents.
        adapter: float32, shape (d, d); zeros leave the vectors as they are.
    """
    documents = adapted(corpus, adapter)
    k = min(CUT_OFF, len(documents))
    gains = np.zeros((len(test.queries), k))
    for first in range(0, len(gains), 512):
        scores = adapted(test.queries[first : first + 512], adapter) @ documents.T
        top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.take_along_axis(scores, top, axis=1)
        top = np.take_along_axis(top, np.argsort(-order, axis=1, kind="stable"), axis=1)
        rows = np.repeat(np.arange(first, first + len(top)), k)
        gains[first : first + 512] = test.relevant.contains(rows, top.ravel()).reshape(top.shape)
    ideal = np.arange(k) < test.relevant.lengths[:, None]
    return {"ndcg": ndcg(gains, ideal), "mrr": reciprocal_rank(gains)}


def train(corpus: np.ndarray, examples: TrainingSet, dev: LabelledQueries, seed: int) -> tuple[np.ndarray, list[float]]:
    """Return the adapter with the best nDCG@10 on the dev queries, and that number after each round (first: untrained).

    Args:
        corpus: float32, shape (documents, d).
        examples: the training set.
        dev: held-out queries; training stops when their nDCG@10 no longer grows.
        seed: of the order of examples.
    """
    rng = np.random.default_rng(seed)
    d, count = corpus.shape[1], len(examples.queries)
    passes = math.ceil(BATCHES_A_ROUND / math.ceil(count / BATCH))
    adapter = best = np.zeros((d, d), dtype=np.float32)
    optimiser = Adam((d, d), LEARNING_RATE)
    curve = [float(quality(corpus, dev, adapter)["ndcg"].mean())]
    for _ in range(MAX_ROUNDS):
        for order in (rng.permutation(count) for _ in range(passes)):
            for rows in np.split(order, range(BATCH, count, BATCH)):
                documents, allowed = _batch(examples, rows)
                _, slope = info_nce(examples.queries[rows], corpus[documents], allowed, adapter, TEMPERATURE)
                adapter = optimiser.step(adapter, slope)
        curve.append(float(quality(corpus, dev, adapter)["ndcg"].mean()))
        if curve[-1] >= max(curve):
            best = adapter
        if len(curve) - 1 - int(np.argmax(curve)) >= PATIENCE:
            break
    return best, curve


def _batch(examples: TrainingSet, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch's documents, positives first, and which of them count for each query, bool, shape (b, m)."""
    documents = np.concatenate([examples.positives[rows], examples.negatives.take(rows).values])
    known, own = examples.known.take(rows), np.arange(len(rows))
    allowed = ~known.contains(np.repeat(own, len(documents)), np.tile(documents, len(rows)))
    allowed = allowed.reshape(len(rows), len(documents))
    allowed[own, own] = True
    return documents, allowed


def _read(context: RunContext) -> tuple[np.ndarray, LabelledQueries, Ragged]:
    """Return the documents' vectors, the queries with a negative (a sample of many), and each positive's negatives.

    Documents are numbered by their rows in the vectors, which are float32, shape (documents, d).
    """
    chosen = read_chosen(context.reading("emit"))
    negatives = Ragged.from_arrow(chosen.column("doc_rows"))
    owner = chosen.column("query_row").to_numpy()
    rows = np.unique(owner[negatives.lengths > 0])
    if len(rows) < MIN_QUERIES:
        raise TooFewQueries(
            f"{context.reading('emit')}: {len(rows)} queries have a negative, and a probe needs {MIN_QUERIES} to train "
            "on some and test on others"
        )
    rows = rows[sample_rows(len(rows), MAX_QUERIES, context.config.seed)]
    table = judged_shards(context).take(rows, ["positive_rows", "anchor_scores", "doc_rows"])
    positives, anchors, candidates = (
        Ragged.from_arrow(table.column(name)) for name in ("positive_rows", "anchor_scores", "doc_rows")
    )
    # chosen has one row for each anchor
    own = anchor_of_positive(anchors, positives) - anchors.starts[positives.owners]
    negatives = negatives.take(np.searchsorted(owner, rows)[positives.owners] + own)
    corpus = VectorStore(context.reading("embed") / "corpus", cache_bytes(context.config))
    if corpus.rows <= ALL_DOCUMENTS:
        documents = corpus.row_of(np.arange(corpus.rows))
    else:
        best = candidates.values[candidates.positions < BEST_CANDIDATES]
        drawn = corpus.row_of(sample_rows(corpus.rows, RANDOM_DOCUMENTS, context.config.seed))
        documents = np.unique(np.concatenate([positives.values, negatives.values, best, drawn]))
    queries = VectorStore(context.reading("embed") / "queries").gather(rows)
    positives, negatives = (one.with_values(np.searchsorted(documents, one.values)) for one in (positives, negatives))
    return corpus.gather(documents), LabelledQueries(queries, positives), negatives
