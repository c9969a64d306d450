"""Checks for settings that contradict each other or need another table."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from hnmine.config.emit import LABELED, EmitConfig
from hnmine.config.models import SELECTION, EmbedConfig, JudgeTable, RescoreConfig
from hnmine.config.retrieve import KIND_SETTINGS, RESERVED_SOURCES, SourceConfig
from hnmine.config.section import has_no_effect
from hnmine.config.served import ServedModel, ServedTexts, address_problem, is_served
from hnmine.config.tables import Config
from hnmine.display import parse_size
from hnmine.storage.hub_files import is_hub

Check = Callable[[Config], Iterator[str]]
_CHECKS: list[tuple[tuple[str, ...], Check]] = []
NOTHING_TO_READ = "input: nothing to read; give corpus, queries and qrels, or beir, or pairs"
_SERVED = (*ServedTexts.model_fields, "encoding_format")
"""Settings of models that a server computes."""
_OF_FILES = {"corpus_vectors", "query_vectors"}
_EXECUTION = {n for n, one in EmbedConfig.model_fields.items() if has_no_effect(one)} - _OF_FILES | set(SELECTION)
"""Settings of a teacher that give no other scores."""
_OF_LOADED_MODELS = ("revision", "max_length", "precision", "batch_tokens", "device", "trust_remote_code")
"""Settings of a teacher that the program of `command` would not know of."""
_LOADED = (*_OF_LOADED_MODELS, "batch_size")
"""Settings of models that are loaded, which a server would not know of."""
IMAGE_FORMATS = ("triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list")
"""Shapes of training rows that may hold images."""


def contradictions(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (tables that the check reads, message) for settings that cannot work together.

    A message is meaningless if one of its tables could not be read.
    """
    for tables, check in _CHECKS:
        yield from ((tables, message) for message in check(config))
    yield from _missing_tables(config)


