"""Which column is meant, and what is said where none fits."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.readers.columns import COLUMNS, as_id, as_relevance, as_text, whole_ids, whole_relevances, whole_texts
from tests.readers.helpers import CORPUS, ONLY_PAIRS, QRELS, QUERIES, ingest, refused, small
from tests.support import write_jsonl


@pytest.mark.parametrize("name", COLUMNS["doc_id"].names)
def test_usual_names_of_document_ids(tmp_path: Path, name: str) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "corpus.jsonl", [{name: d, "text": t} for d, t in CORPUS.items()])
    write_jsonl(tmp_path / "qrels.jsonl", [{"qid": q, name: d} for q, d, _ in QRELS])
    assert ingest(tmp_path, input={"qrels": "qrels.jsonl"}).positives == {"q0": ["d0"], "q1": ["d1", "d2"]}


@pytest.mark.parametrize("name", COLUMNS["text"].names)
def test_usual_names_of_texts(tmp_path: Path, name: str) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "corpus.jsonl", [{"id": d, name: t} for d, t in CORPUS.items()])
    assert ingest(tmp_path).texts == CORPUS


@pytest.mark.parametrize(
    ("id_name", "name"),
    [*((n, "text") for n in COLUMNS["query_id"].names), *(("qid", n) for n in COLUMNS["query"].names)],
)
def test_usual_names_of_queries(tmp_path: Path, id_name: str, name: str) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "queries.jsonl", [{id_name: q, name: t} for q, t in QUERIES.items()])
    assert ingest(tmp_path).asked == QUERIES


@pytest.mark.parametrize(
    ("anchor", "positive"),
    [*((n, "pos") for n in COLUMNS["anchor"].names), *(("query", n) for n in COLUMNS["positive"].names)],
)
def test_usual_names_of_pairs(tmp_path: Path, anchor: str, positive: str) -> None:
    write_jsonl(tmp_path / "p.jsonl", [{anchor: "which reef", positive: "amber reef"}])
    found = ingest(tmp_path, input={**ONLY_PAIRS, "pairs": "p.jsonl"})
    assert [row["text"] for row in found.corpus + found.queries] == ["amber reef", "which reef"]


def test_mapped_columns_win_over_the_usual_ones(tmp_path: Path) -> None:
    small(tmp_path)
    table = {"key": list(CORPUS), "text": ["wrong"] * 3, "body.de": list(CORPUS.values()), "heading": ["", None, "H"]}
    pq.write_table(pa.table(table), tmp_path / "c.parquet")
    (tmp_path / "q.csv").write_text('"the query",n\nwhich reef,q0\nwhich cliff,q1\n')
    (tmp_path / "r.csv").write_text("n,key,relevance,grade2\nq0,d0,0,3\nq1,d1,5,0\n")
    columns = {
        "doc_id": "key",
        "text": "body.de",
        "title": "heading",
        "query_id": "n",
        "query": "the query",
        "relevance": "grade2",
    }
    found = ingest(tmp_path, input={"corpus": "c.parquet", "queries": "q.csv", "qrels": "r.csv", "columns": columns})
    assert found.texts == {"d0": "amber reef", "d1": "basalt cliff", "d2": "H cobalt dune"}
    assert found.positives == {"q0": ["d0"]}
    assert found.queries[0]["positive_relevance"] == [3]


def test_a_mapping_of_ids_need_fit_only_one_of_two_files(tmp_path: Path) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "corpus.jsonl", [{"key": d, "text": t} for d, t in CORPUS.items()])
    assert ingest(tmp_path, input={"columns": {"doc_id": "key"}}).texts == CORPUS


def test_pairs_can_be_mapped(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", [{"anchor": "no", "frage": "which reef", "antwort": "amber reef"}])
    columns = {"anchor": "frage", "positive": "antwort"}
    found = ingest(tmp_path, input={**ONLY_PAIRS, "pairs": "p.jsonl", "columns": columns})
    assert [row["text"] for row in found.corpus + found.queries] == ["amber reef", "which reef"]


def test_every_missing_column_of_every_file_is_named_with_the_near_one(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "c.csv").write_text("doc_id,txet\nd0,a\n")
    (tmp_path / "q.csv").write_text("zzz,query\nq0,a\n")
    (tmp_path / "r.csv").write_text("qurey_id,dok,relevance\nq0,d0,1\n")
    lines = refused(tmp_path, input={"corpus": "c.csv", "queries": "q.csv", "qrels": "r.csv"})
    assert lines[0].startswith("c.csv: no column for text (looked for text, contents, content, ")
    assert lines[0].endswith("; did you mean 'txet'? it has: doc_id, txet; set input.columns.text")
    assert "q.csv: no column for query_id (looked for query_id, query-id, " in lines[2]
    assert lines[2].endswith("it has: zzz, query; set input.columns.query_id")
    assert lines[3].startswith("r.csv: no column for query_id")
    assert "did you mean 'qurey_id'? it has: qurey_id, dok, relevance; " in lines[3]
    assert lines[4].startswith("r.csv: no column for doc_id")


def test_a_misspelt_mapping(tmp_path: Path) -> None:
    small(tmp_path)
    lines = refused(tmp_path, input={"columns": {"text": "txt", "title": "heading"}})
    assert lines[:2] == [
        "corpus.jsonl: column 'txt' (input.columns.text) is not there; did you mean 'text'? "
        "it has: doc_id, text; set input.columns.text",
        "corpus.jsonl: column 'heading' (input.columns.title) is not there; "
        "it has: doc_id, text; set input.columns.title",
    ]


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    small(tmp_path)
    table = pa.Table.from_arrays([pa.array(["d0"]), pa.array(["a"]), pa.array(["b"])], ["doc_id", "text", "text"])
    pq.write_table(table, tmp_path / "c.parquet")
    (tmp_path / "q.csv").write_text("query_id,query_id,query\nq0,q1,a\n")
    lines = refused(tmp_path, input={"corpus": "c.parquet", "queries": "q.csv"})
    assert lines[0] == "c.parquet: column 'text' is there 2 times; rename all but one"
    assert "q.csv: column 'query_id' is there 2 times; rename all but one" in lines


def test_json_fields_that_the_first_line_leaves_out(tmp_path: Path) -> None:
    small(tmp_path)
    table = [{"doc_id": "d0", "text": "a"}, {"doc_id": "d1", "text": "b", "title": "T"}, {"doc_id": "d2", "text": "c"}]
    write_jsonl(tmp_path / "corpus.jsonl", table)
    assert ingest(tmp_path).texts == {"d0": "a", "d1": "T b", "d2": "c"}


def test_a_relevance_that_only_some_lines_have_is_not_guessed(tmp_path: Path) -> None:
    small(tmp_path)
    table = [{"query_id": "q0", "doc_id": "d0"}, {"query_id": "q0", "doc_id": "d1", "relevance": 0}]
    write_jsonl(tmp_path / "r.jsonl", table)
    assert refused(tmp_path, input={"qrels": "r.jsonl"}) == [
        "r.jsonl line 1: a whole relevance expected, found nothing (missing)"
    ]


def test_titles(tmp_path: Path) -> None:
    small(tmp_path)
    table = [
        {"_id": "d0", "title": "Reef", "text": "amber"},
        {"_id": "d1", "title": "Cliff", "text": ""},
        {"_id": "d2", "title": "", "text": "dune"},
        {"_id": "d3", "title": "Only Once", "text": "only once"},
        {"_id": "d4", "title": None, "text": "sand"},
    ]
    write_jsonl(tmp_path / "corpus.jsonl", table)
    assert list(ingest(tmp_path).texts.values()) == ["Reef amber", "Cliff", "dune", "only once", "sand"]


def test_an_id_of_the_row_is_not_taken_for_that_of_the_document(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "r.csv").write_text("id,qid,docid,rel\n0,q0,d0,1\n1,q1,d2,1\n")
    assert ingest(tmp_path, input={"qrels": "r.csv"}).positives == {"q0": ["d0"], "q1": ["d2"]}


def test_a_title_that_repeats_the_text_when_folded(tmp_path: Path) -> None:
    small(tmp_path)
    table = {"doc_id": ["d0", "d1", "d2"], "title": ["STRASSE", "\ufb03", None], "text": ["straße", "FFI", "  sand "]}
    pq.write_table(pa.table(table), tmp_path / "c.parquet")
    assert list(ingest(tmp_path, input={"corpus": "c.parquet"}).texts.values()) == ["straße", "FFI", "sand"]


def test_white_space_is_that_of_python() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    found = whole_texts(pa.array(characters))
    assert found is not None
    assert found.to_pylist() == [character.strip() for character in characters]


@given(st.lists(st.none() | st.text(st.sampled_from("a \u00a0\n")) | st.text()))
def test_columns_are_converted_as_their_values_are(values: list[str | None]) -> None:
    column = pa.array(values, pa.string())
    for whole, one in ((whole_ids, as_id), (whole_texts, as_text)):
        found = whole(column)
        assert found is not None
        assert found.to_pylist() == [one(value) for value in values]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.int64()])
def test_whole_numbers_as_ids(kind: pa.DataType) -> None:
    values = [0, 7, None, 127]
    found = whole_ids(pa.array(values, kind))
    assert found is not None
    assert found.to_pylist() == [as_id(value) for value in values]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_other_columns_of_strings(tmp_path: Path, kind: pa.DataType) -> None:
    small(tmp_path)
    columns = {"doc_id": list(CORPUS), "text": list(CORPUS.values())}
    table = pa.table({name: pa.array(values).cast(kind) for name, values in columns.items()})
    pq.write_table(table, tmp_path / "c.parquet")
    assert ingest(tmp_path, input={"corpus": "c.parquet"}).texts == CORPUS


@pytest.mark.parametrize("values", [[0, 2, None, -1], [2**31 - 1, 1 - 2**31], [None, None], []])
def test_whole_numbers_as_relevance(values: list[int | None]) -> None:
    found = whole_relevances(pa.array(values, pa.int64()))
    assert found is not None
    assert found.to_pylist() == [as_relevance(value) for value in values]


@pytest.mark.parametrize("values", [[1, 2**31], [-(2**63)], [1.0]])
def test_other_relevances_are_converted_one_by_one(values: list[float]) -> None:
    assert whole_relevances(pa.array(values)) is None
