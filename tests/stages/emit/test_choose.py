from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.dots import pair_dots, unit
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import random_numbers
from hnmine.config.emit import EmitConfig
from hnmine.science import sampling
from hnmine.science.sampling import judged_first
from hnmine.stages.emit.choose import Chooser, spans
from hnmine.stages.emit.chosen import anchor_seeds, cells_of
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.storage.schemas.retrieve import CANDIDATES
from tests import oracles
from tests.strategies import World, make_query, worlds


def choose(chooser, table, keep, judged=None):
    """Return for each query, for each positive, the positions chosen; keep and judged tell for a document."""
    batch = Batch.from_table(table)
    cells = Cells.of(batch, batch.positive_scores)
    documents = batch.candidates.values[cells.candidate]
    kept = np.array([keep(int(d)) for d in documents], dtype=bool)
    flags = None if judged is None else np.array([judged(int(d)) for d in batch.candidates.values], dtype=bool)
    found = chooser.choose(batch, cells, kept, table.column("query_id").to_pylist(), flags)
    lists = found.to_arrow(pa.int64()).to_pylist()
    offsets = cells.anchors.offsets
    return [lists[low:high] for low, high in pairwise(offsets)]


class Plane:
    """Vectors of documents: unit vectors at angles that repeat, so that some documents are alike."""

    def gather(self, rows):
        angles = (rows * 7 % 5).astype(np.float32)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def chooser(how="top", n=2, cap=None, seed=0, **more):
    config = EmitConfig(choose=how, num_negatives=n, max_per_document=cap, **{"random_share": 0.0, **more})
    return Chooser(config, seed, vectors=Plane())


WAYS = ["top", "random", "simans", "stratified", "mixed", "diverse"]
ways = st.tuples(st.sampled_from(WAYS), st.integers(1, 4), st.none() | st.integers(1, 3), st.integers(0, 2))


@given(worlds(), st.integers(1, 4), st.sampled_from([2, 3, 100]))
def test_top_takes_the_best_ranked_that_were_kept(world, n, modulus):
    found = choose(chooser(n=n), world.table(), lambda d: d % modulus != 0)
    for query, lists in zip(world.queries, found, strict=True):
        good = [place for place, d in enumerate(query.candidates) if d % modulus != 0]
        assert lists == [good[:n]] * len(query.positives)


@given(worlds(), ways, st.sampled_from([2, 3, 100]))
def test_only_what_was_kept_is_chosen_never_twice_never_more_than_n_and_all_that_fit(world, way, modulus):
    how, n, cap, seed = way
    found = choose(chooser(how, n, cap, seed), world.table(), lambda d: d % modulus != 0)
    served = Counter()
    for query, lists in zip(world.queries, found, strict=True):
        good = {place for place, d in enumerate(query.candidates) if d % modulus != 0}
        for positions in lists:
            assert set(positions) <= good
            assert positions == sorted(set(positions))
            assert len(positions) == min(n, len(good)) if cap is None else len(positions) <= min(n, len(good))
            served.update(query.candidates[place] for place in positions)
    assert cap is None or max(served.values(), default=0) <= cap


@given(worlds(), st.integers(1, 3), st.integers(1, 2))
def test_top_with_a_cap_is_the_double_loop(world, n, cap):
    found = choose(chooser(n=n, cap=cap), world.table(), lambda d: True)
    groups, documents, places, anchor = [], [], [], 0
    for query in world.queries:
        for _ in query.positives:
            groups += [anchor] * len(query.candidates)
            documents += query.candidates
            places += range(len(query.candidates))
            anchor += 1
    expected = [[] for _ in range(anchor)]
    for element in oracles.choose_capped(groups, documents, n, cap, {}):
        expected[groups[element]].append(places[element])
    assert [row for lists in found for row in lists] == expected


@given(worlds(min_queries=2), ways, st.integers(0, 4))
def test_a_table_cut_in_slices_gives_the_same_choice(world, way, cut):
    how, n, cap, seed = way
    table, cut = world.table(), min(cut, len(world.queries))
    whole = choose(chooser(how, n, cap, seed), table, lambda d: d % 3 != 0)
    same = chooser(how, n, cap, seed)
    pieces = [choose(same, piece, lambda d: d % 3 != 0) for piece in (table.slice(0, cut), table.slice(cut))]
    assert pieces[0] + pieces[1] == whole


