"""Checks for the settings of models: teachers, encoders, cross-encoders and judges."""

import json
import re
from collections.abc import Iterator
from typing import Any

from hnmine.config.check_lists import CheckList
from hnmine.config.models import SELECTION, EmbedConfig, JudgeTable, RescoreConfig
from hnmine.config.section import has_no_effect
from hnmine.config.served import ServedModel, ServedTexts, address_problem, is_served
from hnmine.config.tables import Config

MODEL_CHECKS = CheckList()
_reads = MODEL_CHECKS.reads
_SERVED = (*ServedTexts.model_fields, "encoding_format")
"""Settings of models that a server computes."""
_OF_FILES = {"corpus_vectors", "query_vectors"}
_EXECUTION = {n for n, one in EmbedConfig.model_fields.items() if has_no_effect(one)} - _OF_FILES | set(SELECTION)
"""Settings of a teacher that give no other scores."""
_OF_LOADED_MODELS = ("revision", "max_length", "precision", "batch_tokens", "device", "trust_remote_code")
"""Settings of a teacher that the program of `command` would not know of."""
_LOADED = (*_OF_LOADED_MODELS, "batch_size")
"""Settings of models that are loaded, which a server would not know of."""


@_reads("input", "embed", "guide", "retrieve")
def _teachers_of_images(config: Config) -> Iterator[str]:
    for table, teacher in config.teachers.items() if config.input.uses_images else ():
        if teacher.model in ("hash", "command") or is_served(teacher.model):
            yield (
                f"{table}.model: {teacher.label!r} takes no images; name a sentence-transformers model that does, such "
                'as "clip-ViT-B-32", or "precomputed"'
            )
        elif teacher.precision not in ("float32", "float16"):
            yield f"{table}.precision: {teacher.precision!r} is for texts; leave it out where there are images"


@_reads()  # a table that could not be read has its defaults here, which pass
def _precomputed(config: Config) -> Iterator[str]:
    for table, teacher in config.teachers.items():
        remedy = f'{table}.model = "precomputed"'
        for name in ("corpus_vectors", "query_vectors"):
            given = getattr(teacher, name)
            if teacher.model == "precomputed" and not given:
                yield f"{table}.{name}: needed with {remedy}"
            if teacher.model != "precomputed" and given:
                yield f"{table}.{name}: given, but {table}.model is {teacher.model!r}; set {remedy}"


@_reads()  # likewise
def _commands(config: Config) -> Iterator[str]:
    for table, teacher in config.teachers.items():
        changed = {name for name, field in EmbedConfig.model_fields.items() if getattr(teacher, name) != field.default}
        if teacher.command is None:
            if teacher.model == "command":
                yield f'{table}.command: needed with {table}.model = "command"; name the program and its arguments'
            yield from (
                f"{table}.{name}: used only with {table}.command; leave it out"
                for name in ("command_version", "command_timeout")
                if name in changed
            )
            continue
        if teacher.model != "command":
            yield f"{table}.command: given, and so is {table}.model = {teacher.model!r}; leave out one of the two"
        for name in _OF_LOADED_MODELS:
            if name in changed:
                yield f"{table}.{name}: the program of {table}.command does not know of it; leave it out"


@_reads()  # likewise
def _served(config: Config) -> Iterator[str]:
    models: dict[str, EmbedConfig | RescoreConfig] = {**config.teachers}
    if config.rescore is not None:
        models["rescore"] = config.rescore
    for table, one in models.items():
        changed = {name for name, field in type(one).model_fields.items() if getattr(one, name) != field.default}
        given, loaded = ([name for name in names if name in changed] for names in (_SERVED, _LOADED))
        if not is_served(one.model):
            yield from _no_address(table, one.model)
            if given:
                what = "no server" if "://" in one.model else repr(one.model)  # an address may hold a key
                yield (
                    f"{table}.{', '.join(given)}: only for a model that a server computes, and {table}.model is "
                    f"{what}; name the server's address, such as http://localhost:8000/v1, or leave it out"
                )
            continue
        if problem := address_problem(one.model):
            yield f"{table}.model: the address {problem}"
        if loaded:
            cut = "; the server decides where long texts are cut" if "max_length" in loaded else ""
            yield (
                f"{table}.{', '.join(loaded)}: only for a model that is loaded, and {table}.model is a server{cut}; "
                "leave it out"
            )
        yield from _key_name(table, one)


def _no_address(table: str, model: str) -> Iterator[str]:
    """Yield that a model to load is named by an address, which messages do not repeat: it may hold a key."""
    if "://" in model:
        yield (
            f"{table}.model: neither the name nor the path of a model; a model that a server computes is named by an "
            "address that begins with http:// or https://, in [embed], [guide], a source's teacher or [rescore]"
        )


@_reads("retrieve")
def _encoders_are_loaded(config: Config) -> Iterator[str]:
    for table, encoder in config.encoders.items():
        yield from _no_address(table, encoder.model)


def _key_name(table: str, one: ServedModel) -> Iterator[str]:
    if one.api_key_env is not None and not re.fullmatch("[A-Z_][A-Z0-9_]*", one.api_key_env):
        yield (
            f"{table}.api_key_env: is the name of an environment variable in capital letters, such as OPENAI_API_KEY, "
            "and never the key itself"
        )


