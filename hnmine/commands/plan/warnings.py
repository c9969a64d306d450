"""Warnings of settings that are valid, but have no effect or hardly the intended one."""

from collections.abc import Iterator

from hnmine.config.auto import AUTO
from hnmine.config.emit import AUTO_RANDOM_SHARE
from hnmine.config.served import is_served
from hnmine.config.tables import Config
from hnmine.models.cross_encoders import HASH_RESCORE_WARNING
from hnmine.models.model_files import HASH_WARNING
from hnmine.search.split_search import split_problem
from hnmine.stages.filter.deeper_search import max_depth, searches_deeper
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.hubs.normalised import normalises_hubs
from hnmine.stages.rescore.rescored import reads_rescored

_RULES = {
    "percent": {"percent"}, "margin": {"margin"}, "adaptive": {"adaptive"},
    "easiest": {"margin", "percent", "adaptive"}, "two_sided": {"two_sided"}, "min_score": {"absolute"},
    "max_score": {"absolute"}, "guide_margin": {"guide"}, "multi_similarity": {"multi_similarity"},
}  # fmt: skip
"""Settings of [filter] and the rules that use them. max_false_negative_rate is not among them, as the report checks the
measured rate against it under any rule."""
_WEIGHTS = {"focal_gamma": "focal_weight", "focal_temperature": "focal_weight", "clusters": "cluster_weight"}
"""Settings of [emit] and the extra column that uses them."""
_CHOICES = {
    "simans_a": "simans", "simans_b": "simans", "strata": "stratified", "random_share": "mixed", "diversity": "diverse",
}  # fmt: skip
"""Settings of [emit] and the value of emit.choose that uses them."""


def warnings_of(config: Config, documents: int, kind: str) -> Iterator[str]:
    """Yield the warnings of a run over a number of documents with an index of a kind: flat, hnsw or ivf."""
    yield from unused_settings(config).values()
    yield from _of_retrieval(config, documents, kind)
    if config.guide is not None and "guide" not in rule_names(config.filter):
        yield "[guide] is given, but filter.rule does not name guide: its scores are stored and decide nothing"
    if rule_names(config.filter) == ["multi_similarity"]:
        yield (
            "filter.rule is 'multi_similarity' alone, which rejects easy negatives and keeps likely false ones; "
            'name another rule with it, such as ["percent", "multi_similarity"]'
        )
    wanted = config.emit.num_negatives
    if config.emit.choose == "stratified" and "strata" in config.emit.model_fields_set and config.emit.strata > wanted:
        yield f"emit.strata is {config.emit.strata}, but {wanted} negatives are wanted, so there are {wanted} strata"
    if config.emit.order != "by_query" and "triplet" in config.emit.formats:
        yield (
            f"emit.order is {config.emit.order!r}, so the triplets of an example follow one another into one batch, as "
            'copies of its positive; emit.format = "n-tuple" has one row an example'
        )
    yield from _of_models(config)
    if config.input.uses_images:
        yield (
            "images are copied into ingest and into every training row; of their bytes, the estimates of disk and "
            "memory count only those inside the corpus files"
        )


def unused_settings(config: Config) -> dict[str, str]:
    """Return the settings that are given but not used, by name, each with a sentence that says why."""
    filter_, emit, rules = config.filter, config.emit, rule_names(config.filter)
    needs: dict[str, tuple[bool, str]] = {  # of each setting: whether it is used, and the setting that decides this
        f"filter.{name}": (bool(needed & set(rules)), f"filter.rule is {filter_.rule!r}")
        for name, needed in _RULES.items()
    }
    if emit.batch_size is not None:  # which keeps the examples of a batch apart by it, whatever the rule
        del needs["filter.two_sided"]
    if filter_.rule == "auto":
        for name in AUTO.keys() & _RULES.keys():
            needs[f"filter.{name}"] = (False, f"filter.rule is 'auto', which always takes {AUTO[name]}")
    needs["filter.anchor_quantile"] = (filter_.anchor == "quantile", f"filter.anchor is {filter_.anchor!r}")
    needs["embed.sample"] = (config.embeds_candidates_only, "embed.documents is 'all'")
    for name in ("batch_by", "batch_leftover"):
        needs[f"emit.{name}"] = (emit.batch_size is not None, "emit.batch_size is not set")
    for name, column in _WEIGHTS.items():
        needs[f"emit.{name}"] = (column in emit.extra_columns, f"emit.extra_columns does not name {column}")
    needs |= _of_rescoring(config)
    for name in ("hub_beta", "hub_queries"):
        needs[f"filter.{name}"] = (normalises_hubs(config), f"filter.score is {filter_.score!r}")
    needs["emit.max_relabelled"] = (emit.relabels, "emit.relabel is not set")
    never = config.retrieve.max_top_k <= config.retrieve.top_k
    needs["retrieve.max_top_k"] = (never or searches_deeper(config), _not_deeper(config))
    needs |= {f"emit.{name}": (emit.choose == way, f"emit.choose is {emit.choose!r}") for name, way in _CHOICES.items()}
    if config.overrides_random_share:
        why = f"emit.choose is 'auto', which takes {AUTO_RANDOM_SHARE:g} (emit.choose = 'mixed' uses yours),"
        needs["emit.random_share"] = (False, why)
    found = {}
    for name, (used, why) in needs.items():
        table, key = name.split(".")
        if not used and key in getattr(config, table).model_fields_set:
            found[name] = f"{name} is set, but {why} and does not use it"
    return found


