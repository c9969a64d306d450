"""MaxSim: an example by hand, a double loop, and its properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hnmine.science.late_interaction import max_sim
from tests import oracles

vectors = arrays(np.float32, st.tuples(st.integers(1, 5), st.just(3)), elements=st.floats(-4, 4, width=32))


def test_by_hand():
    query, document = np.eye(2, dtype=np.float32), np.array([[0.6, 0.8], [0.0, -1.0], [1.0, 0.0]], dtype=np.float32)
    assert max_sim(query, document) == pytest.approx(1.0 + 0.8)


@given(vectors, vectors)
def test_it_is_the_double_loop(query, document):
    assert max_sim(query, document) == pytest.approx(oracles.max_sim(query, document), rel=1e-5, abs=1e-4)


@given(vectors, vectors, vectors)
def test_tokens_add_up_in_the_query_and_only_help_in_the_document(query, document, more):
    assert max_sim(query, np.concatenate([document, more])) >= max_sim(query, document) - 1e-4
    both = max_sim(np.concatenate([query, more]), document)
    assert both == pytest.approx(max_sim(query, document) + max_sim(more, document), abs=1e-3)
    assert max_sim(query[::-1], document[::-1]) == pytest.approx(max_sim(query, document), abs=1e-3)


def test_a_text_without_tokens_scores_nothing():
    none, one = np.zeros((0, 3), dtype=np.float32), np.ones((1, 3), dtype=np.float32)
    assert max_sim(none, one) == max_sim(one, none) == 0.0
