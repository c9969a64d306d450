import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.stages.emit.formats import FORMATS, Examples

EXTRA = [
    "query_id", "positive_id", "negative_id", "positive_score", "negative_score", "rank", "rule", "anchor_score",
    "source",
    "p_false_negative", "weight",
]  # fmt: skip


def examples(lengths, wanted=2):
    """Return examples e0, e1, .. with negatives n0, n1, .. counted through."""
    count, total = len(lengths), sum(lengths)

    def texts(letter, number):
        return pa.array([f"{letter}{i}" for i in range(number)], pa.string())

    return Examples(
        wanted=wanted,
        columns={
            "anchor": texts("a", count), "positive": texts("p", count), "query_id": texts("q", count),
            "positive_id": texts("d", count), "positive_score": pa.array(np.arange(count) + 0.5, pa.float32()),
            "anchor_score": pa.array(np.arange(count) + 0.25, pa.float32()),
            "positive_source": pa.array(["label", "relabelled"] * count, pa.string()).slice(0, count),
            "positive_probability": pa.array([None, 0.875] * count, pa.float32()).slice(0, count),
        },
        lengths=np.array(lengths, dtype=np.int64),
        negatives={
            "negative": texts("n", total), "negative_id": texts("x", total),
            "negative_score": pa.array(-np.arange(total) / 4, pa.float32()),
            "rank": pa.array(np.arange(total) + 1, pa.int32()), "rule": texts("r", total),
            "source": texts("s", total),
            "p_false_negative": pa.array(np.arange(total) / 64, pa.float32()),
            "weight": pa.array(1 - np.arange(total) / 64, pa.float32()),
        },
    )  # fmt: skip


def sliced(whole, padding=1, chunked=False):
    """Return the same examples as slices of longer columns, or in chunks."""

    def cut(column):
        rest = pa.array([column[0].as_py() if len(column) else None] * padding, column.type)
        longer = pa.concat_arrays([rest, column, rest]).slice(padding, len(column))
        if not chunked:
            return longer
        half = len(column) // 2
        return pa.chunked_array([longer.slice(0, half), longer.slice(half)], column.type)

    return Examples(
        whole.wanted,
        {name: cut(column) for name, column in whole.columns.items()},
        np.concatenate([[9], whole.lengths, [9]])[1:-1],
        {name: cut(column) for name, column in whole.negatives.items()},
    )


def rows(name, made, extra=()):
    table = FORMATS[name](made, list(extra))
    table.validate(full=True)
    if name == "bge":
        return [json.loads(line) for line in table.column("line").to_pylist()]
    return table.to_pylist()


MIXED = [1, 0, 2, 2]
# of the four examples: a0 has n0, a1 has none, a2 has n1 and n2, a3 has n3 and n4


def test_triplet_has_one_row_a_negative():
    assert rows("triplet", examples(MIXED)) == [
        {"anchor": "a0", "positive": "p0", "negative": "n0"},
        {"anchor": "a2", "positive": "p2", "negative": "n1"},
        {"anchor": "a2", "positive": "p2", "negative": "n2"},
        {"anchor": "a3", "positive": "p3", "negative": "n3"},
        {"anchor": "a3", "positive": "p3", "negative": "n4"},
    ]


def test_triplet_extra_columns_belong_to_their_row():
    found = rows("triplet", examples(MIXED), EXTRA)
    assert found[2] == {
        "anchor": "a2", "positive": "p2", "negative": "n2", "query_id": "q2", "positive_id": "d2", "negative_id": "x2",
        "positive_score": 2.5, "negative_score": -0.5, "rank": 3, "rule": "r2", "anchor_score": 2.25,
        "source": "s2",
        "p_false_negative": 2 / 64, "weight": 62 / 64,
    }  # fmt: skip
    assert [row["negative_id"] for row in found] == ["x0", "x1", "x2", "x3", "x4"]
    assert [row["query_id"] for row in found] == ["q0", "q2", "q2", "q3", "q3"]


def test_n_tuple_has_full_examples_only():
    assert rows("n-tuple", examples(MIXED)) == [
        {"anchor": "a2", "positive": "p2", "negative_1": "n1", "negative_2": "n2"},
        {"anchor": "a3", "positive": "p3", "negative_1": "n3", "negative_2": "n4"},
    ]


