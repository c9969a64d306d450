from itertools import pairwise

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.dots import dots
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.topk import NOTHING, unpack
from hnmine.errors import ConfigError
from hnmine.search.exact import ExactProposer, IndexProposer, Proposer, TorchProposer, search
from hnmine.storage.vectors import Block
from tests import oracles


class InBlocks:
    """Vectors that stream by in blocks cut at given rows."""

    def __init__(self, corpus, cuts=()):
        bounds = [0, *sorted(cuts), len(corpus)]
        self.parts = [Block(a, corpus[a:b]) for a, b in pairwise(bounds) if b > a]

    def blocks(self):
        return iter(self.parts)


def exactly(corpus, queries, k):
    return search(corpus, queries, k, ExactProposer(corpus))


def found(keys):
    """Return [(score, row)] of each query."""
    out = []
    for row in keys:
        scores, rows = unpack(row[row != NOTHING])
        out.append(list(zip(scores.tolist(), rows.tolist(), strict=True)))
    return out


def expected(corpus, queries, k):
    """Sort all scores of each query, ties by row."""
    scores = dots(queries, corpus).tolist()
    return [[(row[d], d) for d in oracles.topk(row, k)] for row in scores]


def random_vectors(rows, dim, seed):
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def tied_vectors(rows, dim, kinds, seed):
    """Return rows that are copies of a few vectors."""
    few = random_vectors(kinds, dim, seed)
    return few[np.random.default_rng(seed).integers(0, kinds, rows)]


@given(
    st.integers(1, 120), st.integers(1, 6), st.sampled_from([1, 3, 8, 17]), st.integers(1, 40),
    st.integers(0, 3), st.integers(0, 50), st.lists(st.integers(0, 120), max_size=6),
)  # fmt: skip
def test_exact_search_is_a_full_sort_whatever_the_blocks(rows, asked, dim, k, kinds, seed, cuts):
    corpus = tied_vectors(rows, dim, kinds, seed) if kinds else random_vectors(rows, dim, seed)
    queries = random_vectors(asked, dim, seed + 1)
    keys = exactly(InBlocks(corpus, [c for c in cuts if c < rows]), queries, k)
    assert keys.shape == (asked, k)
    assert found(keys) == expected(corpus, queries, k)


@given(st.integers(0, 20), st.lists(st.integers(1, 99), max_size=5), st.data())
def test_the_order_of_blocks_changes_nothing(seed, cuts, data):
    corpus, queries = tied_vectors(100, 4, 5, seed), random_vectors(3, 4, seed + 1)
    mixed = InBlocks(corpus, set(cuts))
    mixed.parts = data.draw(st.permutations(mixed.parts))
    np.testing.assert_array_equal(exactly(mixed, queries, 7), exactly(InBlocks(corpus), queries, 7))


@pytest.mark.parametrize("cuts", [[], [1], [500], [10, 20, 700], range(100, 1000, 100)])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_a_corpus_of_one_vector_repeated_gives_its_first_rows(cuts, k):
    corpus = np.repeat(random_vectors(1, 16, 0), 1000, axis=0)
    queries = random_vectors(4, 16, 1)
    for hits in found(exactly(InBlocks(corpus, cuts), queries, k)):
        assert [row for _, row in hits] == list(range(k))
        assert len({score for score, _ in hits}) == 1


@pytest.mark.parametrize("seed", range(3))
def test_ties_and_near_ties_at_the_kth_place_go_by_exact_score_then_row(seed):
    # 3,000 copies of one vector with the last bits of some disturbed: a matrix product alone gets their order wrong
    generator = np.random.default_rng(seed)
    corpus = np.repeat(random_vectors(1, 64, seed), 3000, axis=0)
    some = generator.random(3000) < 0.3
    corpus[some] += (generator.standard_normal((some.sum(), 64)) * 1e-7).astype(np.float32)
    queries = random_vectors(3, 64, seed + 10)
    keys = exactly(InBlocks(corpus, [700, 1800]), queries, 20)
    assert found(keys) == expected(corpus, queries, 20)


