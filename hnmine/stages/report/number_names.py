"""The names that numbers of a report can have, known before a report is made: `--fail-under` and `--fail-over`.

A test compares them with the numbers of reports made under many configs, in both directions.
"""

import itertools
from collections.abc import Iterable, Iterator

from hnmine.config.models import COMPARED
from hnmine.config.served import is_served
from hnmine.config.tables import Config
from hnmine.stages.embed.served import served_teachers
from hnmine.stages.emit.formats import OF_IDS
from hnmine.stages.filter.verdicts import countable_verdicts
from hnmine.stages.report.headline import NUMBERS

SUMMARY = "count mean std min p05 p25 p50 p75 p95 max"
"""Names of the numbers of a distribution."""
_HIDDEN = "rate queries hidden chosen hardness score eci fill calibration_error judged.rate judged.hidden judged.chosen"
_SOURCE = "share negatives hardness"
_ALWAYS = {
    "": "negatives_judged negatives_positive_elsewhere negatives_positive_elsewhere_share",
    "biases.length": "effect negative positive",
    "biases.query_overlap": "effect negative positive queries",
    "calibration": "threshold",
    "counts.embed": "dim documents queries",
    "counts.emit": "rows documents_as_negatives examples examples_filled_up examples_full examples_short "
    "examples_without_negatives negatives negatives_filled_up negatives_random negatives_wanted "
    "positives_down_weighted positives_left_out queries_left_out queries_with_negatives",
    "counts.filter": "anchors anchors_without_candidates queries queries_searched_deeper deepest_list "
    "queries_short_at_max_top_k",
    "counts.index": "documents lists probe recall recall_depth recall_sample share",
    "counts.ingest": "collapsed_copies documents documents_read empty_documents empty_queries judged_negatives "
    "judgements_read judgements_skipped positives queries queries_read queries_without_positive",
    "counts.retrieve": "candidates queries queries_with_fewer_than_top_k",
    "distributions.positive_score": SUMMARY,
    "distributions.negative_score": SUMMARY,
    "distributions.margin": SUMMARY,
    "hidden_positives.this_filter": _HIDDEN,
    "hidden_positives.margin_95": _HIDDEN,
    "hubs": "documents most_served top_percent_share",
    "near_copies": "chosen chosen_share similarity",
    "near_copies.taken_out": "copy_of_negative copy_of_positive copy_of_query near_copy_of_positive near_copy_of_query",
    "shortage": "examples examples_filled_up examples_full examples_short examples_without_negatives "
    "negatives_filled_up negatives_random",
    "sources.random": _SOURCE,
    "sources.retrieved": _SOURCE,
    "suspected_bad_positives": "count share quantile left_out queries_left_out down_weighted untreated_share",
    "timings": "ingest embed index retrieve filter emit report",
    "tradeoff": "queries_at_most",
}
"""Groups of numbers that any report may have; the names inside a group follow it after a dot."""
_WITH_BATCHES = {
    "batches": "clusters conflicts conflicts_within count examples examples_in_full examples_left_out fill full "
    "random_score same_query score",
    "counts.emit": "batches batches_full examples_unbatched",
}
_WITH_RELABEL = {
    "counts.emit": "positives_relabelled positives_by_judgement queries_relabelled",
    "relabelled": "by_probability by_judgement queries share precision candidates hidden expected",
}
_WITH_ORDER = {"order": "first_tenth_hardness last_tenth_hardness"}
_WITH_FOCAL_WEIGHT = {"weights.focal": SUMMARY}
_WITH_CLUSTER_WEIGHT = {"weights.cluster": f"{SUMMARY} clusters own_share"}
_WITH_PREVIOUS = {
    "counts.emit": "negatives_previous",
    "previous": "queries rows rows_changed churn overlap stayed no_room",
    "previous.fates": "barred easy gone hard random rejected",
    "previous.negatives": "before now shared",
    **dict.fromkeys(("previous.then", "previous.now", "previous.new"), "score hardness"),
    "sources.previous": _SOURCE,
}
_WITH_RESCORE = {"counts.rescore": "scored not_rescored positives queries random_pairs", "timings": "rescore"}
_WITH_CHECKED = {"checked": "pairs pairs_per_query rejected negatives_scored"}
_WITH_HUBS = {"counts.hubs": "documents queries bank", "timings": "hubs"}
_WITH_CANDIDATES_ONLY = {
    "counts.embed": "documents_in_all documents_by_chance",
    "embedding": "documents embedded by_chance weight",
    "embedding.recall": "value top_k queries",
}
_WITH_JUDGEMENTS = {
    "judged_sample": "rate negatives judged relevant unsure open judged_twice kappa",
    "judged_sample.drawn": "rate negatives",
    "judged_sample.retrieved": "rate judged",
    "judged_sample.shared": "rate judged share",
    "estimated_from_sample": "propensity margin_95",
}
_WITH_JUDGE = {
    "counts.ingest": "file_judgements_relevant file_judgements_irrelevant file_judgements_unsure file_judgements_empty "
    "file_judgements_skipped",
    "judging": "pairs relevant irrelevant unsure unanswered requests prompt_tokens completion_tokens without_usage "
    "negatives negatives_relevant judged_twice overturned",
}
_WITH_EVALUATION = {
    "counts.ingest": "eval_queries eval_queries_unknown eval_documents eval_queries_left_out eval_positives_left_out "
    "eval_queries_without_positive",
    "evaluation": "queries documents queries_left_out positives_left_out candidates_rejected queries_without_positive",
}


