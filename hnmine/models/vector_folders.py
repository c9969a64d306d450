"""Folders of each teacher's vectors within the output of embed."""

from collections.abc import Iterator

from hnmine.config.models import TeacherTable
from hnmine.config.retrieve import MAX_SOURCES, teacher_table
from hnmine.config.tables import Config

FOLDERS: dict[TeacherTable, dict[str, str]] = {
    "embed": {"corpus": "corpus", "queries": "queries"},
    "guide": {"corpus": "guide-corpus", "queries": "guide-queries"},
}


def possible_teachers() -> Iterator[tuple[TeacherTable, dict[str, str]]]:
    """Yield every table that may hold a teacher, with the name of the embedding step of each side.

    Teachers of sources come first: with `embed.documents = "candidates"` they determine what [embed] embeds.
    """
    for number in range(MAX_SOURCES):
        yield teacher_table(number), {side: f"source-{number + 1}-{side}" for side in ("corpus", "queries")}
    yield from FOLDERS.items()


def source_teachers(config: Config) -> dict[TeacherTable, str]:
    """Return the tables of teachers that belong to sources, with the sources' names, in the config's order."""
    sources = enumerate(config.retrieve.source)
    return {teacher_table(number): source.label for number, source in sources if source.teacher is not None}


def vector_folder(config: Config, table: TeacherTable, side: str) -> str:
    """Return the folder of a teacher's vectors of one side (corpus or queries), relative to embed's output.

    The folder of a source's teacher has the source's name, so reordering the sources recomputes nothing.
    """
    if table in FOLDERS:
        return FOLDERS[table][side]
    return f"sources/{source_teachers(config)[table]}/{side}"
