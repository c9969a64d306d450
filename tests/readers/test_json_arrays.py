"""Files that are one JSON array of objects, and .json files of JSON lines."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.readers import json_rows as module
from hnmine.readers.json_rows import json_rows
from hnmine.storage.input_files import Source, find_sources
from tests.readers.helpers import CORPUS, ONLY_PAIRS, QRELS, QUERIES, ingest, refused, small
from tests.support import write_jsonl

TABLES: dict[str, list[dict[str, Any]]] = {
    "corpus": [{"doc_id": d, "text": t} for d, t in CORPUS.items()],
    "queries": [{"query_id": q, "text": t} for q, t in QUERIES.items()],
    "qrels": [{"query_id": q, "doc_id": d, "relevance": r} for q, d, r in QRELS],
    "judgements": [{"query_id": "q0", "doc_id": "d2", "judgement": "irrelevant"}],
}


def source(file: Path) -> Source:
    (found,) = find_sources(str(file), file.parent, "input.corpus", (".json",))
    return found


@pytest.mark.parametrize("indent", [None, 2], ids=["on one line", "on many lines"])
def test_arrays_are_read_for_every_role(tmp_path: Path, indent: int | None) -> None:
    small(tmp_path)
    for role, table in TABLES.items():
        (tmp_path / f"{role}.json").write_text(json.dumps(table, indent=indent))
    found = ingest(tmp_path, input={role: f"{role}.json" for role in TABLES})
    assert found.texts == CORPUS
    assert found.positives == ingest(tmp_path, "out2").positives
    assert found.documents("q0", "negative_rows") == ["d2"]
    pairs = [{"anchor": "which reef", "positive": "amber reef"}]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs, indent=indent))
    assert ingest(tmp_path, "out3", input={**ONLY_PAIRS, "pairs": "pairs.json"}).texts == {"positive-0": "amber reef"}


def test_a_json_file_of_lines_and_a_compressed_array(tmp_path: Path) -> None:
    small(tmp_path)
    write_jsonl(tmp_path / "corpus.json", TABLES["corpus"])
    (tmp_path / "queries.json.gz").write_bytes(
        gzip.compress(b"\xef\xbb\xbf \n" + json.dumps(TABLES["queries"]).encode())
    )
    found = ingest(tmp_path, input={"corpus": "corpus.json", "queries": "queries.json.gz"})
    assert (found.texts, found.asked) == (CORPUS, QUERIES)


def test_of_a_folder_json_counts_only_without_other_tables(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/part.json").write_text(json.dumps(TABLES["corpus"]))
    assert ingest(tmp_path, input={"corpus": "c"}).texts == CORPUS
    write_jsonl(tmp_path / "c/part.jsonl", TABLES["corpus"])
    (tmp_path / "c/part.json").write_text('{"dataset": "its card"}')
    assert ingest(tmp_path, "out2", input={"corpus": "c"}).texts == CORPUS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=5
)


@given(st.lists(st.dictionaries(st.text(), JSON)), st.sampled_from([None, 1]), st.booleans(), st.integers(1, 40))
def test_any_array_is_read_a_block_at_a_time(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], indent: int | None, ascii: bool, block: int
) -> None:
    file = tmp_path_factory.mktemp("json") / "rows.json"
    file.write_bytes(json.dumps(rows, indent=indent, ensure_ascii=ascii).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        found = [row for _, row in json_rows(source(file))[1]]
    assert found == rows


def test_a_long_array_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"doc_id": f"d{n}", "text": "x" * 100} for n in range(2000)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    monkeypatch.setattr(module, "_BLOCK", 1024)
    held: list[int] = []
    more = module._Window._more

    def watched(self: Any) -> bool:
        found = more(self)
        held.append(len(self._held))
        return found

    monkeypatch.setattr(module._Window, "_more", watched)
    assert [row for _, row in json_rows(source(tmp_path / "rows.json"))[1]] == rows
    assert max(held) <= 2048


DAMAGED = {
    "no comma": ('[{"a": 1} {"a": 2}]', "c.json line 1, character 11, item 1: Expecting ',' or ']'"),
    "a comma at the end": ('[{"a": 1},\n]', "c.json line 2, character 12, item 2: not valid JSON: Expecting value"),
    "broken inside": (
        '[\n{"a": 1},\n{"a" 2}]' + " " * 40,
        "c.json line 3, character 18, item 2: not valid JSON: Expecting ':' delimiter",
    ),
    "cut off between items": ('[{"a": 1}', "c.json line 1, character 10, item 1: the file ends inside its array; cut"),
    "cut off in a text": ('[{"a": "x', "c.json line 1, character 8, item 1: not valid JSON: Unterminated string"),
    "an open quote": ('[{"a": "x}, {"b": 1}]', "c.json line 1, character 15, item 1: not valid JSON: Expecting ','"),
    "text after it": ("[{}] x", "c.json line 1, character 6, item 1: the file goes on after the end of its array"),
    "numbers": ("[1]", "c.json item 1: a JSON object was expected, not int"),
    "nothing in it": ("[]", "c.json: the file is empty"),
    "an object on several lines": (
        '{\n"a": 1\n}',
        "c.json line 1: not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1); "
        "a .json file has one array of objects, or one object a line",
    ),
    "a deep array": ("[" + "[" * 100_000, "c.json line 1, character 2, item 1: not valid JSON: maximum recursion"),
}


@pytest.mark.parametrize(("text", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_array(tmp_path: Path, text: str, message: str) -> None:
    small(tmp_path)
    (tmp_path / "c.json").write_text(text)
    (line,) = refused(tmp_path, input={"corpus": "c.json"})
    assert line.startswith(message)


def test_damage_in_bytes(tmp_path: Path) -> None:
    small(tmp_path)
    whole = json.dumps([{"doc_id": f"d{n}", "text": f"{n * 7919}"} for n in range(30_000)]).encode()
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(whole)[:-2000])
    (line,) = refused(tmp_path, input={"corpus": "c.json.gz"})
    assert line.startswith("c.json.gz: damaged after item ")
    (tmp_path / "c.json").write_bytes(b'[{"doc_id": "d0", "text": "\xe4"}]')
    (line,) = refused(tmp_path, input={"corpus": "c.json"})
    assert line.startswith("c.json: not UTF-8 after ")


def test_values_are_named_by_their_item(tmp_path: Path) -> None:
    small(tmp_path)
    (tmp_path / "c.json").write_text(json.dumps([*TABLES["corpus"], {"doc_id": "x", "text": 5}]))
    assert refused(tmp_path, input={"corpus": "c.json"}) == ["c.json item 4: text expected, found '5' (int)"]


def test_a_text_without_its_closing_quote_is_given_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 16)
    monkeypatch.setattr(module, "LARGEST", 64)
    small(tmp_path)
    (tmp_path / "c.json").write_text('[{"doc_id": "' + "x" * 500)
    (line,) = refused(tmp_path, input={"corpus": "c.json"})
    assert line == "c.json line 1, character 2, item 1: more than 64 characters; is a quote not closed?"
