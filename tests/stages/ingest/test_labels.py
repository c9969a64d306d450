"""Lists of labels are what a loop over queries makes of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.stages.ingest.labels import list_rows, sibling_rows, sort_labels, without

documents = st.integers(0, 5)
sets = st.lists(st.tuples(st.integers(0, 2), st.sets(documents), st.sets(documents)))


def as_lists(found):
    return [found.values[first:last].tolist() for first, last in zip(found.offsets, found.offsets[1:], strict=False)]


@given(st.lists(st.dictionaries(documents, st.integers(-2, 2))))
def test_labels_are_sorted_by_document(labels):
    found, levels = sort_labels(labels)
    assert as_lists(found) == [sorted(own) for own in labels]
    assert levels.tolist() == [own[document] for own in labels for document in sorted(own)]


@given(sets)
def test_one_list_without_another(given_sets):
    found = without(*(list_rows([sorted(query[place]) for query in given_sets]) for place in (1, 2)))
    assert as_lists(found) == [sorted(own - other) for _, own, other in given_sets]


@given(sets)
def test_siblings_have_the_same_text(given_sets):
    keys = np.array([key for key, *_ in given_sets], dtype=np.uint64)
    found = sibling_rows(keys, list_rows([sorted(own) for _, own, _ in given_sets]))
    expected = [
        sorted(set().union(*(other for same, other, _ in given_sets if same == key)) - own)
        for key, own, _ in given_sets
    ]
    assert as_lists(found) == expected
