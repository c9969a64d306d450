"""The table `[[retrieve.source]]`: one for each source of candidates."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints

from hnmine.config.base import Paths, Section, setting
from hnmine.config.teacher import EmbedConfig, TeacherTable

if TYPE_CHECKING:
    from hnmine.config import Config

Language = Literal[
    "none", "danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese", "russian",
    "spanish", "swedish", "turkish",
]  # fmt: skip
SourceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", max_length=60)]
RESERVED = ("retrieved", "random")
"""What the extra column `source` says of negatives besides the names of sources."""
MOST_SOURCES = 16
_ONLY: dict[str, tuple[str, ...]] = {"dense": ("teacher",), "bm25": ("language", "stem", "k1", "b"), "run": ("path",)}


class SourceConfig(Section):
    """One source of candidates; several tables make several sources."""

    kind: Literal["dense", "bm25", "run"] = Field(description="dense: a teacher; bm25: words; run: a file of results")
    name: SourceName | None = setting(None, "what it is called in columns and reports (default: its kind)")
    top_k: int | None = setting(
        None, "candidates it gives a query, positives not counted (default: retrieve.top_k)", ge=1, le=10_000
    )
    language: Language = setting("english", "bm25: stop words and stemming of this language; none for neither")
    stem: bool | None = setting(None, "bm25: reduce words to their stems (default: where PyStemmer is installed)")
    k1: float = setting(1.5, "bm25: how soon a repeated word stops counting", ge=0)
    b: float = setting(0.75, "bm25: how much a long document counts less", ge=0, le=1)
    path: Paths | None = setting(
        None, "run: a TREC run file, or a table of query_id, doc_id, score (and rank)", no_effect=True
    )
    teacher: EmbedConfig | None = setting(
        None, "dense: a teacher of its own, with the keys of [embed] (default: the teacher of [embed])"
    )

    @property
    def label(self) -> str:
        """What it is called."""
        return self.name or self.kind

    def part(self) -> dict[str, Any]:
        """Return what determines its candidates, for content keys: the settings that its kind looks at.

        A teacher of its own is not among them: its vectors are in the key of embed.
        """
        other = {key for kind, keys in _ONLY.items() if kind != self.kind for key in keys} | {"teacher"}
        return {key: value for key, value in self.semantic().items() if key not in other} | {"name": self.label}


def teacher_table(number: int) -> TeacherTable:
    """Return where the teacher of a source stands in the config file; sources count from 0."""
    return f"retrieve.source.{number}.teacher"


def check_sources(config: "Config") -> Iterator[str]:
    """Yield what is wrong with the sources of a config."""
    retrieve = config.retrieve
    names = [source.label for source in retrieve.source]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"retrieve.source: {names.count(name)} sources are called {name!r}; give each a name of its own"
    if sum(source.kind == "dense" and source.teacher is None for source in retrieve.source) > 1:
        yield (
            'retrieve.source: kind = "dense" is there more than once without a teacher of its own, but there is one '
            "teacher in [embed]; leave all but one out, or give the others a table teacher"
        )
    for number, source in enumerate(retrieve.source):
        yield from _check_one(f"retrieve.source.{number}", source)
    if retrieve.fuse == "quota" and retrieve.quota is None:
        yield 'retrieve.quota: needed where retrieve.fuse = "quota"'
    if retrieve.fuse != "union" and not retrieve.source:
        yield f"retrieve.fuse: {retrieve.fuse!r} needs sources to fuse; add tables [[retrieve.source]]"
    if retrieve.quota is not None and retrieve.fuse != "quota":
        yield f'retrieve.quota: only fuse = "quota" looks at it, and retrieve.fuse is {retrieve.fuse!r}'


def _check_one(where: str, source: SourceConfig) -> Iterator[str]:
    """Yield what is wrong with one source; `where` is its key."""
    if source.label in RESERVED:
        yield f"{where}.name: {source.label!r} has a meaning of its own in the column source; choose another"
    if source.teacher is not None and source.name is None:
        yield f"{where}.name: needed where a source has a teacher of its own"
    if source.teacher is not None and not source.label.strip("."):
        yield f"{where}.name: {source.label!r} cannot name a folder; choose another"
    if source.kind == "run" and source.path is None:
        yield f'{where}.path: needed where kind = "run"'
    for kind, keys in _ONLY.items():
        given = [key for key in keys if key in source.model_fields_set and kind != source.kind]
        if given:
            yield f"{where}.{given[0]}: only a source of kind {kind!r} has it, and this one is {source.kind!r}"
    if source.stem and source.language == "none":
        yield f'{where}.stem: language = "none" has no stems; name the language, or leave stem out'
