"""Exact search by products of bfloat16: the same documents as by products of float32, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.config.retrieve import IndexConfig
from hnmine.search import bfloat16_products, exact
from hnmine.search.bfloat16_products import RoundedProposer, bfloat16_budget, bfloat16_is_fast, bfloat16_pays
from hnmine.search.exact import ExactProposer, search
from tests.search.test_exact import InBlocks, exactly, expected, found, random_vectors, tied_vectors
from tests.support import config_for

ROOM = 10**6


@given(
    st.integers(1, 90), st.integers(1, 6), st.integers(1, 30), st.sampled_from([1, 3, 8, 33]), st.integers(0, 3),
    st.integers(0, 50), st.lists(st.integers(1, 89), max_size=3), st.sampled_from([0, 100, ROOM]),
    st.sampled_from([1, 1e-10, 1e-22, 1e-30]),
)  # fmt: skip
def test_the_same_documents_are_found_bit_for_bit(rows, asked, k, dim, kinds, seed, cuts, room, scale):
    corpus = tied_vectors(rows, dim, kinds, seed) if kinds else random_vectors(rows, dim, seed)
    corpus *= np.random.default_rng(seed).choice([0, 1e-3, 1, 30], size=(rows, 1)).astype(np.float32) * np.float32(
        scale
    )
    queries = random_vectors(asked, dim, seed + 1) * np.float32(scale)
    queries[0] *= seed % 2  # a query of zeros ties with everything
    parts = InBlocks(corpus, [c for c in cuts if c < rows])
    keys = search(parts, queries, k, RoundedProposer(parts, room))
    np.testing.assert_array_equal(keys, exactly(parts, queries, k))


@pytest.mark.parametrize("proposer", [ExactProposer, lambda corpus: RoundedProposer(corpus, ROOM)])
@pytest.mark.parametrize("kind", ["random", "sorted", "first tile alone"])
def test_tiles_and_guesses_change_nothing(monkeypatch, proposer, kind):
    monkeypatch.setattr(exact, "TILE_ROWS", 64)
    monkeypatch.setattr(bfloat16_products, "TILE_ROWS", 64)
    corpus, queries = random_vectors(1000, 16, 1), random_vectors(30, 16, 2)
    if kind == "sorted":  # the first tile is the farthest from the first query
        corpus = corpus[np.argsort(corpus @ queries[0])]
    elif kind == "first tile alone":  # it holds what the queries look for, so that guesses are too high
        corpus[64:] -= 3 * queries.mean(axis=0)
        corpus[:64] = queries.mean(axis=0) + 0.1 * corpus[:64]
    whole = InBlocks(corpus, [700])
    assert found(search(whole, queries, 40, proposer(whole))) == expected(corpus, queries, 40)


def test_a_guess_that_was_too_high_is_taken_back(monkeypatch):
    monkeypatch.setattr(exact, "TILE_ROWS", 64)
    again = []

    class Watched(exact.MatrixProducts):
        def of(self, which):
            again.append(which.tolist())
            return super().of(which)

    monkeypatch.setattr(exact, "MatrixProducts", Watched)
    corpus, queries = random_vectors(1000, 8, 1), random_vectors(2, 8, 2)
    corpus[:10] = queries[0]
    whole = InBlocks(corpus)
    assert found(search(whole, queries, 40, ExactProposer(whole))) == expected(corpus, queries, 40)
    assert [0] in again


def close_vectors():
    """Vectors that are told apart by float32 and not by bfloat16: one number dwarfs all others."""
    corpus, queries = 0.02 * random_vectors(4_000, 64, 1), 0.02 * random_vectors(200, 64, 2)
    corpus[:, 0], queries[:, 0] = 0.9, 0.9
    return InBlocks(corpus), queries


def test_vectors_that_cannot_be_told_apart_are_left_to_float32():
    whole, queries = close_vectors()
    queries *= 20
    proposer = RoundedProposer(whole, ROOM)
    np.testing.assert_array_equal(search(whole, queries, 10, proposer), exactly(whole, queries, 10))
    assert not proposer.rounds
    np.testing.assert_array_equal(search(whole, queries, 10, proposer), exactly(whole, queries, 10))


def test_one_odd_query_does_not_decide_for_all():
    corpus, queries = random_vectors(4_000, 64, 1), random_vectors(200, 64, 2)
    queries[5] = 0  # ties with everything
    whole = InBlocks(corpus)
    proposer = RoundedProposer(whole, ROOM)
    np.testing.assert_array_equal(search(whole, queries, 10, proposer), exactly(whole, queries, 10))
    assert proposer.rounds


def test_rounded_documents_are_kept_as_far_as_there_is_room(monkeypatch):
    rounded, corpus, queries = [], random_vectors(300, 8, 1), random_vectors(3, 8, 2)
    of = bfloat16_products.RoundedDocuments.of
    monkeypatch.setattr(
        bfloat16_products.RoundedDocuments, "of", lambda block: rounded.append(block.first) or of(block)
    )
    parts = InBlocks(corpus, [100, 200])
    proposer = RoundedProposer(parts, 2 * of(parts.parts[0]).nbytes)
    for _ in range(2):
        search(parts, queries, 5, proposer)
    assert rounded == [0, 100, 200, 200]


def config(product="auto", **tables):
    return config_for(Path(), index={"product": product}, **tables)


@pytest.mark.parametrize(
    ("product", "size", "able", "pays"),
    [
        ("auto", (4096, 256, 8), True, True), ("auto", (4096, 256, 8), False, False),
        ("auto", (4095, 256, 8), True, False), ("auto", (4096, 255, 8), True, False),
        ("float32", (4096, 256, 8), True, False), ("bfloat16", (1, 1, 8), False, True),
    ],
)  # fmt: skip
def test_it_is_used_where_it_pays_or_is_asked_for(product, size, able, pays):
    assert bfloat16_pays(config(product), size, lambda: able) is pays


def test_its_documents_take_half_of_the_memory_at_most():
    size = (1000, 1000, 100)
    assert bfloat16_budget(config("bfloat16"), size) == 264_000
    assert bfloat16_budget(config("bfloat16", memory="0"), size) == 0
    assert bfloat16_budget(config("float32"), size) is None


def test_whether_it_is_fast_is_measured_once():
    assert bfloat16_is_fast() is bfloat16_is_fast()


def test_the_setting_allows_no_other_product():
    assert IndexConfig().product == "auto"
    with pytest.raises(ValueError, match="product"):
        IndexConfig(product="int8")


def test_products_that_are_wrong_are_not_used(monkeypatch):
    monkeypatch.setattr("numkong.dots_packed", lambda queries, documents, out: np.asarray(out).fill(1e9))
    assert not bfloat16_is_fast.__wrapped__()
