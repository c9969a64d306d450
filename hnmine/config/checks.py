"""Settings that cannot work together: what each table needs of the others."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from hnmine.config.candidates_only import is_cheap, is_partial
from hnmine.config.emit import LABELED
from hnmine.config.root import Config
from hnmine.config.sizes import parse_size
from hnmine.config.sources import ONLY, RESERVED, SourceConfig
from hnmine.config.teacher import CHOICE, TeacherTable


def contradictions(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield settings that cannot work together: the tables it takes to say so, and a message."""
    for needs, check in _CHECKS:
        for message in check(config):
            yield needs, message


def _input_kind(config: Config) -> Iterator[str]:
    given = config.input
    apart = [name for name in ("queries", "qrels") if getattr(given, name)]
    if given.beir and (given.corpus or apart or given.pairs):
        yield "input.beir: a BEIR folder already has corpus, queries and qrels; leave the others out"
    elif given.pairs and apart:
        yield f"input.pairs: pairs carry their own queries and positives; leave out input.{apart[0]}"
    elif given.pairs and given.split:
        yield "input.split: pairs have no splits; leave it out, or keep the pairs of one split in a file of its own"
    elif not given.beir and not given.pairs:
        missing = [name for name in ("corpus", "queries", "qrels") if not getattr(given, name)]
        if len(missing) == 3:
            yield "input: nothing to read; give corpus, queries and qrels, or beir, or pairs"
        elif missing:
            yield f"input: {' and '.join(missing)} missing (corpus, queries and qrels go together)"


def _precomputed(table: TeacherTable, config: Config) -> Iterator[str]:
    teacher = config.teachers.get(table)
    if teacher is None:
        return
    given = [name for name in ("corpus_vectors", "query_vectors") if getattr(teacher, name)]
    if teacher.model == "precomputed":
        for name in ("corpus_vectors", "query_vectors"):
            if name not in given:
                yield f'{table}.{name}: needed where {table}.model = "precomputed"'
    elif given:
        yield f'{table}.{given[0]}: given, but {table}.model is {teacher.model!r}; set {table}.model = "precomputed"'


def _precomputed_of_sources(config: Config) -> Iterator[str]:
    for table in config.teachers:
        if table not in ("embed", "guide"):
            yield from _precomputed(table, config)


def _same_teachers(config: Config) -> Iterator[str]:
    how = {"batch_size", "device", *CHOICE}
    known = [("[embed]", config.embed.model_dump(exclude=how))]
    for table, teacher in config.teachers.items():
        if table in ("embed", "guide"):
            continue
        settings = teacher.model_dump(exclude=how)
        same = next((name for name, other in known if other == settings), None)
        if same == "[embed]":
            yield f"{table}: the same model and settings as [embed]; leave it out, and the source is that teacher"
        elif same:
            yield f"{table}: the same model and settings as {same}, so both find the same; leave one of them out"
        known.append((table, settings))


def _precision(table: TeacherTable, config: Config) -> Iterator[str]:
    teacher = config.teachers.get(table)
    if teacher is None or teacher.precision == "float32":
        return
    if teacher.model in ("precomputed", "hash"):
        yield f"{table}.precision: {teacher.precision} is for models; with {table}.model = {teacher.model!r} none runs"
    elif teacher.precision == "int8":
        if teacher.device is not None and not teacher.device.startswith("cpu"):
            yield (
                f'{table}.precision: "int8" is computed on the CPU, but {table}.device is {teacher.device!r}; '
                'set precision = "float16", or leave the device out'
            )
    elif teacher.device is not None and teacher.device.startswith("cpu"):
        yield (
            f'{table}.precision: {teacher.precision} needs a GPU, but {table}.device is "cpu", which computes it '
            'several times slower; set precision = "float32", or another device'
        )


def _second_opinion(config: Config) -> Iterator[str]:
    how = {"batch_tokens", "batch_size", "device", *CHOICE}
    if config.guide is not None and config.guide.model_dump(exclude=how) == config.embed.model_dump(exclude=how):
        yield "guide: the same model and settings as [embed], so it can only agree; name another teacher"


def _guided(config: Config) -> Iterator[str]:
    rules = [config.filter.rule] if isinstance(config.filter.rule, str) else config.filter.rule
    if config.guide is None and "guide" in rules:
        yield 'filter.rule: "guide" needs a second teacher; add a table [guide] with its model'


def _guide_column(config: Config) -> Iterator[str]:
    if config.guide is None and "guide_score" in config.emit.extra_columns:
        yield "emit.extra_columns: guide_score needs a second teacher; add a table [guide] with its model"


