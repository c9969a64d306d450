"""A mined set as comparisons see it: queries, their negatives, and what is known of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Found:
    """What a run knows of documents that it did not choose: one value a document.

    Attributes:
        fates: str, what became of it, for people.
        scores: float64, NaN where it is no candidate.
        ranks: float64, likewise.
    """

    fates: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray


@dataclass(frozen=True)
class RunFacts:
    """What a run knows and a plain file does not.

    Attributes:
        query_ids: one a query.
        doc_ids: one a negative.
        report: its report.json.
        parts: numerators and denominators of the headline numbers, see `hnmine.stages.report.quality.headline_parts`.
        teacher: the key of its vectors.
        wanted: negatives wanted for each anchor.
        look_up: takes queries (positions) and document ids, and says what the run knows of each pair.
    """

    query_ids: pa.Array
    doc_ids: pa.Array
    report: dict[str, Any]
    parts: tuple[np.ndarray, np.ndarray]
    teacher: str
    wanted: int
    look_up: Callable[[np.ndarray, pa.Array], Found]


@dataclass(frozen=True)
class MinedSet:
    """Queries and their negatives, each document once a query.

    Attributes:
        name: as the user gave it.
        query_keys: uint64, the copy key of each query's text.
        owners: int64, ascending: the query (a position) of each negative.
        doc_keys: uint64, the copy key of each negative's text.
        scores: float64, one a negative; NaN where unknown.
        ranks: float64, in its retrieval; NaN where unknown, and for random documents.
        examples: number of (query, positive) pairs.
        query_texts: gives the texts of queries (positions).
        texts: gives the texts of negatives (positions).
        run: None for a plain file.
    """

    name: str
    query_keys: np.ndarray
    owners: np.ndarray
    doc_keys: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    examples: int
    query_texts: Callable[[np.ndarray], list[str]]
    texts: Callable[[np.ndarray], list[str]]
    run: RunFacts | None = None