def test_every_score_is_the_exact_pairs_score_bit_for_bit():
    corpus, queries = random_vectors(500, 48, 1), random_vectors(20, 48, 2)
    scores, rows = unpack(exactly(InBlocks(corpus, [123]), queries, 30))
    exact = dots(queries, corpus)
    np.testing.assert_array_equal(scores, np.take_along_axis(exact, rows, axis=1))


def test_queries_asked_one_at_a_time_get_the_same_bits():
    corpus, queries = random_vectors(400, 24, 3), random_vectors(9, 24, 4)
    together = exactly(InBlocks(corpus, [150]), queries, 10)
    for i in range(9):
        alone = exactly(InBlocks(corpus, [150]), queries[i : i + 1], 10)
        np.testing.assert_array_equal(alone[0], together[i])


def test_more_places_than_documents_are_left_empty():
    corpus, queries = random_vectors(5, 8, 0), random_vectors(2, 8, 1)
    keys = exactly(InBlocks(corpus, [2]), queries, 12)
    assert keys.shape == (2, 12)
    assert (keys[:, 5:] == NOTHING).all()
    assert found(keys) == expected(corpus, queries, 5)


def test_no_queries_and_no_blocks():
    corpus = random_vectors(5, 8, 0)
    assert exactly(InBlocks(corpus), corpus[:0], 3).shape == (0, 3)
    assert (exactly(InBlocks(corpus[:0]), corpus[:2], 3) == NOTHING).all()


def test_zero_vectors_and_negative_scores_are_ordered_too():
    corpus = np.array([[-1, 0], [0, 0], [1, 0], [-1, 0], [0, 1]], dtype=np.float32)
    hits = found(exactly(InBlocks(corpus, [2]), np.array([[1, 0]], dtype=np.float32), 5))
    assert hits == [[(1.0, 2), (0.0, 1), (0.0, 4), (-1.0, 0), (-1.0, 3)]]


class Forgetful(Proposer):
    """Proposes the worst documents first, with an honest bound on what it left out."""

    def __init__(self, corpus):
        self.corpus, self.asked = corpus, []

    def propose(self, queries, which, k):
        self.asked.append((k, which.tolist()))
        scores = dots(queries, self.corpus)
        order = np.argsort(scores, axis=1)[:, :k]
        left = np.sort(scores, axis=1)
        last = left[:, -1] if k < len(self.corpus) else np.full(len(queries), -np.inf, dtype=np.float32)
        return Ragged.from_lengths(order.ravel(), np.full(len(queries), order.shape[1])), last


def test_a_query_is_asked_again_for_half_as_many_more_until_nothing_can_be_missed():
    corpus, queries = random_vectors(200, 8, 5), random_vectors(2, 8, 6)
    proposer = Forgetful(corpus)
    keys = search(InBlocks(corpus, [100]), queries, 3, proposer)
    assert found(keys) == expected(corpus, queries, 3)
    asked = [k for k, _ in proposer.asked]
    assert asked[0] == 3
    assert all(more == less + max(1, less // 2) for less, more in pairwise(asked))
    assert asked[-2] < 200 <= asked[-1]


@pytest.fixture
def one_tie():
    """A corpus over all of which the first query ties, and the second does not."""
    corpus = np.zeros((500, 2), dtype=np.float32)
    corpus[:, 0], corpus[:, 1] = 1, np.linspace(-1, 1, 500)
    return InBlocks(corpus), np.array([[1, 0], [0, 1]], dtype=np.float32)


def test_queries_that_are_sure_are_not_asked_again(one_tie):
    asked = []

    class Watched(TorchProposer):
        def propose(self, queries, which, k):
            asked.append(which.tolist())
            return super().propose(queries, which, k)

    hits = found(search(*one_tie, 4, Watched(one_tie[0], "cpu")))
    assert [row for _, row in hits[0]] == [0, 1, 2, 3]
    assert [row for _, row in hits[1]] == [499, 498, 497, 496]
    assert asked[0] == [0, 1]
    assert asked[1:]
    assert all(which == [0] for which in asked[1:])


def test_a_query_that_ties_with_the_whole_corpus_is_proposed_all_of_it(one_tie):
    whole, queries = one_tie
    rows, bound = ExactProposer(whole).propose(queries, np.arange(2), 4)
    assert rows.lengths[0] == 500
    assert rows.lengths[1] < 20
    assert (bound == -np.inf).all()
    assert [row for _, row in found(search(whole, queries, 4, ExactProposer(whole)))[0]] == [0, 1, 2, 3]


class StubIndex:
    """Answers with the rows it was given."""

    def __init__(self, rows):
        self.rows = np.array(rows, dtype=np.int64)

    def search(self, queries, k):
        assert self.rows.shape == (len(queries), k)
        return np.zeros(self.rows.shape, dtype=np.float32), self.rows


@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 3, 4, 5]])
def test_faisss_minus_1_never_becomes_a_row(cuts):
    corpus, queries = random_vectors(6, 4, 7), random_vectors(3, 4, 8)
    index = StubIndex([[5, -1, 0, -1], [-1, -1, -1, -1], [2, 3, 4, -1]])
    hits = found(search(InBlocks(corpus, cuts), queries, 4, IndexProposer(index, queries, 4)))
    assert [{row for _, row in row_hits} for row_hits in hits] == [{0, 5}, set(), {2, 3, 4}]


