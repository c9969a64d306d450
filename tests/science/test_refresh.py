import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.refresh import best_kept, is_easy
from tests import oracles
from tests.strategies import f32, quick

scores = st.floats(-2, 2, width=32).map(f32)
pairs = st.lists(st.tuples(scores, scores), max_size=12)
ratios, limits = st.floats(1, 3), st.floats(-1, 2)
rows = st.lists(st.lists(st.tuples(st.integers(0, 6), scores), max_size=6, unique_by=lambda one: one[0]), max_size=5)


def column(values):
    return np.array(values, dtype=np.float32)


def found(given, ratio, below):
    return is_easy(column([now for now, _ in given]), column([first for _, first in given]), ratio, below)


@quick
@given(pairs, ratios, limits)
def test_easy_is_what_fell_by_the_ratio_and_is_low(given, ratio, below):
    assert found(given, ratio, below).tolist() == [oracles.is_easy(*one, ratio, below) for one in given]


@quick
@given(pairs, ratios, ratios, limits, limits)
def test_a_stricter_setting_never_replaces_fewer(given, one, other, low, high):
    """A lower ratio or a higher limit asks more of a negative that is to stay."""
    strict = found(given, min(one, other), max(low, high))
    loose = found(given, max(one, other), min(low, high))
    assert not (loose & ~strict).any()


@quick
@given(pairs, ratios, limits)
def test_what_did_not_fall_is_never_easy(given, ratio, below):
    assert not any(
        is_easy and now >= first for is_easy, (now, first) in zip(found(given, ratio, below), given, strict=True)
    )


def test_the_published_setting_by_hand():
    # 1.15 * 0.6 = 0.69: below 0.7, not below 0.68; 0.8 and above is hard whatever it was
    given = [(0.6, 0.7), (0.6, 0.68), (0.8, 0.99), (0.79, 0.95)]
    assert found(given, 1.15, 0.8).tolist() == [True, False, False, True]
    # below 0 the same distance is asked for: -0.4 (2 - 1 / 1.25) = -0.48
    assert found([(-0.5, -0.4), (-0.45, -0.4)], 1.25, 0.8).tolist() == [True, False]


def flattened(lists):
    groups = np.array([i for i, row in enumerate(lists) for _ in row], dtype=np.int64)
    documents = np.array([document for row in lists for document, _ in row], dtype=np.int64)
    return groups, documents, column([score for row in lists for _, score in row])


@quick
@given(rows, st.lists(st.integers(0, 4), min_size=5, max_size=5), st.none() | st.integers(1, 3))
def test_the_hardest_stay_as_far_as_there_is_room(lists, room, cap):
    groups, documents, values = flattened(lists)
    wanted = np.array(room, dtype=np.int64)[groups]
    limit = None if cap is None else (cap, {2: 1})
    kept = best_kept(groups, documents, values, wanted, limit)
    assert kept.tolist() == oracles.best_kept(lists, room, cap, {2: 1})
    assert len(set(zip(groups[kept].tolist(), documents[kept].tolist(), strict=True))) == len(kept)
    assert (np.bincount(groups[kept], minlength=5) <= np.array(room)).all()
    if cap is not None:
        served = np.bincount(documents[kept], minlength=7)
        served[2] += 1
        assert served.max() <= cap
        assert limit == (cap, {d: int(n) for d, n in enumerate(served) if n})
