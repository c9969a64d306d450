import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.ragged import Ragged
from hnmine.config.emit import EmitConfig
from hnmine.config.filter import FilterConfig
from hnmine.stages.emit.choose import Chooser
from hnmine.stages.filter.candidates import Batch, Cells
from hnmine.stages.filter.verdicts import anchor_scores, give_verdicts
from hnmine.stages.report.quality import count_at_or_above, per_anchor, per_query, to_table
from hnmine.storage.schemas.report import QUERY_REPORT
from tests import oracles
from tests.strategies import World, filter_configs, make_query, worlds

NUMBERS = (
    "chosen", "negative_score", "margin", "capacity", "hardness", "safety", "eci", "positives", "candidates", "kept",
    "positive_score",
)  # fmt: skip


def measure(world, config, n, table=None, first=0, last=None):
    """Judge and choose for real; return (values of per_query, chosen positions of each anchor, query by query)."""
    table = world.table() if table is None else table
    batch = Batch.from_table(table)
    judged = give_verdicts(batch, config, world.keys(first, last))
    chooser = Chooser(EmitConfig(num_negatives=n), 0)
    chosen = chooser.choose(batch, judged.cells, judged.keep, table.column("query_id").to_pylist())
    lists = chosen.to_arrow(pa.int64()).to_pylist()
    offsets = judged.cells.anchors.offsets
    values = per_query(batch, judged.cells, judged.keep, scores_of(batch, judged.cells, chosen), n)
    return values, [lists[low:high] for low, high in pairwise(offsets)]


def scores_of(batch, cells, chosen):
    """Return the scores at positions among each anchor's candidates."""
    return chosen.with_values(
        batch.scores[batch.candidates.offsets[:-1][cells.anchors.owners[chosen.owners]] + chosen.values]
    )


def plain(value):
    return None if math.isnan(value) else pytest.approx(value, rel=1e-6, abs=1e-6)


@given(worlds(), filter_configs(), st.integers(1, 4))
def test_each_querys_numbers_are_those_of_the_double_loop(world, config, n):
    values, chosen = measure(world, config, n)
    anchors = anchor_scores(world.batch().positive_scores, config).to_arrow(pa.float32()).to_pylist()
    for place, query in enumerate(world.queries):
        verdicts = oracles.judge(query, config, world.documents)
        expected = oracles.query_quality(query, anchors[place], chosen[place], verdicts)
        assert {name: plain(float(values[name][place])) for name in NUMBERS} == expected
        assert values["wanted"][place] == n
        assert values["query_row"][place] == query.row


@given(worlds(min_queries=2), filter_configs(), st.integers(0, 4))
def test_a_batch_split_in_slices_gets_the_same_numbers_bit_for_bit(world, config, cut):
    cut, table = min(cut, len(world.queries)), world.table()
    whole, _ = measure(world, config, 2)
    first, _ = measure(world, config, 2, table.slice(0, cut), 0, cut)
    second, _ = measure(world, config, 2, table.slice(cut), cut, None)
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([first[name], second[name]]), whole[name])


@given(worlds(), filter_configs(), st.integers(1, 4))
def test_numbers_stay_in_their_ranges(world, config, n):
    values, _ = measure(world, config, n)
    for name in ("hardness", "safety"):
        real = values[name][~np.isnan(values[name])]
        assert ((real >= 0) & (real <= 1)).all()
    assert (values["chosen"] <= np.minimum(values["kept"], n) + 1e-9).all()
    assert (values["eci"] >= 0).all()
    assert (values["eci"] <= values["capacity"] + 1e-9).all()
    assert not np.isnan(values["eci"]).any()
    np.testing.assert_array_equal(np.isnan(values["hardness"]), values["chosen"] == 0)


def by_hand():
    # s0 = 0; anchors 0.8 and 0.5; candidates 0.4, 0.2; the first anchor uses both, the second the last
    query = make_query(0, {0: 0.8, 1: 0.5}, {10: 0.4, 11: 0.2, 1: 0.5})
    other = make_query(1, {2: 0.6}, {12: 0.59})
    batch = World(list(range(20)), [query, other]).batch()
    cells = Cells.of(batch, batch.positive_scores)
    chosen = Ragged.from_lengths(np.array([1, 2, 2]), np.array([2, 1, 0]))
    keep = np.array([False, True, True, False, False, True, False])
    return batch, cells, keep, scores_of(batch, cells, chosen)


