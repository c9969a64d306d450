"""The finished stages of a run that a command reads, and how the run was made."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hnmine.commands.compare.settings import differing, recorded_values
from hnmine.config.models import ModelTable, TeacherTable
from hnmine.config.section import Section, has_no_effect
from hnmine.config.tables import Config
from hnmine.errors import HnmineError, IncompleteStage, ModelError
from hnmine.models.model_files import absent_models
from hnmine.pipeline.stages import STAGES
from hnmine.runtime.stage import RunContext
from hnmine.search.sources import source_stage
from hnmine.storage.digest_cache import DigestCache
from hnmine.storage.store import MANIFEST, read_json

_TABLES = ("retrieve", "filter", "emit")
"""Tables of the config that the stages of the same names record."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, as it was made.

    Attributes:
        context: of the run; in its config, the tables of the stages read are those that the run was made with.
        stages: names of the complete stages that were asked for, and of those that they read.
        other_settings: the settings, files and models in which the given config differs from them: `name`, `was`,
            `now`.
        not_compared: why some of them could not be compared, such as an input file that is gone.
    """

    context: RunContext
    stages: frozenset[str]
    other_settings: list[dict[str, Any]]
    not_compared: list[str]

    @property
    def differences(self) -> dict[str, Any]:
        """`other_settings` and `not_compared`, as part of a command's answer."""
        return {"other_settings": self.other_settings, "not_compared": self.not_compared}


def finished_run(
    config: Config, source: Path | None, stages: Sequence[str], if_complete: Sequence[str] = ()
) -> FinishedRun:
    """Return a run whose named stages are complete, and what was different when it was made.

    Only the named stages and those that they read are compared with the config. No model is loaded.

    Args:
        config: the whole config.
        source: output folder of another run to read finished stages from.
        stages: what the command reads.
        if_complete: what it reads where it is there.

    Raises:
        IncompleteStage: with every stage that is not complete, or was made from other results than those that are read.
    """
    digests = DigestCache.read(config.out_folder)
    context = RunContext(config, config.out_folder, source.resolve() if source else None, digests, local_models=True)
    missing = [name for name in stages if read_json(context.reading(name) / MANIFEST) is None]
    if missing:
        lines = (
            f"{context.reading(name)} is not complete; run `hnmine {name}` first, or `hnmine run` for all stages"
            for name in missing
        )
        hint = "" if source else "\nIf it reads stages of another run, name that run with --from"
        raise IncompleteStage("\n".join(lines) + hint)
    manifests = _manifests(context, stages)
    if mixed := [f"{context.reading(name)} {why}" for name, why in _mismatches(manifests)]:
        raise IncompleteStage("\n".join(mixed))
    extended = _manifests(context, [*stages, *if_complete])
    manifests = manifests if [*_mismatches(extended)] else extended
    now: dict[str, Any] = {}
    not_compared = []
    for name in manifests:
        try:
            _check_models(name, config)
            now[name] = {"version": STAGES[name].version, "parts": STAGES[name].parts(context)}
        except HnmineError as error:
            not_compared.append(f"{name}: {'; '.join(str(error).splitlines())}")
    was = {name: manifest for name, manifest in manifests.items() if name in now}
    found = [
        {"name": one["name"], "was": one["values"][0], "now": one["values"][1]}
        for one in differing([recorded_values(was), recorded_values(now)])
    ]
    made = replace(context, config=_as_made(config, manifests))
    return FinishedRun(made, frozenset(manifests), found, not_compared)


def _check_models(stage: str, config: Config) -> None:
    """Check that the models of a stage are on this machine: to compare a run, none is fetched.

    Raises:
        ModelError: one is not.
    """
    tables: dict[TeacherTable, ModelTable] = {**config.teachers} if stage == "embed" else {}
    if stage == source_stage(config):
        tables |= config.encoders
    if stage == "rescore" and config.rescore is not None:
        tables["rescore"] = config.rescore
    for table, model in absent_models(tables).items():
        raise ModelError(f"{table}.model {model!r} is not on this machine")


def _manifests(context: RunContext, stages: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Return the manifests of the given stages and of all that they read, in the order of the stages."""
    found: dict[str, Mapping[str, Any]] = {}
    waiting = list(stages)
    while waiting:
        name = waiting.pop()
        manifest = read_json(context.reading(name) / MANIFEST)
        if name not in found and manifest is not None:
            found[name] = manifest
            waiting += manifest["upstream"]
    return {name: found[name] for name in STAGES if name in found}


def _mismatches(manifests: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield each stage that was made from other results of a stage than those that are there, and what to do."""
    for name, manifest in manifests.items():
        for above, key in manifest["upstream"].items():
            if above in manifests and manifests[above]["key"] != key:
                yield name, f"was made from other results of {above}; run `hnmine {name} --overwrite`"


def _as_made(config: Config, manifests: Mapping[str, Mapping[str, Any]]) -> Config:
    """Return the config with the recorded tables in place of its own."""
    changed: dict[str, Any] = {}
    for table in _TABLES:
        if table in manifests:
            changed[table] = _table(getattr(config, table), dict(_recorded(table, manifests)))
    seed = next((one["parts"]["seed"] for one in manifests.values() if "seed" in one["parts"]), config.seed)
    return config.model_copy(update={**changed, "seed": seed})


def _recorded(table: str, manifests: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    parts = manifests[table]["parts"]
    yield from parts[table].items()
    if table == "retrieve":  # its sources are recorded apart, each with the settings that its kind uses
        yield "source", parts.get("sources", [])
        if "filter" in manifests:  # which searches deeper
            yield from manifests["filter"]["parts"].get("retrieve", {}).items()


def _table(own: Section, made: Mapping[str, Any]) -> Section:
    """Return a table of the config with its recorded settings; those that change no file are the config's own.

    A record that this version cannot read leaves the table as it is: the difference is reported all the same.
    """
    fields = type(own).model_fields
    kept = {name for name, field in fields.items() if has_no_effect(field) or name == "where"}
    values = {key: value for key, value in made.items() if key in fields}
    try:
        read = type(own).model_validate_json(json.dumps(values))
    except ValidationError:
        return own
    return read.model_copy(update={name: getattr(own, name) for name in kept})
