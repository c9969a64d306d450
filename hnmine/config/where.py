"""The tables `[[retrieve.where]]`: which documents may be candidates of which query, by columns of the user's files."""

from typing import Any, Literal

from pydantic import Field

from hnmine.config.base import Name, Section, setting

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
