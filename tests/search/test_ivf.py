from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.dots import dots, max_norm
from hnmine.arrays.topk import NOTHING, unpack
from hnmine.runtime.worker_slot import WorkerSlot, set_slot
from hnmine.search.exact import search
from hnmine.search.ivf import (
    InvertedLists,
    IVFProposer,
    build_lists,
    default_list_count,
    fewest_lists,
    list_ranks,
    measure_recall,
    open_lists,
    queries_by_list,
    recall_by_lists,
    write_lists,
)
from hnmine.storage.store import part_name, write_table
from hnmine.storage.vectors import VectorStore, to_arrow
from tests import oracles
from tests.search.test_exact import InBlocks, exactly, random_vectors, tied_vectors


def listed(corpus, lists, seed):
    """Return the corpus in lists of random centroids, some of them likely empty."""
    centroids = random_vectors(lists, corpus.shape[1], seed)
    number = np.argmax(dots(corpus, centroids), axis=1)
    order = np.argsort(number, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(number, minlength=lists))])
    return InvertedLists(centroids, starts, order, corpus[order], max_norm(corpus))


class Case(NamedTuple):
    corpus: np.ndarray
    queries: np.ndarray
    lists: InvertedLists
    k: int


@st.composite
def cases(draw):
    rows, asked, dim = draw(st.integers(1, 150)), draw(st.integers(1, 7)), draw(st.sampled_from([1, 3, 8, 17]))
    kinds, seed = draw(st.integers(0, 4)), draw(st.integers(0, 50))
    corpus = tied_vectors(rows, dim, kinds, seed) if kinds else random_vectors(rows, dim, seed)
    lists = listed(corpus, draw(st.integers(1, 12)), seed + 2)
    return Case(corpus, random_vectors(asked, dim, seed + 1), lists, draw(st.integers(1, 40)))


def found(case, probe):
    return search(InBlocks(case.corpus), case.queries, case.k, IVFProposer(case.lists, probe))


def rows_of(keys):
    return [set(unpack(row[row != NOTHING])[1].tolist()) for row in keys]


@given(cases())
def test_all_lists_looked_at_give_the_exact_result_bit_for_bit(case):
    exact = exactly(InBlocks(case.corpus), case.queries, case.k)
    np.testing.assert_array_equal(found(case, case.lists.count), exact)
    np.testing.assert_array_equal(found(case, case.lists.count + 5), exact)


@given(cases(), st.integers(1, 12))
def test_what_is_found_is_a_full_sort_of_the_documents_in_the_nearest_lists(case, probe):
    scores, near = dots(case.queries, case.corpus), dots(case.queries, case.lists.centroids).tolist()
    for query, keys in enumerate(found(case, probe)):
        lists = oracles.topk(near[query], min(probe, case.lists.count))
        inside = [d for i in lists for d in case.lists.places[case.lists.starts[i] : case.lists.starts[i + 1]].tolist()]
        best = sorted(inside, key=lambda d, query=query: (-scores[query, d], d))[: case.k]
        got, rows = unpack(keys[keys != NOTHING])
        assert rows.tolist() == best
        np.testing.assert_array_equal(got, scores[query, best])


@given(cases())
def test_more_lists_never_lower_recall(case):
    exact = rows_of(exactly(InBlocks(case.corpus), case.queries, case.k))
    before = [0] * len(exact)
    for probe in range(1, case.lists.count + 1):
        hits = [len(a & b) for a, b in zip(rows_of(found(case, probe)), exact, strict=True)]
        assert all(h >= b for h, b in zip(hits, before, strict=True))
        before = hits


@given(cases(), st.integers(1, 12))
def test_the_recall_measured_beforehand_is_that_of_the_search(case, probe):
    exact = rows_of(exactly(InBlocks(case.corpus), case.queries, min(case.k, len(case.corpus))))
    got = rows_of(found(case, min(probe, case.lists.count)))
    recall = np.mean([len(a & b) / len(b) for a, b in zip(got, exact, strict=True)])
    measured = measure_recall(case.lists, stored(case.corpus), case.queries, case.k)
    assert measured.recall[min(probe, case.lists.count) - 1] == pytest.approx(recall, abs=1e-12)
    assert measured.recall[-1] == 1
    assert measured.share[-1] == pytest.approx(1)


