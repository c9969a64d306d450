"""The table `[emit]`: the training files."""

from typing import Any, Literal

from hnmine.config.base import Section, setting

ChoiceName = Literal["top", "random", "simans", "mixed", "diverse"]
FormatName = Literal["triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list", "bge"]
LABELED: tuple[FormatName, ...] = ("labeled-pair", "labeled-list")
ExtraColumn = Literal[
    "query_id",
    "positive_id",
    "negative_id",
    "positive_score",
    "negative_score",
    "rank",
    "rule",
    "anchor_score",
    "source",
    "p_false_negative",
    "weight",
    "positive_weight",
    "guide_score",
    "rescore_score",
]


class EmitConfig(Section):
    """The training files."""

    format: FormatName = setting("triplet", "shape of the training rows")
    num_negatives: int = setting(5, "negatives wanted for each (query, positive)", ge=1)
    choose: ChoiceName = setting("top", "which of the candidates that were kept; mixed adds random documents")
    simans_a: float = setting(
        0.5, "simans: p proportional to exp(-a ((s - s+) / std - b)^2), std of the background", gt=0
    )
    simans_b: float = setting(0.0, "simans: the distance from s+ at which p is highest, in standard deviations")
    ensemble: Literal["none", "cross", "intra"] = setting(
        "none", "several sources: one of them drawn for each (query, positive), or all of them in turn"
    )
    random_share: float = setting(0.2, "mixed: share of num_negatives that are random documents", ge=0, le=1)
    diversity: float = setting(0.3, "diverse: weight of being unlike the others chosen; 0 is top", ge=0, le=1)
    fallback: Literal["none", "random"] = setting(
        "none", "random fills up with random documents where too few were kept"
    )
    prefer_judged: bool = setting(False, "choose negatives that are judged irrelevant before any other")
    max_per_document: int | None = setting(None, "most often that one document may serve as a negative", ge=1)
    bad_positives: Literal["keep", "leave_out", "down_weight"] = setting(
        "keep", "suspected positives: rows as any other, no rows, or a lower positive_weight"
    )
    soft_labels: bool = setting(
        False, "labeled-list, labeled-pair: label of a negative is its P(false negative), of a positive 1.0"
    )
    extra_columns: list[ExtraColumn] = setting([], "columns added to every row")
    batch_size: int | None = setting(
        None, "examples a training batch; every row gets a batch_id (default: no batches)", ge=2
    )
    batch_by: Literal["clusters", "random"] = setting(
        "clusters", "examples that share a batch: of queries that lie near one another, or any"
    )

    def semantic(self) -> dict[str, Any]:
        """Return the settings that determine what is written; those of later versions only where they are used."""
        kept = super().semantic()
        if self.ensemble == "none":
            del kept["ensemble"]
        if self.batch_size is None:
            del kept["batch_size"], kept["batch_by"]
        return kept

    @property
    def random_negatives(self) -> int:
        """How many of the negatives wanted are random documents from the start: those of `mixed`, rounded."""
        return int(self.random_share * self.num_negatives + 0.5) if self.choose == "mixed" else 0

    @property
    def retrieved_negatives(self) -> int:
        """How many negatives are to be chosen out of the candidates that were kept."""
        return self.num_negatives - self.random_negatives

    @property
    def draws_random(self) -> bool:
        """Whether random documents may serve as negatives."""
        return self.random_negatives > 0 or self.fallback == "random"
