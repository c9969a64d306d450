"""What becomes of ids, texts and judgements: collapsed, left out and listed, or refused."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.readers.helpers import CORPUS, QUERIES, ingest, refused, rows, small
from tests.support import make_collection, write_collection, write_jsonl


def corpus_lines(folder: Path, *lines: str) -> Path:
    (folder / "corpus.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def test_numbers_and_strings_are_one_id_and_leading_zeros_stay(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "corpus.jsonl", [{"id": 7, "text": "seven"}, {"id": "007", "text": "bond"}])
    write_jsonl(tmp_path / "queries.jsonl", [{"id": "1", "text": "a"}, {"id": 2, "text": "b"}])
    write_jsonl(tmp_path / "qrels.jsonl", [{"qid": 1, "docid": "7"}, {"qid": "2", "docid": "007"}])
    found = ingest(tmp_path, input={"qrels": "qrels.jsonl"})
    assert found.positives == {"1": ["7"], "2": ["007"]}


def test_numbers_in_one_file_and_strings_in_the_other(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.array([7, 8], pa.int32()), "text": ["seven", "eight"]}), tmp_path / "c.parquet")
    write_jsonl(tmp_path / "queries.jsonl", [{"id": "1e3", "text": "a"}, {"id": "0x10", "text": "b"}])
    (tmp_path / "qrels.tsv").write_text("qid\tdocid\n1e3\t7\n0x10\t8\n")
    found = ingest(tmp_path, input={"corpus": "c.parquet"})
    assert found.positives == {"1e3": ["7"], "0x10": ["8"]}
    schema = pq.read_schema(tmp_path / "out" / "ingest" / "queries" / "part-00000.parquet")
    assert schema.field("query_id").type == pa.string()


def test_ids_are_stripped(tmp_path: Path) -> None:
    write_collection(tmp_path, {" d0 ": "a"}, {"q0\n": "b"}, [("q0", "d0", 1)])
    assert ingest(tmp_path).positives == {"q0": ["d0"]}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (True, "'True' (bool)"),
        ([1], "'[1]' (list)"),
        ({"a": 1}, "\"{'a': 1}\" (dict)"),
        (1.5, "'1.5' (float)"),
        ("", "'' (str)"),
        ("  ", "'  ' (str)"),
        (None, "nothing (NoneType)"),
        ("\ud800", "'\\ud800' (str)"),
    ],
)
def test_what_is_no_id(tmp_path: Path, value: Any, found: str) -> None:
    small(tmp_path)
    with (tmp_path / "corpus.jsonl").open("a") as file:
        file.write(json.dumps({"doc_id": value, "text": "x"}) + "\n")
    assert refused(tmp_path) == [f"corpus.jsonl line 4: a document id expected, found {found}"]


def test_a_missing_id_is_named_by_line_or_row(tmp_path: Path) -> None:
    small(tmp_path)
    corpus_lines(tmp_path, '{"doc_id": "d0", "text": "a"}', "", '{"text": "b"}')
    assert refused(tmp_path) == ["corpus.jsonl line 3: a document id expected, found nothing (missing)"]
    pq.write_table(pa.table({"doc_id": ["d0", None], "text": ["a", "b"]}), tmp_path / "c.parquet")
    assert refused(tmp_path, input={"corpus": "c.parquet"}) == [
        "c.parquet row 2: a document id expected, found nothing (NoneType)"
    ]


def test_a_document_twice_is_one_document_unless_its_text_differs(tmp_path: Path) -> None:
    small(tmp_path)
    whole = (tmp_path / "corpus.jsonl").read_text()
    (tmp_path / "corpus.jsonl").write_text(whole + '{"doc_id": "d1", "text": " basalt  cliff"}\n')
    found = ingest(tmp_path, out="once")
    assert found.texts == CORPUS
    assert found.aliases == []
    assert found.counts["documents_read"] == 4
    (tmp_path / "corpus.jsonl").write_text(whole + '{"doc_id": "d1", "text": "Basalt cliff"}\n')
    assert refused(tmp_path) == ["corpus.jsonl line 4: document id 'd1' a second time, with another text"]


def test_a_query_twice_is_one_query_unless_its_text_differs(tmp_path: Path) -> None:
    small(tmp_path)
    whole = (tmp_path / "queries.jsonl").read_text()
    (tmp_path / "queries.jsonl").write_text(whole * 2)
    assert ingest(tmp_path, out="once").asked == QUERIES
    (tmp_path / "queries.jsonl").write_text(whole + '{"query_id": "q1", "text": "other"}\n')
    assert refused(tmp_path) == ["queries.jsonl line 3: query id 'q1' a second time, with another text"]


def test_of_two_judgements_of_a_pair_the_higher_counts(tmp_path: Path) -> None:
    qrels = [("q0", "d0", 0), ("q0", "d0", 2), ("q0", "d0", 1), ("q0", "d1", 1), ("q0", "d1", 0)]
    write_collection(tmp_path, CORPUS, QUERIES, qrels)
    found = ingest(tmp_path)
    assert found.positives == {"q0": ["d0", "d1"]}
    assert found.queries[0]["positive_relevance"] == [2, 1]
    assert found.queries[0]["negative_rows"] == []


def test_unknown_ids_are_counted_and_the_first_few_named(tmp_path: Path) -> None:
    qrels = [("q0", "d0", 1), *((f"x{n % 5}", "d0", 1) for n in range(10)), ("q1", "gone", 1), ("q1", "gone", 1)]
    write_collection(tmp_path, CORPUS, QUERIES, qrels)
    skip = 'set input.unknown_ids = "skip" to leave these lines out'
    assert refused(tmp_path) == [
        "qrels.tsv line 3: qrels name 5 query ids that are not in the input ('x0', 'x1', 'x2' and 2 more); " + skip,
        "qrels.tsv line 13: qrels name 1 document ids that are not in the input ('gone'); " + skip,
    ]


def test_unknown_ids_can_be_skipped_and_are_listed(tmp_path: Path) -> None:
    write_collection(tmp_path, CORPUS, QUERIES, [("q0", "d0", 1), ("x", "y", 1), ("q1", "gone", 1)])
    found = ingest(tmp_path, input={"unknown_ids": "skip"})
    assert found.positives == {"q0": ["d0"]}
    assert found.omitted == {
        ("qrel", "x y", "unknown query"),
        ("qrel", "x y", "unknown document"),
        ("qrel", "q1 gone", "unknown document"),
        ("query", "q1", "no positive"),
    }
    assert found.counts["judgements_read"] == 3
    assert found.counts["judgements_skipped"] == 2


def test_judged_negatives_and_relevant_from(tmp_path: Path) -> None:
    qrels = [("q0", "d0", 3), ("q0", "d1", 1), ("q0", "d2", 0), ("q1", "d1", -1), ("q1", "d0", 2)]
    write_collection(tmp_path, CORPUS, QUERIES, qrels)
    found = ingest(tmp_path)
    assert found.positives == {"q0": ["d0", "d1"], "q1": ["d0"]}
    assert found.documents("q0", "negative_rows") == ["d2"]
    assert found.documents("q1", "negative_rows") == ["d1"]
    assert (found.counts["positives"], found.counts["judged_negatives"]) == (3, 2)
    strict = ingest(tmp_path, out="strict", input={"relevant_from": 3})
    assert strict.positives == {"q0": ["d0"]}
    assert strict.documents("q0", "negative_rows") == ["d1", "d2"]
    assert strict.omitted == {("query", "q1", "no positive")}
    every = ingest(tmp_path, out="every", input={"relevant_from": -1})
    assert every.positives == {"q0": ["d0", "d1", "d2"], "q1": ["d0", "d1"]}


def test_relevant_from_above_every_judgement(tmp_path: Path) -> None:
    small(tmp_path)
    assert refused(tmp_path, input={"relevant_from": 9}) == [
        "input: no query has a text and a positive (relevance >= 9)"
    ]


def test_what_cannot_take_part_is_listed_with_the_reason(tmp_path: Path) -> None:
    corpus = {**CORPUS, "blank": "", "white": " \t\u00a0\u2003\n"}
    queries = {**QUERIES, "lone": "without", "mute": "", "hollow": "only an empty positive", "half": "one of two"}
    qrels = [("q0", "d0", 1), ("q1", "d1", 0), ("mute", "d0", 1), ("hollow", "blank", 1)]
    write_collection(tmp_path, corpus, queries, [*qrels, ("half", "white", 1), ("half", "d2", 1)])
    found = ingest(tmp_path)
    assert found.positives == {"q0": ["d0"], "half": ["d2"]}
    assert found.omitted == {
        ("document", "blank", "empty text"),
        ("document", "white", "empty text"),
        ("query", "mute", "empty text"),
        ("query", "q1", "no positive"),
        ("query", "lone", "no positive"),
        ("query", "hollow", "no positive"),
    }
    assert [row["source_row"] for row in found.queries] == [0, 5]
    assert found.counts["empty_documents"] == 2
    assert found.counts["empty_queries"] == 1
    assert found.counts["queries_without_positive"] == 3
    assert found.counts["queries"] == 2


@pytest.mark.parametrize("lines", [[], ['{"doc_id": "d0", "text": ""}', '{"doc_id": "d1", "text": " "}']])
def test_a_corpus_without_text(tmp_path: Path, lines: list[str]) -> None:
    small(tmp_path)
    (tmp_path / "corpus.csv").write_text("doc_id,text\n")
    corpus_lines(tmp_path, *lines)
    found = refused(tmp_path, input={"corpus": "corpus.jsonl" if lines else "corpus.csv"})
    assert found == ["input: the corpus holds no document with text"]


def test_identical_documents_collapse_and_their_ids_still_count(tmp_path: Path) -> None:
    corpus = {"d0": "amber reef", "d1": "basalt", "copy": "amber\n  reef ", "Copy": "Amber reef", "again": "amber reef"}
    write_collection(
        tmp_path, corpus, QUERIES, [("q0", "copy", 1), ("q0", "d0", 2), ("q1", "again", 0), ("q1", "d1", 1)]
    )
    found = ingest(tmp_path)
    assert found.texts == {"d0": "amber reef", "d1": "basalt", "Copy": "Amber reef"}
    assert [row["source_row"] for row in found.corpus] == [0, 1, 3]
    assert found.aliases == [
        {"doc_id": "copy", "doc_row": 0, "source_row": 2},
        {"doc_id": "again", "doc_row": 0, "source_row": 4},
    ]
    assert found.positives == {"q0": ["d0"], "q1": ["d1"]}
    assert found.documents("q1", "negative_rows") == ["d0"]
    assert found.counts["collapsed_copies"] == 2
    keys = {row["doc_id"]: row["text_key"] for row in found.corpus}
    assert keys["d0"] == keys["Copy"] != keys["d1"], "copies that differ in case only keep a row and share the key"


def test_queries_with_the_same_text_know_each_others_positives(tmp_path: Path) -> None:
    queries = {"q0": "Which reef?", "q1": "which  reef", "q2": "which cliff", "q3": "which reef"}
    qrels = [("q0", "d0", 1), ("q1", "d1", 1), ("q1", "d0", 1), ("q2", "d2", 1), ("q0", "d2", 0)]
    write_collection(tmp_path, CORPUS, queries, qrels)
    found = ingest(tmp_path)
    assert {q: found.documents(q, "sibling_rows") for q in found.asked} == {"q0": ["d1"], "q1": [], "q2": []}
    assert found.omitted == {("query", "q3", "no positive")}


TEXTS = {
    "rtl": "שלום עולם مرحبا",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 reef",
    "combining": unicodedata.normalize("NFD", "crème brûlée"),
    "composed": unicodedata.normalize("NFC", "crème brûlée"),
    "astral": "𝔯𝔢𝔢𝔣 𐍈",
    "nul": "a\0b",
    "zero width": "\u200b",
    "controls": "a\x1b[31mb\x7f",
    "separators": "one\u2028two\x85three",
    "bidi": "abc\u202edef",
    "signs": "\" \\ \t\n , ; '",
}


def test_unicode_arrives_as_it_was_sent(tmp_path: Path) -> None:
    write_collection(tmp_path, TEXTS, {q: t for q, t in TEXTS.items()}, [(q, q, 1) for q in TEXTS])
    found = ingest(tmp_path)
    expected = {name: text.strip() for name, text in TEXTS.items()}
    assert found.texts == expected
    assert found.asked == expected
    assert found.positives == {q: [q] for q in TEXTS}
    keys = {row["doc_id"]: row["text_key"] for row in found.corpus}
    assert keys["combining"] == keys["composed"], "copies, though not the same bytes"


def test_surrogates(tmp_path: Path) -> None:
    small(tmp_path)
    corpus_lines(tmp_path, '{"doc_id": "d0", "text": "\\ud83d\\ude00 ok"}', '{"doc_id": "d1", "text": "a\\ud83d"}')
    assert refused(tmp_path) == ["corpus.jsonl line 2: text expected, found 'a\\ud83d' (str)"]
    corpus_lines(tmp_path, *(f'{{"doc_id": "d{n}", "text": "\\ud83d\\ude00 {n}"}}' for n in range(3)))
    assert ingest(tmp_path).texts["d0"] == "😀 0"


def test_a_text_of_two_megabytes(tmp_path: Path) -> None:
    long = "reef " * 420_000 + "end"
    for name in ("jsonl", "csv"):
        folder = tmp_path / name
        small(folder)
        if name == "csv":
            (folder / "corpus.csv").write_text(f'doc_id,text\nd0,"{long}"\nd1,b\nd2,c\n')
        else:
            write_jsonl(
                folder / "corpus.jsonl", [{"doc_id": f"d{n}", "text": t} for n, t in enumerate((long, "b", "c"))]
            )
        assert ingest(folder, input={"corpus": f"corpus.{name}"}).texts["d0"] == long


def test_quoted_csv_fields(tmp_path: Path) -> None:
    small(tmp_path)
    text = 'doc_id,text\r\nd0,"a ""quoted"" word,\ttab\nand a line"\r\n\r\nd1,it\'s\r\nd2,"  c "\r\n'
    (tmp_path / "c.csv").write_bytes(text.encode())
    found = ingest(tmp_path, input={"corpus": "c.csv"})
    assert found.texts == {"d0": 'a "quoted" word,\ttab\nand a line', "d1": "it's", "d2": "c"}


def test_the_line_after_a_field_of_several_lines(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "c.csv").write_text('doc_id,text\nd0,"a\nb\nc"\n,x\n')
    assert refused(tmp_path, input={"corpus": "c.csv"}) == ["c.csv line 5: a document id expected, found '' (str)"]


def test_tsv_has_no_quoting_unless_asked(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "c.tsv").write_bytes(b'doc_id\ttext\nd0\t"a" reef, "b\nd1\tin\rside\nd2\t"\n')
    found = ingest(tmp_path, input={"corpus": "c.tsv"})
    assert found.texts == {"d0": '"a" reef, "b', "d1": "in\rside", "d2": '"'}
    (tmp_path / "q.tsv").write_text('doc_id\ttext\nd0\t"a\tb"\nd1\tb\nd2\tc\n')
    assert ingest(tmp_path, out="quoted", input={"corpus": "q.tsv", "quoting": True}).texts["d0"] == "a\tb"
    (message,) = refused(tmp_path, out="no", input={"corpus": "q.tsv"})
    assert message.startswith("q.tsv line 2: 3 fields where the header has 2; ")


def test_csv_without_quoting(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "c.csv").write_text('doc_id,text\nd0,"a\nd1,b"\nd2,c\n')
    found = ingest(tmp_path, input={"corpus": "c.csv", "quoting": False})
    assert found.texts == {"d0": '"a', "d1": 'b"', "d2": "c"}


def test_shard_rows_change_no_row(tmp_path: Path) -> None:
    make_collection(tmp_path, 700, 600)
    text = json.loads((tmp_path / "corpus.jsonl").read_text().splitlines()[0])["text"]
    with (tmp_path / "corpus.jsonl").open("a") as file:
        for number in range(300):
            file.write(json.dumps({"doc_id": f"copy{number}", "text": text}) + "\n")
    ingest(tmp_path, out="small", shard_rows=256)
    ingest(tmp_path, out="large", shard_rows=4096)
    for name, parts in (("corpus", 3), ("queries", 3), ("aliases", 2)):
        small_folder, large_folder = (tmp_path / out / "ingest" / name for out in ("small", "large"))
        assert [p.name for p in sorted(small_folder.iterdir())] == [f"part-{n:05d}.parquet" for n in range(parts)]
        assert [p.name for p in large_folder.iterdir()] == ["part-00000.parquet"]
        assert rows(small_folder) == rows(large_folder)
    left, right = (json.loads((tmp_path / out / "ingest" / "counts.json").read_text()) for out in ("small", "large"))
    assert left == right


def test_a_corpus_that_fills_its_shards_exactly(tmp_path: Path) -> None:
    make_collection(tmp_path, 512, 256)
    ingest(tmp_path, shard_rows=256)
    sizes = [pq.read_metadata(p).num_rows for p in sorted((tmp_path / "out/ingest/corpus").iterdir())]
    assert sizes == [256, 256]
    assert pq.read_metadata(tmp_path / "out/ingest/aliases/part-00000.parquet").num_rows == 0


def test_more_rows_than_a_chunk_keep_their_line_numbers(tmp_path: Path) -> None:
    small(tmp_path)
    lines = [json.dumps({"doc_id": f"x{n}", "text": f"t {n}"}) for n in range(9000)]
    corpus_lines(tmp_path, *lines[:8500], '{"doc_id": [], "text": "x"}', *lines[8500:])
    assert refused(tmp_path)[0] == "corpus.jsonl line 8,501: a document id expected, found '[]' (list)"
    table = pa.table({"doc_id": [f"d{n}" for n in range(8500)] + [None], "text": np.arange(8501).astype(str)})
    pq.write_table(table, tmp_path / "c.parquet", row_group_size=3000)
    assert refused(tmp_path, input={"corpus": "c.parquet"})[0] == (
        "c.parquet row 8,501: a document id expected, found nothing (NoneType)"
    )
