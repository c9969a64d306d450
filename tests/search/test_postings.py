"""Exact search in postings: against a plain loop over terms and documents."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.search.postings import Postings, postings_file
from hnmine.storage.store import write_npy
from tests import oracles

TERMS = 5
weights = st.sampled_from([-1.0, 0.25, 0.5, 1.0, 3.0, 1 / 3])
documents = st.lists(st.dictionaries(st.integers(0, TERMS - 1), weights), min_size=1, max_size=8)
queries = st.lists(st.lists(st.tuples(st.integers(0, TERMS - 1), weights), max_size=4), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("postings") / "own.parquet"


def postings(table: Path, texts) -> Postings:
    of_term = [[(row, text[term]) for row, text in enumerate(texts) if term in text] for term in range(TERMS)]
    flat = [pair for own in of_term for pair in own]
    write_npy(postings_file(table, "documents"), np.array([row for row, _ in flat], dtype=np.int32))
    write_npy(postings_file(table, "scores"), np.array([weight for _, weight in flat], dtype=np.float32))
    return Postings(table, np.array([len(own) for own in of_term]), len(texts))


def as_arrays(query):
    return np.array([term for term, _ in query], dtype=np.int64), np.array([w for _, w in query], dtype=np.float32)


@given(documents, queries, st.integers(1, 9), st.integers(0, 255))
def test_the_best_are_those_of_a_loop_and_ties_go_by_row(table, texts, asked, k, bits):
    mask = np.array([bits >> row & 1 == 1 for row in range(len(texts))])
    wanted = np.full(len(asked), k)
    own = postings(table, texts)
    for masks in (None, [mask] * len(asked)):
        found = own.search(map(as_arrays, asked), wanted, masks)
        for number, query in enumerate(asked):
            place = slice(*found.rows.offsets[number : number + 2])
            scores = oracles.sparse_scores(query, texts)
            allowed = [row for row in range(len(texts)) if scores[row] > 0 and (masks is None or mask[row])]
            expected = sorted(allowed, key=lambda row, s=scores: (-s[row], row))[:k]
            assert found.rows.values[place].tolist() == expected
            assert found.scores[place].tolist() == [scores[row] for row in expected]


def test_a_query_without_terms_finds_nothing(table):
    found = postings(table, [{0: 1.0}]).search([as_arrays([])], np.array([3]))
    assert len(found.rows) == 1
    assert not len(found.scores)
