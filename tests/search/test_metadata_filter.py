"""Conditions on candidates against a plain double loop: masks, pairs, classes of queries, and the search under them."""

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.dots import dots
from hnmine.arrays.topk import NOTHING, unpack
from hnmine.config import WhereConfig
from hnmine.readers.metadata import as_ordered, as_values, order_of
from hnmine.search.exact import search
from hnmine.search.filtered_search import FilteredProposer, add_positives
from hnmine.search.metadata_filter import FieldCondition, MetadataFilter, lists_with_any, number_lists, row_classes
from tests import oracles
from tests.search.test_exact import InBlocks, found, random_vectors, tied_vectors
from tests.strategies import flat, quick, thorough

VALUES = 4
sets = st.lists(st.integers(0, VALUES - 1), max_size=3).map(lambda own: sorted(set(own)))


def condition(must, missing, documents, queries, with_="query"):
    config = WhereConfig(**{"field": "f", "must": must, "missing": missing, "with": with_})
    return FieldCondition(config, flat(documents, np.int64), flat(queries, np.int64), VALUES)


@st.composite
def worlds(draw, documents=12, queries=6):
    """Some conditions over the same documents and queries, and what they are made of."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        must = draw(st.sampled_from(["match", "differ", "before", "after"]))
        missing = draw(st.sampled_from([None, "allow", "forbid"]))
        own = draw(st.lists(sets, min_size=documents, max_size=documents))
        theirs = draw(st.lists(sets, min_size=queries, max_size=queries))
        parts.append((must, missing, own, theirs))
    return MetadataFilter.of([condition(*part) for part in parts]), parts


def plainly(parts, query, document):
    return all(
        oracles.permitted(must, missing == "allow" if missing else must == "differ", own[document], theirs[query])
        for must, missing, own, theirs in parts
    )


@quick
@given(st.lists(sets, max_size=8), st.lists(st.booleans(), min_size=VALUES, max_size=VALUES), st.integers(0, 8))
def test_any_wanted_is_a_loop_over_every_list(lists, wanted, first):
    ragged, flags = flat(lists, np.int64), np.array(wanted)
    offsets = ragged.offsets[min(first, len(lists)) :]
    expected = [any(wanted[value] for value in own) for own in lists[first:]]
    assert lists_with_any(ragged.values, offsets, flags).tolist() == expected


@quick
@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=8))
def test_equal_lists_and_they_alone_have_the_same_number(lists):
    ragged = flat(lists, np.int64)
    numbers = number_lists(ragged)
    assert sorted(set(numbers.tolist())) == list(range(len(set(map(tuple, lists)))))
    for one, own in enumerate(lists):
        for other, theirs in enumerate(lists):
            assert (numbers[one] == numbers[other]) == (own == theirs)


@quick
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=8))
def test_rows_are_in_one_class_where_all_columns_agree(rows):
    classes, first = row_classes([np.array(column) for column in zip(*rows, strict=True)])
    assert [rows[first[number]] for number in classes] == rows
    assert len(first) == len(set(rows))


@thorough
@given(worlds(), st.integers(0, 12), st.integers(0, 12))
def test_masks_and_pairs_are_the_double_loop(world, one, other):
    where, parts = world
    low, high = sorted((one, other))
    for query in range(6):
        expected = [plainly(parts, query, d) for d in range(12)]
        assert where.mask(int(where.classes[query]), low, high).tolist() == expected[low:high]
        assert where.allows(np.full(12, query), np.arange(12)).tolist() == expected


@quick
@given(worlds(), st.data())
def test_knowing_one_positive_compares_with_that_document_alone(world, data):
    _, parts = world
    must, missing, own, theirs = parts[0]
    where = MetadataFilter.of([condition(must, missing, own, theirs, "positive")])
    known = np.array(data.draw(st.lists(st.integers(0, 11), min_size=12, max_size=12)))
    expected = [plainly([(must, missing, own, own)], known[d], d) for d in range(12)]
    assert where.allows_given_positive(np.zeros(12, dtype=np.int64), known, np.arange(12)).tolist() == expected


def limited(corpus, queries, k, where, rows):
    return search(corpus, queries, k, FilteredProposer(corpus, where, rows))


def full_ranking(parts, corpus, queries, k, positives=()):
    """Rank all documents of each query, take out those not allowed, cut at k; positives stay and do not count."""
    out = []
    for query, scores in enumerate(dots(queries, corpus).tolist()):
        own = positives[query] if positives else []
        ranking, counted = [], 0
        for d in oracles.topk(scores, len(scores)):
            if counted == k:
                break
            if d in own or plainly(parts, query, d):
                ranking.append((scores[d], d))
                counted += d not in own
        out.append(ranking)
    return out


@thorough
@given(worlds(documents=40, queries=8), st.integers(1, 12), st.integers(0, 5), st.integers(0, 50), st.data())
def test_a_search_is_the_full_ranking_without_what_is_not_allowed(world, k, kinds, seed, data):
    where, parts = world
    corpus = tied_vectors(40, 4, kinds, seed) if kinds else random_vectors(40, 4, seed)
    # every query three times: some classes are searched together, others one by one
    rows = np.tile(np.arange(8), data.draw(st.sampled_from([1, 3, 20])))
    queries = random_vectors(8, 4, seed + 1)[rows]
    cuts = data.draw(st.lists(st.integers(1, 39), max_size=3, unique=True))
    keys = limited(InBlocks(corpus, cuts), queries, k, where, rows)
    expected = full_ranking(parts, corpus, queries[:8], k)
    assert found(keys) == [expected[row] for row in rows]
    for row, hits in zip(rows, found(keys), strict=True):
        assert all(plainly(parts, row, d) for _, d in hits)


@pytest.mark.parametrize("copies", [1, 20])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_ties_at_the_kth_place_go_by_exact_score_then_row_under_conditions(copies, share):
    generator = np.random.default_rng(7)
    corpus = np.repeat(random_vectors(1, 64, 1), 3000, axis=0)
    some = generator.random(3000) < 0.3
    corpus[some] += (generator.standard_normal((some.sum(), 64)) * 1e-7).astype(np.float32)
    own = [[int(value)] for value in generator.random(3000) > share]
    parts = [("match", None, own, [[0], [1], []])]
    rows = np.tile(np.arange(3), copies)
    queries = random_vectors(3, 64, 11)
    where = MetadataFilter.of([condition(*part) for part in parts])
    keys = limited(InBlocks(corpus, [700, 1800]), queries[rows], 20, where, rows)
    expected = full_ranking(parts, corpus, queries, 20)
    assert found(keys) == [expected[row] for row in rows]
    assert [len(one) for one in expected] == [20, 20, 0]


@quick
@given(worlds(documents=20, queries=4), st.integers(1, 6), st.integers(0, 20), st.data())
def test_positives_stand_where_their_score_puts_them_whatever_the_conditions(world, k, seed, data):
    where, parts = world
    rows = st.lists(st.integers(0, 19), min_size=1, max_size=3, unique=True).map(sorted)
    positives = data.draw(st.lists(rows, min_size=4, max_size=4))
    corpus, queries = tied_vectors(20, 4, 6, seed), random_vectors(4, 4, seed + 1)
    lists, numbers = flat(positives, np.int64), np.arange(4)
    keys = limited(InBlocks(corpus, [9]), queries, k + 3, where, numbers)
    allowed = where.allows(lists.owners, lists.values)
    keys = add_positives(keys, corpus[lists.values], lists, queries, allowed)
    expected = full_ranking(parts, corpus, queries, k, positives)
    for row, hits in zip(keys, expected, strict=True):
        _, documents = unpack(row[row != NOTHING])
        assert documents[: len(hits)].tolist() == [d for _, d in hits]
        assert len(set(documents.tolist())) == len(documents)


@pytest.mark.parametrize(
    ("given_", "texts"),
    [
        (7, ["7"]), (7.0, ["7"]), ("7", ["7"]), ("007", ["007"]), (2.5, ["2.5"]), (True, ["true"]), ("True", ["true"]),
        (None, []), ("", []), (float("nan"), []), ([], []), (" en ", ["en"]), (["b", "a", "b", None], ["a", "b"]),
        (datetime.date(2024, 5, 1), ["2024-05-01"]), (datetime.datetime(2024, 5, 1), ["2024-05-01"]),
        (datetime.datetime(2024, 5, 1, 9), ["2024-05-01T09:00:00"]), ({"a": 1}, None), (b"x", None),
    ],
)  # fmt: skip
def test_values_are_texts_that_are_equal_where_the_values_are(given_, texts):
    assert as_values(given_) == texts


def test_numbers_and_dates_have_an_order_and_other_texts_none():
    dates = ["2023-12-31", "2024-05-01", "2024-05-01T09:00:00", "2024-05-01T09:00:00-02:00"]
    orders = [order_of(text) for text in dates]
    assert [order[0] for order in orders] == ["date"] * 4
    assert orders == sorted(orders)
    assert order_of("2024-05-01") == order_of("2024-05-01T00:00:00Z")
    assert order_of("9")[1] < order_of("10.5")[1]
    assert order_of("soon") is None
    assert order_of("inf") is None
    assert as_ordered(["2024-05-01", "soon"]) is None
