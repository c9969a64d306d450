"""nDCG@10 of a ranking of all documents, against a double loop."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from hnmine.students.evaluation import ranked_ndcg
from tests.students.tasks import ragged


def cosines_of(query, documents):
    query, documents = query.astype(np.float64), documents.astype(np.float64)
    return [float(query @ d / np.linalg.norm(query) / np.linalg.norm(d)) for d in documents]


def by_hand(query, documents, relevant):
    cosines = cosines_of(query, documents)
    order = sorted(range(len(documents)), key=lambda i: (-cosines[i], i))[:10]
    found = sum(1 / math.log2(rank + 2) for rank, document in enumerate(order) if document in relevant)
    best = sum(1 / math.log2(rank + 2) for rank in range(min(10, len(relevant))))
    return found / best if best else 0.0


@given(st.integers(0, 10_000), st.sampled_from([1, 4, 10, 40]))
def test_it_equals_the_double_loop(seed, count):
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(7, 5)).astype(np.float32)
    documents = rng.normal(size=(count, 5)).astype(np.float32)
    # nearer cosines than these may change places by the rounding of float32
    assume(all(np.diff(sorted(cosines_of(query, documents))).min(initial=1) > 1e-6 for query in queries))
    relevant = [rng.choice(count, rng.integers(0, min(4, count + 1)), replace=False).tolist() for _ in queries]
    found = ranked_ndcg(torch.from_numpy(queries), torch.from_numpy(documents), ragged(relevant))
    expected = [by_hand(q, documents, own) for q, own in zip(queries, relevant, strict=True)]
    assert found == pytest.approx(expected, abs=1e-9)


def test_equal_cosines_go_by_index_and_no_queries_give_none():
    same = torch.ones(20, 3)
    assert ranked_ndcg(torch.ones(2, 3), same, ragged([[0], [15]])).tolist() == [1.0, 0.0]
    assert ranked_ndcg(torch.ones(0, 3), same, ragged([])).shape == (0,)
