"""The audit's array code against obvious loops, and the shapes of training rows against each other."""

import csv
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine import run
from hnmine.arrays.ragged import Ragged
from hnmine.commands.audit.audit import Request, audit
from hnmine.commands.audit.collection import sample_of
from hnmine.commands.audit.mined import Mined, Scored, contains_pairs, duplicate_rows, examples_of
from hnmine.commands.audit.reader import is_plain, read_rows
from hnmine.commands.audit.shapes import layout_of
from hnmine.commands.audit.texts import usual_number
from hnmine.errors import InputError
from hnmine.science.eci import capacity, eci, hardness, safety
from hnmine.storage.input_files import find_sources
from tests.commands.audit import made
from tests.pipeline.helpers import ALL_EXTRA
from tests.support import config_for, make_collection, write_jsonl

small = st.integers(0, 3)
lists = st.lists(small, max_size=3)


def side(rows: list[list[int]]) -> Scored:
    ragged = Ragged.from_lengths(
        np.array([d for row in rows for d in row], dtype=np.int64), np.array([len(r) for r in rows], dtype=np.int64)
    )
    count = len(ragged.values)
    return Scored(ragged, np.full(count, np.nan), np.zeros(count, dtype=bool), ragged.owners)


def mined(rows: list[tuple[int, list[int], list[int]]]) -> Mined:
    texts = ["a", "b", "c", "d"]
    at = np.arange(len(rows))
    anchors = np.array([r[0] for r in rows], dtype=np.int64)
    return Mined(texts, texts, anchors, side([r[1] for r in rows]), side([r[2] for r in rows]), at, at * 0, at, ["f"])


@given(st.lists(st.tuples(small, lists, lists), min_size=1, max_size=12))
def test_duplicate_rows_are_those_seen_before(rows: list[tuple[int, list[int], list[int]]]) -> None:
    expected = [any(row == before for before in rows[:i]) for i, row in enumerate(rows)]
    assert duplicate_rows(mined(rows)).tolist() == expected


@given(st.lists(st.tuples(small, small, small), min_size=1, max_size=12))
def test_triplets_of_one_anchor_and_positive_are_one_example(rows: list[tuple[int, int, int]]) -> None:
    expected: dict[tuple[int, int], list[int]] = {}
    for anchor, positive, negative in rows:
        expected.setdefault((anchor, positive), []).append(negative)
    made_of = examples_of(mined([(a, [p], [n]) for a, p, n in rows]), "triplet")
    found = [
        (int(made_of.anchors[i]), made_of.positives.documents.take(np.array([i])).values.tolist(),
         made_of.negatives.documents.take(np.array([i])).values.tolist())
        for i in range(len(made_of))
    ]  # fmt: skip
    assert found == [(a, [p], negatives) for (a, p), negatives in expected.items()]


def pairs(text: str) -> list[tuple[int, list[int], list[int]]]:
    """Return labelled documents from `query document label` words: "0a1 0b0"."""
    parts = [(int(w[0]), "abcd".index(w[1]), w[2] == "1") for w in text.split()]
    return [(q, [d] if up else [], [] if up else [d]) for q, d, up in parts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0a1 0b0 0c0 1b1 1a0", [(0, [0], [1, 2]), (1, [1], [0])]),
        ("0a1 0b0 0c1 0d0", [(0, [0], [1]), (0, [2], [3])]),
        ("0a1 0c1 0b0 0d0", [(0, [0, 2], [1, 3])]),
        ("0b0 1b1 0a1 1a0 0c0", [(0, [0], [1, 2]), (1, [1], [0])]),
    ],
)
def test_labelled_pairs_become_examples(text: str, expected: list[Any]) -> None:
    got = examples_of(mined(pairs(text)), "labeled-pair")
    found = [
        (int(got.anchors[i]), got.positives.documents.take(np.array([i])).values.tolist(),
         got.negatives.documents.take(np.array([i])).values.tolist())
        for i in range(len(got))
    ]  # fmt: skip
    assert found == expected


