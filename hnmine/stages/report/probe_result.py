"""The stored result of `hnmine probe`, which a run's page shows; it is no part of the key of the report."""

from typing import Any

from hnmine.runtime.stage import RunContext
from hnmine.storage.store import read_json, recorded, write_json

PROBE = "probe.json"
VERSION = 2
"""Increased when the result has other numbers; one of another version is not shown."""


def write_probe(context: RunContext, result: dict[str, Any]) -> None:
    """Write the result beside the stages' folders, with the key of the negatives that it was measured on."""
    write_json({"version": VERSION, "emit": emit_key(context), "result": result}, context.out / PROBE)


def read_probe(context: RunContext) -> dict[str, Any] | None:
    """Return the stored result, or None if there is none for the run's negatives."""
    found = read_json(context.out / PROBE) or {}
    fits = found.get("version") == VERSION and found.get("emit") == emit_key(context)
    return found["result"] if fits else None


def emit_key(context: RunContext) -> str:
    """Return the key of the run's negatives."""
    key: str = (recorded(context.reading("emit")) or {})["key"]
    return key
