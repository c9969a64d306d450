"""Where the vectors of each teacher lie within the folder of embed."""

from collections.abc import Iterator

from hnmine.config import Config, TeacherTable
from hnmine.config.sources import MOST_SOURCES, teacher_table

FOLDERS: dict[TeacherTable, dict[str, str]] = {
    "embed": {"corpus": "corpus", "queries": "queries"},
    "guide": {"corpus": "guide-corpus", "queries": "guide-queries"},
}


def possible_teachers() -> Iterator[tuple[TeacherTable, dict[str, str]]]:
    """Yield every table that may hold a teacher, with a name for the making of each side's vectors.

    Those of sources come first: what they find may be all that the teacher of [embed] has to embed.
    """
    for number in range(MOST_SOURCES):
        names = {side: f"source-{number + 1}-{side}" for side in ("corpus", "queries")}
        yield teacher_table(number), names
    yield from FOLDERS.items()


def source_teachers(config: Config) -> dict[TeacherTable, str]:
    """Return the tables of teachers that sources have of their own, with the sources' names, in the config's order."""
    sources = enumerate(config.retrieve.source)
    return {teacher_table(number): source.label for number, source in sources if source.teacher is not None}


def vector_folder(config: Config, table: TeacherTable, side: str) -> str:
    """Return the folder of a teacher's vectors of one side: corpus or queries.

    A source's lie by its name, so that another order of sources makes nothing anew.
    """
    if table in FOLDERS:
        return FOLDERS[table][side]
    return f"sources/{source_teachers(config)[table]}/{side}"