def test_n_tuple_extra_columns_are_lists_where_they_are_the_negatives():
    assert rows("n-tuple", examples(MIXED), EXTRA)[0] == {
        "anchor": "a2", "positive": "p2", "negative_1": "n1", "negative_2": "n2", "query_id": "q2",
        "positive_id": "d2", "negative_id": ["x1", "x2"], "positive_score": 2.5, "negative_score": [-0.25, -0.5],
        "rank": [2, 3], "rule": ["r1", "r2"], "anchor_score": 2.25,
        "source": ["s1", "s2"],
        "p_false_negative": [1 / 64, 2 / 64], "weight": [63 / 64, 62 / 64],
    }  # fmt: skip


def test_n_tuple_scores_has_the_positives_score_first():
    assert rows("n-tuple-scores", examples(MIXED)) == [
        {"anchor": "a2", "positive": "p2", "negative_1": "n1", "negative_2": "n2", "scores": [2.5, -0.25, -0.5]},
        {"anchor": "a3", "positive": "p3", "negative_1": "n3", "negative_2": "n4", "scores": [3.5, -0.75, -1.0]},
    ]
    table = FORMATS["n-tuple-scores"](examples(MIXED), [])
    assert table.column_names == ["anchor", "positive", "negative_1", "negative_2", "scores"]
    assert table.schema.field("scores").type.value_type == pa.float32()


def test_labeled_pair_has_the_positive_once_then_its_negatives():
    found = [(row["anchor"], row["document"], row["label"]) for row in rows("labeled-pair", examples(MIXED))]
    assert found == [
        ("a0", "p0", 1), ("a0", "n0", 0),
        ("a2", "p2", 1), ("a2", "n1", 0), ("a2", "n2", 0),
        ("a3", "p3", 1), ("a3", "n3", 0), ("a3", "n4", 0),
    ]  # fmt: skip


def test_labeled_pair_extra_columns_of_negatives_are_null_beside_the_positive_and_its_weight_is_1():
    found = rows("labeled-pair", examples(MIXED), EXTRA)
    nothing = dict.fromkeys(("negative_id", "negative_score", "rank", "rule", "source", "p_false_negative"))
    nothing |= {"weight": 1}
    assert [row for row in found if row["label"] == 1 and not nothing.items() <= row.items()] == []
    assert [row["negative_id"] for row in found if row["label"] == 0] == ["x0", "x1", "x2", "x3", "x4"]
    assert found[4] == {
        "anchor": "a2", "document": "n2", "label": 0, "query_id": "q2", "positive_id": "d2", "negative_id": "x2",
        "positive_score": 2.5, "negative_score": -0.5, "rank": 3, "rule": "r2", "anchor_score": 2.25,
        "source": "s2",
        "p_false_negative": 2 / 64, "weight": 62 / 64,
    }  # fmt: skip


def test_labeled_list_has_the_positive_first():
    assert rows("labeled-list", examples(MIXED)) == [
        {"anchor": "a0", "documents": ["p0", "n0"], "labels": [1, 0]},
        {"anchor": "a2", "documents": ["p2", "n1", "n2"], "labels": [1, 0, 0]},
        {"anchor": "a3", "documents": ["p3", "n3", "n4"], "labels": [1, 0, 0]},
    ]
    assert rows("labeled-list", examples(MIXED), ["rank", "query_id"])[1] == {
        "anchor": "a2", "documents": ["p2", "n1", "n2"], "labels": [1, 0, 0], "rank": [2, 3], "query_id": "q2",
    }  # fmt: skip


def test_bge_has_one_json_line_an_example():
    assert rows("bge", examples(MIXED)) == [
        {"query": "a0", "pos": ["p0"], "neg": ["n0"], "pos_scores": [0.5], "neg_scores": [0.0]},
        {"query": "a2", "pos": ["p2"], "neg": ["n1", "n2"], "pos_scores": [2.5], "neg_scores": [-0.25, -0.5]},
        {"query": "a3", "pos": ["p3"], "neg": ["n3", "n4"], "pos_scores": [3.5], "neg_scores": [-0.75, -1.0]},
    ]
    extra = rows("bge", examples(MIXED), ["query_id", "rank"])[1]
    assert extra["query_id"] == "q2"
    assert extra["rank"] == [2, 3]


