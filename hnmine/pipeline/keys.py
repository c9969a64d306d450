"""Content keys of stages: computing them, and comparing them with the keys of existing output.

A stage's key is a hash of everything that determines what the stage writes: its version, its settings that have an
effect, the content of the input files or model weights that it reads, and the keys of the stages that it reads. One
changed byte of the corpus changes every key after it; a changed `workers` changes none.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hnmine.errors import IncompleteStage, OutputError, StaleOutput
from hnmine.runtime.stage import RunContext, Stage
from hnmine.storage.store import STARTED, digest, is_done, recorded, remove_folder

Expected = dict[str, dict[str, Any]]
"""By stage: its `key`, its `parts` (settings and files) and, as `upstream`, the keys of the stages that it reads."""


def expected_keys(stages: Sequence[Stage], context: RunContext) -> Expected:
    """Return the keys of all given stages that apply to the config, in order.

    Raises:
        InputError: an input file is missing.
        ModelError: the teacher cannot be found.
    """
    found: Expected = {}
    for stage in (stage for stage in stages if stage.applies(context.config)):
        parts = stage.parts(context)
        upstream = {name: found[name]["key"] for name in stage.reading(context)}
        content = {"stage": stage.name, "version": stage.version, "parts": parts, "upstream": upstream}
        found[stage.name] = {"key": digest(content), "parts": parts, "upstream": upstream}
    return found


def check_upstream(stages: Sequence[Stage], context: RunContext, expected: Expected) -> None:
    """Check that all other stages that the given stages read are complete and have the expected keys.

    Raises:
        StaleOutput: one has another key.
        IncompleteStage: one is not complete.
    """
    needed = {name for stage in stages for name in stage.reading(context)} - {stage.name for stage in stages}
    for name in expected:
        folder = context.reading(name)
        if name not in needed or is_done(folder, expected[name]["key"]):
            continue
        old = recorded(folder)
        if old is not None and old["key"] != expected[name]["key"]:
            lines = "\n".join(f"  {name}: {line}" for line in changes(old, expected[name]))
            raise StaleOutput(
                f"{folder} was made with other settings or inputs:\n{lines}\nrun `hnmine {name} --overwrite`"
            )
        raise IncompleteStage(f"{folder} is not complete; run `hnmine {name}` first, or `hnmine run` for all stages")


def refuse_stale(names: Sequence[str], context: RunContext, expected: Expected, *, overwrite: bool = False) -> None:
    """Check that no stage's folder holds results under another key; with `overwrite`, remove those that do.

    Raises:
        StaleOutput: naming every such stage and every setting or file that differs.
        OutputError: a folder holds files of unknown origin.
    """
    stale: list[str] = []
    lines: list[str] = []
    for name in names:
        folder = context.folder(name)
        old = recorded(folder)
        empty = not any(path.is_file() and path.name != STARTED for path in folder.rglob("*"))
        if old is not None and old["key"] != expected[name]["key"] and overwrite:
            remove_folder(folder)
        elif old is None and not empty:
            raise OutputError(f"{folder}: holds files that hnmine did not write; choose another --out")
        elif old is not None and old["key"] != expected[name]["key"] and not empty:
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
    """Yield one line for each difference between two recorded states of a stage."""
    before, after = dict(flatten(old["parts"])), dict(flatten(new["parts"]))
    names = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    for name in names:
        yield f"{name} was {_show(before.get(name))}, now {_show(after.get(name))}"
    if names:
        return
    moved = [name for name, key in new["upstream"].items() if old["upstream"].get(name) != key]
    yield f"reads {', '.join(moved)}, which changed" if moved else "written by another version of hnmine"


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
