"""Content keys of stages: computing them, and comparing them with the keys of existing output.

A stage's key is a hash of everything that determines what the stage writes: its version, its settings that have an
effect, the content of the input files or model weights that it reads, and the keys of what it reads: of stages, or of
parts of their output. One changed byte of the corpus changes every key after it; a changed `workers`, or another name
of a file, changes none.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hnmine.errors import IncompleteStage, OutputError, StaleOutput
from hnmine.runtime.stage import RunContext, Stage, stage_of
from hnmine.storage.input_files import format_ending
from hnmine.storage.store import STARTED, digest, is_done, recorded, remove_folder

Expected = dict[str, dict[str, Any]]
"""By stage: its `key` and `version`, its `parts` (settings and files), as `upstream` the keys of what it reads, and as
`outputs` the keys of parts of its output that have one of their own."""


def expected_keys(stages: Sequence[Stage], context: RunContext) -> Expected:
    """Return the keys of all given stages that apply to the config, in order.

    Raises:
        InputError: an input file is missing.
        ModelError: the teacher cannot be found.
    """
    found: Expected = {}
    keys: dict[str, str] = {}
    for stage in (stage for stage in stages if stage.applies(context.config)):
        parts = stage.parts(context)
        upstream = {name: keys[name] for name in stage.reading(context)}
        content = {"stage": stage.name, "version": stage.version, "parts": _by_content(parts), "upstream": upstream}
        outputs = {
            name: digest({"output": f"{stage.name}.{name}", "version": stage.version, "parts": _by_content(own)})
            for name, own in stage.outputs(context, parts).items()
        }
        key = digest(content)
        one: dict[str, Any] = {"key": key, "version": stage.version, "parts": parts, "upstream": upstream}
        found[stage.name] = one | ({"outputs": outputs} if outputs else {})
        keys |= {stage.name: key, **{f"{stage.name}.{name}": own for name, own in outputs.items()}}
    return found


def _by_content(parts: Any) -> Any:
    """Return the parts of a key with the format of each file in place of its name."""
    if isinstance(parts, Mapping):
        kept = {name: _by_content(value) for name, value in parts.items()}
        return kept | {"file": format_ending(parts["file"])} if _is_file(parts) else kept
    return [_by_content(part) for part in parts] if isinstance(parts, list | tuple) else parts


def _is_file(value: Any) -> bool:
    return isinstance(value, Mapping) and "blake2b" in value


def check_upstream(stages: Sequence[Stage], context: RunContext, expected: Expected) -> None:
    """Check that all other stages that the given stages read are complete and have the expected keys.

    Raises:
        StaleOutput: one has another key.
        IncompleteStage: one is not complete.
    """
    read = {stage_of(name) for stage in stages for name in stage.reading(context)}
    needed = read - {stage.name for stage in stages}
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


def refuse_stale(stages: Sequence[Stage], context: RunContext, expected: Expected, *, overwrite: bool = False) -> None:
    """Check that no stage's folder holds results under another key; with `overwrite`, remove those that do.

    Shards whose keys do not depend on the stage's (`Stage.reusable`) stay; those that do not fit are computed again.

    Raises:
        StaleOutput: naming every such stage and every setting or file that differs.
        OutputError: a folder holds files of unknown origin.
    """
    stale: list[str] = []
    lines: list[str] = []
    for stage in stages:
        name, folder = stage.name, context.folder(stage.name)
        old = recorded(folder)
        empty = not any(path.is_file() and path.name != STARTED for path in folder.rglob("*"))
        if old is not None and old["key"] != expected[name]["key"] and overwrite:
            remove_folder(folder, keep=stage.reusable(context))
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
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if _by_content(was) != _by_content(now):
            yield f"{name} was {_show(was, now)}, now {_show(now, was)}"
    if _by_content(before) != _by_content(after):
        return
    if old.get("version", new.get("version")) != new.get("version"):
        yield "written by another version of hnmine"
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


def _show(value: Any, other: Any = None) -> str:
    """Return a value for a message; of a list of files those that `other` lacks, or all if only the order differs."""
    if isinstance(value, list) and value and all(map(_is_file, value)):
        known = [_by_content(one) for one in other] if isinstance(other, list) else []
        shown = [one for one in value if _by_content(one) not in known] or (value if len(value) == len(known) else [])
        names = [f"{one['file']} ({one['bytes']:,} bytes, {one['blake2b'][:8]})" for one in shown[:3]]
        rest = [f"{len(shown) - 3:,} more"] if len(shown) > 3 else []
        same = [f"{len(value) - len(shown):,} as before"] if known and len(shown) < len(value) else []
        return f"[{', '.join([*names, *rest, *same])}]"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:24]}...{text[-8:]}"
