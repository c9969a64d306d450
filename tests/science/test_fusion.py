import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.ragged import Ragged
from hnmine.science.fusion import first_counted, reciprocal_ranks, within_depth
from hnmine.search.candidate_pool import CandidateLimits, CandidatePool, Hits, pool
from tests import oracles
from tests.strategies import subset

DOCUMENTS = 8


@st.composite
def lists(draw, queries=3, sources=3):
    """Ranked lists of documents, one for each query and source, and each query's positives."""
    found = [[draw(st.permutations(range(DOCUMENTS))) for _ in range(sources)] for _ in range(queries)]
    found = [[order[: draw(st.integers(0, DOCUMENTS))] for order in query] for query in found]
    return found, [subset(draw, DOCUMENTS) for _ in range(queries)]


def pooled(found):
    sources = len(found[0])
    hits = []
    for source in range(sources):
        rows = [np.array(query[source], dtype=np.int64) for query in found]
        flat = Ragged.from_lengths(np.concatenate(rows), np.array([len(r) for r in rows]))
        hits.append(Hits(flat, -flat.values.astype(np.float32) - source / 8))
    return pool(hits)


def flags(found, positives):
    return np.array([d in positives[q] for q, d in zip(found.owners, found.rows, strict=True)], dtype=bool)


@given(lists())
def test_a_pool_holds_every_document_once_with_its_score_and_rank_in_each_source(drawn):
    found = pooled(drawn[0])
    expected = [(q, d) for q, query in enumerate(drawn[0]) for d in sorted({d for order in query for d in order})]
    assert list(zip(found.owners.tolist(), found.rows.tolist(), strict=True)) == expected
    for place, (q, d) in enumerate(expected):
        for source, order in enumerate(drawn[0][q]):
            assert found.ranks[place, source] == (order.index(d) + 1 if d in order else 0)
            score = found.scores[place, source]
            assert score == np.float32(-d - source / 8) if d in order else np.isnan(score)


@given(lists(), st.lists(st.integers(1, DOCUMENTS), min_size=3, max_size=3))
def test_depth_is_the_double_loop(drawn, depths):
    found = pooled(drawn[0])
    inside = within_depth(found.ranks, found.owners, flags(found, drawn[1]), np.array(depths))
    for place, (q, d) in enumerate(zip(found.owners, found.rows, strict=True)):
        for source, order in enumerate(drawn[0][q]):
            assert inside[place, source] == (d in oracles.down_to(order, drawn[1][q], depths[source]))


@given(lists())
def test_reciprocal_ranks_are_the_double_loop_and_more_sources_never_lower_them(drawn):
    found = pooled(drawn[0])
    fused = reciprocal_ranks(found.ranks)
    for place, (q, d) in enumerate(zip(found.owners, found.rows, strict=True)):
        np.testing.assert_allclose(fused[place], oracles.reciprocal_ranks(drawn[0][q])[d])
    assert (fused >= reciprocal_ranks(found.ranks[:, :2]) - 1e-15).all()
    np.testing.assert_array_equal(fused, reciprocal_ranks(found.ranks[:, ::-1]))  # the sources' order is no matter


@given(lists(), st.integers(1, 5), st.lists(st.integers(1, DOCUMENTS), min_size=3, max_size=3))
def test_union_and_rrf_are_the_double_loop(drawn, top_k, depths):
    found = pooled(drawn[0])
    positive = flags(found, drawn[1])
    for fuse in ("union", "rrf"):
        left, stays = CandidateLimits(top_k, fuse, tuple(depths)).cut(found, positive)
        kept = [[] for _ in drawn[0]]
        for q, d in zip(found.owners[stays], found.rows[stays], strict=True):
            kept[q].append(int(d))
        for q, query in enumerate(drawn[0]):
            down = [oracles.down_to(order, drawn[1][q], depth) for order, depth in zip(query, depths, strict=True)]
            expected = {d for order in down for d in order}
            if fuse == "rrf":
                fused = oracles.reciprocal_ranks(down)
                best = oracles.down_to(sorted(fused, key=lambda d: (-fused[d], d)), drawn[1][q], top_k)
                expected = {*best, *(expected & set(drawn[1][q]))}
            assert kept[q] == sorted(expected)
        again, stay = CandidateLimits(top_k, fuse, tuple(depths)).cut(left.take(stays), positive[stays])
        assert stay.all()  # what was cut once is not cut again
        np.testing.assert_array_equal(again.ranks, left.ranks[stays])


def test_fusion_by_hand():
    ranks = np.array([[1, 0], [2, 1], [0, 2]])
    np.testing.assert_allclose(reciprocal_ranks(ranks), [1 / 61, 1 / 62 + 1 / 61, 1 / 62])
    owners = np.zeros(3, dtype=np.int64)
    stays = first_counted(reciprocal_ranks(ranks), np.array([7, 8, 9]), owners, np.array([True, False, True]), 1)
    assert stays.tolist() == [True, True, False]
    even = first_counted(np.ones(3), np.array([9, 7, 8]), owners, np.ones(3, dtype=bool), 2)
    assert even.tolist() == [False, True, True]


def test_nothing_found_is_nothing():
    empty = np.zeros(0, dtype=np.int64)
    found = CandidatePool(empty, empty, np.zeros((0, 2), np.float32), np.zeros((0, 2), np.int32))
    for fuse in ("union", "rrf"):
        assert len(CandidateLimits(3, fuse, (2, 2)).cut(found, np.zeros(0, dtype=bool))[1]) == 0
    assert [found.columns(2)[name].to_pylist() for name in ("source_scores", "source_ranks")] == [[[], []]] * 2