@given(worlds(min_queries=2), ways, st.data())
def test_without_a_cap_the_order_of_queries_changes_no_choice(world, way, data):
    how, n, _, seed = way
    order = data.draw(st.permutations(range(len(world.queries))))
    shuffled = World(world.documents, [world.queries[i] for i in order])
    expected = choose(chooser(how, n, None, seed), world.table(), lambda d: True)
    found = choose(chooser(how, n, None, seed), shuffled.table(), lambda d: True)
    assert found == [expected[i] for i in order]


@given(worlds(min_queries=1), st.integers(1, 3), st.integers(0, 3))
def test_a_random_choice_of_documents_does_not_depend_on_the_order_of_candidates(world, n, seed):
    table = world.table()
    backwards = pa.array([q.candidates[::-1] for q in world.queries], CANDIDATES.field("doc_rows").type)
    turned = table.set_column(table.schema.get_field_index("doc_rows"), CANDIDATES.field("doc_rows"), backwards)

    def documents(found, lists):
        return [
            [{candidates[place] for place in positions} for positions in rows]
            for candidates, rows in zip(lists, found, strict=True)
        ]

    one = documents(choose(chooser("random", n, None, seed), table, lambda d: True), table["doc_rows"].to_pylist())
    other = documents(choose(chooser("random", n, None, seed), turned, lambda d: True), turned["doc_rows"].to_pylist())
    assert one == other


def test_a_random_choice_depends_on_the_query_the_anchor_and_the_seed():
    candidates = {d: 0.5 for d in range(100, 140)}
    queries = [make_query(i, {0: 0.9, 1: 0.9}, candidates) for i in range(2)]
    table = World(list(range(200)), queries).table()
    (a, b), (c, d) = choose(chooser("random", 5), table, lambda _: True)
    (e, _), _ = choose(chooser("random", 5, seed=1), table, lambda _: True)
    assert len({tuple(x) for x in (a, b, c, d, e)}) == 5


def test_random_choices_are_roughly_uniform_over_queries():
    queries = [make_query(i, {0: 0.9}, {d: 1 - d / 10 for d in range(1, 6)}) for i in range(3000)]
    table = World(list(range(10)), queries).table()
    counts = Counter(place for lists in choose(chooser("random", 2), table, lambda _: True) for place in lists[0])
    # each of five with p = 2/5: mean 1200, standard deviation 26.8
    assert sum(counts.values()) == 6000
    assert max(abs(counts[place] - 1200) for place in range(5)) < 4.5 * 26.8


def test_a_hub_serves_the_first_queries_only():
    queries = [make_query(i, {i: 0.9}, {10: 0.8, 11 + i: 0.5}) for i in range(4)]
    found = choose(chooser(n=1, cap=2), World(list(range(20)), queries).table(), lambda _: True)
    assert found == [[[0]], [[0]], [[1]], [[1]]]


def judged(world, verdicts, anchors):
    table = world.table()
    kind = pa.list_(pa.list_(pa.string()))
    return table.append_column("anchor_scores", pa.array(anchors, pa.list_(pa.float32()))).append_column(
        "verdicts", pa.array(verdicts, kind)
    )


def test_cells_of_a_judged_table_and_of_its_slices_know_what_was_kept():
    world = World(
        list(range(20)),
        [
            make_query(0, {0: 0.9}, {10: 0.5, 11: 0.4}),
            make_query(1, {1: 0.9, 2: 0.8}, {12: 0.5, 13: 0.4}),
            make_query(2, {3: 0.9}, {}),
            make_query(3, {4: 0.9}, {14: 0.3}),
        ],
    )
    table = judged(
        world,
        [[["keep", "margin"]], [["margin", "keep"], ["keep", "keep"]], [[]], [["positive"]]],
        [[0.9], [0.9, 0.8], [0.9], [0.9]],
    )
    expected = [[True, False], [False, True, True, True], [], [False]]
    for first in range(5):
        for length in range(5 - first):
            piece = table.slice(first, length)
            cells, keep = cells_of(piece, Batch.from_table(piece))
            assert keep.dtype == bool
            assert keep.tolist() == [x for row in expected[first : first + length] for x in row]
            assert len(cells.anchor) == len(keep)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("cap", [None, 1])
def test_nothing_kept_and_no_queries_give_empty_lists(how, cap):
    world = World(list(range(20)), [make_query(0, {0: 0.9, 1: 0.8}, {10: 0.5}), make_query(1, {0: 0.9}, {})])
    assert choose(chooser(how, 2, cap), world.table(), lambda _: False) == [[[], []], [[]]]
    assert choose(chooser(how, 2, cap), World([1], []).table(), lambda _: True) == []


