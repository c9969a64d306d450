import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hnmine.storage.vectors
from hnmine.search.candidate_pool import CandidateLimits
from hnmine.search.pair_scores import Guide, no_guide_columns, pair_cosines, pair_scores
from hnmine.stages.filter.hidden_positives import hide, unhidden
from tests.storage.test_vectors import make, store
from tests.strategies import World, flat, make_query, worlds

DOCUMENTS, QUERIES = 40, 5


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """The same vectors in shards of different sizes."""
    vectors = make(DOCUMENTS, 7)
    folder = tmp_path_factory.mktemp("guide")
    cuts = [[40], [10, 10, 10, 10], [1, 30, 9]]
    return vectors, [store(folder / str(n), vectors, cut) for n, cut in enumerate(cuts)]


@given(st.lists(st.tuples(st.integers(0, DOCUMENTS - 1), st.integers(0, QUERIES - 1)), max_size=60), st.data())
def test_pair_scores_are_those_of_the_double_loop_in_any_order_and_from_any_blocks(corpora, pairs, data):
    vectors, stores = corpora
    queries = make(QUERIES, 7, seed=1)
    documents, owners = (np.array([pair[i] for pair in pairs], dtype=np.int64) for i in (0, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hnmine.storage.vectors, "BLOCK_ROWS", 10)
        patch.setattr("hnmine.search.pair_scores._PAIRS", 4)
        small = [pair_scores(one, documents, queries, owners) for one in stores]
    found = pair_scores(stores[0], documents, queries, owners)
    for other in small:
        np.testing.assert_array_equal(other, found)
    exact = [sum(float(a) * float(b) for a, b in zip(vectors[d], queries[q], strict=True)) for d, q in pairs]
    assert found.tolist() == pytest.approx(exact, abs=1e-5)
    order = np.array(data.draw(st.permutations(range(len(pairs)))), dtype=np.int64)
    np.testing.assert_array_equal(pair_scores(stores[0], documents[order], queries, owners[order]), found[order])


@given(
    st.lists(st.tuples(st.lists(st.integers(0, DOCUMENTS - 1), max_size=9), st.integers(0, 4)), max_size=6), st.data()
)
def test_pair_cosines_are_those_of_the_double_loop_from_any_blocks(corpora, queries, data):
    vectors, stores = corpora
    others = make(5, 7, seed=3)
    candidates = flat([rows for rows, _ in queries], np.int64)
    lists = flat([data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)) for _, n in queries], np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hnmine.storage.vectors, "BLOCK_ROWS", 10)
        patch.setattr("hnmine.search.pair_scores._PAIRS", 4)
        small = [pair_cosines(one, candidates, lists, others) for one in stores]
    found = pair_cosines(stores[0], candidates, lists, others)
    for other in small:
        np.testing.assert_array_equal(other.values, found.values)
    exact = [
        np.dot(vectors[d], others[o]) / np.linalg.norm(vectors[d]) / np.linalg.norm(others[o])
        for query, (rows, _) in enumerate(queries)
        for d in rows
        for o in lists.values[lists.offsets[query] : lists.offsets[query + 1]]
    ]
    assert found.values.tolist() == pytest.approx(exact, abs=1e-5)
    assert found.lengths.tolist() == [len(rows) * n for rows, n in queries]


def test_columns_have_a_score_for_each_candidate_and_each_positive(corpora):
    vectors, stores = corpora
    queries = make(3, 7, seed=2)
    candidates, positives = flat([[4, 39], [], [0, 4, 7]], np.int64), flat([[1], [2, 39], [3]], np.int64)
    columns = Guide(stores[1], stores[1]).columns(queries, candidates, positives)
    for name, rows in (("guide_scores", [[4, 39], [], [0, 4, 7]]), ("guide_positive_scores", [[1], [2, 39], [3]])):
        found = columns[name].to_pylist()
        assert [len(row) for row in found] == [len(row) for row in rows]
        expected = [float(vectors[d] @ queries[q]) for q, row in enumerate(rows) for d in row]
        assert [score for row in found for score in row] == pytest.approx(expected, abs=1e-5)


def test_without_a_guide_there_is_an_empty_list_for_each_query():
    assert {name: column.to_pylist() for name, column in no_guide_columns(2).items()} == {
        "guide_scores": [[], []],
        "guide_positive_scores": [[], []],
    }


@given(worlds(min_queries=1))
def test_hidden_and_whole_rows_keep_the_guides_score_of_every_document(world):
    by_document = [
        dict(zip([*q.candidates, *q.positives], [*q.guide_scores, *q.guide_positive_scores], strict=True))
        for q in world.queries
    ]
    batch, drawn = world.batch(), np.ones(len(world.queries), dtype=bool)
    drawn[::2] = False
    for rows in (hide(batch, world.keys(), CandidateLimits(5), 2, 0, ~drawn), unhidden(batch, world.keys(), drawn)):
        found, owner = rows.batch, rows.query
        assert len(found.guide_scores) == len(found.candidates.values)
        assert len(found.guide_positive_scores.values) == len(found.positives.values)
        for document, query, score in zip(found.candidates.values, found.owners, found.guide_scores, strict=True):
            assert by_document[owner[query]][document] == score
        positives = found.positives
        for document, query, score in zip(
            positives.values, positives.owners, found.guide_positive_scores.values, strict=True
        ):
            assert by_document[owner[query]][document] == score


def test_hidden_and_whole_rows_without_a_guide_have_none():
    world = World(list(range(20)), [make_query(0, {0: 0.9, 1: 0.8}, {0: 0.9, 1: 0.8, 10: 0.5})])
    assert not world.batch().has_guide
    drawn = np.ones(1, dtype=bool)
    for rows in (
        hide(world.batch(), world.keys(), CandidateLimits(5), 2, 0, drawn),
        unhidden(world.batch(), world.keys(), drawn),
    ):
        assert not rows.batch.has_guide
        assert len(rows.batch.guide_positive_scores) == len(rows.batch)
