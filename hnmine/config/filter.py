"""The table `[filter]`: which candidates may become negatives."""

from typing import Any, Literal

from hnmine.config.base import Section, setting

RuleName = Literal["auto", "none", "absolute", "margin", "percent", "adaptive", "two_sided", "calibrated", "guide"]
AnchorName = Literal["each", "min", "mean", "max", "quantile"]


class FilterConfig(Section):
    """Which candidates may become negatives."""

    rule: RuleName | list[RuleName] = setting("auto", "one rule, or a list that must all keep a candidate")
    score: Literal["teacher", "rescored"] = setting(
        "teacher", "scores that rules, choosing and the report go by; rescored: percentiles of the cross-encoder's"
    )
    percent: float = setting(0.95, "percent: keep s <= s+ - (1 - percent)|s+|", gt=0, le=1)
    margin: float = setting(0.05, "margin: keep s <= s+ - margin", ge=0)
    adaptive: float = setting(
        0.05, "adaptive: keep s <= s+ - adaptive * (s+ - s0), s0 the query's mean score to random documents", ge=0, lt=1
    )
    easiest: float = setting(
        0.0, "margin, percent, adaptive: never reject this share of a query's candidates, the lowest scores", ge=0, le=1
    )
    two_sided: float = setting(0.5, "two_sided: keep z(s) + z(sim) <= two_sided, both within the query's candidates")
    max_false_negative_rate: float | None = setting(
        None,
        "calibrated: measured share of hidden positives to tolerate (default: as hard as a 95% margin)",
        gt=0,
        lt=1,
    )
    probabilities: bool = setting(False, "give every candidate P(false negative), also where no rule asks for it")
    judged_negatives: Literal["judge", "keep"] = setting(
        "judge", "candidates that are judged irrelevant: judge them as any other, or let neither rule nor ranks reject"
    )
    guide_margin: float = setting(0.0, "guide: keep g <= g+ - guide_margin, the scores of the second teacher", ge=0)
    min_score: float | None = setting(None, "absolute: keep s >= min_score")
    max_score: float | None = setting(None, "absolute: keep s <= max_score")
    anchor: AnchorName = setting(
        "each", "the positive's score that margins are measured from; each: one row a positive"
    )
    anchor_quantile: float = setting(0.25, "anchor = quantile: which one", ge=0, le=1)
    ranks: tuple[int, int] | None = setting(None, "keep first <= rank <= last of the retrieval itself", strict=False)
    bad_positive_quantile: float = setting(
        0.5, "a positive that scores below this quantile of its query's candidates is suspected", ge=0, le=1
    )
    max_positive_similarity: float | None = setting(
        0.98, "keep where the cosine to every positive document is at most this", gt=-1, le=1
    )
    max_query_similarity: float | None = setting(0.98, "keep where the cosine to the query is below this", gt=-1, le=1)

    def semantic(self) -> dict[str, Any]:
        """Return the settings for content keys; which scores are used only where it is not the teacher's."""
        found = super().semantic()
        if self.score == "teacher":
            del found["score"]  # keys are those of before there was a choice
        return found

    @property
    def gives_probabilities(self) -> bool:
        """Whether every candidate gets P(false negative)."""
        named = [self.rule] if isinstance(self.rule, str) else self.rule
        return self.probabilities or "calibrated" in named or "auto" in named
