from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.config.emit import EmitConfig
from hnmine.science.ensembling import random_source, round_robin
from hnmine.stages.emit.choose import Chooser
from hnmine.stages.emit.chosen import anchor_seeds
from hnmine.stages.filter.candidates import Batch, Cells
from tests import oracles
from tests.strategies import World, make_query, worlds


def seeds(count, first=0):
    return np.arange(first, first + count, dtype=np.uint64) * np.uint64(7919)


@given(st.integers(0, 50), st.integers(1, 16), st.data())
def test_a_source_is_drawn_by_the_examples_own_seed_alone(count, sources, data):
    found = random_source(seeds(count), sources)
    assert ((found >= 0) & (found < sources)).all()
    order = data.draw(st.permutations(range(count)))
    assert random_source(seeds(count)[order], sources).tolist() == found[order].tolist()


@pytest.mark.parametrize("sources", [1, 2, 3, 7])
def test_every_source_is_drawn_as_often(sources):
    counts = np.bincount(random_source(seeds(70_000), sources), minlength=sources)
    expected = 70_000 / sources
    assert ((counts - expected) ** 2 / expected).sum() < 30  # chi-square, at most 6 degrees of freedom: p < 1e-4


@st.composite
def found_lists(draw):
    """Groups, and for each a permutation of its elements as each source's list, cut somewhere."""
    sources = draw(st.integers(1, 3))
    groups, ranks, documents = [], [], []
    for group in range(draw(st.integers(0, 4))):
        count = draw(st.integers(1, 6))
        own = np.zeros((count, sources), dtype=np.int32)
        for source in range(sources):
            order = draw(st.permutations(range(count)))[: draw(st.integers(0, count))]
            own[list(order), source] = np.arange(len(order)) * 2 + 1  # ranks with gaps, where others were taken out
        groups += [3 * group] * count
        ranks += own.tolist()
        documents += draw(st.permutations(range(8)))[:count]
    return np.array(groups, dtype=np.int64), np.array(ranks, dtype=np.int32).reshape(-1, sources), documents


@given(found_lists(), st.integers(0, 7))
def test_sources_in_turn_is_the_double_loop(lists, n):
    groups, ranks, _ = lists
    assert round_robin(groups, ranks, n).tolist() == oracles.round_robin(groups.tolist(), ranks.tolist(), n)


def test_sources_in_turn_by_hand():
    ranks = np.array([[1, 1], [2, 3], [3, 0], [0, 2], [0, 0]])
    group = np.zeros(5, dtype=np.int64)
    assert round_robin(group, ranks, 1).tolist() == [0]
    assert round_robin(group, ranks, 2).tolist() == [0, 3]  # the second source's best is taken: its next
    assert round_robin(group, ranks, 3).tolist() == [0, 1, 3]
    assert round_robin(group, ranks, 9).tolist() == [0, 1, 2, 3]  # what no source found is never taken
    assert round_robin(group[:0], ranks[:0], 3).tolist() == []


@given(found_lists(), st.integers(1, 7))
def test_one_source_in_turn_is_its_best(lists, n):
    groups, ranks, _ = lists
    own = ranks[:, :1]
    places = np.flatnonzero(own[:, 0])
    order = places[np.lexsort((own[places, 0], groups[places]))].tolist()
    expected = [p for p in order if sum(groups[q] == groups[p] and own[q, 0] < own[p, 0] for q in order) < n]
    assert round_robin(groups, own, n).tolist() == sorted(expected)


