"""Checks for the settings of sources, rules and training files."""

from collections.abc import Iterator
from typing import Any

from hnmine.config.check_lists import CheckList
from hnmine.config.emit import LABELED, EmitConfig
from hnmine.config.retrieve import KIND_SETTINGS, RESERVED_SOURCES, SourceConfig
from hnmine.config.tables import Config

MINING_CHECKS = CheckList()
_reads = MINING_CHECKS.reads


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
        remedies = ['emit.choose to "stratified" or another way that draws none'] if emit.random_negatives else []
        remedies += ['emit.fallback to "none"'] if emit.fallback == "random" else []
        whose = "the cross-encoder's" if score == "rescored" else "hub-normalised"
        yield (
            f'emit.format: "distillation" writes {whose} scores (filter.score = "{score}"), which '
            f"random documents lack; set {' and '.join(remedies)}"
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