def _filter_settings(config: Config) -> Iterator[str]:
    rules = config.filter
    names = [rules.rule] if isinstance(rules.rule, str) else list(rules.rule)
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


def _window(config: Config) -> Iterator[str]:
    if config.filter.ranks is not None and config.filter.ranks[0] > config.retrieve.most:
        yield f"filter.ranks: starts at {config.filter.ranks[0]}, but only {_at_most(config)} are retrieved"


def _at_most(config: Config) -> str:
    most = config.retrieve.most
    return f"{'' if config.retrieve.source else 'retrieve.top_k = '}{most} candidates"


def _enough(config: Config) -> Iterator[str]:
    emit = config.emit
    if emit.retrieved_negatives > config.retrieve.most and emit.fallback == "none":
        yield f"emit.num_negatives: {emit.retrieved_negatives} wanted, but only {_at_most(config)} are retrieved"


def _ensemble(config: Config) -> Iterator[str]:
    emit, depths = config.emit, config.retrieve.depths
    if emit.ensemble == "none":
        return
    if not depths:
        yield f"emit.ensemble: {emit.ensemble!r} needs sources to take from; add tables [[retrieve.source]]"
    elif emit.ensemble == "cross" and emit.fallback == "none" and max(depths) < emit.retrieved_negatives:
        yield (
            f"emit.num_negatives: {emit.retrieved_negatives} wanted, but no source finds more than {max(depths)} "
            'candidates, and emit.ensemble = "cross" takes them from one source'
        )
    if emit.ensemble == "intra" and emit.choose not in ("top", "mixed"):
        yield (
            f'emit.ensemble: "intra" takes the best of each source, and emit.choose = {emit.choose!r} does not take '
            'the best; set emit.choose to "top" or "mixed", or emit.ensemble to "cross"'
        )
    if emit.ensemble == "intra" and emit.prefer_judged:
        yield 'emit.prefer_judged: cannot be had with emit.ensemble = "intra", whose order is of its own; drop either'


def _shares(config: Config) -> Iterator[str]:
    emit = config.emit
    if emit.choose == "mixed" and 0 < emit.random_share < 1 and not 0 < emit.random_negatives < emit.num_negatives:
        rounded = emit.random_negatives
        yield (
            f"emit.random_share: {emit.random_share:g} of {emit.num_negatives} negatives is {rounded} when rounded; "
            f"raise emit.num_negatives, or say {'1' if rounded else '0'} where that is meant"
        )


def _needs_probabilities(config: Config) -> Iterator[str]:
    if config.filter.gives_probabilities:
        return
    remedies = 'add "calibrated" to filter.rule, or set filter.probabilities = true'
    wanted = [name for name in ("p_false_negative", "weight") if name in config.emit.extra_columns]
    if wanted:
        yield (
            f"emit.extra_columns: {' and '.join(wanted)} can be had only where candidates have a P(false negative); "
            f"{remedies}"
        )
    if config.emit.soft_labels:
        yield f"emit.soft_labels: labels can be soft only where candidates have a P(false negative); {remedies}"


def _judged(config: Config) -> Iterator[str]:
    if config.emit.prefer_judged and config.emit.choose == "diverse":
        yield 'emit.prefer_judged: cannot be had with emit.choose = "diverse", whose order is of its own; drop either'


def _soft_labels(config: Config) -> Iterator[str]:
    if config.emit.soft_labels and config.emit.format not in LABELED:
        yield (
            f"emit.soft_labels: rows of shape {config.emit.format!r} have no labels; set emit.format to "
            f"{' or '.join(map(repr, LABELED))}"
        )


def _positive_weight(config: Config) -> Iterator[str]:
    if config.emit.bad_positives == "down_weight" and "positive_weight" not in config.emit.extra_columns:
        yield (
            'emit.bad_positives: "down_weight" writes the weights into a column that the trainer must read; '
            'add "positive_weight" to emit.extra_columns'
        )


def _splits(config: Config) -> Iterator[str]:
    if config.index.splits > 1 and config.index.kind in ("hnsw", "ivf"):
        yield (
            f"index.splits: only exact search can be done in parts, and index.kind = {config.index.kind!r} is an index "
            'over the whole corpus; set index.kind = "flat", or leave index.splits out'
        )


def _memory(config: Config) -> Iterator[str]:
    try:
        parse_size(config.memory)
    except ValueError as error:
        yield f"memory: {error}"


def _device_on_a_cluster(config: Config) -> Iterator[str]:
    for table, device in config.devices.items():
        if config.engine == "ray" and device.startswith("cuda:"):
            yield f'{table}.device: on Ray a task sees only the GPUs given to it; set it to "cuda"'