def number_names(config: Config) -> set[str]:
    """Return the names that numbers of the config's report can have, nested ones dotted.

    Not every report has all of them: some are measured only where there are enough labels.
    """
    return {*(number.name for number in NUMBERS), *named(_groups(config))}


def named(groups: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the dotted name of each of a group's names, which are separated by spaces."""
    for group, names in groups:
        yield from (f"{group}.{name}" if group else name for name in names.split())


def _groups(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each group with its names, those that only some configs have included."""
    yield from _ALWAYS.items()
    for applies, groups in (
        (config.emit.batch_size is not None, _WITH_BATCHES),
        (config.emit.relabels, _WITH_RELABEL),
        (config.emit.mixes, {"counts.emit": "mixtures"}),
        (config.emit.is_ordered, _WITH_ORDER),
        ("focal_weight" in config.emit.extra_columns, _WITH_FOCAL_WEIGHT),
        (config.emit.has_clusters, _WITH_CLUSTER_WEIGHT),
        (config.previous is not None, _WITH_PREVIOUS),
        (config.rescore is not None, _WITH_RESCORE),
        (config.filter.score == "hub_normalised", _WITH_HUBS),
        (config.filter.score == "checked", _WITH_CHECKED),
        (config.embeds_candidates_only, _WITH_CANDIDATES_ONLY),
        (config.input.has_evaluation, _WITH_EVALUATION),
        (config.report.judged_sample is not None or config.input.judgements is not None, _WITH_JUDGEMENTS),
        (config.input.judgements is not None, _WITH_JUDGE),
        (config.guide is not None, {"counts.embed": "guide_dim"}),
    ):
        yield from groups.items() if applies else ()
    verdicts = " ".join(countable_verdicts(config.filter))
    yield from (("verdicts", verdicts), ("counts.filter.verdicts", verdicts))
    for source in config.retrieve.source:
        yield f"sources.{source.label}", f"{_SOURCE} alone"
        yield from [("counts.embed.source_dims", source.label)] if source.teacher is not None else []
    for name in config.emit.formats:
        yield f"counts.emit.formats.{name}", "rows examples_left_out"
        yield from [("counts.emit.texts", "queries documents")] if name in OF_IDS else []
    for table, precision in itertools.product(config.teachers, COMPARED):
        yield f"counts.embed.{precision}_agreement.{table}", "documents mean least"
    for table in served_teachers(config):
        yield f"counts.embed.served.{table}", "requests tokens"
    if config.rescore is not None and is_served(config.rescore.model):
        yield "counts.rescore.served.rescore", "requests tokens"
