"""The table `[[retrieve.source]]`: one for each source of candidates."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from hnmine.config.base import Paths, Section, setting
from hnmine.config.teacher import EmbedConfig, TeacherTable

Language = Literal[
    "none", "danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese", "russian",
    "spanish", "swedish", "turkish",
]  # fmt: skip
SourceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", max_length=60)]
RESERVED = ("retrieved", "random")
"""What the extra column `source` says of negatives besides the names of sources."""
MOST_SOURCES = 16
ONLY: dict[str, tuple[str, ...]] = {"dense": ("teacher",), "bm25": ("language", "stem", "k1", "b"), "run": ("path",)}


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
        other = {key for kind, keys in ONLY.items() if kind != self.kind for key in keys} | {"teacher"}
        return {key: value for key, value in self.semantic().items() if key not in other} | {"name": self.label}


def teacher_table(number: int) -> TeacherTable:
    """Return where the teacher of a source stands in the config file; sources count from 0."""
    return f"retrieve.source.{number}.teacher"
