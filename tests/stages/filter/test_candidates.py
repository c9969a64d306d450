import dataclasses
import itertools

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.ragged import Ragged
from hnmine.stages.filter.candidates import Batch, Cells
from tests.strategies import World, f32, flat, make_query, worlds


@given(worlds())
def test_a_batch_holds_what_the_table_holds(world):
    batch = world.batch()
    assert len(batch) == len(world.queries)
    assert batch.query_rows.tolist() == [q.row for q in world.queries]
    assert batch.owners.tolist() == [i for i, q in enumerate(world.queries) for _ in q.candidates]
    assert batch.candidates.values.tolist() == [d for q in world.queries for d in q.candidates]
    assert batch.scores.tolist() == [s for q in world.queries for s in q.scores]
    assert batch.is_positive.tolist() == [d in q.positives for q in world.queries for d in q.candidates]


@given(worlds())
def test_similarity_is_the_highest_to_any_positive(world):
    expected = [max(row) for q in world.queries for row in q.similarities]
    assert world.batch().similarity.tolist() == expected


def test_similarity_with_ragged_positives_1_2_1_by_hand():
    queries = [
        make_query(0, {0: 0.9}, {5: 0.5, 6: 0.4}, similarities=[[0.1], [0.2]]),
        make_query(1, {1: 0.9, 2: 0.8}, {5: 0.5, 6: 0.4}, similarities=[[0.3, -0.4], [-0.6, -0.5]]),
        make_query(2, {3: 0.9}, {}),
        make_query(3, {4: 0.9}, {7: 0.5}, similarities=[[0.7]]),
    ]
    found = World(list(range(8)), queries).batch().similarity
    assert found.tolist() == [f32(x) for x in (0.1, 0.2, 0.3, -0.5, 0.7)]


@given(worlds(), st.integers(0, 4), st.integers(0, 4))
def test_a_slice_of_a_table_is_a_batch_of_its_queries_only(world, first, length):
    first = min(first, len(world.queries))
    found = Batch.from_table(world.table().slice(first, length))
    expected = World(world.documents, world.queries[first : first + length]).batch()
    for name in ("query_rows", "scores", "ranks", "similarities", "background_mean", "similarity", "is_positive"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name in ("positives", "positive_scores", "candidates"):
        np.testing.assert_array_equal(getattr(found, name).values, getattr(expected, name).values)
        np.testing.assert_array_equal(getattr(found, name).offsets, getattr(expected, name).offsets)


@given(worlds(), st.lists(st.integers(0, 4), max_size=3))
def test_batches_are_concatenated_to_the_batch_of_all_their_queries(world, cuts):
    borders = [0, *sorted(min(cut, len(world.queries)) for cut in cuts), len(world.queries)]
    parts = [Batch.from_table(world.table().slice(a, b - a)) for a, b in itertools.pairwise(borders)]
    found, expected = Batch.concatenate(parts), world.batch()
    for field in dataclasses.fields(Batch):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, Ragged):
            np.testing.assert_array_equal(one.offsets, other.offsets)
            one, other = one.values, other.values
        assert (one is None) == (other is None)
        if other is not None and len(other):
            np.testing.assert_array_equal(one, other)


@given(worlds(), st.sampled_from(["each", "one"]))
def test_cells_are_each_anchor_against_each_candidate_of_its_query(world, how):
    batch = world.batch()
    lists = [q.positive_scores if how == "each" else q.positive_scores[:1] for q in world.queries]
    cells = Cells.of(batch, flat(lists, np.float32))
    expected, anchor, first = [], 0, 0
    for query, row in zip(world.queries, lists, strict=True):
        for score in row:
            expected += [(anchor, first + place, score) for place in range(len(query.candidates))]
            anchor += 1
        first += len(query.candidates)
    found = zip(cells.anchor.tolist(), cells.candidate.tolist(), cells.scores.tolist(), strict=True)
    assert list(found) == expected


@given(worlds())
def test_nested_values_have_one_list_an_anchor_with_one_value_a_candidate(world):
    batch = world.batch()
    cells = Cells.of(batch, batch.positive_scores)
    nested = cells.nest(batch, pa.array(np.arange(len(cells.anchor))))
    nested.validate(full=True)
    count, expected = 0, []
    for query in world.queries:
        row = []
        for _ in query.positives:
            row.append(list(range(count, count + len(query.candidates))))
            count += len(query.candidates)
        expected.append(row)
    assert nested.to_pylist() == expected


def test_no_queries_make_an_empty_batch():
    batch = World([1], []).batch()
    cells = Cells.of(batch, Ragged(np.zeros(0, np.float32), np.zeros(1, np.int64)))
    assert len(batch) == len(batch.similarity) == len(batch.is_positive) == len(cells.anchor) == 0
    assert cells.nest(batch, pa.array([], pa.string())).to_pylist() == []