def test_each_anchor_counts_positions_within_its_own_query():
    batch = World(
        list(range(20)), [make_query(0, {0: 0.9}, {5: 0.5, 6: 0.4}), make_query(1, {1: 0.9}, {7: 0.3, 8: 0.2})]
    ).batch()
    cells = Cells.of(batch, Ragged(np.array([0.9, 0.9], np.float32), np.array([0, 1, 2])))
    found = chooser(n=1).choose(batch, cells, np.array([False, True, False, True]), ["a", "b"])
    assert found.values.tolist() == [1, 1]
    assert found.offsets.tolist() == [0, 1, 2]


@given(worlds(), st.integers(1, 4), st.none() | st.integers(1, 2), st.sampled_from([2, 3, 100]))
def test_no_diversity_and_no_random_share_are_top(world, n, cap, modulus):
    expected = choose(chooser("top", n, cap), world.table(), lambda d: d % modulus != 0)
    for other in (chooser("diverse", n, cap, diversity=0.0), chooser("mixed", n, cap, random_share=0.0)):
        assert choose(other, world.table(), lambda d: d % modulus != 0) == expected


@given(worlds(), st.integers(2, 4))
def test_mixed_chooses_its_share_as_top_does(world, n):
    expected = choose(chooser("top", n - 1), world.table(), lambda d: True)
    assert choose(chooser("mixed", n, random_share=1 / n), world.table(), lambda d: True) == expected


@given(worlds(), st.integers(1, 4), st.sampled_from([0.2, 0.7]), st.booleans())
def test_diverse_is_the_double_loop(world, n, diversity, cosine):
    how = chooser("diverse", n, diversity=diversity)
    how.cosine = cosine
    found = choose(how, world.table(), lambda d: d % 3 != 0)
    for query, lists in zip(world.queries, found, strict=True):
        good = [place for place, d in enumerate(query.candidates) if d % 3 != 0]
        largest = 1.0 if cosine else max((abs(query.scores[place]) for place in good), default=1.0) or 1.0
        vectors = unit(Plane().gather(np.array([query.candidates[place] for place in good], dtype=np.int64)))
        expected = oracles.marginal_relevance(
            [0] * len(good),
            [query.scores[place] / largest for place in good],
            lambda i, j, of=vectors: float(pair_dots(of[i : i + 1], of[j : j + 1])[0]),
            n,
            diversity,
        )
        assert lists == [[good[i] for i in expected]] * len(query.positives)


@given(worlds(), st.integers(1, 5), st.integers(0, 2), st.integers(2, 4), st.booleans())
def test_stratified_is_the_double_loop_with_at_most_as_many_strata_as_negatives(world, n, seed, strata, prefers):
    how, batch = chooser("stratified", n, seed=seed, strata=strata, prefer_judged=prefers), world.batch()
    anchors = Cells.of(batch, batch.positive_scores).anchors
    seeds = iter(anchor_seeds(seed, [q.id for q in world.queries], anchors))
    found = choose(how, world.table(), lambda d: d % 3 != 0, lambda d: d % 4 == 0)
    for query, lists in zip(world.queries, found, strict=True):
        good = [place for place, d in enumerate(query.candidates) if d % 3 != 0]
        documents = [query.candidates[place] for place in good]
        groups, scores = [0] * len(good), [np.float32(query.scores[place]) for place in good]
        for positions, own in zip(lists, seeds, strict=False):
            numbers = random_numbers(np.full(len(good), own), np.array(documents, np.int64)).tolist()
            levels = oracles.quantile_strata(groups, scores, min(strata, n))
            expected = oracles.take_in_turn(groups, levels, numbers, n, [prefers and d % 4 == 0 for d in documents])
            assert positions == [good[i] for i in expected]


@given(worlds(), st.integers(1, 3), st.integers(0, 2), st.sampled_from([(0.5, 0.0), (2.0, -1.0)]))
def test_simans_is_the_double_loop_in_standard_deviations_of_the_background(world, n, seed, settings):
    a, b = settings
    how = chooser("simans", n, seed=seed, simans_a=a, simans_b=b)
    batch = world.batch()
    cells = Cells.of(batch, batch.positive_scores)
    seeds = anchor_seeds(seed, [q.id for q in world.queries], cells.anchors)
    found, anchor = choose(how, world.table(), lambda d: True), 0
    for query, lists in zip(world.queries, found, strict=True):
        for positions, positive in zip(lists, query.positive_scores, strict=True):
            rows = np.array(query.candidates, np.int64)
            numbers = random_numbers(np.full(len(rows), seeds[anchor]), rows)
            times = [
                oracles.simans_arrival((s - positive) / float(np.float32(0.1)), number, a, b)
                for s, number in zip(query.scores, numbers, strict=True)
            ]
            assert positions == sorted(sorted(range(len(times)), key=lambda i, t=times: t[i])[:n])
            anchor += 1


