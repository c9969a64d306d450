"""Settings that will run, but hardly do what is meant."""

from collections.abc import Iterator

from hnmine.config import Config
from hnmine.models.cross_encoders import HASH_RESCORE_WARNING
from hnmine.models.model_files import HASH_WARNING
from hnmine.stages.filter.verdicts import AUTO, rule_names
from hnmine.stages.rescore.rescored import uses_rescored

_OF_RULES: dict[str, tuple[str, ...]] = {
    "percent": ("percent",),
    "margin": ("margin",),
    "adaptive": ("adaptive",),
    "easiest": ("margin", "percent", "adaptive"),
    "two_sided": ("two_sided",),
    "min_score": ("absolute",),
    "max_score": ("absolute",),
    "guide_margin": ("guide",),
}
"""Settings of [filter], and the rules that look at them. max_false_negative_rate is not among them: the report holds
the measured rate to it under any rule."""


def _unused(config: Config) -> Iterator[str]:
    """Yield settings that are given, but that the rule or the way of choosing does not look at."""
    rules, auto = rule_names(config.filter), config.filter.rule == "auto"
    # two_sided also keeps the examples of a batch apart, whatever the rule
    batched = config.emit.batch_size is not None
    for name, needs in _OF_RULES.items():
        if name not in config.filter.model_fields_set or (name == "two_sided" and batched):
            continue
        if auto and name in AUTO:
            yield f"filter.{name} is set, but filter.rule is 'auto', which takes {AUTO[name]} whatever is set"
        elif not set(needs) & set(rules):
            yield f"filter.{name} is set, but filter.rule is {config.filter.rule!r} and does not use it"
    if "anchor_quantile" in config.filter.model_fields_set and config.filter.anchor != "quantile":
        yield f"filter.anchor_quantile is set, but filter.anchor is {config.filter.anchor!r} and does not use it"
    if "sample" in config.embed.model_fields_set and not config.embeds_candidates_only:
        yield "embed.sample is set, but embed.documents is 'all' and does not use it"
    if "batch_by" in config.emit.model_fields_set and config.emit.batch_size is None:
        yield "emit.batch_by is set, but emit.batch_size is not, so there are no batches"
    for name, way in (
        ("simans_a", "simans"),
        ("simans_b", "simans"),
        ("random_share", "mixed"),
        ("diversity", "diverse"),
    ):
        if name in config.emit.model_fields_set and config.emit.choose != way:
            yield f"emit.{name} is set, but emit.choose is {config.emit.choose!r} and does not use it"


def _about_rescoring(config: Config) -> Iterator[str]:
    """Yield what is worth knowing of the table [rescore]."""
    if config.rescore is None:
        return
    if not uses_rescored(config) and "rescore_score" not in config.emit.extra_columns:
        yield '[rescore] is given, but filter.score is "teacher": its scores are stored and decide nothing'
    if config.rescore.model == "hash":
        yield HASH_RESCORE_WARNING
    elif config.workers > 1:
        yield f"{config.workers} workers load the model of [rescore] {config.workers} times"


def warnings_of(config: Config, documents: int, kind: str) -> list[str]:
    """Return settings that will run but hardly do what is meant; `kind` is that of the search."""
    found, wanted = [*_unused(config)], config.emit.retrieved_negatives
    poor = [s.label for s, d in zip(config.retrieve.source, config.retrieve.depths, strict=True) if d < wanted]
    if config.emit.ensemble == "cross" and poor:
        found.append(f'emit.ensemble is "cross", but {", ".join(poor)} finds fewer than the {wanted} negatives wanted')
    ranks, top_k = config.filter.ranks, config.retrieve.max_candidates
    if ranks is not None and ranks[1] > top_k:
        found.append(f"filter.ranks ends at {ranks[1]}, but at most {top_k} candidates are retrieved (retrieve.top_k)")
    if documents and config.retrieve.top_k >= documents:
        found.append(f"retrieve.top_k = {config.retrieve.top_k}, but there are only {documents:,} documents")
    if config.retrieve.where and config.index.kind in ("hnsw", "ivf"):
        found.append(f"index.kind is {config.index.kind!r}, but retrieve.where is held to by exact search alone")
    if kind == "ivf" and config.retrieve.top_k > config.index.recall_depth:
        found.append(
            f"index.recall_depth is {config.index.recall_depth}, but retrieve.top_k is {config.retrieve.top_k}: "
            "recall further down is not measured, and lower"
        )
    if config.retrieve.where and any(source.kind == "run" for source in config.retrieve.source):
        found.append("retrieve.where only takes documents out of imported runs: their lists may get shorter than top_k")
    if config.guide is not None and "guide" not in rule_names(config.filter):
        found.append("[guide] is given, but filter.rule does not name guide: its scores are stored and decide nothing")
    if config.uses_hash:
        found.append(HASH_WARNING)
    found.extend(_about_rescoring(config))
    if config.workers > 1 and any(t.model not in ("hash", "precomputed") for t in config.teachers.values()):
        found.append(f"{config.workers} workers load the model {config.workers} times")
    return found