@_reads()  # likewise
def _precision(config: Config) -> Iterator[str]:
    for table, teacher in config.teachers.items():
        on_cpu = (teacher.device or "").startswith("cpu")
        if table not in ("embed", "guide") or teacher.precision == "float32" or teacher.command is not None:
            continue
        if is_served(teacher.model):
            continue
        if teacher.model in ("precomputed", "hash"):
            yield (
                f"{table}.precision: {teacher.precision!r} applies to models, and {table}.model = {teacher.model!r} "
                "runs none; leave precision out"
            )
        elif teacher.precision == "int8" and teacher.device and not on_cpu:
            yield (
                f'{table}.precision: "int8" is computed on the CPU, but {table}.device is {teacher.device!r}; '
                'set precision = "float16", or leave the device out'
            )
        elif teacher.precision == "float16" and on_cpu:
            yield (
                f"{table}.precision: {teacher.precision!r} needs a GPU and is several times slower on "
                f'{table}.device = {teacher.device!r}; set precision = "float32", or another device'
            )


@_reads("embed", "guide")
def _guide_is_another_teacher(config: Config) -> Iterator[str]:
    guide, embed = config.guide, config.embed
    if guide is not None and guide.model_dump(exclude=_EXECUTION) == embed.model_dump(exclude=_EXECUTION):
        yield "guide: the same model and settings as [embed], so it gives the same scores; name another teacher"


@_reads("embed", "retrieve")
def _teachers_differ(config: Config) -> Iterator[str]:
    known = [("[embed]", config.embed.model_dump(exclude=_EXECUTION))]
    for table, teacher in config.teachers.items():
        if table in ("embed", "guide"):
            continue
        settings = teacher.model_dump(exclude=_EXECUTION)
        same = next((name for name, other in known if other == settings), None)
        if same == "[embed]":
            yield f"{table}: the same model and settings as [embed]; leave it out, and the source uses that teacher"
        elif same:
            yield f"{table}: the same model and settings as {same}, so both find the same; leave one of them out"
        known.append((table, settings))


@_reads("retrieve")
def _encoders_differ(config: Config) -> Iterator[str]:
    known: dict[str, dict[str, Any]] = {}
    for table, encoder in config.encoders.items():
        settings = encoder.model_dump(exclude=_EXECUTION)
        same = next((name for name, other in known.items() if other == settings), None)
        if same:
            yield f"{table}: the same model and settings as {same}, so both find the same; leave one of them out"
        known[table] = settings


@_reads("embed", "guide", "retrieve", "previous")
def _candidates_only(config: Config) -> Iterator[str]:
    for table, teacher in config.teachers.items():
        given = [name for name in SELECTION if name in teacher.model_fields_set and table != "embed"]
        if given:
            yield f"{table}.{given[0]}: only [embed] has it; the guide and the teachers of sources embed all documents"
    if not config.embeds_candidates_only:
        return
    if not any(source.precedes_embed for source in config.retrieve.source):
        yield (
            'embed.documents: "candidates" embeds the documents of other sources, and there are none; add for example '
            '[[retrieve.source]] with kind = "bm25"'
        )
    if config.previous is not None:
        yield (
            'embed.documents: "candidates" makes no vectors of the negatives that [previous] scores again; '
            'set embed.documents = "all"'
        )


@_reads("engine", "embed", "guide", "retrieve", "rescore")
def _device_on_a_cluster(config: Config) -> Iterator[str]:
    for table, device in config.devices.items():
        if config.engine == "ray" and device.startswith("cuda:"):
            yield f'{table}.device: on Ray a task sees only the GPUs assigned to it; set it to "cuda"'


@_reads("rescore")
def _late_interaction(config: Config) -> Iterator[str]:
    rescore = config.rescore
    if rescore is None or rescore.kind != "late_interaction":
        return
    if "model" not in rescore.model_fields_set:
        yield 'rescore.model: needed with rescore.kind = "late_interaction"; name a model of token vectors'
    elif rescore.model == "hash" or is_served(rescore.model):
        yield (
            f'rescore.model: {rescore.model!r} gives no vectors of tokens, which rescore.kind = "late_interaction" '
            "compares; name a model of token vectors, or leave kind out"
        )


@_reads("judge")
def _judge(config: Config) -> Iterator[str]:
    for table, judge in (("judge", config.judge), ("judge.second", config.judge.second or JudgeTable())):
        if judge.model is not None and not is_served(judge.model):
            what = "" if "://" in judge.model else f"{judge.model!r} is "  # an address may hold a key
            yield f'{table}.model: {what}no address of a server, such as "http://localhost:8000/v1"'
        elif judge.model is not None and (wrong := address_problem(judge.model)):
            yield f"{table}.model: the address {wrong}"
        yield from _key_name(table, judge)
        if taken := {"model", "messages", "response_format", "stream", "n"} & judge.request.keys():
            yield f"{table}.request: {', '.join(sorted(taken))}: set by other settings; leave it out"
        for name in ("max_tokens", "max_completion_tokens"):
            most = judge.request.get(name, 1)
            if type(most) is not int or most < 1:
                yield f"{table}.request: {name}: a whole number from 1 expected (given: {most!r})"
        for name, value in judge.request.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                yield f"{table}.request: {name}: {value} cannot be sent as JSON"
