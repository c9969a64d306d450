"""`hnmine probe`: what training makes of a run's negatives, on frozen vectors and held-out queries."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_rows
from hnmine.commands.probe_adapter import CUT, Judged, TrainingSet, quality, train
from hnmine.config import Config
from hnmine.errors import HnmineError, IncompleteStage
from hnmine.runtime.memory import cache_bytes
from hnmine.runtime.stage import RunContext
from hnmine.science.anchors import anchor_of_positive
from hnmine.science.significance import randomisation_test
from hnmine.stages.emit.chosen import read_chosen
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.store import MANIFEST, Shards, read_json
from hnmine.storage.vectors import VectorStore

MOST_QUERIES, FEWEST_QUERIES = 2_000, 40
# All documents up to this many; of a larger corpus the labelled, the mined, the best found and random ones.
ALL_DOCUMENTS, SOME_DOCUMENTS, BEST_FOUND = 50_000, 20_000, 30
TRAIN, DEV = 0.6, 0.15


class TooFewQueries(HnmineError):
    """A run has too few queries to train on some and to test on others."""

    exit_code = 3


@dataclass(frozen=True)
class _Material:
    """Queries and documents of a probe, numbered from 0.

    Attributes:
        corpus: vectors of the documents, float32.
        queries: vectors of the queries, float32.
        positives: of each query, as documents.
        examples: the query of each training row.
        positive: the document that is its positive.
        negatives: the documents that are its negatives.
    """

    corpus: np.ndarray
    queries: np.ndarray
    positives: Ragged
    examples: np.ndarray
    positive: np.ndarray
    negatives: Ragged


def probe(config: Config, source: Path | None = None, seeds: int = 3) -> dict[str, Any]:
    """Train a linear adapter on a complete run's negatives and test it on held-out queries.

    Args:
        config: the whole config; its emit stage must be done.
        source: another run's folder to read from.
        seeds: splits of the queries; each trains once with the mined negatives and once without.

    Returns:
        queries, documents, seeds; and for untrained, without_mined and with_mined nDCG@10 and MRR@10 on the test
        queries; and the gains of the last over both others, with a p-value.

    Raises:
        IncompleteStage: embed, filter or emit is not done.
        TooFewQueries: fewer than 40 queries have a negative.
    """
    context = RunContext(config, config.out_folder, source.resolve() if source else None)
    missing = [name for name in ("embed", "filter", "emit") if read_json(context.reading(name) / MANIFEST) is None]
    if missing:
        raise IncompleteStage(
            "\n".join(f"{context.reading(name)} is not complete; run `hnmine {name}` first" for name in missing)
            + ("" if source else "\nor name the run whose stages this one read with --from")
        )
    material = _gather(context)
    found: dict[str, list[dict[str, np.ndarray]]] = {"untrained": [], "without_mined": [], "with_mined": []}
    tested = []
    for seed in range(seeds):
        order = np.random.default_rng([config.seed, seed, 0x70726F62]).permutation(len(material.queries))
        cuts = [int(TRAIN * len(order)), int((TRAIN + DEV) * len(order))]
        training, dev, test = np.split(order, cuts)
        tested.append(test)
        judged = _judged(material, np.sort(test))
        dim = material.corpus.shape[1]
        found["untrained"].append(quality(material.corpus, judged, np.zeros((dim, dim), np.float32)))
        for name in ("without_mined", "with_mined"):
            examples = _examples(material, training, mined=name == "with_mined")
            adapter, _ = train(material.corpus, examples, _judged(material, np.sort(dev)), seed)
            found[name].append(quality(material.corpus, judged, adapter))
    return {
        "queries": len(material.queries), "documents": len(material.corpus), "seeds": seeds,
        "examples": len(material.examples),
        **{name: _means(parts) for name, parts in found.items()},
        "gain_over_untrained": _gain(found["with_mined"], found["untrained"], tested, config.seed),
        "gain_over_without_mined": _gain(found["with_mined"], found["without_mined"], tested, config.seed),
    }  # fmt: skip


def _means(parts: list[dict[str, np.ndarray]]) -> dict[str, float]:
    return {f"{name}_at_{CUT}": float(np.mean([part[name].mean() for part in parts])) for name in ("ndcg", "mrr")}


def _gain(
    better: list[dict[str, np.ndarray]], worse: list[dict[str, np.ndarray]], tested: list[np.ndarray], seed: int
) -> dict[str, Any]:
    """Return the mean difference over test queries, each counted once however many seeds tested on it."""
    queries = np.concatenate([np.sort(test) for test in tested])
    out: dict[str, Any] = {}
    for name in ("ndcg", "mrr"):
        both = [np.concatenate([part[name] for part in parts]) for parts in (better, worse)]
        _, place = np.unique(queries, return_inverse=True)
        mean = np.bincount(place, weights=both[0] - both[1]) / np.bincount(place)
        out[f"{name}_at_{CUT}"] = float(mean.mean())
        out[f"{name}_p"] = randomisation_test(mean, seed)
    return out | {"test_queries": len(np.unique(queries))}


def _judged(material: _Material, rows: np.ndarray) -> Judged:
    relevant = material.positives.take(rows)
    return Judged(material.queries[rows], relevant, np.ones(len(relevant.values)))


def _examples(material: _Material, training: np.ndarray, *, mined: bool) -> TrainingSet:
    rows = np.flatnonzero(np.isin(material.examples, training))
    negatives = material.negatives.take(rows)
    if not mined:
        negatives = Ragged.from_lengths(np.zeros(0, dtype=np.int64), np.zeros(len(rows), dtype=np.int64))
    query = material.examples[rows]
    return TrainingSet(material.queries[query], material.positive[rows], negatives, material.positives.take(query))


def _gather(context: RunContext) -> _Material:
    """Read the run's queries with a negative, a random part of them if there are many, and the documents for them."""
    chosen = read_chosen(context.reading("emit"))
    negatives = Ragged.from_arrow(chosen.column("doc_rows"))
    owner = chosen.column("query_row").to_numpy()
    rows = np.unique(owner[negatives.lengths > 0])
    if len(rows) < FEWEST_QUERIES:
        raise TooFewQueries(
            f"{context.reading('emit')}: {len(rows)} queries have a negative; a probe trains on some and tests on "
            f"others, and needs {FEWEST_QUERIES}"
        )
    rows = rows[sample_rows(len(rows), MOST_QUERIES, context.config.seed)]
    table = Shards(context.reading("filter"), JUDGED).take(rows, ["positive_rows", "anchor_scores", "doc_rows"])
    positives, anchors = (Ragged.from_arrow(table.column(name)) for name in ("positive_rows", "anchor_scores"))
    examples = positives.owners
    # chosen has one row for each anchor
    own = anchor_of_positive(anchors, positives) - anchors.starts[examples]
    lists = negatives.take(np.searchsorted(owner, rows)[examples] + own)
    documents = _documents(context, [positives.values, lists.values], Ragged.from_arrow(table.column("doc_rows")))
    embed = context.reading("embed")
    return _Material(
        VectorStore(embed / "corpus", cache_bytes(context.config)).gather(documents),
        VectorStore(embed / "queries").gather(rows),
        positives.with_values(np.searchsorted(documents, positives.values)),
        examples,
        np.searchsorted(documents, positives.values),
        lists.with_values(np.searchsorted(documents, lists.values)),
    )


def _documents(context: RunContext, needed: list[np.ndarray], candidates: Ragged) -> np.ndarray:
    """Return the rows of the documents to search, ascending."""
    corpus = VectorStore(context.reading("embed") / "corpus")
    if corpus.rows <= ALL_DOCUMENTS:
        return corpus.row_of(np.arange(corpus.rows))
    best = candidates.values[candidates.positions < BEST_FOUND]
    drawn = corpus.row_of(sample_rows(corpus.rows, SOME_DOCUMENTS, context.config.seed))
    return np.unique(np.concatenate([*needed, best, drawn]))
