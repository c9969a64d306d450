import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.example_weights import cluster_rates, cluster_weight, focal_weight, positive_probability
from tests import oracles
from tests.strategies import scores

examples = st.lists(st.tuples(scores, st.lists(scores, max_size=4)), min_size=1, max_size=6)
temperatures = st.sampled_from([0.05, 0.2, 1.0])
probabilities = st.floats(0, 1)
negatives = st.lists(st.tuples(probabilities | st.none(), st.integers(0, 3), st.booleans()), max_size=12)


def flat(rows):
    owners = np.repeat(np.arange(len(rows)), [len(own) for _, own in rows])
    positive = np.array([one for one, _ in rows], dtype=np.float32)
    return positive, np.array([s for _, own in rows for s in own], dtype=np.float32), owners


@given(examples, st.sampled_from([0.25, 1.0]))
def test_the_probability_is_the_softmax_of_a_loop(rows, temperature):
    found = positive_probability(*flat(rows), temperature)
    expected = [oracles.positive_probability(float(s), [float(o) for o in own], temperature) for s, own in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-300)


@given(examples, temperatures, st.floats(0, 4))
def test_weights_are_in_range_and_a_higher_gamma_never_weighs_more(rows, temperature, gamma):
    p = positive_probability(*flat(rows), temperature)
    weights = focal_weight(p, gamma)
    assert ((weights >= 0) & (weights <= 1)).all()
    assert (focal_weight(p, gamma + 1) <= weights).all()
    assert (focal_weight(p, 0.0) == 1).all()


@given(examples, temperatures, scores)
def test_one_more_negative_never_lowers_the_weight(rows, temperature, more):
    fewer = positive_probability(*flat(rows), temperature)
    longer = positive_probability(*flat([(one, [*own, more]) for one, own in rows]), temperature)
    assert (longer <= fewer + 1e-12).all()


def test_focal_weight_by_hand():
    positive, s = np.float32([0.5, 0.5]), np.float32([0.5, 0.0])
    p = positive_probability(positive, s, np.array([0, 1]), 0.5)
    assert p.tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-1))])
    assert focal_weight(p, 0.5).tolist() == pytest.approx([math.sqrt(0.5), math.sqrt(1 / (1 + math.e))])
    assert positive_probability(positive, s[:0], np.zeros(0, dtype=np.int64), 0.5).tolist() == [1, 1]


def columns(rows):
    p = np.array([math.nan if row[0] is None else row[0] for row in rows], dtype=np.float64)
    return p, np.array([row[1] for row in rows], dtype=np.int64), np.array([row[2] for row in rows], dtype=bool)


@given(negatives)
def test_cluster_weights_are_those_of_a_double_loop(rows):
    p, cluster, own = columns(rows)
    rates = cluster_rates(p, cluster, own, 4)
    expected = []
    for _, number, same in rows:
        inside = [q for q, other, is_own in rows if is_own and other == number and q is not None]
        expected.append(1 - sum(inside) / len(inside) if same and inside else 1.0)
    np.testing.assert_allclose(cluster_weight(cluster, own, rates), expected, rtol=1e-9, atol=1e-12)


@given(negatives)
def test_only_own_clusters_weigh_less(rows):
    p, cluster, own = columns(rows)
    weights = cluster_weight(cluster, own, cluster_rates(p, cluster, own, 4))
    assert (weights[~own] == 1).all()
    assert ((weights >= -1e-12) & (weights <= 1)).all()
