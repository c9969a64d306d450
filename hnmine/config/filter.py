"""The table [filter] of the config file: the rules that decide which candidates may become negatives."""

from typing import Any, Literal

from pydantic import field_validator

from hnmine.config.section import Section, setting

NEAR_COPY = 0.98
"""Cosine above which a document is a near copy: the filter's default limit, and a fault in an audit."""
RuleName = Literal[
    "auto", "none", "absolute", "margin", "percent", "adaptive", "two_sided", "calibrated", "guide", "multi_similarity",
]  # fmt: skip
AnchorName = Literal["each", "min", "mean", "max", "quantile"]


class FilterConfig(Section):
    """`[filter]`: the rules that decide which candidates may become negatives."""

    rule: RuleName | list[RuleName] = setting("auto", "a rule, or a list of rules that must all keep a candidate")
    score: Literal["teacher", "rescored", "checked", "hub_normalised"] = setting(
        "teacher",
        "scores used by rules, choice of negatives and report. teacher: the teacher's; rescored: percentiles of the "
        "cross-encoder's; checked: the teacher's, and candidates that the cross-encoder scores like positives are "
        "rejected too; hub_normalised: the teacher's, lower for documents that score high for many queries",
    )
    hub_beta: float = setting(
        20.0, "hub_normalised: beta in s - (1 / beta) ln(mean of exp(beta s(q', d)) over the bank of queries q')", gt=0
    )
    hub_queries: int = setting(1000, "hub_normalised: number of queries in the bank, a random sample", ge=1)
    percent: float = setting(0.95, 'percent: keep s <= s+ - (1 - percent)|s+|; rule = "auto" takes 0.95', gt=0, le=1)
    margin: float = setting(0.05, "margin: keep s <= s+ - margin", ge=0)
    adaptive: float = setting(
        0.05, "adaptive: keep s <= s+ - adaptive max(0, s+ - s0), s0: the mean score of random documents", ge=0, lt=1
    )
    easiest: float = setting(
        0.0,
        "margin, percent, adaptive: share of a query's candidates, lowest scores first, that these rules never reject; "
        'rule = "auto" always uses 0.2',
        ge=0,
        le=1,
    )
    two_sided: float = setting(0.5, "two_sided: keep z(s) + z(sim) <= two_sided, sim: highest similarity to a positive")
    max_false_negative_rate: float | None = setting(
        None,
        "calibrated, auto: highest share of hidden positives among the negatives; the 95% upper bound of the measured "
        "share stays below it, where there are enough of them (default: half of a 95% margin's share, at most 0.05)",
        gt=0,
        lt=1,
    )
    probabilities: bool = setting(False, "give every candidate P(false negative) even if no rule needs it")
    judged_negatives: Literal["judge", "keep"] = setting(
        "judge", "candidates judged irrelevant: apply the rules as to any other, or exempt them from rules and ranks"
    )
    check_percentile: float = setting(
        0.1,
        'score = "checked": reject what the cross-encoder scores above this share of the labelled positives',
        ge=0,
        le=1,
    )
    guide_margin: float = setting(0.0, "guide: keep g <= g+ - guide_margin, g the scores of the second teacher", ge=0)
    multi_similarity: float = setting(
        0.1,
        "multi_similarity: keep s > the lowest s+ of the query's positives - multi_similarity; rejects easy negatives, "
        "so combine it with a rule that rejects false ones",
        ge=0,
    )
    min_score: float | None = setting(None, "absolute: keep s >= min_score")
    max_score: float | None = setting(None, "absolute: keep s <= max_score")
    anchor: AnchorName = setting(
        "each",
        "the positive score s+ of a query with several positives: each in turn, or one that summarises all of them",
    )
    anchor_quantile: float = setting(0.25, 'anchor = "quantile": the quantile of the positives\' scores', ge=0, le=1)
    ranks: tuple[int, int] | None = setting(
        None, "keep first <= rank <= last, written [first, last]; rank 1 is the highest score", strict=False
    )
    bad_positive_quantile: float = setting(
        0.5,
        "a positive that scores no higher than random documents do (s+ <= s0 + sd), and below this quantile of its "
        "query's candidates, is suspected to be wrong; 0 suspects none",
        ge=0,
        le=1,
    )
    max_positive_similarity: float | None = setting(
        NEAR_COPY, "keep if the cosine to every positive document is at most this", gt=-1, le=1
    )
    max_query_similarity: float | None = setting(
        NEAR_COPY, "keep if the cosine to the query is below this", gt=-1, le=1
    )

    @field_validator("rule")
    @classmethod
    def _auto_is_no_list(cls, rule: RuleName | list[RuleName]) -> RuleName | list[RuleName]:
        return "auto" if rule == ["auto"] else rule

    def semantic(self) -> dict[str, Any]:
        """Return the settings for content keys; newer ones only if they are used, as in keys of older runs."""
        found = super().semantic()
        if self.score == "teacher":
            del found["score"]
        if "multi_similarity" not in self.rules:
            del found["multi_similarity"]
        if self.score != "hub_normalised":
            del found["hub_beta"], found["hub_queries"]
        if self.score != "checked":
            del found["check_percentile"]
        return found

    def chosen(self) -> dict[str, Any]:
        """Return the rule, and the settings that are not at their defaults, as JSON values."""
        plain = type(self)().model_dump(mode="json")
        given = self.model_dump(mode="json").items()
        return {name: value for name, value in given if name == "rule" or value != plain[name]}

    @property
    def rules(self) -> list[RuleName]:
        """The rules as a list."""
        return [self.rule] if isinstance(self.rule, str) else self.rule

    @property
    def gives_probabilities(self) -> bool:
        """Whether every candidate gets P(false negative)."""
        return self.probabilities or not {"calibrated", "auto"}.isdisjoint(self.rules)
