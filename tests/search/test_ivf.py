from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.dots import dots, max_norm
from hnmine.arrays.topk import NOTHING, unpack
from hnmine.config import IndexConfig
from hnmine.runtime.worker_slot import WorkerSlot, set_slot
from hnmine.search.exact import search
from hnmine.search.ivf import (
    InvertedLists,
    IVFProposer,
    MeasuredRecall,
    build_lists,
    default_list_count,
    list_ranks,
    measure_recall,
    open_lists,
    queries_by_list,
    write_lists,
)
from hnmine.search.search_plan import cheaper_kind, choose_lists, speedup
from hnmine.storage.store import part_name, write_table
from hnmine.storage.vectors import VectorStore, to_arrow
from tests import oracles
from tests.search.test_exact import InBlocks, exactly, random_vectors, tied_vectors
from tests.strategies import quick


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


@quick
@given(cases())
def test_all_lists_looked_at_give_the_exact_result_bit_for_bit(case):
    exact = exactly(InBlocks(case.corpus), case.queries, case.k)
    np.testing.assert_array_equal(found(case, case.lists.count), exact)
    np.testing.assert_array_equal(found(case, case.lists.count + 5), exact)


@quick
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


@quick
@given(cases())
def test_more_lists_never_lower_recall(case):
    exact = rows_of(exactly(InBlocks(case.corpus), case.queries, case.k))
    before = [0] * len(exact)
    for probe in range(1, case.lists.count + 1):
        hits = [len(a & b) for a, b in zip(rows_of(found(case, probe)), exact, strict=True)]
        assert all(h >= b for h, b in zip(hits, before, strict=True))
        before = hits


@quick
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


@quick
@given(cases(), st.integers(1, 12), st.data())
def test_a_query_finds_the_same_in_any_batch_and_with_any_threads(case, probe, data):
    together = found(case, probe)
    which = np.array(data.draw(st.permutations(range(len(case.queries)))))
    cut = data.draw(st.integers(0, len(which)))
    for part in (which[:cut], which[cut:]):
        np.testing.assert_array_equal(found(case._replace(queries=case.queries[part]), probe), together[part])
    try:
        for cores in (1, 3):
            set_slot(WorkerSlot(), cores)
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


SIZE = (1_000_000, 384)
MEASURED = MeasuredRecall(np.array([0.5, 0.97, 0.995, 1]), np.array([0.05, 0.1, 0.2, 1]), 100, 256)


def test_auto_takes_as_many_lists_as_the_recall_asked_for_takes():
    chosen = choose_lists(IndexConfig(), "auto: why", MEASURED, SIZE)
    assert (chosen["kind"], chosen["probe"], chosen["recall"]) == ("ivf", 3, 0.995)
    assert "3 of 4 lists a query, 20.0% of the documents, hold 0.9950 of the exact top 100" in chosen["reason"]
    assert choose_lists(IndexConfig(ivf_probe=2), "", MEASURED, SIZE)["probe"] == 3
    assert choose_lists(IndexConfig(min_recall=0.9), "", MEASURED, SIZE)["probe"] == 2


def test_auto_falls_back_to_exact_search_where_recall_takes_too_many_documents():
    chosen = choose_lists(IndexConfig(min_recall=0.999), "auto: why", MEASURED, SIZE)
    assert (chosen["kind"], chosen["probe"], chosen["recall"]) == ("flat", 4, 1)
    assert chosen["reason"].endswith("about 0.6 times as fast, less than 1.25: exact search it is")


def test_lists_that_are_asked_for_are_used_and_a_low_recall_is_said():
    chosen = choose_lists(IndexConfig(kind="ivf", ivf_probe=2), "asked for", MEASURED, SIZE)
    assert (chosen["kind"], chosen["probe"], chosen["recall"]) == ("ivf", 2, 0.97)
    assert chosen["reason"].endswith("less than index.min_recall = 0.99")
    assert choose_lists(IndexConfig(kind="ivf", min_recall=1), "", MEASURED, SIZE)["probe"] == 4
    assert choose_lists(IndexConfig(kind="ivf", ivf_probe=99), "", MEASURED, SIZE)["probe"] == 4


def test_without_queries_nothing_is_known_and_auto_searches_exactly():
    unknown = replace(MEASURED, recall=np.full(4, np.nan), share=np.ones(4), queries=0)
    for kind, expected in (("auto", "flat"), ("ivf", "ivf")):
        chosen = choose_lists(IndexConfig(kind=kind), "", unknown, SIZE)
        assert (chosen["kind"], chosen["recall"]) == (expected, None)


def test_lists_are_tried_where_exact_search_costs_several_times_their_making():
    assert cheaper_kind(10_000, 1_000, 384)[0] == "flat"
    assert cheaper_kind(92_000, 2_000, 384)[0] == "flat"
    assert cheaper_kind(92_000, 20_000, 384)[0] == "ivf"
    assert cheaper_kind(1_000_000, 100_000, 384)[0] == "ivf"
    assert cheaper_kind(0, 0, 384)[0] == "flat"
    reason = cheaper_kind(1_000_000, 100_000, 384)[1]
    assert reason.startswith("auto: about 1,024 s of exact search against ")


def test_lists_pay_the_more_the_larger_the_corpus_and_the_smaller_the_share():
    assert speedup(0.01, 10_000, 384) < 1
    assert speedup(0.2, 92_000, 384) == pytest.approx(1.5, abs=0.1)
    assert speedup(0.2, 92_000, 384) < speedup(0.2, 1_000_000, 384) < speedup(0.1, 1_000_000, 384)