@given(found_lists(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(lists, n, random):
    groups, ranks, _ = lists
    order = list(range(len(groups)))
    random.shuffle(order)
    order = sorted(order, key=lambda place: groups[place])
    found = round_robin(groups[order], ranks[order], n)
    assert sorted(order[place] for place in found) == round_robin(groups, ranks, n).tolist()


@st.composite
def sourced(draw, sources=3, **limits):
    """Worlds whose candidates each at least one source found."""
    world = draw(worlds(**limits))
    queries = []
    for query in world.queries:
        count = len(query.candidates)
        ranks = np.zeros((count, sources), dtype=int)
        for source in range(sources):
            order = draw(st.permutations(range(count)))[: draw(st.integers(0, count))]
            ranks[list(order), source] = np.arange(1, len(order) + 1)
        lost = np.flatnonzero(~ranks.any(axis=1))
        ranks[lost, 0] = count + 1 + np.arange(len(lost))
        queries.append(replace(query, source_ranks=ranks.tolist()))
    return World(world.documents, queries)


def choose(table, config, keep=lambda d: d % 3 != 0, seed=0, used=None):
    """Return the positions chosen for each query and positive, and the sources that were drawn."""
    batch = Batch.from_table(table)
    cells = Cells.of(batch, batch.positive_scores)
    kept = np.array([keep(int(d)) for d in batch.candidates.values[cells.candidate]], dtype=bool)
    ids = table.column("query_id").to_pylist()
    chooser = Chooser(config, seed, {} if used is None else used)
    lists = chooser.choose(batch, cells, kept, ids).to_arrow(pa.int64()).to_pylist()
    drawn = random_source(anchor_seeds(seed, ids, cells.anchors), 3).tolist()
    pairs = pairwise(cells.anchors.offsets)
    return [(lists[low:high], drawn[low:high]) for low, high in pairs]


@given(sourced(), st.integers(1, 4), st.integers(0, 3), st.sampled_from(["top", "random", "simans", "stratified"]))
def test_cross_takes_the_kept_candidates_of_the_drawn_source(world, n, seed, how):
    found = choose(world.table(), EmitConfig(ensemble="cross", choose=how, num_negatives=n), seed=seed)
    for query, (lists, drawn) in zip(world.queries, found, strict=True):
        for positions, source in zip(lists, drawn, strict=True):
            own = {p: row[source] for p, row in enumerate(query.source_ranks) if row[source]}
            kept = sorted((p for p in own if query.candidates[p] % 3), key=lambda p, own=own: own[p])
            assert set(positions) <= set(kept)
            assert positions == sorted(set(positions))
            assert len(positions) == min(n, len(kept))
            if how == "top":
                assert positions == sorted(kept[:n])


@given(sourced(), st.integers(1, 5), st.none() | st.integers(1, 2))
def test_intra_takes_the_best_kept_of_the_sources_in_turn_under_a_cap_too(world, n, cap):
    config = EmitConfig(ensemble="intra", num_negatives=n, max_per_document=cap)
    groups, ranks, documents, places, anchor = [], [], [], [], 0
    for query in world.queries:
        kept = [p for p, d in enumerate(query.candidates) if d % 3]
        for _ in query.positives:
            groups += [anchor] * len(kept)
            ranks += [query.source_ranks[p] for p in kept]
            documents += [query.candidates[p] for p in kept]
            places += kept
            anchor += 1
    expected = [[] for _ in range(anchor)]
    for element in oracles.round_robin(groups, ranks, n, documents, cap):
        expected[groups[element]].append(places[element])
    assert [own for lists, _ in choose(world.table(), config) for own in lists] == expected


@given(sourced(min_queries=2), st.sampled_from(["cross", "intra"]), st.none() | st.integers(1, 2), st.integers(0, 3))
def test_tables_cut_in_slices_give_the_same_choice_and_no_document_serves_too_often(world, ensemble, cap, cut):
    config = EmitConfig(ensemble=ensemble, num_negatives=3, max_per_document=cap)
    table, used = world.table(), {}
    whole = choose(table, config)
    cut = min(cut, len(world.queries))
    assert choose(table.slice(0, cut), config, used=used) + choose(table.slice(cut), config, used=used) == whole
    served = Counter()
    for query, (lists, _) in zip(world.queries, whole, strict=True):
        for positions in lists:
            assert len(set(positions)) == len(positions)
            served.update(query.candidates[place] for place in positions)
    assert cap is None or max(served.values(), default=0) <= cap


@given(sourced(min_queries=2), st.sampled_from(["cross", "intra"]), st.data())
def test_the_order_of_queries_changes_no_choice(world, ensemble, data):
    config = EmitConfig(ensemble=ensemble, num_negatives=2)
    order = data.draw(st.permutations(range(len(world.queries))))
    whole = choose(world.table(), config)
    turned = choose(World(world.documents, [world.queries[i] for i in order]).table(), config)
    assert turned == [whole[i] for i in order]


def test_a_drawn_source_that_has_too_few_leaves_the_example_short():
    query = make_query(0, {9: 0.9}, {d: 0.5 for d in (1, 2, 4, 5)}, source_ranks=[
        [1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 1, 0],
    ])  # fmt: skip
    lengths = {
        drawn[0]: len(lists[0])
        for seed in range(30)
        for lists, drawn in choose(World([], [query]).table(), EmitConfig(ensemble="cross", num_negatives=3), seed=seed)
    }
    assert lengths == {0: 3, 1: 1, 2: 0}


def test_groups_may_want_different_numbers():
    groups, ranks = np.array([0, 0, 0, 1, 1, 1]), np.array([[1, 0], [2, 1], [0, 2], [1, 2], [0, 1], [2, 0]])
    wanted = np.array([2, 2, 2, 1, 1, 1])
    found = round_robin(groups, ranks, wanted)
    assert found.tolist() == [0, 1, 3]
    cuts = ((slice(3), 0, 2), (slice(3, 6), 3, 1))
    alone = [first + round_robin(groups[own], ranks[own], n) for own, first, n in cuts]
    assert found.tolist() == np.concatenate(alone).tolist()
    assert round_robin(groups, ranks, wanted * 0).tolist() == []
