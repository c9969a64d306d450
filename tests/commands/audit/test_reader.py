"""What cannot be audited is refused with a message that says what, where, and what to do."""

from pathlib import Path
from typing import Any

import pytest

from hnmine.commands.audit.audit import Request, audit
from hnmine.commands.audit.reader import mined_sources, read_rows, read_shapes
from hnmine.commands.audit.shapes import recognise
from hnmine.commands.compare.compare import compare
from hnmine.errors import ConfigError, HnmineError, InputError, ModelError
from hnmine.readers.tables import CHUNK_ROWS
from tests.commands.audit import made
from tests.support import write_jsonl


def refused(*paths: object, error: type[HnmineError] = InputError, **means: Any) -> str:
    with pytest.raises(error) as caught:
        audit(Request(tuple(map(str, paths)), **means))
    return str(caught.value)


def test_missing_files_are_named_all_at_once(tmp_path: Path) -> None:
    message = refused("no.parquet", "nor*.csv", corpus=["gone.jsonl"], queries=[str(tmp_path)], qrels=["x.tsv"])
    for part in ("audit: no.parquet: no such file", "nor*.csv: no file matches", "--corpus: gone.jsonl: no such file",
                 "--queries", "--qrels: x.tsv: no such file"):  # fmt: skip
        assert part in message


def test_an_empty_path_is_not_the_working_directory(tmp_path: Path) -> None:
    assert refused("", str(tmp_path)) == "audit: an empty path"
    with pytest.raises(InputError, match=r"^compare: an empty path$"):
        compare(["", str(tmp_path)])


def test_records_beside_training_files_are_no_rows_also_where_no_card_names_the_files(tmp_path: Path) -> None:
    records = (
        "chosen/chosen", "batches/batches", "clusters/clusters", "order/order", "previous/negatives",
        "relabelled/relabelled", "judged/part-00000", "mixing/part-00000", "_keys/part-00000",
    )  # fmt: skip
    for name in ("part-00000", *records):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.parquet").touch()
    assert [source.path for source in mined_sources([str(tmp_path)], tmp_path)] == [
        str(tmp_path / "part-00000.parquet")
    ]


def test_a_truncated_parquet_file(tmp_path: Path) -> None:
    path = made.as_triplets(made.clean(), tmp_path / "m")
    path.write_bytes(path.read_bytes()[:2000])
    assert "m.parquet: not a readable Parquet file (truncated?)" in refused(path)


def test_a_line_that_is_no_json(tmp_path: Path) -> None:
    path = made.as_bge(made.clean(), tmp_path / "m")
    path.write_text(path.read_text() + '{"query": "a", "pos": [\n')
    assert "m.jsonl line 81: not valid JSON" in refused(path)


def test_columns_of_no_known_shape(tmp_path: Path) -> None:
    message = refused(write_jsonl(tmp_path / "m.jsonl", [{"left": "a", "right": "b", "far": "c"}]))
    assert (
        "columns of no known shape; it has: left, right, far; accepted: triplet (anchor, positive, negative)" in message
    )
    (tmp_path / "m.tsv").write_text("left\tright\tfar\na b\tc d\te f\n")
    assert "it has: left, right, far" in refused(tmp_path / "m.tsv")


def test_files_of_mixed_shapes(tmp_path: Path) -> None:
    first = made.as_bge(made.clean(), tmp_path / "one")
    second = made.as_triplets(made.clean(), tmp_path / "two")
    message = refused(first, second)
    assert "files of mixed shapes" in message
    assert "one.jsonl is bge" in message
    assert "two.parquet is triplet" in message


def test_rows_of_mixed_shapes(tmp_path: Path) -> None:
    triplet = {"anchor": "a", "positive": "b", "negative": "c"}
    both = write_jsonl(tmp_path / "m.jsonl", [made.CLEAN[0], triplet])
    assert "mixed shapes: the columns fit bge and triplet" in refused(both)
    other = write_jsonl(tmp_path / "n.jsonl", [triplet, {"anchor": "a", "negative": "c"}])
    assert "n.jsonl line 2: no 'positive'" in refused(other)


def test_files_of_the_same_shape_with_other_columns(tmp_path: Path) -> None:
    first = write_jsonl(tmp_path / "a.jsonl", [{"anchor": "a", "positive": "b", "negative": "c"}])
    second = write_jsonl(tmp_path / "b.jsonl", [{"query": "a", "answer": "b", "negative": "c"}])
    assert "files with different columns" in refused(first, second)


def test_values_of_the_wrong_kind_are_named_with_their_places(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"anchor": 7, "positive": "b", "negative": "c"},
        {"anchor": "a", "positive": {"b": 1}, "negative": "c"},
        {"anchor": "a", "positive": "b", "negative": "c", "scores": [0.1]},
        {"anchor": "a", "positive": "b", "negative": "c", "scores": [0.1, "high"]},
    ]
    message = refused(write_jsonl(tmp_path / "m.jsonl", rows)).splitlines()
    assert len(message) == 4
    for number, part in enumerate(("anchor: text", "positive: text", "1 scores for 2", "'high'")):
        assert f"line {number + 1}:" in message[number]
        assert part in message[number]


