import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.percentiles import (
    ecdf,
    is_suspected,
    like_positives,
    percentile_background,
    positive_percentile,
    positive_weight,
)
from hnmine.stages.filter.bad_positives import positive_percentiles
from hnmine.stages.filter.candidates import Batch
from tests import oracles
from tests.strategies import World, flat, make_query, ragged, scores, wild, worlds

quantiles = st.sampled_from([0.0, 1e-12, 0.1, 0.25, 1 / 3, 0.5, 0.7, 0.9, 1.0])
pairs = st.lists(st.tuples(ragged(scores, max_rows=1), ragged(scores, max_rows=1, max_length=8)), max_size=5)


def lists(made):
    """Return (positives, others): one list a query."""
    positives = [own[0] if own else [] for own, _ in made]
    return positives, [others[0] if others else [] for _, others in made]


def ask(positives, others):
    own, rest = flat(positives, np.float32), flat(others, np.float32)
    return positive_percentile(own.values, own.owners, rest.values, rest.owners)


@given(pairs)
def test_standings_are_those_of_the_double_loop(made):
    positives, others = lists(made)
    found = ask(positives, others)
    assert found.dtype == np.float32
    expected = [oracles.positive_percentile(s, rest) for own, rest in zip(positives, others, strict=True) for s in own]
    assert found.tolist() == [float(np.float32(share)) for share in expected]


@given(pairs, st.data())
def test_the_order_of_candidates_and_of_queries_changes_nothing(made, data):
    positives, others = lists(made)
    before = ask(positives, others).tolist()
    shuffled = [data.draw(st.permutations(rest)) for rest in others]
    assert ask(positives, shuffled).tolist() == before
    order = data.draw(st.permutations(range(len(positives))))
    one_by_one = [ask([positives[i]], [others[i]]).tolist() for i in order]
    after = ask([positives[i] for i in order], [others[i] for i in order]).tolist()
    assert after == [share for shares in one_by_one for share in shares]


@given(pairs)
def test_a_higher_score_never_stands_lower(made):
    positives, others = lists(made)
    share = iter(ask(positives, others).tolist())
    for own in positives:
        by_score = sorted((s, next(share)) for s in own)
        assert [s for _, s in by_score] == sorted(s for _, s in by_score)
        assert all(0 <= s <= 1 for _, s in by_score)


@given(pairs, quantiles, quantiles)
def test_a_higher_quantile_suspects_no_fewer_and_weighs_no_higher(made, one, other):
    found = ask(*lists(made))
    low, high = sorted([one, other])
    assert (is_suspected(found, low) <= is_suspected(found, high)).all()
    assert not is_suspected(found, 0.0).any()
    if low > 0:
        assert (positive_weight(found, low) >= positive_weight(found, high)).all()


@given(pairs, quantiles)
def test_the_suspected_and_no_others_weigh_less_than_1(made, quantile):
    found = ask(*lists(made))
    weights = positive_weight(found, quantile)
    assert weights.dtype == np.float32
    assert ((weights >= 0) & (weights <= 1)).all()
    np.testing.assert_array_equal(weights < 1, is_suspected(found, quantile))
    expected = [oracles.positive_weight(share, quantile) for share in found.tolist()]
    assert weights.tolist() == pytest.approx(expected, rel=1e-6)


