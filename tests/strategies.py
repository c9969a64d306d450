"""Hypothesis strategies: ragged lists, scores with ties and signs, batches of candidates, and filter configs."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st

from hnmine.arrays.ragged import Ragged
from hnmine.config.filter import FilterConfig
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.verdicts import TextKeys
from hnmine.storage.schemas.retrieve import CANDIDATES

thorough = settings(max_examples=settings().max_examples * 3 // 2)
"""Half as many examples again, for the few most important tests."""


def f32(x):
    """Return the float32 nearest to x, as a Python number."""
    return float(np.float32(x))


grid = st.integers(-20, 20).map(lambda n: f32(n / 20))
"""Scores that tie often, of both signs."""

wild = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
scores = grid | wild


def ragged(values, min_length=0, max_length=4, max_rows=6):
    """Lists of lists."""
    return st.lists(st.lists(values, min_size=min_length, max_size=max_length), max_size=max_rows)


def flat(lists, dtype):
    """Return a list of lists as Ragged."""
    values = np.array([value for row in lists for value in row], dtype=dtype)
    return Ragged.from_lengths(values, np.array([len(row) for row in lists], dtype=np.int64))


@dataclass(frozen=True)
class Query:
    """One query with its candidates, best first, all as plain lists."""

    row: int
    key: int
    positives: list
    positive_scores: list
    candidates: list
    scores: list
    ranks: list
    similarities: list
    siblings: list
    background: float = 0.0
    judged: list = field(default_factory=list)
    relevant: list = field(default_factory=list)
    guide_scores: list = field(default_factory=list)
    guide_positive_scores: list = field(default_factory=list)
    source_ranks: list = field(default_factory=list)

    @property
    def id(self):
        return f"q{self.row}"


@dataclass(frozen=True)
class World:
    """Some queries, and the text key of each document of the corpus."""

    documents: list
    queries: list

    def table(self):
        """Return what retrieve would write."""
        q = self.queries
        columns = {
            "query_id": [x.id for x in q],
            "query_row": [x.row for x in q],
            "positive_rows": [x.positives for x in q],
            "positive_scores": [x.positive_scores for x in q],
            "doc_rows": [x.candidates for x in q],
            "scores": [x.scores for x in q],
            "ranks": [x.ranks for x in q],
            "similarities": [[s for row in x.similarities for s in row] for x in q],
            "query_overlaps": [[0.0 for _ in x.candidates] for x in q],
            "positive_overlaps": [[0.0 for row in x.similarities for _ in row] for x in q],
            "background_mean": [x.background for x in q],
            "background_std": [0.1 for x in q],
            "positive_background_mean": [[0.0 for _ in x.positives] for x in q],
            "positive_background_std": [[0.1 for _ in x.positives] for x in q],
            "near_queries": [[] for _ in q],
            "nearness": [[] for _ in q],
            "near_labels": [[float(d % 3) for d in x.candidates] for x in q],
            "near_label_shares": [[d % 3 / 4 for d in x.candidates] for x in q],
            "guide_scores": [x.guide_scores for x in q],
            "guide_positive_scores": [x.guide_positive_scores for x in q],
            "source_scores": [[s / 2 if s else None for row in x.source_ranks for s in row] for x in q],
            "source_ranks": [[s or None for row in x.source_ranks for s in row] for x in q],
        }
        return pa.table(columns, schema=CANDIDATES)

    def batch(self):
        return self._batch

    @cached_property
    def _batch(self):
        return Batch.from_table(self.table())

    def keys(self, first=0, last=None, cosine=True):
        """Return the text keys for queries [first, last)."""
        documents = np.array(self.documents, dtype=np.uint64)
        shared = np.array([self.documents.count(key) > 1 for key in self.documents], dtype=bool)
        queries = self.queries[first:last]
        own = np.array([q.key for q in queries], dtype=np.uint64)
        names = ("siblings", "judged", "relevant")
        lists = (flat([getattr(q, name) for q in queries], np.int64) for name in names)
        return TextKeys(documents, shared, own, *lists, cosine)


def make_query(row, positives, candidates, **more):
    """Return a query from {document: score} of its positives and of its candidates; similarities are 0.

    Candidates come in order of (score, row); a positive is a candidate only where it is named as one.
    """
    ordered = sorted(candidates, key=lambda d: (-candidates[d], d))
    values = {
        "row": row,
        "key": 10**6 + row,
        "positives": list(positives),
        "positive_scores": [f32(s) for s in positives.values()],
        "candidates": ordered,
        "scores": [f32(candidates[d]) for d in ordered],
        "ranks": list(range(1, len(ordered) + 1)),
        "similarities": [[0.0] * len(positives) for _ in ordered],
        "siblings": [],
    }
    return Query(**(values | more))


LEVELS = [f32(n / 20) for n in sorted(range(-20, 21), key=abs)]
COSINES = [f32(n / 50) for n in sorted(range(-50, 51), key=abs)]


def some(draw, choices, size):
    """Draw a list of the given length by one byte an element, which is much faster than one draw an element."""
    return [choices[byte % len(choices)] for byte in draw(st.binary(min_size=size, max_size=size))]


def subset(draw, count, smallest=0):
    """Draw rows below count, ascending."""
    bits = draw(st.integers(smallest, 2**count - 1))
    return [row for row in range(count) if bits >> row & 1]


@st.composite
def worlds(draw, min_queries=0, max_queries=3, max_documents=8):
    """Consistent worlds: one score a (query, document), symmetric similarities, ranks in order.

    Texts are copied often, some documents are positives of a sibling query, and lists may be empty.
    """
    count = max_documents - draw(st.integers(0, max_documents - 2))  # the first tried is the largest
    # keys on both sides of 2^63, where a signed integer would break
    names = [3, 2**63 - 1, 2**63, 2**64 - 1, *range(100, 100 + count)]
    documents, cosines = some(draw, names, count), some(draw, COSINES, 7)

    def similarity(a, b):
        return 1.0 if a == b else cosines[(a * b + a + b) % len(cosines)]

    queries = []
    for row in range(max_queries - draw(st.integers(0, max_queries - min_queries))):
        background, *score = some(draw, LEVELS, 1 + count)
        positives = subset(draw, count, smallest=1)[:3]
        left_out = subset(draw, count)
        candidates = sorted(set(range(count)) - set(left_out), key=lambda d, score=score: (-score[d], d))
        guide = some(draw, LEVELS, count)
        siblings = [d for d in subset(draw, count) if d not in positives][:2]
        query = Query(
            row=row,
            key=some(draw, names, 1)[0],
            positives=positives,
            positive_scores=[score[d] for d in positives],
            candidates=candidates,
            scores=[score[d] for d in candidates],
            ranks=list(range(1, len(candidates) + 1)),
            similarities=[[similarity(d, p) for p in positives] for d in candidates],
            siblings=siblings,
            background=background,
            judged=[d for d in subset(draw, count) if d not in positives][:4],
            relevant=[d for d in subset(draw, count) if d not in positives][:1],
            guide_scores=[guide[d] for d in candidates],
            guide_positive_scores=[guide[d] for d in positives],
        )
        queries.append(query)
    return World(documents, queries)


def batches(**limits):
    """Batches as retrieve writes them."""
    return worlds(**limits).map(World.batch)


SETTINGS = {
    "rule": [
        "percent", "margin", "absolute", "two_sided", "none", ["margin", "percent"], ["two_sided", "absolute"],
        "adaptive",
        ["percent", "two_sided", "margin", "absolute"],
        "guide",
        ["guide", "percent"],
        "multi_similarity",
        ["multi_similarity", "margin"],
    ],
    "percent": [0.95, 0.5, 0.8, 1.0],
    "margin": [0.05, 0.0, 0.3],
    "adaptive": [0.05, 0.0, 0.4],
    "easiest": [0.0, 0.0, 0.2, 0.5],
    "guide_margin": [0.0, 0.1, 0.35],
    "multi_similarity": [0.1, 0.0, 0.3],
    "two_sided": [0.5321, -0.7123, 1.4567],  # no sum of z falls on these lines
    "min_score": [None, -0.5, -0.1, 0.2],
    "max_score": [None, 0.9, 0.5, 0.1],
    "anchor": ["each", "min", "mean", "max", "quantile"],
    "anchor_quantile": [0.25, 0.0, 0.6, 1.0],
    "ranks": [None, (1, 3), (2, 8), (3, 3), (50, 60)],
    "max_positive_similarity": [None, 0.98, 0.3, 0.7, 1.0],
    "max_query_similarity": [None, 0.98, 0.5],
    "judged_negatives": ["judge", "keep"],
}  # fmt: skip


@st.composite
def filter_configs(draw):
    """Any filter table."""
    numbers = draw(st.binary(min_size=len(SETTINGS), max_size=len(SETTINGS)))
    pairs = zip(SETTINGS.items(), numbers, strict=True)
    return FilterConfig(**{name: choices[number % len(choices)] for (name, choices), number in pairs})