def stored(corpus):
    """Return vectors as a store in memory gives them."""
    store = VectorStore.__new__(VectorStore)
    store.rows, store.dim, store.held = len(corpus), corpus.shape[1], None
    parts = InBlocks(corpus, [len(corpus) // 2] if len(corpus) > 1 else [])
    store.blocks = parts.blocks  # type: ignore[method-assign]
    return store


@given(cases(), st.integers(1, 12), st.data())
def test_a_query_finds_the_same_in_any_batch_and_with_any_threads(case, probe, data):
    together = found(case, probe)
    which = np.array(data.draw(st.permutations(range(len(case.queries)))))
    cut = data.draw(st.integers(0, len(which)))
    for part in (which[:cut], which[cut:]):
        np.testing.assert_array_equal(found(case._replace(queries=case.queries[part]), probe), together[part])
    try:
        for cores in (1, 3):
            set_slot(WorkerSlot(shared_cores=cores))
            np.testing.assert_array_equal(found(case, probe), together)
    finally:
        set_slot(WorkerSlot())


def test_ties_between_lists_go_by_number_whatever_the_product_rounds():
    centroids = np.repeat(random_vectors(4, 64, 0), 25, axis=0)
    lists = InvertedLists(centroids, np.zeros(101, np.int64), np.zeros(0, np.int64), centroids[:0], 0)
    queries = random_vectors(9, 64, 1)
    for count in (1, 7, 25, 60, 100):
        expected = np.argsort(list_ranks(queries, centroids), axis=1)[:, :count]
        np.testing.assert_array_equal(np.sort(lists.nearest(queries, count)), np.sort(expected))
        one = np.concatenate([lists.nearest(query[None], count) for query in queries])
        np.testing.assert_array_equal(np.sort(one), np.sort(expected))


def test_a_list_of_many_documents_is_searched_piece_by_piece():
    corpus = tied_vectors(5000, 16, 900, 0)
    case = Case(corpus, random_vectors(3, 16, 1), listed(corpus, 2, 2), 30)
    np.testing.assert_array_equal(found(case, 2), exactly(InBlocks(corpus), case.queries, 30))


def test_grouped_names_every_pair_of_query_and_list_once():
    looked_at = np.array([[3, 0], [0, 2], [3, 2]])
    assert [(n, q.tolist()) for n, q in queries_by_list(looked_at)] == [(0, [0, 1]), (2, [1, 2]), (3, [0, 2])]


def written(folder, corpus, shard_rows, dtype="float32"):
    for number, first in enumerate(range(0, len(corpus), shard_rows)):
        part = corpus[first : first + shard_rows]
        write_table(to_arrow(part, np.arange(first, first + len(part)), dtype), folder / part_name(number), "k")
    return VectorStore(folder)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_lists_are_the_same_whatever_the_shards_and_come_back_from_disk(tmp_path, dtype):
    corpus = tied_vectors(3000, 24, 700, 4) + 0.1 * random_vectors(3000, 24, 5)
    made = []
    for rows in (256, 1024, 4096):
        store, ticks = written(tmp_path / f"v{rows}", corpus, rows, dtype), []
        lists = build_lists(store, default_list_count(3000), ticks.append)
        assert sum(ticks) == 3000
        write_lists(lists, store, tmp_path / f"lists{rows}")
        made.append({path.name: path.read_bytes() for path in sorted((tmp_path / f"lists{rows}").iterdir())})
    assert made[0] == made[1] == made[2]
    opened, kept = open_lists(tmp_path / "lists256"), np.concatenate([b.vectors for b in store.blocks()])
    assert opened.vectors.dtype == np.dtype(dtype)
    assert sorted(opened.places.tolist()) == list(range(3000))
    np.testing.assert_array_equal(np.asarray(opened.vectors, dtype=np.float32), kept[opened.places])
    number = np.repeat(np.arange(opened.count), np.diff(opened.starts))
    best = np.argsort(list_ranks(kept[opened.places], opened.centroids), axis=1)[:, 0]
    np.testing.assert_array_equal(number, best)
    assert opened.longest == pytest.approx(np.linalg.norm(kept, axis=1).max(), rel=1e-6)


def test_more_lists_than_documents_are_one_a_document(tmp_path):
    store = written(tmp_path, random_vectors(5, 8, 0), 256)
    assert build_lists(store, 100, lambda rows: None).count == 5


@st.composite
def ranked(draw):
    lists = draw(st.integers(1, 6))
    rows = draw(st.lists(st.lists(st.integers(0, lists - 1), max_size=5), min_size=1, max_size=5))
    width = max(map(len, rows))
    return np.array([row + [-1] * (width - len(row)) for row in rows], dtype=np.int64).reshape(len(rows), width), lists


@given(ranked())
def test_recall_by_lists_is_the_double_loop(case):
    ranks, lists = case
    found = recall_by_lists(ranks, lists)
    np.testing.assert_allclose(found, oracles.recall_by_lists(ranks.tolist(), lists), rtol=1e-12)


@given(ranked())
def test_more_lists_never_lower_recall_and_all_of_them_find_all(case):
    found = recall_by_lists(*case)
    if not np.isnan(found).any():
        assert (np.diff(found) >= 0).all()
        assert found[-1] == 1


def test_by_hand():
    found = recall_by_lists(np.array([[0, 0, 2, 2], [1, 1, -1, -1]]), 3)
    np.testing.assert_array_equal(found, [0.25, 0.75, 1])


def test_no_documents_have_no_recall():
    assert np.isnan(recall_by_lists(np.zeros((0, 3), np.int64), 2)).all()
    assert np.isnan(recall_by_lists(np.full((2, 3), -1), 2)).all()


@pytest.mark.parametrize(("wanted", "lists"), [(0.0, 1), (0.5, 1), (0.51, 2), (0.9, 2), (0.95, 4), (1.0, 4)])
def test_fewest_lists(wanted, lists):
    assert fewest_lists(np.array([0.5, 0.9, 0.9, 1]), wanted) == lists


def test_where_no_number_is_enough_all_lists_are_looked_at():
    assert fewest_lists(np.array([0.5, 0.9]), 0.95) == 2
    assert fewest_lists(np.full(3, np.nan), 0.95) == 3
