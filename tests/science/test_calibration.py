import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.text_hashes import BUCKETS, terms
from hnmine.science.calibration import Logistic, calibration_error, fit, reliability, stack
from hnmine.science.lexical import inverse_document_frequency, shared_weights, weighted_jaccard, word_coverage
from hnmine.science.z_scores import background_z_scores, group_z_scores

texts = st.lists(st.sampled_from(["red", "fox", "tide", "Opal", "x1"]), max_size=6).map(" ".join)


def test_terms_are_distinct_words_whatever_their_case_and_order():
    assert terms("The fox, the FOX!").tolist() == terms("fox the").tolist()
    assert len(terms("")) == 0
    assert terms("naïve 東京").dtype == np.int32


@given(st.lists(st.tuples(texts, texts, st.lists(texts, max_size=4)), max_size=4))
def test_shared_words_equal_the_double_loop(queries):
    idf = np.full(BUCKETS, 1.0)
    for number, word in enumerate(["red", "fox", "tide", "opal", "x1"]):
        idf[terms(word)] = number + 1.0
    weight = {"red": 1, "fox": 2, "tide": 3, "opal": 4, "x1": 5}
    split = lambda text: set(re.findall(r"\w+", text.lower()))  # noqa: E731 - the obvious way, beside its only use
    asked = [(q, c, terms(text)) for q, own in enumerate(queries) for c, text in enumerate(own[:2])]
    sizes = [len(words) for _, _, words in asked]
    wanted = (
        np.repeat(np.array([q for q, _, _ in asked], dtype=np.int64), sizes),
        np.repeat(np.array([c for _, c, _ in asked], dtype=np.int64), sizes),
        np.concatenate([*(words for _, _, words in asked), np.zeros(0, dtype=np.int32)]),
    )
    documents = [(q, text) for q, own in enumerate(queries) for text in own[2]]
    words = [terms(text) for _, text in documents]
    held = np.concatenate([*words, np.zeros(0, dtype=np.int32)])
    owners = np.array([q for q, _ in documents], dtype=np.int64)
    found = shared_weights(wanted, (np.repeat(np.arange(len(words)), [len(w) for w in words]), held), owners, idf, 2)
    total = lambda text: sum(weight[word] for word in split(text))  # noqa: E731 - likewise
    for row, (q, text) in zip(found, documents, strict=True):
        for column, other in enumerate(queries[q][:2]):
            both = sum(weight[word] for word in split(other) & split(text))
            assert row[column] == both
            union = sum(weight[word] for word in split(other) | split(text))
            weights = (row[column : column + 1], np.array([total(text)]), np.array([total(other)]))
            assert weighted_jaccard(*map(np.asarray, weights)) == pytest.approx(both / union if union else 0)
            covered = word_coverage(row[column : column + 1], np.array([float(total(other))]))
            assert covered == pytest.approx(both / total(other) if total(other) else 0)


def test_rarity_is_the_formula_and_never_zero():
    assert inverse_document_frequency(np.array([1, 10, 0, 100]), 100) == pytest.approx(
        [math.log(101), math.log(11), math.log(101), math.log(2)]
    )


def test_within_equals_the_double_loop_and_flat_groups_give_zero():
    values = np.array([1.0, 2.0, 9.0, 5.0, 5.0, 7.0])
    groups = np.array([0, 0, 0, 1, 1, 2])
    counted = np.array([True, True, False, True, True, False])
    out = group_z_scores(values, groups, counted, 4)
    assert out == pytest.approx([-1, 1, (9 - 1.5) / 0.5, 0, 0, 0])


@given(st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=20), st.floats(0.5, 3), st.floats(-2, 2))
def test_within_does_not_change_when_scores_are_shifted_and_scaled(values, scale, shift):
    x = np.array(values)
    groups, counted = np.zeros(len(x), dtype=int), np.ones(len(x), dtype=bool)
    if x.std() > 1e-3:
        expected = group_z_scores(x, groups, counted, 1)
        assert group_z_scores(x * scale + shift, groups, counted, 1) == pytest.approx(expected, abs=1e-4)


def test_against_a_background_without_spread_is_zero():
    assert background_z_scores(np.array([1.0, 3.0]), np.array([0.0, 1.0]), np.array([0.0, 2.0])).tolist() == [0.0, 1.0]


def test_a_fit_finds_the_direction_and_predicts_by_the_formula():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4000, 3)) * [1, 5, 1] + [0, 2, 0]
    y = generator.random(4000) < 1 / (1 + np.exp(-(2 * x[:, 0] - 0.2 * x[:, 1])))
    model = fit(x, y)
    p = model.predict(x, np.zeros(len(x), dtype=int))
    by_hand = [
        1
        / (
            1
            + math.exp(
                -(
                    model.bias[0]
                    + sum(model.weights[0, k] * (row[k] - model.mean[0, k]) / model.scale[0, k] for k in range(3))
                )
            )
        )
        for row in x[:50]
    ]
    assert p[:50] == pytest.approx(by_hand)
    assert model.weights[0, 0] / model.scale[0, 0] == pytest.approx(2, abs=0.2)
    assert calibration_error(p, y) < 0.03


@pytest.mark.parametrize("bias", [0.0, -4.0])
def test_a_fit_is_that_of_scikit_learn(bias):
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(1)
    x = generator.normal(size=(2000, 5)) * [1, 5, 1, 0.1, 0] + 3
    y = generator.random(2000) < 1 / (1 + np.exp(-(2 * (x[:, 0] - 3) + bias)))
    weights = generator.uniform(0.5, 9, 2000)
    model = fit(x, y, weights)
    other = LogisticRegression(C=1.0, tol=1e-10).fit((x - model.mean) / model.scale, y, sample_weight=weights)
    assert model.weights == pytest.approx(other.coef_, abs=1e-4)
    assert model.bias == pytest.approx(other.intercept_, abs=1e-4)


def test_a_fit_of_labels_that_a_line_separates_is_finite():
    x = np.linspace(-1, 1, 50)[:, None]
    model = fit(x, x[:, 0] > 0)
    assert 0 < model.weights[0, 0] < 10
    assert abs(model.bias[0]) < 1e-6
    with pytest.raises(ValueError, match="both"):
        fit(x, np.ones(50, dtype=bool))


def test_each_row_is_asked_of_its_own_model():
    one = Logistic(np.zeros((1, 1)), np.ones((1, 1)), np.ones((1, 1)), np.zeros(1))
    other = Logistic(np.zeros((1, 1)), np.ones((1, 1)), -np.ones((1, 1)), np.zeros(1))
    p = stack([one, other]).predict(np.array([[3.0], [3.0]]), np.array([0, 1]))
    assert p[0] > 0.9 > 0.1 > p[1]


def test_a_fit_needs_both_kinds():
    with pytest.raises(ValueError, match="hidden positives"):
        fit(np.zeros((3, 1)), np.zeros(3, dtype=bool))


def test_a_constant_feature_does_no_harm():
    x = np.array([[0.0, 7.0], [1.0, 7.0], [0.1, 7.0], [0.9, 7.0]])
    model = fit(x, np.array([False, True, False, True]))
    assert np.isfinite(model.predict(x, np.zeros(4, dtype=int))).all()


def test_reliability_counts_by_tenths():
    rows = reliability(np.array([0.05, 0.07, 0.95, 1.0]), np.array([False, True, True, True]))
    assert [row["count"] for row in rows] == [2, 2]
    assert rows[0]["observed"] == 0.5
    assert rows[1]["predicted"] == pytest.approx(0.975)
    assert calibration_error(np.zeros(0), np.zeros(0, dtype=bool)) == 0
