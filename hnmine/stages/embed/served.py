"""What identifies the served teachers of a run, and what their vectors took."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hnmine.config.models import TeacherTable
from hnmine.config.served import is_served
from hnmine.config.tables import Config
from hnmine.models.served import teacher_identity
from hnmine.models.served_identity import Identity
from hnmine.models.vector_folders import source_teachers, vector_folder
from hnmine.runtime.stage import RunContext
from hnmine.storage.store import read_counts, recorded


def served_teachers(config: Config) -> list[TeacherTable]:
    """Return the tables of the teachers that a server computes."""
    return [table for table, teacher in config.teachers.items() if is_served(teacher.model)]


def identity_of(context: RunContext, table: TeacherTable) -> Identity:
    """Return what identifies a served teacher. The server is asked once a run.

    One that this run's folder or the source run's recorded is taken again if it fits, and its key with it.

    Raises:
        ConfigError, ModelError, ServerError: see `teacher_identity`.
    """

    def find() -> Identity:
        ask = not context.local_models
        return teacher_identity(context.config.teachers[table], table, known_identities(context, table), ask=ask)

    return context.digests.once(f"identity of {table} in {context.out}", find)


def known_identities(context: RunContext, table: TeacherTable) -> list[Identity]:
    """Return what this run's folder and the source run's recorded of a served teacher; none where it was no server."""
    folders = [context.folder("embed"), *([] if context.source is None else [context.source / "embed"])]
    return [identity for folder in folders for identity in _recorded(folder, table, context.config)]


def recorded_identity(context: RunContext, table: TeacherTable) -> Identity | None:
    """Return what the stage's present run identifies a served teacher by; None where the teacher is no server."""
    return next(_recorded(context.folder("embed"), table, context.config), None)


def _recorded(folder: Path, table: TeacherTable, config: Config) -> Iterator[Identity]:
    parts: Mapping[str, Any] = (recorded(folder) or {}).get("parts", {})
    if table in ("embed", "guide"):
        found = parts.get("teacher" if table == "embed" else "guide_teacher")
    else:
        found = parts.get("sources", {}).get(source_teachers(config)[table], {}).get("teacher")
    if found and found.get("encoder") == "served":
        yield found


def served_counts(context: RunContext) -> dict[TeacherTable, dict[str, int]]:
    """Return the requests and tokens that the stored vectors of each served teacher took.

    Requests that were sent again, or whose vectors a stopped run did not store, are not counted, so that the counts do
    not depend on them.
    """
    found: dict[TeacherTable, dict[str, int]] = {}
    for table in served_teachers(context.config):
        total = found[table] = {"requests": 0, "tokens": 0}
        for side in ("corpus", "queries"):
            folder = context.folder("embed") / vector_folder(context.config, table, side)
            for path in folder.glob("part-*.parquet"):
                for name, count in read_counts(path).items():
                    total[name] += count
    return found
