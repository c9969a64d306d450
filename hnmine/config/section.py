"""Base class of the config file's tables, and functions that list their tables, settings and allowed values."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.fields import FieldInfo


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character is in no name or path")
    return text


Name = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True), AfterValidator(_without_nul)]
Paths = Name | list[Name]
MOST_SECONDS = 1_000_000.0
"""Longest time to wait for something: the system's clocks take no more than some weeks."""


def setting(default: Any, text: str, *, no_effect: bool = False, **limits: Any) -> Any:
    """Return a pydantic field whose description is `text`; `no_effect` keeps it out of content keys."""
    return Field(default, description=text, json_schema_extra={"no_effect": no_effect}, **limits)


def has_no_effect(field: FieldInfo) -> bool:
    """Return whether a setting changes only how a run is carried out, not what it writes."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("no_effect"))


class Section(BaseModel):
    """A table of the config file: unknown keys and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def semantic(self) -> dict[str, Any]:
        """Return the settings that determine what is written, for content keys."""
        kept = {name for name, field in type(self).model_fields.items() if not has_no_effect(field)}
        return self.model_dump(mode="json", include=kept)


class Table(NamedTuple):
    """A table of the config file: where it is, and what it holds."""

    path: str
    """Dotted keys: `retrieve.source`."""
    header: str
    """As TOML: `[retrieve]`; `[[retrieve.source]]` for a table of which there may be several."""
    model: type[Section]
    field: FieldInfo
    """The field of the table above, with the table's description."""
    optional: bool
    """Whether the config is complete without it; any other table has its defaults if the file lacks it."""


def tables(model: type[Section], prefix: str = "", optional: bool = False) -> Iterator[Table]:
    """Yield the tables inside a table, each before those inside it, in the order of the fields.

    `prefix` is the outer table's path, ending in a dot; if that is `optional`, so are all tables inside.
    """
    for name, field in model.model_fields.items():
        if found := _table_of(field.annotation):
            path, several = f"{prefix}{name}", get_origin(field.annotation) is list
            absent = optional or several or field.default is None
            yield Table(path, f"[[{path}]]" if several else f"[{path}]", found, field, absent)
            yield from tables(found, f"{path}.", absent)


def settings(model: type[Section]) -> dict[str, FieldInfo]:
    """Return the fields of a table that hold values rather than tables, by their key; inherited ones last."""
    fields = sorted(model.model_fields.items(), key=lambda item: item[0] not in model.__annotations__)
    return {field.alias or name: field for name, field in fields if not _table_of(field.annotation)}


def _table_of(annotation: Any) -> type[Section] | None:
    """Return the table that a field holds, optional or not, or holds a list of; None for a field that holds values."""
    options = (annotation, *get_args(annotation))
    return next((option for option in options if isinstance(option, type) and issubclass(option, Section)), None)


def choices(annotation: Any) -> tuple[str, ...]:
    """Return the values that a `Literal` type allows, in order, also inside unions and lists; else ()."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(dict.fromkeys(value for part in get_args(annotation) for value in choices(part)))


def toml_value(value: Any) -> str:
    """Return a setting's value as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