def check_previous(config: Config) -> Iterator[str]:
    """Yield what the rest of a config leaves no room for."""
    if config.previous is None:
        return
    if config.previous.replace == "easy" and not config.emit.retrieved_negatives:
        yield 'previous.replace: "easy" keeps negatives that retrieval found, but emit.random_share leaves it none'
    if any(source.label == "previous" for source in config.retrieve.source):
        yield 'retrieve.source: "previous" is what a negative of the earlier run is said to be; choose another name'
    if config.filter.score == "rescored":
        yield (
            'previous.run: two runs are compared by their teachers\' scores, and filter.score is "rescored"; leave the '
            'table [previous] out, or set filter.score = "teacher"'
        )


def check_sources(config: Config) -> Iterator[str]:
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
    for kind, keys in ONLY.items():
        given = [key for key in keys if key in source.model_fields_set and kind != source.kind]
        if given:
            yield f"{where}.{given[0]}: only a source of kind {kind!r} has it, and this one is {source.kind!r}"
    if source.stem and source.language == "none":
        yield f'{where}.stem: language = "none" has no stems; name the language, or leave stem out'


def check_where(config: Config) -> Iterator[str]:
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


def check_rescored(config: Config) -> Iterator[str]:
    """Yield filter settings that need the table [rescore] where there is none, or that contradict it."""
    if config.filter.score == "rescored" and config.rescore is None:
        yield 'filter.score: "rescored" needs a cross-encoder; add a table [rescore] with its model'


def check_rescore_column(config: Config) -> Iterator[str]:
    """Yield the extra column that needs the table [rescore] where there is none."""
    if config.rescore is None and "rescore_score" in config.emit.extra_columns:
        yield "emit.extra_columns: rescore_score needs a cross-encoder; add a table [rescore] with its model"


def check_enough_rescored(config: Config) -> Iterator[str]:
    """Yield that fewer candidates are rescored than negatives are wanted of them."""
    if config.rescore is None or config.filter.score != "rescored" or config.emit.fallback != "none":
        return
    if config.emit.retrieved_negatives > config.rescore.top_n:
        yield (
            f"emit.num_negatives: {config.emit.retrieved_negatives} wanted, but only the best "
            f"rescore.top_n = {config.rescore.top_n} candidates are rescored, and no others may be negatives"
        )


def check_partial(config: Config) -> Iterator[str]:
    """Yield what is wrong with the choice of documents that are embedded."""
    for table, teacher in config.teachers.items():
        given = [name for name in CHOICE if name in teacher.model_fields_set and table != "embed"]
        if given:
            yield f"{table}.{given[0]}: only [embed] has it: the guide and the teachers of sources embed all documents"
    if is_partial(config) and not any(map(is_cheap, config.retrieve.source)):
        yield (
            'embed.documents: "candidates" embeds what other sources find, and there is none; add for example '
            '[[retrieve.source]] with kind = "bm25"'
        )
    if is_partial(config) and config.previous is not None:
        yield (
            'embed.documents: "candidates" makes no vectors of the negatives that [previous] scores again; '
            'set embed.documents = "all"'
        )


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Config], Iterator[str]]], ...] = (
    (("memory",), _memory),
    (("index",), _splits),
    (("input",), _input_kind),
    (("embed",), partial(_precomputed, "embed")),
    (("guide",), partial(_precomputed, "guide")),
    (("embed",), partial(_precision, "embed")),
    (("guide",), partial(_precision, "guide")),
    (("embed", "guide"), _second_opinion),
    (("retrieve",), _precomputed_of_sources),
    (("embed", "retrieve"), _same_teachers),
    (("embed", "guide", "retrieve", "previous"), check_partial),
    (("filter",), _filter_settings),
    (("retrieve",), check_sources),
    (("retrieve",), check_where),
    (("filter", "retrieve"), _window),
    (("emit", "retrieve"), _enough),
    (("emit", "retrieve"), _ensemble),
    (("emit",), _shares),
    (("emit", "filter", "previous", "retrieve"), check_previous),
    (("emit", "filter"), _needs_probabilities),
    (("emit",), _judged),
    (("emit",), _soft_labels),
    (("emit",), _positive_weight),
    (("filter", "guide"), _guided),
    (("emit", "guide"), _guide_column),
    (("engine", "embed", "guide", "retrieve", "rescore"), _device_on_a_cluster),
    (("filter", "rescore"), check_rescored),
    (("emit", "rescore"), check_rescore_column),
    (("emit", "filter", "rescore"), check_enough_rescored),
)
