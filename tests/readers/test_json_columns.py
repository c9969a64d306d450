"""Blocks of JSON lines that Arrow reads hold what Python's json finds in them; all others are left to it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.readers import lines as module
from hnmine.readers.json_columns import block_columns, first_object
from hnmine.readers.lines import block_lines, read_blocks, read_lines
from hnmine.storage.input_files import Source, find_sources
from tests.readers.helpers import ingest, refused, small

TYPES = {"id": pa.string(), "text": pa.string()}
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats() | st.text(max_size=5) | st.just("2020-01-01"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.lists(
        st.fixed_dictionaries({"id": st.text()}, optional={"text": st.none() | st.text(), "other": anything}),
        min_size=1,
    ),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_blocks_of_strings(rows: list[dict[str, Any]], ascii: bool, end: str) -> None:
    block = "".join(json.dumps(row, ensure_ascii=ascii) + end for row in rows).encode()
    found = block_columns(block, TYPES)
    assert found is not None
    assert found["id"].to_pylist() == [row["id"] for row in rows]
    assert found["text"].to_pylist() == [row.get("text") for row in rows]


LEFT = {
    "an empty line": '{"id": "a"}\n\n{"id": "b"}\n',
    "space before an object": '{"id": "a"}\n {"id": "b"}\n',
    "two objects on a line": '{"id": "a"} {"id": "b"}\n',
    "two on a line, and one on two": '{"id": "a"} {"id": "b"}\n{"id":\n"c"}\n',
    "a number": '{"id": "a"}\n{"id": 7}\n',
    "a list": '{"id": "a", "text": ["x"]}\n',
    "half a pair of surrogates": '{"id": "a\\ud83d"}\n',
    "the other half": '{"id": "a\\ude00"}\n',
    "a control character": '{"id": "a\tb"}\n',
    "a field twice": '{"id": "a", "id": "b"}\n',
    "an array": '["a"]\n',
    "cut off": '{"id": "a"}\n{"id": "b"',
}


@pytest.mark.parametrize("block", LEFT.values(), ids=LEFT)
def test_blocks_that_are_left_to_be_read_line_by_line(block: str) -> None:
    assert block_columns(block.encode(), TYPES) is None


@pytest.mark.parametrize(("line", "found"), [('{"a": 1}\n{', {"a": 1}), ("[1]\n", None), ("{", None), ("", None)])
def test_the_first_object(line: str, found: dict[str, Any] | None) -> None:
    assert first_object(line.encode()) == found


def source(file: Path) -> Source:
    (found,) = find_sources(str(file), file.parent, "input.corpus", (".jsonl",))
    return found


@given(st.text(st.sampled_from("ab\n\r é\ufeff")), st.integers(1, 9))
def test_blocks_hold_the_lines_of_the_file(tmp_path_factory: pytest.TempPathFactory, text: str, size: int) -> None:
    file = tmp_path_factory.mktemp("lines") / "c.jsonl"
    file.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", size)
        blocks = list(read_blocks(source(file)))
    found = [line for first, block in blocks for line in block_lines(source(file), first, block)]
    assert found == list(read_lines(source(file)))


@pytest.mark.parametrize("size", [10, 1 << 20])
def test_rows_that_arrow_leaves_keep_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(module, "_BLOCK", size)
    small(tmp_path)
    texts = ['"amber"', "null", '"x"', '"y"', '""']
    lines = [f'{{"doc_id": "d{number}", "text": {text}}}' for number, text in enumerate(texts)]
    lines[2:2] = ["", '{"doc_id": 7, "text": "seven", "title": "Late"}']
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    found = ingest(tmp_path)
    assert found.texts == {"d0": "amber", "7": "Late seven", "d2": "x", "d3": "y"}
    assert [row["source_row"] for row in found.corpus] == [0, 2, 3, 4]
    (tmp_path / "corpus.jsonl").write_text("\n".join([*lines, '{"doc_id": "d0", "text": "b"}', '{"doc_id": " "}']))
    assert refused(tmp_path, out="no") == [
        "corpus.jsonl line 8: document id 'd0' a second time, with another text",
        "corpus.jsonl line 9: a document id expected, found ' ' (str)",
    ]