def test_simans_without_a_spread_of_the_background_is_a_uniform_sample():
    queries = [make_query(i, {0: 0.9}, {d: 0.9 - d / 10 for d in range(1, 6)}) for i in range(3000)]
    table = World(list(range(10)), queries).table()
    place = table.schema.get_field_index("background_std")
    flat = table.set_column(place, CANDIDATES.field(place), pa.array(np.zeros(3000, np.float32)))
    counts = Counter(place for lists in choose(chooser("simans", 2), flat, lambda _: True) for place in lists[0])
    assert max(abs(counts[place] - 1200) for place in range(5)) < 4.5 * 26.8
    steep = Counter(place for lists in choose(chooser("simans", 2), table, lambda _: True) for place in lists[0])
    assert [place for place, _ in steep.most_common(3)] == [0, 1, 2]


@given(st.lists(st.integers(0, 4), max_size=20).map(sorted), st.integers(1, 6))
def test_spans_are_whole_groups_one_after_another(groups, most):
    groups = np.array(groups, dtype=np.int64)
    found = list(spans(groups, most))
    assert [i for first, last in found for i in range(first, last)] == list(range(len(groups)))
    for first, last in found:
        assert last - first <= most or len(set(groups[first:last].tolist())) == 1
        assert last == len(groups) or groups[last] != groups[last - 1]


priorities = st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(-3, 3)), max_size=20)


@given(priorities, st.integers(1, 4), st.booleans())
def test_what_is_judged_comes_first_and_else_the_order_stays(rows, n, ordered):
    rows = sorted(rows, key=lambda row: row[0])
    groups, judged, priority = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    given_priority = np.array(priority, dtype=np.int64) if ordered else None
    places = judged_first(np.array(groups, np.int64), np.array(judged, bool), given_priority)
    assert sorted(places.tolist()) == list(range(len(rows)))
    found = sampling.choose(np.array(groups, np.int64), places, n)
    expected = oracles.judged_first(groups, judged, priority if ordered else None, n)
    assert found.tolist() == expected


@given(worlds(), ways, st.sampled_from([2, 3]), st.sampled_from([2, 3, 100]))
def test_judged_negatives_are_chosen_before_any_other_and_the_rest_as_ever(world, way, known, modulus):
    how, n, cap, seed = way
    how = "top" if how in ("diverse", "stratified") else how  # which have an order and strata of all that was kept
    if cap is not None:
        cap = 50  # one that leaves none out; how a cap shares out is tested above

    def good(d):
        return d % modulus != 0

    def judged(d):
        return d % known == 0

    found = choose(chooser(how, n, cap, seed, prefer_judged=True), world.table(), good, judged)
    only = choose(chooser(how, n, cap, seed), world.table(), lambda d: good(d) and judged(d))
    for query, lists, certain in zip(world.queries, found, only, strict=True):
        for positions, wanted in zip(lists, certain, strict=True):
            assert [p for p in positions if judged(query.candidates[p])] == wanted
            kept = [d for d in query.candidates if good(d)]
            assert len(positions) == min(n, len(kept))
    others = [
        [[p for p in positions if not judged(query.candidates[p])] for positions in lists]
        for query, lists in zip(world.queries, found, strict=True)
    ]
    most = choose(chooser(how, n, cap, seed), world.table(), lambda d: good(d) and not judged(d))
    for chosen, as_ever in zip(others, most, strict=True):
        for some, every in zip(chosen, as_ever, strict=True):
            assert set(some) <= set(every)


@given(worlds(), ways)
def test_without_the_setting_or_without_judgements_nothing_changes(world, way):
    plain = choose(chooser(*way), world.table(), lambda d: True)
    assert choose(chooser(*way), world.table(), lambda d: True, lambda d: d % 2 == 0) == plain
    assert choose(chooser(*way, prefer_judged=True), world.table(), lambda d: True, lambda d: False) == plain


def test_under_a_cap_a_judged_negative_still_comes_first():
    world = World(list(range(20)), [make_query(i, {i: 0.9}, {10: 0.5, 11: 0.4, 12: 0.3}) for i in range(3)])
    found = choose(chooser(n=1, cap=1, prefer_judged=True), world.table(), lambda d: True, lambda d: d == 12)
    assert found == [[[2]], [[0]], [[1]]]
