"""The tables `[[retrieve.where]]`: which documents may be candidates of which query, by columns of the user's files."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hnmine.config.base import Name, Section, setting

if TYPE_CHECKING:
    from hnmine.config import Config

ORDERED = ("before", "after")
"""What compares by size, and so needs numbers or dates."""


class WhereConfig(Section):
    """One condition that candidates must meet; of several tables all must hold."""

    field: Name = Field(description="a column of the corpus, or a key of its column metadata")
    must: Literal["match", "differ", "before", "after"] = setting(
        "match", "have a value in common, have none, or be at most or at least as large (numbers, ISO dates)"
    )
    with_: Literal["query", "positive"] = setting(
        "query", "compared with the query's own value, or with those of its labelled positives", alias="with"
    )
    query_field: Name | None = setting(None, "the column of the queries (default: that of the corpus)")
    missing: Literal["allow", "forbid"] | None = setting(
        None, "where either side has no value (default: allow for differ, forbid for the others)"
    )

    @property
    def allows_missing(self) -> bool:
        """Whether the condition holds where the document or the query has no value."""
        return self.missing == "allow" if self.missing else self.must == "differ"

    @property
    def asked(self) -> str | None:
        """The column of the queries that it reads; None where the positives' values count."""
        return (self.query_field or self.field) if self.with_ == "query" else None

    @property
    def label(self) -> str:
        """The condition in words, for messages."""
        return f"{self.field} {self.must} {self.with_}"

    def part(self) -> dict[str, Any]:
        """Return what it determines, for content keys: defaults spelled out."""
        return {"field": self.field, "must": self.must, "query": self.asked, "missing": self.allows_missing}


def check_where(config: "Config") -> Iterator[str]:
    """Yield what is wrong with the conditions of a config."""
    seen: list[dict[str, Any]] = []
    for number, one in enumerate(config.retrieve.where):
        key = f"retrieve.where.{number}"
        if one.query_field is not None and one.with_ == "positive":
            yield f'{key}.query_field: with = "positive" takes the values of documents; leave query_field out'
        if {**one.part(), "missing": None} in seen:
            yield f"{key}: the same condition is there twice; leave one out"
        for other in config.retrieve.where[:number]:
            same = (other.field, other.asked) == (one.field, one.asked)
            if (
                same
                and {one.must, other.must} == {"match", "differ"}
                and not (one.allows_missing and other.allows_missing)
            ):
                yield f"{key}: {one.field} cannot both match and differ; no document could be a candidate"
        seen.append({**one.part(), "missing": None})
