"""What every table of the config file is made of: its base class, and the field that carries a setting's meaning."""

import json
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Paths = Name | list[Name]


def setting(default: Any, text: str, *, no_effect: bool = False, **limits: Any) -> Any:
    """Return a pydantic field with its meaning; `no_effect` keeps it out of content keys."""
    return Field(default, description=text, json_schema_extra={"no_effect": no_effect}, **limits)


class Section(BaseModel):
    """A table of the config file: unknown keys and loose types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def semantic(self) -> dict[str, Any]:
        """Return the settings that determine what is written, for content keys."""
        kept = {}
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get("no_effect"):
                continue
            kept[name] = getattr(self, name)
        dumped: dict[str, Any] = self.model_dump(mode="json", include=set(kept))
        return dumped


def table_of(annotation: Any) -> type[Section] | None:
    """Return the table that a field of this type holds, optional or not; None for a field that holds values."""
    options = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return next((a for a in options if isinstance(a, type) and issubclass(a, Section)), None)


def tables_of(annotation: Any) -> type[Section] | None:
    """Return the table that a field holds a list of, as in `[[retrieve.source]]`; None for any other field."""
    return table_of(get_args(annotation)[0]) if get_origin(annotation) is list else None


def toml_value(value: Any) -> str:
    """Return a setting's value as TOML; `...` stands for a setting without a default."""
    if value is None:
        return '"..."'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
