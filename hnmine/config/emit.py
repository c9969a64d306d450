"""The table [emit] of the config file: the training files."""

from typing import Any, Literal

from hnmine.config.filter import FilterConfig
from hnmine.config.section import Section, setting

OrderName = Literal["by_query", "easy_to_hard", "hard_to_easy"]
ChoiceName = Literal["auto", "top", "random", "simans", "stratified", "mixed", "diverse"]
AUTO_RANDOM_SHARE = 0.4
"""Share of random documents under `emit.choose = "auto"`, where that means `mixed`: see docs/rules.md."""
RelabelName = Literal["judgements"]
FormatName = Literal["triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list", "bge", "distillation"]
ExtraColumn = Literal[
    "query_id", "positive_id", "negative_id", "positive_score", "negative_score", "rank", "rule", "anchor_score",
    "source", "p_false_negative", "weight", "positive_weight", "guide_score", "rescore_score", "positive_source",
    "positive_probability", "focal_weight", "cluster_weight",
]  # fmt: skip
LABELED: tuple[FormatName, ...] = ("labeled-pair", "labeled-list")


class EmitConfig(Section):
    """`[emit]`: the training files."""

    format: FormatName | list[FormatName] = setting(
        "triplet", "shape of the training rows; or a list of shapes, each in a folder of its own"
    )
    num_negatives: int = setting(5, "negatives wanted for each (query, positive)", ge=1)
    choose: ChoiceName = setting(
        "auto",
        'which of the kept candidates become negatives. auto: under filter.rule = "auto" mixed, with two fifths random '
        "documents, else top; top: highest scores; random: a uniform draw; simans: a draw near the positive's score; "
        "stratified: a draw from each quantile of the scores in turn; mixed: highest scores, and random documents; "
        "diverse: high scores that are unlike one another",
    )
    simans_a: float = setting(
        0.5, "simans: a in p ~ exp(-a ((s - s+) / std - b)^2), std that of the query's background scores", gt=0
    )
    simans_b: float = setting(0.0, "simans: b, the distance from s+ at which p is highest, in standard deviations")
    strata: int = setting(
        8,
        "stratified: number of quantiles that the scores are cut into; at most as many as negatives wanted",
        ge=2,
        le=2**30,
    )
    ensemble: Literal["none", "cross", "intra"] = setting(
        "none", "several sources: cross draws one source for each (query, positive); intra takes from all in turn"
    )
    random_share: float = setting(0.2, "mixed: share of num_negatives that are random documents", ge=0, le=1)
    diversity: float = setting(
        0.3, "diverse: weight of being unlike the negatives chosen so far; 0 means top", ge=0, le=1
    )
    fallback: Literal["none", "random"] = setting(
        "none", "if too few candidates were kept: leave the example short, or fill it with random documents"
    )
    prefer_judged: bool = setting(False, "choose candidates judged irrelevant before all others")
    max_per_document: int | None = setting(None, "highest number of times one document is used as a negative", ge=1)
    bad_positives: Literal["keep", "leave_out", "down_weight"] = setting(
        "keep", "rows of suspected bad positives: as any other, left out, or with a lower positive_weight"
    )
    relabel: float | RelabelName | list[float | RelabelName] | None = setting(
        None,
        "candidates that become further positives of their query, marked in the column positive_source. A number above "
        '0.5, such as 0.9: those whose P(false negative) is at least this; "judgements": those that input.judgements '
        "call relevant; or a list of both (default: none)",
    )
    max_relabelled: int = setting(
        3, "most further positives of one query: those judged relevant first, then the highest P(false negative)", ge=1
    )
    soft_labels: bool = setting(
        False, "labeled-list, labeled-pair: label a negative with its P(false negative) and a positive with 1.0"
    )
    extra_columns: list[ExtraColumn] = setting([], "columns added to every row: a list")
    mixing: int = setting(
        0,
        "synthetic negatives of each (query, positive): pairs of its negatives whose vectors a training mixes, with "
        "their shares, in the table emit/mixing",
        ge=0,
        le=1000,
    )
    mixing_query: int = setting(0, "as mixing, but pairs of the query and a negative", ge=0, le=1000)
    focal_gamma: float = setting(
        0.5, "focal_weight: gamma in (1 - p)^gamma, p the softmax probability of the positive among its negatives", ge=0
    )
    focal_temperature: float = setting(
        0.05,
        "focal_weight: temperature of that softmax, in units of the score; take your loss's (1 / scale)",
        gt=0,
    )
    clusters: int | None = setting(
        None,
        "cluster_weight: number of clusters of documents, by k-means on their vectors (default: the square root of the "
        "number of documents)",
        ge=1,
    )
    order: OrderName = setting(
        "by_query",
        "order of the training rows. by_query: that of the queries; easy_to_hard, hard_to_easy: by the mean hardness "
        "of an example's negatives, and a trainer must not shuffle them",
    )
    batch_size: int | None = setting(
        None, "examples per batch; adds the column batch_id (default: no batches)", ge=2, le=2**30
    )
    batch_by: Literal["clusters", "random"] = setting(
        "clusters", "how examples are grouped: by similarity of their queries, or at random"
    )
    batch_leftover: Literal["keep", "drop", "merge"] = setting(
        "keep",
        "batches that conflicts keep from being filled. keep: they stay short; drop: their examples get no rows; "
        "merge: they become full ones with as few conflicts as possible",
    )

    def semantic(self) -> dict[str, Any]:
        """Return the settings for content keys; newer ones only if they are used, as in keys of older runs."""
        kept = super().semantic()
        if len(self.formats) == 1:
            kept["format"] = self.formats[0]
        if self.ensemble == "none":
            del kept["ensemble"]
        if self.choose != "stratified":
            del kept["strata"]
        if not self.mixes:
            del kept["mixing"], kept["mixing_query"]
        if "focal_weight" not in self.extra_columns:
            del kept["focal_gamma"], kept["focal_temperature"]
        if not self.has_clusters:
            del kept["clusters"]
        if not self.is_ordered:
            del kept["order"]
        if self.batch_size is None:
            del kept["batch_size"], kept["batch_by"], kept["batch_leftover"]
        if self.relabels:
            kept["relabel"] = self.relabel_values
        else:
            del kept["relabel"], kept["max_relabelled"]
        return kept

    @property
    def relabel_values(self) -> list[float | RelabelName]:
        """The values of `relabel` as a list, the probability first; empty where nothing is relabelled."""
        values = self.relabel if isinstance(self.relabel, list) else [] if self.relabel is None else [self.relabel]
        return sorted(values, key=lambda value: isinstance(value, str))

    @property
    def relabels(self) -> bool:
        """Whether some candidates may become further positives."""
        return bool(self.relabel_values)

    @property
    def relabel_probability(self) -> float | None:
        """The lowest P(false negative) of a candidate that becomes a positive; None where none does by its own."""
        return next((value for value in self.relabel_values if not isinstance(value, str)), None)

    @property
    def relabels_judged(self) -> bool:
        """Whether candidates that judgement files call relevant become positives."""
        return "judgements" in self.relabel_values

    @property
    def formats(self) -> list[FormatName]:
        """The shapes of training rows as a list."""
        return [self.format] if isinstance(self.format, str) else self.format

    @property
    def mixes(self) -> bool:
        """Whether there is a table of synthetic negatives."""
        return self.mixing + self.mixing_query > 0

    @property
    def is_ordered(self) -> bool:
        """Whether the training rows are in an order of their own."""
        return self.order != "by_query"

    @property
    def has_clusters(self) -> bool:
        """Whether negatives have a weight by their cluster."""
        return "cluster_weight" in self.extra_columns

    @property
    def random_negatives(self) -> int:
        """How many of the wanted negatives are random documents by `choose = "mixed"`; rounded half up."""
        return int(self.random_share * self.num_negatives + 0.5) if self.choose == "mixed" else 0

    @property
    def retrieved_negatives(self) -> int:
        """How many of the wanted negatives are chosen from the kept candidates."""
        return self.num_negatives - self.random_negatives

    @property
    def draws_random(self) -> bool:
        """Whether random documents may be used as negatives."""
        return self.random_negatives > 0 or self.fallback == "random"


def resolve_choice(filter_: FilterConfig, emit: EmitConfig) -> EmitConfig:
    """Return [emit] with the way of choosing that `choose = "auto"` means.

    It means `mixed` under the rule auto. It means `top` under other rules; with a cross-encoder's scores, which random
    documents lack; and where the random share of so few negatives rounds to none or to all.
    """
    mixed = emit.model_copy(update={"choose": "mixed", "random_share": AUTO_RANDOM_SHARE})
    mixes = filter_.rule == "auto" and filter_.score != "rescored"
    if mixes and 0 < mixed.random_negatives < emit.num_negatives:
        return mixed
    return emit.model_copy(update={"choose": "top"})