def test_bge_lines_keep_letters_and_break_nowhere():
    made = examples([1], wanted=1)
    odd = 'Ünïcode "quoted"\nline\u2028two\ttab 漢字'
    made.columns["anchor"] = pa.array([odd])
    line = FORMATS["bge"](made, []).column("line")[0].as_py()
    assert "\n" not in line
    assert "漢字" in line
    assert json.loads(line)["query"] == odd


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("extra", [[], EXTRA])
@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_without_negatives_there_are_no_rows_but_the_same_columns(name, extra, lengths):
    empty = FORMATS[name](examples(lengths), list(extra))
    empty.validate(full=True)
    assert empty.num_rows == 0
    assert empty.schema.equals(FORMATS[name](examples([2, 2]), list(extra)).schema)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("extra", [[], EXTRA])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("lengths", [MIXED, [2], [0, 2, 0, 1], [0, 0], []])
def test_slices_and_chunks_give_the_same_rows_as_whole_columns(name, extra, chunked, lengths):
    whole = examples(lengths)
    found = FORMATS[name](sliced(whole, padding=3, chunked=chunked), list(extra))
    assert found.to_pylist() == FORMATS[name](whole, list(extra)).to_pylist()


@given(st.lists(st.integers(0, 3), max_size=6), st.integers(1, 3), st.integers(0, 6))
def test_shards_one_after_another_give_the_rows_of_the_whole(lengths, wanted, cut):
    whole = examples([min(n, wanted) for n in lengths], wanted)
    cut = min(cut, len(lengths))
    border = int(whole.lengths[:cut].sum())

    def part(of_examples, of_negatives):
        return Examples(
            wanted,
            {name: column[of_examples] for name, column in whole.columns.items()},
            whole.lengths[of_examples],
            {name: column[of_negatives] for name, column in whole.negatives.items()},
        )

    for make in FORMATS.values():
        first = make(part(slice(0, cut), slice(0, border)), EXTRA)
        second = make(part(slice(cut, None), slice(border, None)), EXTRA)
        assert pa.concat_tables([first, second]).to_pylist() == make(whole, EXTRA).to_pylist()


@given(st.lists(st.integers(0, 3), max_size=6))
def test_every_shape_holds_the_same_pairs_of_example_and_negative(lengths):
    made = examples(lengths, wanted=3)
    expected = {(f"a{i}", f"n{sum(lengths[:i]) + j}") for i, n in enumerate(lengths) for j in range(n)}
    full = {(a, n) for a, n in expected if lengths[int(a[1:])] == 3}
    found = {
        "triplet": {(r["anchor"], r["negative"]) for r in rows("triplet", made)},
        "labeled-pair": {(r["anchor"], r["document"]) for r in rows("labeled-pair", made) if r["label"] == 0},
        "labeled-list": {(r["anchor"], d) for r in rows("labeled-list", made) for d in r["documents"][1:]},
        "bge": {(r["query"], d) for r in rows("bge", made) for d in r["neg"]},
        "n-tuple": {(r["anchor"], r[f"negative_{i}"]) for r in rows("n-tuple", made) for i in (1, 2, 3)},
    }
    assert found == {"n-tuple": full} | dict.fromkeys(("triplet", "labeled-pair", "labeled-list", "bge"), expected)


@pytest.mark.parametrize("lengths", [MIXED, [], [0]])
def test_soft_labels_are_the_probabilities_of_the_same_rows(lengths):
    made = replace(examples(lengths), soft_labels=True)
    columns = ["p_false_negative", "positive_probability"]
    pairs, lists = (FORMATS[name](made, columns) for name in ("labeled-pair", "labeled-list"))
    assert pairs.schema.field("label").type == pa.float32()
    assert lists.schema.field("labels").type == pa.list_(pa.field("item", pa.float32(), nullable=False))
    for row in pairs.to_pylist():
        own = row["positive_probability"] or 1
        assert row["label"] == (own if row["p_false_negative"] is None else row["p_false_negative"])
    for row in lists.to_pylist():
        assert row["labels"] == [row["positive_probability"] or 1, *row["p_false_negative"]]
    hard = FORMATS["labeled-list"](replace(made, soft_labels=False), []).schema.field("labels").type
    assert hard == pa.list_(pa.field("item", pa.int32(), nullable=False))