def _of_rescoring(config: Config) -> dict[str, tuple[bool, str]]:
    """Return of each setting whether it is used, and the setting that decides this."""
    score = config.filter.score
    needs = {"filter.check_percentile": (score == "checked", f"filter.score is {score!r}")}
    if config.rescore is not None:
        spend = config.rescore.spend
        needs["rescore.top_n"] = (spend == "top", f"rescore.spend is {spend!r}")
        needs["rescore.pairs"] = (spend == "doubtful", f"rescore.spend is {spend!r}")
    return needs


def _not_deeper(config: Config) -> str:
    """Return what keeps filter from searching deeper, where it is allowed to."""
    if config.retrieve.source:
        return "retrieve.source is given"
    if reads_rescored(config) or normalises_hubs(config):
        return f"filter.score is {config.filter.score!r}"
    if max_depth(config) <= config.retrieve.top_k:
        return "filter.ranks ends within top_k"
    return f"filter.rule is {config.filter.rule!r}"


def _of_retrieval(config: Config, documents: int, kind: str) -> Iterator[str]:
    retrieve, ranks, wanted = config.retrieve, config.filter.ranks, config.emit.retrieved_negatives
    few = [s.label for s, depth in zip(retrieve.source, retrieve.depths, strict=True) if depth < wanted]
    if config.emit.ensemble == "cross" and few:
        yield f'emit.ensemble is "cross", but {", ".join(few)} finds fewer than the {wanted} negatives wanted'
    if ranks is not None and ranks[1] > retrieve.max_candidates:
        most = f"at most {retrieve.max_candidates} candidates are retrieved (retrieve.top_k)"
        yield f"filter.ranks ends at {ranks[1]}, but {most}"
    if documents and retrieve.top_k >= documents:
        none = "; all are candidates, so there are no random negatives" if config.emit.draws_random else ""
        yield f"retrieve.top_k = {retrieve.top_k}, but there are only {documents:,} documents{none}"
    if retrieve.where and config.index.kind in ("hnsw", "ivf"):
        yield f"index.kind is {config.index.kind!r}, but retrieve.where always uses exact search"
    if kind == "ivf" and retrieve.top_k > config.index.recall_depth:
        yield (
            f"index.recall_depth is {config.index.recall_depth}, but retrieve.top_k is {retrieve.top_k}: "
            "recall at lower ranks is not measured, and lower"
        )
    if retrieve.where and any(source.kind == "run" for source in retrieve.source):
        yield "retrieve.where removes documents from imported runs, so their lists may be shorter than top_k"
    if problem := split_problem(config, kind):
        yield problem


def _of_rescorer(config: Config) -> Iterator[str]:
    workers, rescore, wanted = config.workers, config.rescore, config.emit.retrieved_negatives
    if rescore is None:
        return
    if not reads_rescored(config) and "rescore_score" not in config.emit.extra_columns:
        score = config.filter.score
        yield f'[rescore] is given, but filter.score is "{score}": its scores are stored and decide nothing'
    if config.filter.score == "checked" and rescore.spend == "doubtful" and rescore.pairs < wanted:
        yield (
            f"rescore.pairs is {rescore.pairs}, and {wanted} negatives are wanted of the candidates: some of them will "
            "not be checked"
        )
    if rescore.model == "hash":
        yield HASH_RESCORE_WARNING
    elif workers > 1 and rescore.loads_model:
        yield f"{workers} workers load the model of [rescore] {workers} times"
    elif workers > 1:
        yield _in_flight("rescore", rescore.requests_in_flight, workers)


def _in_flight(table: str, most: int, workers: int) -> str:
    return (
        f"{table}.model is a server, and each of {workers} workers has up to {most} requests in flight there, "
        f"{most * workers:,} in all"
    )


def _of_models(config: Config) -> Iterator[str]:
    workers = config.workers
    if config.uses_hash:
        yield HASH_WARNING
    yield from _of_rescorer(config)
    if workers > 1 and config.encoders:
        yield f"{workers} workers load the model of each sparse source {workers} times"
    if workers > 1 and any(teacher.loads_model for teacher in config.teachers.values()):
        yield f"{workers} workers load the model {workers} times"
    for table, teacher in config.teachers.items():
        if workers > 1 and teacher.command is not None:
            yield f"{workers} workers start the program of {table}.command {workers} times"
        if workers > 1 and is_served(teacher.model):
            yield _in_flight(table, teacher.requests_in_flight, workers)
