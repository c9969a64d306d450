"""Many texts at once hash to what each hashes to by itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays import text_hashes as manytexts
from hnmine.arrays.text_hashes import hash_texts
from hnmine.arrays.text_keys import copy_key
from hnmine.arrays.words import terms
from tests.strategies import quick

# plain words and signs, the signs that are no plain text, other scripts, and letters that fold into two
words = st.text("abAB09 .,-?!\n\t\x00_+#", max_size=12)
texts = st.lists(st.one_of(words, st.text(max_size=8), st.sampled_from(["Straße", "C++", "ﬁne", "दिन", "İ"])))


def one_by_one(given_texts):
    own = [terms(text) for text in given_texts]
    return (
        [copy_key(text) for text in given_texts],
        np.concatenate([np.zeros(0, dtype=np.int32), *own]).tolist(),
        [len(part) for part in own],
    )


def hashed(given_texts):
    """Return the same of all of them at once; the types are those that are stored."""
    found = hash_texts(given_texts)
    assert (found.keys.dtype, found.terms.dtype, found.lengths.dtype) == (np.uint64, np.int32, np.int64)
    return found.keys.tolist(), found.terms.tolist(), found.lengths.tolist()


@quick
@given(texts)
def test_texts_hash_as_each_does_alone(given_texts):
    assert hashed(given_texts) == one_by_one(given_texts)


@pytest.mark.parametrize("size", [1, 5, 9, 1000])
def test_portions_change_nothing(size, monkeypatch):
    monkeypatch.setattr(manytexts, "_CHARACTERS", size)
    given_texts = ["one two", "", "Two, two; ONE", "snake_case", "", "naïve 東京", "?", "a b c d e f g h", ""]
    assert hashed(given_texts) == one_by_one(given_texts)


def test_no_texts():
    assert hashed([]) == one_by_one([])