def test_two_anchors_and_a_query_without_negatives_by_hand():
    batch, cells, keep, chosen = by_hand()
    values = per_query(batch, cells, keep, chosen, 2)
    # hardness: (0.5 + 0.25) / 2 and 0.4; both safe in full; capacity ln 3 and ln 2
    h = [0.375, 0.4]
    eci = [math.log(3) * 2 * h[0] / (1 + h[0]), math.log(2) * 2 * h[1] / (1 + h[1])]
    expected = {
        "chosen": [1.5, 0], "negative_score": [0.25, None], "margin": [0.35, None], "positives": [2, 1],
        "capacity": [(math.log(3) + math.log(2)) / 2, 0], "hardness": [sum(h) / 2, None], "safety": [1, None],
        "eci": [sum(eci) / 2, 0], "candidates": [2, 1], "kept": [1.5, 0], "positive_score": [0.65, 0.6],
    }  # fmt: skip
    assert {name: [plain(float(x)) for x in values[name]] for name in expected} == expected


def test_an_anchor_without_negatives_lowers_eci_and_capacity_but_not_hardness():
    batch, cells, _, _ = by_hand()
    keep = np.ones(7, bool)
    both = per_query(batch, cells, keep, Ragged.from_lengths(np.array([0.4, 0.4]), np.array([1, 1, 0])), 1)
    one = per_query(batch, cells, keep, Ragged.from_lengths(np.array([0.4]), np.array([1, 0, 0])), 1)
    assert one["capacity"][0] == pytest.approx(math.log(2) / 2)
    assert both["capacity"][0] == pytest.approx(math.log(2))
    assert one["hardness"][0] == pytest.approx(0.5)
    assert one["eci"][0] == pytest.approx(math.log(2) * 2 * 0.5 / 1.5 / 2)


def test_a_negative_above_its_anchor_makes_the_anchor_unsafe_and_its_eci_0():
    query = make_query(0, {0: 0.5}, {10: 0.6, 11: 0.1})
    batch = World(list(range(20)), [query]).batch()
    cells = Cells.of(batch, batch.positive_scores)
    values = per_anchor(batch, cells, Ragged.from_lengths(np.array([0.6, 0.1]), np.array([2])))
    assert values["safety"].tolist() == [0]
    assert values["eci"].tolist() == [0]
    assert values["margin"].tolist() == pytest.approx([-0.1])
    assert values["hardness"].tolist() == pytest.approx([0.6])


def test_the_table_has_nulls_where_there_is_nothing_to_measure():
    batch, cells, keep, chosen = by_hand()
    values = per_query(batch, cells, keep, chosen, 2) | {"eci_sem": np.array([0.5, 0])}
    values |= count_at_or_above(batch, cells, chosen, np.ones(3, dtype=bool))
    table = to_table(values, pa.array(["a", "b"]))
    table.validate(full=True)
    assert table.schema.names == QUERY_REPORT.names
    second = table.to_pylist()[1]
    assert {name for name, value in second.items() if value is None} >= {
        "negative_score", "margin", "hardness", "safety"
    }  # fmt: skip
    assert second["query_id"] == "b"
    assert second["eci"] == second["capacity"] == second["chosen"] == 0
    assert table.column("query_row").to_pylist() == [0, 1]


def test_no_queries_make_an_empty_table():
    values, _ = measure(World([1], []), FilterConfig(rule="percent"), 3)
    table = to_table(
        values | dict.fromkeys(("eci_sem", "pairs", "at_or_above"), np.zeros(0)), pa.array([], pa.string())
    )
    assert table.num_rows == 0
    assert table.schema.equals(QUERY_REPORT)


@given(worlds(), filter_configs(), st.integers(1, 4), st.data())
def test_pairs_at_or_above_are_those_of_the_double_loop(world, config, n, data):
    batch = world.batch()
    judged = give_verdicts(batch, config, world.keys())
    ids = [str(row) for row in batch.query_rows]
    chosen = Chooser(EmitConfig(num_negatives=n), 0).choose(batch, judged.cells, judged.keep, ids)
    scores = scores_of(batch, judged.cells, chosen)
    count = len(batch.positives.values)
    emitted = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=bool)
    found = count_at_or_above(batch, judged.cells, scores, emitted)
    lists, positive = scores.to_arrow(pa.float32()).to_pylist(), 0
    for place, positives in enumerate(batch.positive_scores.to_arrow(pa.float32()).to_pylist()):
        pairs = above = 0
        first, width = judged.cells.anchors.offsets[place], judged.cells.anchors.lengths[place]
        for number, own in enumerate(positives):
            for score in lists[first + (number if width > 1 else 0)] if emitted[positive] else ():
                pairs += 1
                above += score >= own
            positive += 1
        assert (found["pairs"][place], found["at_or_above"][place]) == (pairs, above)
