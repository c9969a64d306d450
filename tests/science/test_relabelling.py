import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.science.relabelling import pick_further_positives
from tests import oracles


@st.composite
def entries(draw):
    """(query, query's text, document, document's text, P), each document once a query; texts are shared by some."""
    pairs = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), unique=True, max_size=30))
    probabilities = st.integers(5, 10).map(lambda n: n / 10) | st.just(np.inf)
    return [(q, q // 2, d, d // 3, draw(probabilities)) for q, d in pairs]


def picked(found, most):
    columns = [np.array(column) for column in zip(*found, strict=True)] if found else [np.zeros(0, np.int64)] * 5
    return pick_further_positives(*columns, most).tolist()


@given(entries(), st.integers(1, 4))
def test_it_is_the_best_of_each_query_once_a_text(found, most):
    assert picked(found, most) == oracles.further_positives(found, most)


@given(entries(), st.integers(1, 4), st.randoms())
def test_the_order_of_the_candidates_does_not_matter(found, most, random):
    shuffled = random.sample(found, len(found))
    assert [shuffled[i] for i in picked(shuffled, most)] == [found[i] for i in picked(found, most)]


@given(entries(), st.integers(1, 4))
def test_a_higher_limit_only_adds(found, most):
    assert set(picked(found, most)) <= set(picked(found, most + 1))


def test_ties_go_by_document_and_copies_are_picked_once():
    found = [(0, 0, 5, 50, 0.9), (0, 0, 4, 40, 0.9), (0, 0, 3, 50, 0.95), (1, 0, 4, 40, 0.99), (1, 0, 9, 90, 0.6)]
    assert picked(found, 3) == [2, 3, 4]  # document 4 goes to query 1, 5 is a copy of 3
    assert picked(found, 1) == [2, 3]
