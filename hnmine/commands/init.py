"""`hnmine init`: a config file with every setting, its default and its meaning, written from the types themselves."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hnmine.config import SECTIONS, Config, EmbedConfig, PreviousConfig, RescoreConfig
from hnmine.config.base import table_of, tables_of, toml_value
from hnmine.config.sources import SourceConfig
from hnmine.config.where import WhereConfig
from hnmine.errors import ConfigError
from hnmine.storage.store import write_text

_HEAD = """# hnmine config. Lines that begin with "#" show a setting's default; take the "#" away to change it.
# Relative paths start at this file's folder. `hnmine plan` checks the whole; `hnmine run` runs it.
"""
_SHOWN = {"seed": 0, "out": "runs/first"}


def write_starter(path: Path, *, beir: str | None, pairs: str | None, force: bool) -> str:
    """Write a commented config and return its path.

    Args:
        path: the file.
        beir: a BEIR folder it is for.
        pairs: a file of pairs it is for.
        force: replace a file that is there.

    Raises:
        ConfigError: the file is there, or both kinds of input are given.
        OutputError: it cannot be written.
    """
    if path.exists() and not force:
        raise ConfigError(f"{path}: is there already; choose another --path, or pass --force to replace it")
    if beir and pairs:
        raise ConfigError("init: --beir and --pairs exclude each other")
    write_text(starter(_given(path.absolute().parent, beir, pairs)), path)
    return str(path)


def _given(folder: Path, beir: str | None, pairs: str | None) -> dict[str, str]:
    """Return the input settings: as asked for, else what lies in the folder, else the usual three files."""
    if beir or pairs:
        key, value = ("beir", str(beir)) if beir else ("pairs", str(pairs))
        return {key: value if "://" in value else str(Path(value).absolute())}
    if (folder / "qrels").is_dir() and any(folder.glob("corpus.jsonl*")):
        return {"beir": "."}
    return {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"}


def starter(given: dict[str, str]) -> str:
    """Return the text of a config whose input table holds `given`; everything else is a comment."""
    parts = [_HEAD]
    parts.extend(_line(name, field, _SHOWN) for name, field in _plain(Config))
    for section in SECTIONS:
        model = Config.model_fields[section].annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        parts.append(f"\n# {model.__doc__.splitlines()[0] if model.__doc__ else section}\n[{section}]\n")
        parts.extend(_line(name, field, given if section == "input" else {}) for name, field in _plain(model))
        if section == "input":
            names = Config.model_fields["input"].annotation
            assert isinstance(names, type)
            columns = names.model_fields["columns"].annotation
            parts.append("\n# Only where your column names differ from the usual ones.\n# [input.columns]\n")
            parts.extend(f'# {name} = "..."{_note(field)}' for name, field in columns.model_fields.items())
        if section == "retrieve":
            parts.append("\n# Optional: one table for each source of candidates. Without any: the teacher alone.\n")
            parts.append('# [[retrieve.source]]\n# kind = "..."' + _note(SourceConfig.model_fields["kind"]))
            parts.append("\n# Optional: one table for each condition on columns that candidates must meet.\n")
            parts.append('# [[retrieve.where]]\n# field = "..."' + _note(WhereConfig.model_fields["field"]))
            parts.append(f"\n# Optional: {Config.model_fields['rescore'].description}\n# [rescore]\n")
            parts.append(f'# model = "..."{_note(RescoreConfig.model_fields["model"])}')
        if section == "emit":
            parts.append(f"\n# Optional: {Config.model_fields['previous'].description}\n# [previous]\n")
            parts.append(f'# run = "..."{_note(PreviousConfig.model_fields["run"])}')
        if section == "embed":
            parts.append(f"\n# Optional: {Config.model_fields['guide'].description}\n# [guide]\n")
            parts.append(f'# model = "..."{_note(EmbedConfig.model_fields["model"])}')
    return "".join(parts)


def _plain(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """Return the fields that are values, not tables."""
    return [(n, f) for n, f in model.model_fields.items() if not (table_of(f.annotation) or tables_of(f.annotation))]


def _line(name: str, field: FieldInfo, shown: dict[str, Any]) -> str:
    if name in shown:
        return f"{name} = {toml_value(shown[name])}{_note(field)}"
    return f"# {name} = {toml_value(field.default)}{_note(field)}"


def _note(field: FieldInfo) -> str:
    return f"  # {field.description}\n"
