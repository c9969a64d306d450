"""Columns of blocks of JSON lines, read by Arrow."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.json as pa_json


def first_object(block: bytes) -> dict[str, Any] | None:
    """Return the object of a block's first line; None if it is none."""
    try:
        found = json.loads(block[: block.find(b"\n")] if b"\n" in block else block)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def block_columns(block: bytes, types: dict[str, pa.DataType]) -> dict[str, pa.Array] | None:
    """Return some fields of a block of lines as columns, null where a line lacks one.

    None if a line is no object that begins and ends with it (an empty one, say), is not valid JSON, or has a value of
    another type than the one that `types` gives for the field: reading the lines one by one then says what they hold.
    """
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    # no newline is part of a value, and no comma is between these objects: each begins and ends a row
    if block.count(b"}\n{") + block.count(b"}\r\n{") != lines - 1 or not block.startswith(b"{"):
        return None
    try:
        table = pa_json.read_json(
            pa.BufferReader(block),
            pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            pa_json.ParseOptions(explicit_schema=pa.schema(types), unexpected_field_behavior="ignore"),
        )
        table.validate(full=True)  # half of a surrogate pair, escaped, is no UTF-8
    except pa.ArrowException:
        return None
    if table.num_rows != lines:
        return None
    return {name: table.column(name).combine_chunks() for name in types}
