"""What a model says about mined texts: scores, the background, what is near a copy, and the set's quality."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.arrays.dots import dots, indexed_dots
from hnmine.commands.audit.findings import Hits, of_negatives
from hnmine.commands.audit.mined import Mined, text_hashes
from hnmine.commands.audit.scores import above_positive, contradictions
from hnmine.commands.audit.texts import among
from hnmine.config.tables import NEAR_COPY, Kind
from hnmine.models.encoders import Encoder, check_vectors
from hnmine.runtime.progress import Progress
from hnmine.science.background import at_background, background
from hnmine.stages.report.quality import anchor_quality
from hnmine.stages.report.statistics import distribution
from hnmine.storage.vectors import SpilledVectors

QUERIES = 512


@dataclass(frozen=True)
class Measured:
    """A model's cosines.

    Attributes:
        positive: float32, one a positive: to its query.
        negative: float32, one a negative: to its query.
        to_positive: float32, one a negative: to the most similar positive of its example; -1 without one.
        mean, std: float32, one a query: its scores to random documents.
    """

    positive: np.ndarray
    negative: np.ndarray
    to_positive: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def measure(mined: Mined, encoder: Encoder, sample: Sequence[str], progress: Progress) -> Measured:
    """Embed every text once and return the cosines; vectors lie in a temporary file, not in memory.

    Args:
        mined: examples.
        encoder: the model.
        sample: random documents.
        progress: shows how far it is.

    Raises:
        InputError: a vector holds a number that is not finite, or is all zeros.
    """
    queries = _embed(encoder, mined.queries, "query", progress)
    documents = _embed(encoder, mined.documents, "document", progress)
    random = np.concatenate(list(_cells(encoder, sample, "document")))
    sides = [
        indexed_dots(queries, mined.anchors[lists.owners], documents, lists.values)
        for lists in (mined.positives.documents, mined.negatives.documents)
    ]
    near = _nearest_positive(mined, documents)
    mean, std = _background(mined, queries, random, sample)
    return Measured(sides[0], sides[1], near, mean, std)


def _cells(encoder: Encoder, texts: Sequence[str], kind: Kind) -> Iterator[np.ndarray]:
    for first in range(0, len(texts), encoder.cell_rows):  # as the embed stage does it
        vectors = encoder.encode(texts[first : first + encoder.cell_rows], kind)
        yield check_vectors(vectors, f"--model: {kind} texts from {first:,} on", "cosine")


def _embed(encoder: Encoder, texts: Sequence[str], kind: Kind, progress: Progress) -> np.ndarray:
    def cells() -> Iterator[np.ndarray]:
        for vectors in _cells(encoder, texts, kind):
            yield vectors
            progress.advance(len(vectors))

    progress.start("audit", "embed", "queries" if kind == "query" else "documents", len(texts), 0)
    out = SpilledVectors(Path(tempfile.gettempdir()), cells()).array
    progress.end()
    return out


def _nearest_positive(mined: Mined, documents: np.ndarray) -> np.ndarray:
    lists = mined.negatives.documents
    right = mined.positives.documents.take(lists.owners)
    out = np.full(len(lists.values), -1.0, dtype=np.float32)
    np.maximum.at(out, right.owners, indexed_dots(documents, lists.values[right.owners], documents, right.values))
    return out


def _background(
    mined: Mined, queries: np.ndarray, random: np.ndarray, sample: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each query's scores to random documents, its own positives not counted."""
    every = np.concatenate([*mined.hashes, text_hashes(sample)])
    small = np.unique(every, return_inverse=True)[1].astype(np.int64)
    asked, texts, drawn = np.split(small, np.cumsum([len(mined.queries), len(mined.documents)]))
    right = mined.positives.documents
    known = asked[mined.anchors[right.owners]], texts[right.values]
    means, stds = [np.zeros(0, dtype=np.float32)], [np.zeros(0, dtype=np.float32)]
    for first in range(0, len(queries), QUERIES):
        block = np.asarray(queries[first : first + QUERIES])
        own = asked[first : first + len(block)]
        pairs = np.repeat(own, len(drawn)), np.tile(drawn, len(block))
        mean, std = background(dots(block, random), among(*pairs, *known).reshape(len(block), len(drawn)))
        means.append(mean)
        stds.append(std)
    return np.concatenate(means), np.concatenate(stds)


def model_findings(mined: Mined, found: Measured, copies: np.ndarray) -> dict[str, Hits]:
    """Return what a model's scores show, by name.

    Args:
        mined: examples.
        found: the scores.
        copies: bool, one a negative: copies by their text, or empty, which are counted elsewhere.
    """
    owners = mined.negatives.documents.owners
    query, score = mined.anchors[owners], found.negative
    near = (found.to_positive > NEAR_COPY) & ~copies
    random = at_background(score, found.mean[query], found.std[query])
    hits = {
        "near_copy_of_positive": of_negatives(mined, near, found.to_positive, cosine=found.to_positive),
        "near_copy_of_query": of_negatives(mined, (score > NEAR_COPY) & ~copies, score, cosine=score),
        "model_at_or_above_positive": above_positive(mined, score, found.positive),
        "random_padding": of_negatives(mined, random, -score, negative_score=score, background=found.mean[query]),
    }
    against = contradictions(mined, found.positive, found.negative)
    return hits if against is None else hits | {"scores_contradict_model": against}


def quality(mined: Mined, found: Measured) -> dict[str, Any]:
    """Return hardness, safety, capacity and ECI as the report has them, and distributions.

    Every positive of an example is an anchor with all its negatives; means are over each query's anchors first.
    Hardness and safety are over queries with a negative, capacity and ECI over all.
    """
    right, wrong = mined.positives.documents, mined.negatives.documents
    chosen = wrong.with_values(found.negative).take(right.owners)
    values = anchor_quality(found.positive.astype(np.float64), found.mean[mined.anchors[right.owners]], chosen)
    asked = np.unique(mined.asked, return_inverse=True)[1]
    out: dict[str, Any] = {}
    for name in ("hardness", "safety", "eci"):
        of_queries = _mean_by(values[name], asked[right.owners], int(asked.max()) + 1)
        of_queries = np.nan_to_num(of_queries) if name == "eci" else of_queries[~np.isnan(of_queries)]
        out[name] = float(of_queries.mean()) if len(of_queries) else None
    anchors = found.positive[np.repeat(np.arange(len(right.values)), chosen.lengths)]
    out["distributions"] = {
        "positive_score": distribution(found.positive),
        "negative_score": distribution(found.negative),
        "margin": distribution(anchors - chosen.values),
    }
    return out


def _mean_by(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Return the mean of each group's numbers, NaN apart; NaN where a group has none."""
    real = ~np.isnan(values)
    sums = np.bincount(groups[real], weights=values[real], minlength=count)
    counts = np.bincount(groups[real], minlength=count)
    return np.asarray(np.divide(sums, counts, out=np.full(count, np.nan), where=counts > 0))