def _missing_tables(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    columns = config.emit.extra_columns
    models = {"guide": "a second teacher", "rescore": "a cross-encoder"}
    uses = (
        ("filter", "guide", "guide" in config.filter.rules, 'filter.rule: "guide"'),
        ("emit", "guide", "guide_score" in columns, "emit.extra_columns: guide_score"),
        ("filter", "rescore", config.filter.score in ("rescored", "checked"), f'filter.score: "{config.filter.score}"'),
        ("emit", "rescore", "rescore_score" in columns, "emit.extra_columns: rescore_score"),
    )
    for table, needed, used, setting in uses:
        if used and getattr(config, needed) is None:
            yield (table, needed), f"{setting} needs {models[needed]}; add a table [{needed}] with its model"


def _reads(*tables: str) -> Callable[[Check], None]:
    """Register a check with the tables (or top-level settings) that it reads; checks run in the file's order."""
    return lambda check: _CHECKS.append((tables, check))


@_reads("memory")
def _memory(config: Config) -> Iterator[str]:
    try:
        parse_size(config.memory)
    except ValueError as error:
        yield f"memory: {error}"


@_reads("out")
def _out(config: Config) -> Iterator[str]:
    if is_hub(config.out):
        yield (
            f"out: {config.out}: a repository on the Hugging Face hub cannot be locked, so no run can be written "
            "there; name a folder or an object store, and push the training files: hf upload OWNER/NAME "
            "FOLDER/emit . --repo-type dataset"
        )


@_reads("index")
def _splits(config: Config) -> Iterator[str]:
    if config.index.splits > 1 and config.index.kind in ("hnsw", "ivf"):
        yield (
            f"index.splits: only exact search can be split, and index.kind = {config.index.kind!r} is an index "
            'over the whole corpus; set index.kind = "flat", or leave index.splits out'
        )


@_reads("input")
def _input_kind(config: Config) -> Iterator[str]:
    given = config.input
    apart = [name for name in ("queries", "qrels") if getattr(given, name)]
    if given.beir and (given.corpus or apart or given.pairs):
        yield "input.beir: a BEIR folder already has corpus, queries and qrels; leave the others out"
    elif given.pairs and apart:
        yield f"input.pairs: pairs already have queries and positives; leave out input.{apart[0]}"
    elif given.pairs and given.eval_split and not given.eval_qrels:
        yield "input.eval_split: pairs have no splits; name qrels in input.eval_qrels, or leave it out"
    elif given.eval_split and given.eval_split == given.split and not given.eval_qrels:
        yield f"input.eval_split: {given.eval_split!r} is also input.split, so nothing would be left; name another"
    elif given.pairs and given.split:
        yield "input.split: pairs have no splits; leave it out, or keep the pairs of one split in a file of its own"
    elif not given.beir and not given.pairs:
        missing = [name for name in ("corpus", "queries", "qrels") if not getattr(given, name)]
        if len(missing) == 3:
            yield NOTHING_TO_READ
        elif missing:
            yield f"input: {' and '.join(missing)} missing (corpus, queries and qrels go together)"


@_reads("input", "retrieve", "rescore", "emit", "previous")
def _images(config: Config) -> Iterator[str]:
    if not config.input.uses_images:
        return
    if config.input.pairs:
        yield "input.columns: pairs are texts; name the images in a corpus, with queries and qrels"
    for number, source in enumerate(config.retrieve.source):
        if source.kind == "sparse":
            yield f"retrieve.source.{number}.kind: a sparse encoder takes no images; leave the source out"
    for name in sorted(set(config.emit.formats) - {*IMAGE_FORMATS}):
        yield f"emit.format: {name!r} holds no images; set it to one of {', '.join(IMAGE_FORMATS)}"
    for table, why in (
        ("rescore", "a cross-encoder scores texts"),
        ("previous", "earlier runs are compared by texts"),
    ):  # fmt: skip
        if getattr(config, table) is not None:
            yield f"{table}: {why}, and this input has images (input.columns); leave the table out"


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
                yield (
                    f"{table}.{', '.join(given)}: only for a model that a server computes, and {table}.model is "
                    f"{one.model!r}; name the server's address, such as http://localhost:8000/v1, or leave it out"
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


@_reads("filter")
def _filter_settings(config: Config) -> Iterator[str]:
    rules, names = config.filter, config.filter.rules
    if not names:
        yield 'filter.rule: an empty list; write "none" to keep everything'
    if "none" in names and len(names) > 1:
        yield 'filter.rule: "none" cannot be combined with other rules'
    if "auto" in names and len(names) > 1:
        yield 'filter.rule: "auto" picks its rules itself; name them instead, for example ["percent", "calibrated"]'
    if "absolute" in names and rules.min_score is None and rules.max_score is None:
        yield 'filter.rule: "absolute" needs filter.min_score or filter.max_score'
    if rules.min_score is not None and rules.max_score is not None and rules.min_score > rules.max_score:
        yield f"filter.min_score: {rules.min_score} is above filter.max_score {rules.max_score}; nothing could be kept"
    if rules.ranks is not None and not 1 <= rules.ranks[0] <= rules.ranks[1]:
        yield f"filter.ranks: {list(rules.ranks)} must be [first, last] with 1 <= first <= last"


@_reads("retrieve")
def _sources(config: Config) -> Iterator[str]:
    retrieve = config.retrieve
    names = [source.label for source in retrieve.source]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"retrieve.source: {names.count(name)} sources are called {name!r}; give each a name of its own"
    if sum(not source.precedes_embed for source in retrieve.source) > 1:
        yield (
            'retrieve.source: several sources have kind = "dense" and no teacher of their own, so all would '
            "search by [embed]; leave all but one out, or give the others a table teacher"
        )
    for number, source in enumerate(retrieve.source):
        yield from _source(f"retrieve.source.{number}", source)
    if retrieve.fuse == "quota" and retrieve.quota is None:
        yield 'retrieve.quota: needed with retrieve.fuse = "quota"'
    if retrieve.fuse != "union" and not retrieve.source:
        yield f"retrieve.fuse: {retrieve.fuse!r} needs sources to fuse; add tables [[retrieve.source]]"
    if retrieve.quota is not None and retrieve.fuse != "quota":
        yield f'retrieve.quota: used only with retrieve.fuse = "quota", and retrieve.fuse is {retrieve.fuse!r}'


def _source(path: str, source: SourceConfig) -> Iterator[str]:
    if source.label in RESERVED_SOURCES:
        yield f"{path}.name: {source.label!r} has a meaning of its own in the column source; choose another"
    if source.teacher is not None and source.name is None:
        yield f"{path}.name: needed by a source with a teacher of its own"
    if (source.teacher is not None or source.encoder is not None) and not source.label.strip("."):
        yield f"{path}.name: {source.label!r} cannot name a folder; choose another"
    if source.kind == "run" and source.path is None:
        yield f'{path}.path: needed with kind = "run"'
    if source.kind == "sparse" and source.encoder is None:
        yield f'{path}.encoder: needed with kind = "sparse"; name the model, as in encoder = {{ model = "..." }}'
    for kind, keys in KIND_SETTINGS.items():
        given = [key for key in keys if key in source.model_fields_set and kind != source.kind]
        if given:
            yield f"{path}.{given[0]}: only a source of kind {kind!r} has it, and this one is {source.kind!r}"
    if source.stem and source.language == "none":
        yield f'{path}.stem: language = "none" has no stems; name the language, or leave stem out'


@_reads("retrieve")
def _conditions(config: Config) -> Iterator[str]:
    seen: list[dict[str, Any]] = []
    for number, one in enumerate(config.retrieve.where):
        path = f"retrieve.where.{number}"
        if one.query_field is not None and one.with_ == "positive":
            yield f'{path}.query_field: with = "positive" compares values of documents; leave query_field out'
        if (condition := {**one.part(), "missing": None}) in seen:
            yield f"{path}: repeats an earlier condition; leave one out"
        seen.append(condition)
        for other in config.retrieve.where[:number]:
            same = (other.field, other.query_column) == (one.field, one.query_column)
            both_missing = one.allows_missing and other.allows_missing
            if same and {one.must, other.must} == {"match", "differ"} and not both_missing:
                yield f"{path}: {one.field} cannot both match and differ; no document could be a candidate"


def _candidates_of(config: Config) -> str:
    most = config.retrieve.max_candidates
    return f"{'' if config.retrieve.source else 'retrieve.top_k = '}{most} candidates"


@_reads("filter", "retrieve")
def _ranks_within_candidates(config: Config) -> Iterator[str]:
    if config.filter.ranks is not None and config.filter.ranks[0] > config.retrieve.max_candidates:
        yield f"filter.ranks: starts at {config.filter.ranks[0]}, but only {_candidates_of(config)} are retrieved"


def _wanted(emit: EmitConfig) -> str:
    random = emit.random_negatives
    return f"{emit.num_negatives} wanted" + (
        f", {emit.retrieved_negatives} of them no random documents" if random else ""
    )


@_reads("emit", "retrieve")
def _enough_candidates(config: Config) -> Iterator[str]:
    emit, depths = config.emit, config.retrieve.depths
    if emit.retrieved_negatives > config.retrieve.max_candidates and emit.fallback == "none":
        yield f"emit.num_negatives: {_wanted(emit)}, but only {_candidates_of(config)} are retrieved"
    if emit.ensemble == "none":
        return
    if not depths:
        yield f"emit.ensemble: {emit.ensemble!r} needs sources to choose from; add tables [[retrieve.source]]"
    elif emit.ensemble == "cross" and emit.fallback == "none" and max(depths) < emit.retrieved_negatives:
        yield (
            f"emit.num_negatives: {_wanted(emit)}, but no source finds more than {max(depths)} "
            'candidates, and emit.ensemble = "cross" takes them from one source'
        )
    if emit.ensemble == "intra" and emit.choose not in ("top", "mixed"):
        yield (
            f'emit.ensemble: "intra" takes the best of each source, and emit.choose = {emit.choose!r} does not take '
            'the best; set emit.choose to "top" or "mixed", or emit.ensemble to "cross"'
        )
    if emit.ensemble == "intra" and emit.prefer_judged:
        yield 'emit.prefer_judged: emit.ensemble = "intra" orders candidates in its own way; leave out one of the two'


@_reads("emit")
def _emit_settings(config: Config) -> Iterator[str]:
    emit = config.emit
    if not emit.formats:
        yield 'emit.format: an empty list; name a shape of training rows, for example "triplet"'
    for name in sorted({name for name in emit.formats if emit.formats.count(name) > 1}):
        yield f"emit.format: {name!r} is there {emit.formats.count(name)} times; leave one"
    if emit.choose == "mixed" and 0 < emit.random_share < 1 and not 0 < emit.random_negatives < emit.num_negatives:
        rounded = emit.random_negatives
        yield (
            f"emit.random_share: {emit.random_share:g} of {emit.num_negatives} negatives rounds to {rounded}; "
            f"raise emit.num_negatives, or set {1 if rounded else 0} if that is meant"
        )
    if emit.mixing and emit.num_negatives < 2:
        yield "emit.mixing: mixes two negatives of an example, and there is 1; set emit.mixing_query instead"
    if emit.prefer_judged and emit.choose == "diverse":
        yield 'emit.prefer_judged: emit.choose = "diverse" orders candidates in its own way; leave out one of the two'
    if emit.soft_labels and not set(emit.formats) & set(LABELED):
        yield (
            f"emit.soft_labels: rows of shape {', '.join(map(repr, emit.formats))} have no labels; set emit.format to "
            f"{' or '.join(map(repr, LABELED))}"
        )
    if emit.bad_positives == "down_weight" and "positive_weight" not in emit.extra_columns:
        yield (
            'emit.bad_positives: "down_weight" writes the weights into a column that the trainer must read; '
            'add "positive_weight" to emit.extra_columns'
        )


@_reads("emit", "filter", "previous", "retrieve")
def _previous(config: Config) -> Iterator[str]:
    if config.previous is None:
        return
    if config.previous.replace == "easy" and not config.emit.retrieved_negatives:
        yield 'previous.replace: "easy" keeps retrieved negatives, but emit.random_share leaves no room for any'
    if any(source.label == "previous" for source in config.retrieve.source):
        yield 'retrieve.source: the name "previous" marks negatives of the earlier run; choose another name'
    if config.filter.score in ("rescored", "hub_normalised"):
        yield (
            f"previous.run: two runs are compared by their teachers' scores, and filter.score is "
            f'"{config.filter.score}"; leave '
            'the table [previous] out, or set filter.score = "teacher"'
        )


@_reads("emit", "filter")
def _needs_probabilities(config: Config) -> Iterator[str]:
    if config.filter.gives_probabilities:
        return
    remedy = 'add "calibrated" to filter.rule, or set filter.probabilities = true'
    names = ("p_false_negative", "weight", "cluster_weight")
    wanted = [name for name in names if name in config.emit.extra_columns]
    if wanted:
        yield f"emit.extra_columns: {' and '.join(wanted)}: candidates have no P(false negative); {remedy}"
    if config.emit.soft_labels:
        yield f"emit.soft_labels: candidates have no P(false negative) to use as a label; {remedy}"


@_reads("emit", "filter")
def _distilled_scores(config: Config) -> Iterator[str]:
    emit, score = config.emit, config.filter.score
    if "distillation" in emit.formats and score in ("rescored", "hub_normalised") and emit.draws_random:
        which = 'emit.fallback = "random"' if emit.fallback == "random" else f"emit.choose = {emit.choose!r}"
        whose = "the cross-encoder's" if score == "rescored" else "hub-normalised"
        yield (
            f'emit.format: "distillation" writes {whose} scores (filter.score = "{score}"), which the '
            f"random documents of {which} lack; leave them out"
        )


@_reads("emit", "filter", "input")
def _relabel(config: Config) -> Iterator[str]:
    emit = config.emit
    numbers = [value for value in emit.relabel_values if not isinstance(value, str)]
    if emit.relabel == []:
        yield "emit.relabel: an empty list; leave it out, and nothing is relabelled"
    if len(numbers) > 1 or emit.relabel_values.count("judgements") > 1:
        yield f'emit.relabel: {emit.relabel_values} may hold one probability, and "judgements" once'
    for number in numbers:
        if not 0.5 < number <= 1:
            yield (
                f"emit.relabel: {number:g} must be above 0.5 and at most 1; it is the lowest P(false negative) of a "
                "candidate that becomes a positive"
            )
    if numbers and not config.filter.gives_probabilities:
        yield (
            f"emit.relabel: candidates have no P(false negative) to compare with {numbers[0]:g}; set filter.rule to "
            '"auto", add "calibrated" to it, or set filter.probabilities = true'
        )
    if emit.relabels_judged and config.input.judgements is None:
        yield 'emit.relabel: "judgements" needs judgements; name files in input.judgements'
    elif emit.relabels_judged and config.input.judged_positives:
        yield (
            'emit.relabel: "judgements": input.judged_positives already makes them positives; leave out one of the two'
        )
    score = config.filter.score
    if emit.relabels and emit.batch_size is not None and score in ("rescored", "hub_normalised"):
        own = "the cross-encoder's" if score == "rescored" else "the normalised one"
        yield (
            f'emit.relabel: batches need the teacher\'s scores of all positives, and with filter.score = "{score}" a '
            f"relabelled one has only {own}; leave out emit.batch_size or emit.relabel"
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


@_reads("emit", "filter", "rescore")
def _enough_rescored(config: Config) -> Iterator[str]:
    if config.rescore is None or config.filter.score != "rescored":
        return
    if config.rescore.spend == "doubtful":
        yield (
            'rescore.spend: "doubtful" leaves the best candidates without a score, and with filter.score = "rescored" '
            'these could be no negatives; set filter.score = "checked", or rescore.spend = "top"'
        )
        return
    if config.emit.fallback != "none":
        return
    if config.emit.retrieved_negatives > config.rescore.top_n:
        yield (
            f"emit.num_negatives: {_wanted(config.emit)}, but only the best "
            f"rescore.top_n = {config.rescore.top_n} candidates are rescored, and no others may be negatives"
        )


@_reads("judge")
def _judge(config: Config) -> Iterator[str]:
    for table, judge in (("judge", config.judge), ("judge.second", config.judge.second or JudgeTable())):
        if judge.model is not None and not is_served(judge.model):
            yield f'{table}.model: {judge.model!r} is no address of a server, such as "http://localhost:8000/v1"'
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