@given(st.lists(st.tuples(small, small), max_size=10), st.lists(st.tuples(small, small), max_size=10))
def test_pairs_that_are_contained(asked: list[tuple[int, int]], known: list[tuple[int, int]]) -> None:
    columns = [np.array([p[i] for p in part], dtype=np.int64) for part in (known, asked) for i in (0, 1)]
    assert contains_pairs(*columns).tolist() == [pair in known for pair in asked]


def test_the_usual_number_is_the_commonest_and_of_two_the_larger() -> None:
    assert usual_number(np.array([5, 5, 3])) == 5
    assert usual_number(np.array([5, 3])) == 5
    assert usual_number(np.array([3, 3, 5])) == 3
    assert usual_number(np.array([], dtype=np.int64)) == 0


@given(st.permutations([str(i) for i in range(30)] + ["7", "9!"]))
def test_the_sample_does_not_depend_on_the_order_of_texts(texts: list[str]) -> None:
    from hnmine.commands.audit.mined import text_hashes

    picked = sample_of(texts, text_hashes(texts), 8)
    order = sorted(texts)
    again = sample_of(order, text_hashes(order), 8)
    assert {t.strip("!") for t in picked} == {t.strip("!") for t in again}
    assert len(picked) == 8


def test_quality_is_that_of_a_loop_over_examples(tmp_path: Path) -> None:
    from hnmine.config.models import EmbedConfig
    from hnmine.models.encoders import HashEncoder, check_vectors

    rows = made.clean()[:12]
    rows[0]["neg"] = []
    rows[1]["pos"].append(made.positive(1))
    del rows[2]["neg"][1:]
    report = audit(Request((str(made.as_bge(rows, tmp_path / "m")),), model="hash"))
    encoder = HashEncoder(EmbedConfig(model="hash"))

    def vectors(texts: list[str]) -> np.ndarray:
        return check_vectors(encoder.encode(texts, "query"), "", "cosine") if texts else np.zeros((0, 256))

    everything = list(dict.fromkeys(t for row in rows for t in (*row["pos"], *row["neg"])))
    totals: dict[str, list[float]] = {"hardness": [], "safety": [], "eci": []}
    for row in rows:
        query = vectors([row["query"]])[0]
        s0 = np.array([np.mean(vectors([t for t in everything if t not in row["pos"]]) @ query)])
        parts: dict[str, list[float]] = {"hardness": [], "safety": [], "eci": []}
        for positive in row["pos"]:
            anchor = vectors([positive]) @ query
            s = vectors(row["neg"]) @ query
            if not len(s):
                parts["eci"].append(0.0)
                continue
            h = hardness(s, np.repeat(anchor, len(s)), np.repeat(s0, len(s))).mean(keepdims=True)
            safe = safety(s.max(keepdims=True), anchor, s0)
            parts["hardness"].append(float(h[0]))
            parts["safety"].append(float(safe[0]))
            parts["eci"].append(float(eci(capacity(np.array([len(s)])), h, safe)[0]))
        for name, values in parts.items():
            totals[name].extend([float(np.mean(values))] if values else [])
    for name, values in totals.items():
        assert report[name] == pytest.approx(np.mean(values), abs=1e-5), name
    assert report["coverage"] == 11 / 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with runs of one collection in every format."""
    folder = make_collection(tmp_path_factory.mktemp("formats"))
    for name in ("triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list", "bge"):
        emit = {"format": name, "extra_columns": ALL_EXTRA}
        run(config_for(folder, name, emit=emit, retrieve={"max_top_k": 10}))
    return folder


@pytest.mark.parametrize("name", ["n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list", "bge"])
def test_hnmines_own_formats_are_read_as_what_they_are(runs: Path, name: str) -> None:
    report = audit(Request((str(runs / name),), model="hash"))
    emit = pq.read_table(runs / name / "report/queries") if name == "bge" else None
    assert report["shape"] == name.removesuffix("-scores")
    assert report["findings"]["scores_contradict_model"]["count"] == 0
    assert report["findings"]["scores_contradict_model"]["limit"] == 0
    for fault in ("positive_as_negative", "sibling_positive", "negatives_at_or_above_positive", "without_negatives"):
        assert report["findings"][fault]["count"] == 0
    if name == "bge":
        triplets = audit(Request((str(runs / "triplet"),), model="hash"))
        for number in ("eci", "hardness", "safety", "capacity"):
            assert report[number] == pytest.approx(triplets[number])
        assert emit is not None
        scores = pq.read_table(runs / "triplet/emit/part-00000.parquet")["negative_score"].to_numpy()
        assert triplets["distributions"]["negative_score"]["mean"] == pytest.approx(scores.mean(), abs=1e-6)


def test_lists_in_a_csv_file(tmp_path: Path) -> None:
    with (tmp_path / "m.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "documents", "scores"])
        writer.writerow(["a", "[\"it's\" 'say \"b\"' 'two\\nlines']", "[ 0.9 -inf nan]"])
        writer.writerow(["b", '["x", "y"]', "[0.9, 0.1]"])
    report = audit(Request((str(tmp_path / "m.csv"),)))
    assert report["counts"]["positives"] == 2
    assert report["counts"]["negatives"] == 3
    assert report["findings"]["scores_not_finite"]["count"] == 2
    shown = report["findings"]["scores_not_finite"]["examples"]
    assert [e["negative"] for e in shown] == ['say "b"', "two\nlines"]
    assert report["capacity"] == pytest.approx((math.log(3) + math.log(2)) / 2)


text = st.sampled_from(["a", " b ", "c\u00a0", "", None])
number = st.sampled_from([0.5, -1.0, math.nan, math.inf, None])


@given(st.lists(st.tuples(text, text, text, text, st.one_of(st.none(), st.lists(number, min_size=3, max_size=3))),
                min_size=1, max_size=8))  # fmt: skip
def test_columns_of_parquet_are_read_as_rows_of_json_are(rows: list[tuple[Any, ...]]) -> None:
    names = ["anchor", "positive", "negative_1", "negative_2", "scores"]
    kinds = [pa.string()] * 4 + [pa.list_(pa.float64())]
    table = pa.table([pa.array([r[i] for r in rows], kinds[i]) for i in range(5)], names)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, f"{folder}/m.parquet")
        write_jsonl(Path(folder, "m.jsonl"), [dict(zip(names, row, strict=True)) for row in rows])
        read = []
        for name in ("m.parquet", "m.jsonl"):
            source = find_sources(name, Path(folder), "audit", (".parquet", ".jsonl"))[0]
            layout, shape = layout_of(source)
            assert is_plain(source, shape) == (name == "m.parquet")
            read.append(read_rows([source], [layout], shape))
    for side_ in ("positives", "negatives"):
        ours, theirs = (getattr(one, side_) for one in read)
        texts = [
            [one.documents[d] for d in part.documents.values] for one, part in zip(read, (ours, theirs), strict=True)
        ]
        assert texts[0] == texts[1]
        for name in ("scores", "given", "rows"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert ours.documents.offsets.tolist() == theirs.documents.offsets.tolist()
    assert [read[0].queries[a] for a in read[0].anchors] == [read[1].queries[a] for a in read[1].anchors]
    assert read[0].lines.tolist() == list(range(1, len(rows) + 1))


def test_scores_of_another_length_are_named(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"anchor": ["a"], "positive": ["b"], "negative": ["c"], "scores": [[0.5]]}), tmp_path / "m.parquet"
    )
    with pytest.raises(InputError, match=r"m\.parquet row 1: scores: 1 scores for 2 documents"):
        audit(Request((str(tmp_path / "m.parquet"),)))
