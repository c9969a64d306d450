"""Content keys: a hash of everything that determines what a stage writes, and the words for what changed.

A stage's key covers its version, its settings that matter, the content of the user's files or the teacher's
weights where it reads them, and the keys of the stages it reads. So one changed byte in the corpus changes
every key after it, and a changed `workers` none.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hnmine.errors import OutputError, StaleOutput
from hnmine.runtime.stage import STARTED, RunContext, Stage
from hnmine.storage.keys import digest, recorded

Expected = dict[str, dict[str, Any]]


def expected_keys(stages: Sequence[Stage], context: RunContext) -> Expected:
    """Return for each stage that applies its key, its parts and the keys of what it reads.

    Raises:
        InputError: a file of the user's is missing.
        ModelError: the teacher cannot be found.
    """
    found: Expected = {}
    for stage in (stage for stage in stages if stage.applies(context.config)):
        parts = stage.parts(context)
        upstream = {name: found[name]["key"] for name in stage.reading(context)}
        content = {"stage": stage.name, "version": stage.version, "parts": parts, "upstream": upstream}
        found[stage.name] = {"key": digest(content), "parts": parts, "upstream": upstream}
    return found


def _is_empty(folder: Path) -> bool:
    """Tell whether a stage's folder holds no result yet: at most the note that it was started."""
    return not any(path.is_file() and path.name != STARTED for path in folder.rglob("*"))


def refuse_stale(names: Sequence[str], context: RunContext, expected: Expected) -> None:
    """Refuse an output folder that holds results under other keys, and say what changed.

    Raises:
        StaleOutput: naming every stage concerned and every setting or file that differs.
    """
    stale: list[str] = []
    lines: list[str] = []
    for name in names:
        folder = context.folder(name)
        old = recorded(folder)
        if _is_empty(folder) or (old is not None and old["key"] == expected[name]["key"]):
            continue
        if old is None:
            raise OutputError(f"{folder}: holds files that hnmine did not write; choose another --out")
        stale.append(name)
        lines.extend(f"  {name}: {line}" for line in changes(old, expected[name]))
    if stale:
        raise StaleOutput(
            f"{context.out} holds results of another config, other inputs or another version:\n"
            + "\n".join(lines)
            + f"\npass --overwrite to recompute {', '.join(stale)}; "
            f"or choose another --out, with --from {context.out} to reuse what still fits"
        )


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line for each thing that differs between two recorded states of a stage."""
    before, after = dict(flatten(old["parts"])), dict(flatten(new["parts"]))
    count = 0
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            count += 1
            yield f"{name} was {_show(before.get(name))}, now {_show(after.get(name))}"
    moved = [name for name, key in new["upstream"].items() if old["upstream"].get(name) != key]
    if moved and not count:
        count += 1
        yield f"reads {', '.join(moved)}, which changed"
    if not count:
        yield "written by another version of hnmine"


def flatten(parts: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) for every leaf of nested mappings."""
    if isinstance(parts, Mapping):
        for name, value in parts.items():
            yield from flatten(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, parts


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:24]}...{text[-8:]}"
