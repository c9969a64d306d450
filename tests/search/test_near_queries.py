import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine import run
from hnmine.arrays.dots import dots, unit
from hnmine.arrays.ragged import Ragged
from hnmine.search.exact import ExactProposer
from hnmine.search.near_queries import NEAR, NearQueries
from hnmine.storage.schemas.ingest import QUERIES
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards
from tests import oracles
from tests.search.test_exact import InBlocks
from tests.support import config_for, make_collection


def near_queries(queries, seed=0, dim=4, texts=None):
    """Return the near queries of a run of random vectors without labels, with its vectors and text keys."""
    vectors = np.random.default_rng(seed).standard_normal((queries, dim)).astype(np.float32)
    keys = np.arange(queries, dtype=np.uint64) if texts is None else np.array(texts, dtype=np.uint64)
    first = np.sort(np.unique(keys, return_index=True)[1])
    labels = Ragged(np.zeros(0, dtype=np.int64), np.zeros(queries + 1, dtype=np.int64))
    own = unit(vectors[first])
    proposer = ExactProposer(InBlocks(own))
    return NearQueries(first, own, keys[first], labels, np.arange(len(first)), proposer), vectors, keys


def lists(near):
    return [row.tolist() for row in np.split(near.values, near.offsets[1:-1])]


@given(st.integers(1, 40), st.integers(0, 99))
def test_near_queries_are_those_of_a_sort(queries, seed):
    finder, vectors, keys = near_queries(queries, seed)
    near, nearness = finder.find(vectors, keys)
    cosines = dots(unit(vectors), unit(vectors)).tolist()
    for query, row in enumerate(lists(near)):
        others = [other for other in range(queries) if other != query]
        assert row == sorted(others, key=lambda other: (-cosines[query][other], other))[:NEAR]
        scores = [cosines[query][other] for other in others]
        z = [(cosines[query][other] - np.mean(scores)) / np.std(scores) if len(others) > 1 else 0 for other in row]
        assert nearness[near.offsets[query] : near.offsets[query + 1]] == pytest.approx(z, rel=1e-3, abs=1e-3)


def test_a_copy_of_the_text_is_no_near_query():
    finder, vectors, keys = near_queries(6, texts=[5, 7, 5, 8, 7, 9])
    near, _ = finder.find(vectors, keys)
    assert [sorted(row) for row in lists(near)] == [[1, 3, 5], [0, 3, 5], [1, 3, 5], [0, 1, 5], [0, 3, 5], [0, 1, 3]]


def test_a_query_has_the_same_near_queries_in_any_batch():
    finder, vectors, keys = near_queries(300, dim=16)
    near, nearness = finder.find(vectors, keys)
    for first, last in [(0, 1), (7, 8), (13, 270)]:
        own, z = finder.find(vectors[first:last], keys[first:last])
        assert lists(own) == lists(near)[first:last]
        assert z.tobytes() == nearness[near.offsets[first] : near.offsets[last]].tobytes()


def test_a_single_query_has_none():
    finder, vectors, keys = near_queries(1)
    near, nearness = finder.find(vectors, keys)
    assert lists(near) == [[]]
    assert not len(nearness)


def test_a_run_stores_what_the_labels_of_near_queries_say(tmp_path):
    make_collection(tmp_path, 120, 90)
    config = config_for(tmp_path, retrieve={"top_k": 20})
    run(config, ("ingest", "embed", "index", "retrieve"))
    queries = Shards(config.out_folder / "ingest" / "queries", QUERIES)
    keys, own, siblings = (queries.column(name).to_pylist() for name in ("text_key", "positive_rows", "sibling_rows"))
    labels = [[*row, *more] for row, more in zip(own, siblings, strict=True)]
    names = ("doc_rows", "near_queries", "nearness", "near_labels", "near_label_shares")
    table = Shards(config.out_folder / "retrieve", CANDIDATES)
    candidates, near, nearness, *stored = (table.column(name).to_pylist() for name in names)
    for found, expected in zip(stored, oracles.near_labels(candidates, near, nearness, labels), strict=True):
        assert np.concatenate(found) == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert np.count_nonzero(expected) > 20
    for query, rows in enumerate(near):
        assert keys[query] not in [keys[row] for row in rows]