def test_by_hand_with_ties_and_negative_scores():
    found = ask([[0.5, -0.2, 0.9], [0.1], [-1.0]], [[0.5, 0.5, -0.3, 0.2], [], [-1.0, -1.0]])
    assert found.tolist() == [0.5, 0.25, 1.0, 1.0, 0.0]
    assert is_suspected(found, 0.5).tolist() == [False, True, False, False, True]
    assert positive_weight(found, 0.5).tolist() == [1.0, 0.5, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("tenths", range(11))
def test_a_share_equal_to_the_quantile_is_not_suspected(tenths):
    found = ask([[0.5]], [[0.1] * tenths + [0.9] * (10 - tenths)])
    assert not is_suspected(found, tenths / 10).any()
    assert positive_weight(found, tenths / 10).tolist() == [1]


def test_nothing_at_all():
    assert ask([], []).tolist() == []
    assert ask([[]], [[0.5]]).tolist() == []


@given(worlds())
def test_of_a_batch_only_candidates_that_are_no_positives_count(world):
    found = positive_percentiles(world.batch())
    expected = [
        oracles.positive_percentile(s, [x for d, x in zip(q.candidates, q.scores, strict=True) if d not in q.positives])
        for q in world.queries
        for s in q.positive_scores
    ]
    assert found.values.tolist() == [float(np.float32(share)) for share in expected]


@given(worlds(min_queries=2), st.integers(0, 4))
def test_a_batch_split_in_slices_gets_the_same_standings(world, cut):
    table = world.table()
    parts = [Batch.from_table(part) for part in (table.slice(0, cut), table.slice(cut))]
    found = np.concatenate([positive_percentiles(part).values for part in parts])
    np.testing.assert_array_equal(found, positive_percentiles(world.batch()).values)


def test_a_query_whose_candidates_are_all_positives():
    world = World(list(range(20)), [make_query(0, {0: 0.9, 1: 0.1}, {0: 0.9, 1: 0.1})])
    assert positive_percentiles(world.batch()).values.tolist() == [1.0, 1.0]


numbers = st.lists(wild | st.integers(-3, 3).map(float), min_size=1, max_size=30)


@given(numbers, numbers)
def test_ecdf_is_the_double_loop(scores, reference):
    found = ecdf(np.array(scores), np.array(reference))
    assert found.tolist() == pytest.approx([oracles.ecdf(s, reference) for s in scores], abs=1e-12)


@given(numbers, numbers)
def test_ecdf_never_falls_and_stays_between_0_and_1(scores, reference):
    found = ecdf(np.sort(np.array(scores)), np.array(reference))
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()


@given(st.lists(st.integers(-40, 40), min_size=1), st.lists(st.integers(-40, 40), min_size=1))
def test_a_strictly_increasing_transform_changes_nothing(scores, reference):
    s, r = np.array(scores, dtype=np.float64), np.array(reference, dtype=np.float64)
    before = ecdf(s, r)
    for transform in (lambda x: 3 * x - 7, lambda x: x**3, lambda x: np.tanh(x / 50)):
        assert (ecdf(transform(s), transform(r)) == before).all()


@given(numbers)
def test_the_references_own_percentiles_are_one_half_on_average(reference):
    own = np.array(reference)
    assert ecdf(own, own).mean() == pytest.approx(0.5)


def test_no_score_has_no_percentile_and_an_empty_reference_is_an_error():
    assert np.isnan(ecdf(np.array([np.nan, 1.0]), np.array([1.0]))).tolist() == [True, False]
    with pytest.raises(ValueError, match="holds no scores"):
        ecdf(np.ones(1), np.zeros(0))


def test_the_background_always_has_a_unit():
    assert percentile_background(np.zeros(5), 10) == (0.0, 0.05)
    assert percentile_background(np.zeros(0), 4) == (0.0, 0.125)
    assert percentile_background(np.array([0.0, 1.0]), 10) == (0.5, 0.5)


@given(st.lists(st.sampled_from([-1.5, 0.0, 0.25, 2.0]), min_size=1, max_size=12), quantiles, st.floats(-3, 3))
def test_a_score_is_like_those_of_positives_above_a_share_of_them(reference, share, score):
    own = ecdf(np.array([score]), np.array(reference)).astype(np.float32)
    found = like_positives(own, share)[0]
    assert found == (np.float32(oracles.ecdf(score, reference)) > np.float32(share))
    assert not like_positives(np.array([np.nan], dtype=np.float32), share)[0]
    assert found or not like_positives(own, min(1.0, share + 0.1))[0]  # a higher share never rejects more
