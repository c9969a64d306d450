"""Mined sets of training files, matched by text."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays.text_hashes import copy_key
from hnmine.commands.probe.text_sets import Numbering, TextSet, read_set
from hnmine.errors import InputError
from tests.students.tasks import ragged


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def keys(*texts):
    return [copy_key(text) for text in texts]


def test_every_shape_gives_the_same_examples(tmp_path):
    files = {
        "triplet": [
            {"anchor": "one?", "positive": "sand", "negative": "reef"},
            {"anchor": "one?", "positive": "sand", "negative": "tide"},
            {"anchor": "two", "positive": "kelp", "negative": "reef"},
        ],
        "n-tuple": [
            {"anchor": "one?", "positive": "sand", "negative_1": "reef", "negative_2": "tide"},
            {"anchor": "two", "positive": "kelp", "negative_1": "reef", "negative_2": None},
        ],
        "bge": [
            {"query": "one?", "pos": ["sand"], "neg": ["reef", "tide", "Reef!"]},
            {"query": "two", "pos": ["kelp"], "neg": ["reef", ""]},
        ],
        "labeled-list": [
            {"anchor": "one?", "documents": ["sand", "reef", "tide"], "labels": [1, 0, 0]},
            {"anchor": "two", "documents": ["kelp", "reef"], "labels": [1, 0]},
        ],
    }
    for name, rows in files.items():
        found = read_set(write(tmp_path / f"{name}.jsonl", rows))
        assert found.queries.tolist() == keys("one?", "two"), name
        assert found.positives.tolist() == keys("sand", "kelp"), name
        assert found.negatives.lengths.tolist() == [2, 1], name
        assert found.negatives.values.tolist() == keys("reef", "tide", "reef"), name
        assert {found.texts[key] for key in found.negatives.values.tolist()} == {"reef", "tide"}, name


def test_several_positives_are_an_example_each(tmp_path):
    found = read_set(write(tmp_path / "a.jsonl", [{"query": "one", "pos": ["sand", "kelp"], "neg": ["reef"]}]))
    assert found.positives.tolist() == keys("sand", "kelp")
    assert found.negatives.values.tolist() == keys("reef", "reef")


def test_files_that_hold_nothing_to_train_on_are_refused(tmp_path):
    with pytest.raises(InputError, match="the folder holds no"):
        read_set(str(tmp_path))
    with pytest.raises(InputError, match="no query with a positive"):
        read_set(write(tmp_path / "b.jsonl", [{"anchor": "one", "positive": "", "negative": "reef"}]))


NAMES = st.lists(st.integers(0, 20), max_size=12)


@given(NAMES, NAMES, st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), NAMES), max_size=6))
def test_numbers_equal_a_search_by_hand(queries, documents, rows):
    given_set = TextSet(
        np.array([q for q, _, _ in rows], dtype=np.uint64),
        np.array([p for _, p, _ in rows], dtype=np.uint64),
        ragged([own for _, _, own in rows]),
        {name: f"text {name}" for name in range(21)},
    )
    given_set = given_set._replace(
        negatives=given_set.negatives.with_values(given_set.negatives.values.astype(np.uint64))
    )
    numbering = Numbering(np.array(queries, dtype=np.uint64), np.array(documents, dtype=np.uint64))
    found, left_out = numbering.examples(given_set)
    kept = [row for row in rows if row[0] in queries]
    assert left_out == len(rows) - len(kept)
    assert found.queries.tolist() == [queries.index(q) for q, _, _ in kept]
    whole = [f"text {name}" for name in documents] + numbering.added
    assert len(set(numbering.added)) == len(numbering.added)
    assert [whole[i] for i in found.positives] == [f"text {p}" for _, p, _ in kept]
    assert [whole[i] for i in found.negatives.values] == [f"text {n}" for _, _, own in kept for n in own]