def test_an_indexs_hits_are_scored_again_exactly_and_ordered_by_it():
    corpus, queries = random_vectors(50, 8, 9), random_vectors(4, 8, 10)
    rows = np.random.default_rng(0).permuted(np.tile(np.arange(50), (4, 1)), axis=1)[:, :12]
    keys = search(InBlocks(corpus, [20]), queries, 5, IndexProposer(StubIndex(rows), queries, 12))
    scores = dots(queries, corpus)
    for query, hits in enumerate(found(keys)):
        best = sorted(rows[query].tolist(), key=lambda d, query=query: (-scores[query, d], d))[:5]
        assert hits == [(float(scores[query, d]), d) for d in best]


def test_an_indexs_hits_are_found_for_queries_asked_out_of_order():
    queries = random_vectors(3, 4, 8)
    proposer = IndexProposer(StubIndex([[0, 1], [2, 3], [4, -1]]), queries, 2)
    rows, bound = proposer.propose(queries[[2, 0]], np.array([2, 0]), 9)
    assert rows.lengths.tolist() == [1, 2]
    assert rows.values.tolist() == [4, 0, 1]
    assert (bound == -np.inf).all()


def test_a_real_index_over_everything_agrees_with_exact_search():
    corpus, queries = random_vectors(300, 16, 11), random_vectors(10, 16, 12)
    index = faiss.IndexFlatIP(16)
    index.add(corpus)
    approximate = search(InBlocks(corpus, [111]), queries, 10, IndexProposer(index, queries, 40))
    np.testing.assert_array_equal(approximate, exactly(InBlocks(corpus), queries, 10))


@given(
    st.integers(1, 90), st.integers(1, 6), st.integers(1, 30), st.integers(0, 3), st.integers(0, 50),
    st.lists(st.integers(1, 89), max_size=3),
)  # fmt: skip
def test_products_by_torch_give_the_same_documents_bit_for_bit(rows, asked, k, kinds, seed, cuts):
    corpus = tied_vectors(rows, 8, kinds, seed) if kinds else random_vectors(rows, 8, seed)
    queries, parts = random_vectors(asked, 8, seed + 1), InBlocks(corpus, [c for c in cuts if c < rows])
    keys = search(parts, queries, k, TorchProposer(parts, "cpu"))
    np.testing.assert_array_equal(keys, exactly(parts, queries, k))


def test_a_device_that_is_not_there_is_said():
    with pytest.raises(ConfigError, match=r"^index.device: torch cannot use 'cuda:99'"):
        TorchProposer(InBlocks(random_vectors(3, 4, 0)), "cuda:99")
