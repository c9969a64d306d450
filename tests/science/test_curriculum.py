import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.curriculum import curriculum_order, example_hardness
from tests import oracles
from tests.strategies import scores

hard = st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0])  # their sums are exact
examples = st.lists(st.tuples(scores, scores, st.lists(scores, max_size=4)), max_size=6)


@given(examples)
def test_the_hardness_of_an_example_is_the_mean_of_a_loop(rows):
    anchor, s0 = (np.array([row[place] for row in rows], dtype=np.float32) for place in (0, 1))
    owners = np.repeat(np.arange(len(rows)), [len(row[2]) for row in rows])
    s = np.array([one for row in rows for one in row[2]], dtype=np.float32)
    expected = [
        oracles.mean([oracles.hardness(float(one), float(a), float(b)) for one in own]) or 0.0 for a, b, own in rows
    ]
    np.testing.assert_allclose(example_hardness(s, owners, anchor, s0), expected, rtol=1e-9, atol=1e-12)


@given(st.lists(st.tuples(hard, st.integers(0, 3)), max_size=12), st.booleans(), st.booleans())
def test_the_order_is_that_of_python_s_sort(rows, batched, hardest_first):
    hardness, batch = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=np.int64)
    sign = -1 if hardest_first else 1
    keys = [(sign * h,) for h, _ in rows]
    if batched:
        means = {b: np.mean([h for h, other in rows if other == b]) for _, b in rows}
        keys = [(sign * means[b], b, sign * h) for h, b in rows]
    found = curriculum_order(hardness, batch if batched else None, hardest_first=hardest_first)
    assert found.tolist() == sorted(range(len(rows)), key=lambda at: (*keys[at], at))


@given(st.lists(hard, max_size=12))
def test_both_directions_are_permutations_by_hardness(values):
    hardness = np.array(values)
    up, down = curriculum_order(hardness), curriculum_order(hardness, hardest_first=True)
    assert sorted(up.tolist()) == sorted(down.tolist()) == list(range(len(values)))
    assert (np.diff(hardness[up]) >= 0).all()
    assert (np.diff(hardness[down]) <= 0).all()