def test_a_column_that_only_the_last_line_has_is_part_of_the_shape(tmp_path: Path) -> None:
    rows = [{"anchor": f"a{n}", "positive": f"p{n}", "negative_1": f"n{n}"} for n in range(CHUNK_ROWS)]
    write_jsonl(tmp_path / "m.jsonl", [*rows, {"anchor": "a", "positive": "p", "negative_1": "n", "negative_2": "m"}])
    layouts, shape = read_shapes(mined_sources(["m.jsonl"], tmp_path))
    assert shape.negatives == ("negative_1", "negative_2")
    assert read_rows(mined_sources(["m.jsonl"], tmp_path), layouts, shape).negatives.documents.lengths[-1] == 2


def test_labels_must_be_numbers_and_as_many_as_documents(tmp_path: Path) -> None:
    rows = [
        {"anchor": "a", "documents": ["b", "c"], "labels": [1]},
        {"anchor": "a", "documents": ["b"], "labels": [None]},
    ]
    message = refused(write_jsonl(tmp_path / "m.jsonl", rows))
    assert "line 1: 1 labels for 2 documents" in message
    assert "line 2: label: a number expected" in message


def test_empty_files(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("")
    assert "the file is empty" in refused(tmp_path / "m.jsonl")
    (tmp_path / "m.csv").write_text("anchor,positive,negative\n")
    assert "no rows to audit" in refused(tmp_path / "m.csv")


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    path = made.as_bge(made.clean(), tmp_path / "m")
    assert "--qrels needs --corpus and --queries" in refused(path, error=ConfigError, qrels=["q.tsv"])
    assert "--model precomputed" in refused(path, error=ConfigError, model="precomputed")
    assert "--model: no folder ./none" in refused(path, error=ModelError, model="./none")


def test_ids_need_their_texts(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("1\t2\t3\n1\t2\t4\n")
    assert "holds numbers only, which must be ids" in refused(tmp_path / "m.tsv")
    (tmp_path / "n.csv").write_text("query_id,positive_id,negative_id\n1,2,3\n")
    assert "holds ids; name the texts" in refused(tmp_path / "n.csv")
    labels = made.write_labels(tmp_path, [])
    (tmp_path / "n.csv").write_text("query_id,positive_id,negative_id\nq1,d2,d3\nq999,d2,x\n")
    message = refused(tmp_path / "n.csv", corpus=labels["corpus"], queries=labels["queries"])
    assert "1 of 2 query ids are not in --queries ('q999')" in message
    assert "1 of 3 document ids are not in --corpus ('x')" in message


def test_a_corpus_without_its_columns_is_told_of_in_the_commands_words(tmp_path: Path) -> None:
    path = made.as_bge(made.clean(), tmp_path / "m")
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"name": "a", "words": "b"}])
    message = refused(path, corpus=[str(corpus)])
    assert "no column for doc_id" in message
    assert "input." not in message


@pytest.mark.parametrize(
    ("names", "shape", "anchor", "positive"),
    [
        ("anchor positive negative", "triplet", "anchor", "positive"),
        ("query answer negative scores", "triplet", "query", "answer"),
        ("left right negative", "triplet", "left", "right"),
        ("question passage negatives", "triplet", "question", "passage"),
        ("anchor positive negative_1 negative_2 negative_10 scores", "n-tuple", "anchor", "positive"),
        ("query answer label", "labeled-pair", "query", "answer"),
        ("anchor document score", "labeled-pair", "anchor", "document"),
        ("anchor documents labels query_id", "labeled-list", "anchor", "documents"),
        ("anchor positive scores", "labeled-list", "anchor", "positive"),
        ("query pos neg pos_scores neg_scores prompt type", "bge", "query", "pos"),
        ("query_id positive_id negative_id negative_score", "ids", "query_id", "positive_id"),
        ("anchor positive negative query_id rank rule", "triplet", "anchor", "positive"),
    ],
)
def test_shapes_are_known_by_their_columns(names: str, shape: str, anchor: str, positive: str) -> None:
    found = recognise(names.split(), "file")
    assert (found.name, found.anchor, found.positive) == (shape, anchor, positive)
    if shape == "n-tuple":
        assert found.negatives == ("negative_1", "negative_2", "negative_10")


@pytest.mark.parametrize("names", ["a b c negative", "anchor negative", "query pos", "anchor positive", "a a negative"])
def test_columns_that_are_not_enough_or_too_many(names: str) -> None:
    with pytest.raises(InputError):
        recognise(names.split(), "file")
