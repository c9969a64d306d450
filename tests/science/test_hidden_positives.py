from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.hidden_positives import fold_of, pick_known

counts = st.lists(st.integers(0, 5), max_size=8)


def picked(rows, positives, hidings, seed=0):
    query, known = pick_known(np.array(rows, dtype=np.int64), np.array(positives, dtype=np.int64), hidings, seed)
    return list(zip(query.tolist(), known.tolist(), strict=True))


@given(counts, st.integers(1, 4), st.integers(0, 3))
def test_each_query_with_several_positives_hides_as_often_as_asked_each_time_with_another_known(
    positives, hidings, seed
):
    found = picked(range(len(positives)), positives, hidings, seed)
    assert found == sorted(set(found))
    assert Counter(query for query, _ in found) == {
        query: min(hidings, number) for query, number in enumerate(positives) if number > 1
    }
    assert all(0 <= known < positives[query] for query, known in found)


@given(counts, st.integers(1, 3), st.data())
def test_the_known_positive_depends_on_the_querys_row_alone_and_not_on_its_batch(positives, hidings, data):
    rows = [10 * i for i in range(len(positives))]
    whole = {(rows[query], known) for query, known in picked(rows, positives, hidings)}
    order = data.draw(st.permutations(range(len(positives))))
    mixed = picked([rows[i] for i in order], [positives[i] for i in order], hidings)
    assert {(rows[order[query]], known) for query, known in mixed} == whole


def test_the_known_positive_is_roughly_uniform():
    found = Counter(known for _, known in picked(range(3000), [3] * 3000, 1))
    assert sorted(found) == [0, 1, 2]
    assert max(abs(count - 1000) for count in found.values()) < 4.5 * (3000 * (1 / 3) * (2 / 3)) ** 0.5


def test_folds_are_even_fixed_by_row_and_seed_and_differ_between_seeds():
    rows = np.arange(5000)
    folds = fold_of(rows, 5, 0)
    assert np.abs(np.bincount(folds, minlength=5) - 1000).max() < 4.5 * (5000 * 0.2 * 0.8) ** 0.5
    np.testing.assert_array_equal(fold_of(rows[1234:1300], 5, 0), folds[1234:1300])
    assert not np.array_equal(fold_of(rows, 5, 1), folds)
