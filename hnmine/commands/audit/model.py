"""Measurements by a model: cosines of mined texts, near-copies, random padding, and the set's quality."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.arrays.dots import dots, indexed_dots
from hnmine.commands.audit.findings import Hits, of_negatives
from hnmine.commands.audit.mined import Mined, contains_pairs, text_hashes
from hnmine.commands.audit.scores import above_positive, contradictions
from hnmine.config.filter import NEAR_COPY
from hnmine.config.models import Kind
from hnmine.models.encoders import Encoder, check_vectors
from hnmine.runtime.engines import Progress
from hnmine.science.z_scores import at_background, background
from hnmine.stages.report.quality import anchor_quality, mean_by_group
from hnmine.stages.report.statistics import distribution, mean
from hnmine.storage.vectors import SpilledVectors

_QUERIES = 512
"""Queries whose scores to the random documents are computed together."""


@dataclass(frozen=True)
class ModelScores:
    """Cosines by a model.

    Attributes:
        positive: float32, one per positive: to its query.
        negative: float32, one per negative: to its query.
        to_positive: float32, one per negative: to the most similar positive of its example; -1 without one.
        mean, std: float32, one per query: of its cosines to random documents.
    """

    positive: np.ndarray
    negative: np.ndarray
    to_positive: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def model_scores(mined: Mined, encoder: Encoder, sample: Sequence[str], progress: Progress) -> ModelScores:
    """Embed every distinct text once and return the cosines; `sample` are random documents.

    Vectors are kept in a temporary file, not in memory.

    Raises:
        InputError: a vector is all zeros or has a number that is not finite.
    """
    right, wrong = mined.positives.documents, mined.negatives.documents
    queries = _embed(encoder, mined.queries, "query", progress)
    documents = _embed(encoder, mined.documents, "document", progress)
    random = np.concatenate(list(_vectors(encoder, sample, "document")))
    positive, negative = (
        indexed_dots(queries, mined.anchors[lists.owners], documents, lists.values) for lists in (right, wrong)
    )
    pairs = right.take(wrong.owners)
    to_positive = np.full(len(wrong.values), -1.0, dtype=np.float32)
    cosines = indexed_dots(documents, wrong.values[pairs.owners], documents, pairs.values)
    np.maximum.at(to_positive, pairs.owners, cosines)
    return ModelScores(positive, negative, to_positive, *_background(mined, queries, random, sample))


def _vectors(encoder: Encoder, texts: Sequence[str], kind: Kind) -> Iterator[np.ndarray]:
    for first in range(0, len(texts), encoder.cell_rows):  # the same batches as in the embed stage
        vectors = encoder.encode(texts[first : first + encoder.cell_rows], kind)
        yield check_vectors(vectors, f"--model: {kind} texts from {first:,} on", "cosine")


def _embed(encoder: Encoder, texts: Sequence[str], kind: Kind, progress: Progress) -> np.ndarray:
    """Return the vectors of texts as a memory-mapped array of a temporary file."""

    def vectors() -> Iterator[np.ndarray]:
        for block in _vectors(encoder, texts, kind):
            yield block
            progress.advance(len(block))

    progress.start("audit", "embed", "queries" if kind == "query" else "documents", len(texts), 0)
    out = SpilledVectors(Path(tempfile.gettempdir()), vectors()).array
    progress.end()
    return out


def _background(
    mined: Mined, queries: np.ndarray, random: np.ndarray, sample: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each query's cosines to random documents, without its own positives."""
    asked, texts, drawn = mined.keys_with(text_hashes(sample))
    right = mined.positives.documents
    known = asked[mined.anchors[right.owners]], texts[right.values]
    parts = [np.zeros((2, 0), dtype=np.float32)]
    for first in range(0, len(queries), _QUERIES):
        block = np.asarray(queries[first : first + _QUERIES])
        own = asked[first : first + len(block)]
        pairs = np.repeat(own, len(drawn)), np.tile(drawn, len(block))
        is_own = contains_pairs(*known, *pairs).reshape(len(block), len(drawn))
        parts.append(np.stack(background(dots(block, random), is_own)))
    found = np.concatenate(parts, axis=1)
    return found[0], found[1]


def model_findings(mined: Mined, scores: ModelScores, copies: np.ndarray) -> dict[str, Hits]:
    """Return the findings that need a model, by name.

    `copies` (bool, one per negative) are copies by their text, or empty; other findings count these.
    """
    query, score = mined.anchors[mined.negatives.documents.owners], scores.negative
    near = (scores.to_positive > NEAR_COPY) & ~copies
    random = at_background(score, scores.mean[query], scores.std[query])
    hits = {
        "near_copy_of_positive": of_negatives(mined, near, scores.to_positive, cosine=scores.to_positive),
        "near_copy_of_query": of_negatives(mined, (score > NEAR_COPY) & ~copies, score, cosine=score),
        "model_at_or_above_positive": above_positive(mined, score, scores.positive),
        "random_padding": of_negatives(mined, random, -score, negative_score=score, background=scores.mean[query]),
    }
    against = contradictions(mined, scores.positive, scores.negative)
    return hits if against is None else hits | {"scores_contradict_model": against}


def quality(mined: Mined, scores: ModelScores) -> dict[str, Any]:
    """Return hardness, safety and ECI as in the report, and distributions of the model's scores.

    Every positive of an example is an anchor with all the example's negatives. Numbers are averaged over each query's
    anchors first; then hardness and safety over the queries with a negative, ECI over all.
    """
    right, wrong = mined.positives.documents, mined.negatives.documents
    chosen = wrong.with_values(scores.negative).take(right.owners)
    values = anchor_quality(scores.positive.astype(np.float64), scores.mean[mined.anchors[right.owners]], chosen)
    asked = np.unique(mined.asked, return_inverse=True)[1]
    out: dict[str, Any] = {}
    for name in ("hardness", "safety", "eci"):
        per_query = mean_by_group(values[name], asked[right.owners], int(asked.max()) + 1)
        out[name] = mean(np.nan_to_num(per_query) if name == "eci" else per_query[~np.isnan(per_query)])
    return out | {
        "distributions": {
            "positive_score": distribution(scores.positive),
            "negative_score": distribution(scores.negative),
            "margin": distribution(scores.positive[chosen.owners] - chosen.values),
        }
    }
