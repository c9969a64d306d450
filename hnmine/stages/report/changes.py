"""Changes of settings that may help a number of a mined set: candidates, which `hnmine.stages.report.trials` tries."""

from collections.abc import Iterator
from typing import Any

from hnmine.config.auto import AUTO
from hnmine.config.checks import contradictions
from hnmine.config.filter import NEAR_COPY
from hnmine.config.section import toml_value
from hnmine.config.tables import Config
from hnmine.stages.emit.formats import FULL_ONLY
from hnmine.stages.filter.verdicts import AUTO_RATE, rule_names
from hnmine.stages.report.headline import ALL_NUMBERS, RATE
from hnmine.stages.report.negatives import CLOSE_TO_POSITIVE

Change = dict[str, Any]
"""Settings by `table.key`, with their new values."""

RATES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
"""Values of `filter.max_false_negative_rate` that are tried."""
_MARGINS = ("margin", "percent", "adaptive")
_NEVER_NAMED = ("none", "multi_similarity")
"""Rules that no change names: docs/mining.md and docs/rules.md recommend neither."""
_FEW = 5
"""Fewer negatives than this gain less: see docs/mining.md, "What pays"."""


def candidates(number: str, config: Config) -> list[Change]:
    """Return the changes to try for a number that is beyond its limit, the smallest of each kind first.

    No change sets what a config has already, what its rule ignores (`auto` ignores `rule`'s own settings), or what is
    refused. None undoes what is there on purpose, such as a way of choosing or random documents, and none sets what
    docs/mining.md does not recommend.

    Args:
        number: name of the number, as in `hnmine.stages.report.headline`.
        config: the run's.
    """
    ways = {
        "coverage": (_keep_more, _keep_easiest, _check_copies_alone),
        "fill": (_keep_more, _keep_easiest, _check_copies_alone, _fill_more_examples, _raise_cap),
        "sources.random.share": (_keep_more, _keep_easiest),
        "hardness": (_keep_more, _keep_less_easy, _choose_less_diverse, _want_fewer),
        "safety": (_keep_fewer, _keep_less_easy, _leave_out),
        "negatives_at_or_above_positive": (_keep_fewer, _keep_less_easy, _leave_out),
        RATE: (_keep_fewer, _keep_less_easy, _check_document_side),
        "suspected_bad_positives.untreated_share": (_leave_out, _down_weight),
        "hubs.top_percent_share": (_cap_documents,),
        "sources.retrieved.hardness": (_keep_fewer, _keep_less_easy, _start_further_down),
        "near_copies.chosen_share": (_reject_near_copies, _check_document_side),
    }
    found = [change for way in ways.get(number, ()) for change in way(config)]
    new = [change for change in found if any(value != setting(config, key) for key, value in change.items())]
    refused = {text for _, text in contradictions(config)}
    return [one for one in new if refused.issuperset(text for _, text in contradictions(changed(config, one)))]


def setting(config: Config, key: str) -> Any:
    """Return the value of a setting given as `table.key`."""
    table, name = key.split(".")
    return getattr(getattr(config, table), name)


def changed(config: Config, change: Change) -> Config:
    """Return the config with some settings changed."""
    tables: dict[str, Change] = {}
    for key, value in change.items():
        table, name = key.split(".")
        tables.setdefault(table, {})[name] = tuple(value) if name == "ranks" else value
    return config.changed(tables)


def as_text(change: Change) -> str:
    """Return a change as settings in TOML: `filter.percent = 0.9, filter.easiest = 0.1`."""
    return ", ".join(f"{key} = {toml_value(value)}" for key, value in change.items())


def _rate(config: Config) -> float | None:
    """Return the false-negative rate that the filter may have at most, as far as the config says it."""
    rate = config.filter.max_false_negative_rate
    return AUTO_RATE if rate is None and "calibrated" in rule_names(config.filter) else rate


def _choice(config: Config) -> Change:
    """Return the way of choosing as settings, for a change of the rule on which `emit.choose = "auto"` depends."""
    share = {"emit.random_share": config.emit.random_share} if config.emit.choose == "mixed" else {}
    return {"emit.choose": config.emit.choose} | share


def _rules(config: Config, *, without: str = "", added: str = "") -> Iterator[Change]:
    """Yield the config's rules with one left out or added, unless no rule is left; none of `_NEVER_NAMED`."""
    names = [str(name) for name in config.filter.rules if name not in (*_NEVER_NAMED, without)]
    names += [added] if added and added not in names else []
    if names:
        yield {"filter.rule": names if len(names) > 1 else names[0]}


def _auto(config: Config) -> Iterator[Change]:
    """Yield the rule auto, if a config has another; where it has a guide, the rules of auto beside that."""
    if config.filter.rule == "auto":
        return
    if "guide" not in rule_names(config.filter):
        yield {"filter.rule": "auto"} | _choice(config)
        return
    own = {
        f"filter.{name}": AUTO[name]
        for name in ("percent", "easiest")
        if setting(config, f"filter.{name}") != AUTO[name]
    }
    yield {"filter.rule": [*AUTO["rule"], "guide"]} | own


def _keep_more(config: Config) -> Iterator[Change]:
    own, names = config.filter, rule_names(config.filter)
    if own.rule != "auto":
        yield from _looser_rules(config)
        yield from _auto(config)
    if "calibrated" in names and (rate := _rate(config)) is not None:
        most = ALL_NUMBERS[RATE].flaw or 1.0  # a higher rate would be a flaw
        yield from ({"filter.max_false_negative_rate": value} for value in RATES if rate < value <= most)
    if own.anchor in ("min", "mean", "quantile"):
        yield {"filter.anchor": "each"}
    if own.score == "checked":
        yield from ({"filter.check_percentile": value} for value in (0.2, 0.5) if value > own.check_percentile)
    if own.ranks is not None:
        first, last = own.ranks
        yield from ({"filter.ranks": [low, last]} for low in (max(1, first // 2), 1) if low < first)
        if last < config.retrieve.max_candidates:
            yield {"filter.ranks": [first, config.retrieve.max_candidates]}


def _looser_rules(config: Config) -> Iterator[Change]:
    own = config.filter
    looser: dict[str, tuple[float, ...]] = {
        "percent": ((1 + own.percent) / 2, 1.0),
        "margin": (own.margin / 2, 0.0),
        "adaptive": (own.adaptive / 2, 0.0),
        "two_sided": (own.two_sided + 0.5, own.two_sided + 1.0, own.two_sided + 2.0),
        "guide": (own.guide_margin / 2, 0.0),
    }
    for rule in rule_names(own):
        name = "guide_margin" if rule == "guide" else rule
        yield from ({f"filter.{name}": round(value, 4)} for value in looser.get(rule, ()))
        if rule in ("absolute", "multi_similarity"):
            yield from _rules(config, without=rule)


def _keep_easiest(config: Config) -> Iterator[Change]:
    if config.filter.rule != "auto" and not set(_MARGINS).isdisjoint(rule_names(config.filter)):
        yield from ({"filter.easiest": value} for value in (0.2, 0.5) if value > config.filter.easiest)


def _check_copies_alone(config: Config) -> Iterator[Change]:
    """Yield the defaults of the limits on similarity, where lower ones reject more than near-copies."""
    for name in ("max_positive_similarity", "max_query_similarity"):
        value = getattr(config.filter, name)
        if value is not None and value < NEAR_COPY:
            yield {f"filter.{name}": NEAR_COPY}


def _want_fewer(config: Config) -> Iterator[Change]:
    n = config.emit.num_negatives
    yield from ({"emit.num_negatives": value} for value in (n * 3 // 4, n // 2, n // 4) if value >= _FEW)


def _fill_more_examples(config: Config) -> Iterator[Change]:
    """Yield fewer negatives where short examples get no row; elsewhere only negatives would be lost."""
    n = config.emit.num_negatives
    if not set(FULL_ONLY).isdisjoint(config.emit.formats):
        yield from ({"emit.num_negatives": v} for v in sorted({n * 3 // 4, n // 2, n // 4, 1}, reverse=True) if v)


def _raise_cap(config: Config) -> Iterator[Change]:
    if config.emit.max_per_document is not None:
        yield from ({"emit.max_per_document": config.emit.max_per_document * more} for more in (2, 4))


def _choose_less_diverse(config: Config) -> Iterator[Change]:
    if config.emit.choose == "diverse":
        yield from ({"emit.diversity": round(config.emit.diversity * part, 4)} for part in (0.5, 0.25))


def _keep_fewer(config: Config) -> Iterator[Change]:
    own, names = config.filter, rule_names(config.filter)
    if own.rule != "auto":
        yield from _stricter_rules(config)
        if "multi_similarity" in names:
            yield from _rules(config)
        if set(_MARGINS).isdisjoint(names):  # a share of a hub-normalised score near 0 is no margin
            yield from _rules(config, added="margin" if own.score == "hub_normalised" else "percent")
        yield from _auto(config)
    if own.score == "checked":
        yield from ({"filter.check_percentile": value} for value in (0.05, 0.02) if value < own.check_percentile)
    if "calibrated" in names:
        rate = _rate(config)
        yield from ({"filter.max_false_negative_rate": v} for v in reversed(RATES) if v < (1 if rate is None else rate))


def _stricter_rules(config: Config) -> Iterator[Change]:
    own = config.filter
    stricter: dict[str, list[float]] = {
        "percent": [own.percent - less for less in (0.05, 0.1, 0.2) if own.percent > less],
        "margin": [own.margin + more for more in (0.05, 0.1, 0.2)],
        "adaptive": [own.adaptive + more for more in (0.05, 0.1, 0.2) if own.adaptive + more < 1],
        "two_sided": [own.two_sided - less for less in (0.5, 1.0)],
    }
    for name in rule_names(own):
        yield from ({f"filter.{name}": round(value, 4)} for value in stricter.get(name, ()))


def _keep_less_easy(config: Config) -> Iterator[Change]:
    """Yield lower shares of the easiest candidates; of `auto`, which has its own, by naming its rules."""
    own = config.filter
    if own.rule == "auto":
        named = {"filter.rule": AUTO["rule"]} | _choice(config)
        if own.percent != AUTO["percent"]:
            named["filter.percent"] = AUTO["percent"]
        yield from (named | {"filter.easiest": value} for value in (AUTO["easiest"] / 2, AUTO["easiest"] / 4, 0.0))
    elif own.easiest > 0 and not set(_MARGINS).isdisjoint(rule_names(own)):
        yield from ({"filter.easiest": round(value, 4)} for value in (own.easiest / 2, own.easiest / 4, 0.0))


def _check_document_side(config: Config) -> Iterator[Change]:
    if config.filter.rule != "auto" and "two_sided" not in rule_names(config.filter):
        yield from _rules(config, added="two_sided")


def _start_further_down(config: Config) -> Iterator[Change]:
    first, last = config.filter.ranks or (1, config.retrieve.max_candidates)
    room = last - config.emit.retrieved_negatives
    yield from ({"filter.ranks": [value, last]} for value in (6, 11, 31) if first < value <= room)


def _leave_out(config: Config) -> Iterator[Change]:
    yield {"emit.bad_positives": "leave_out"}


def _down_weight(config: Config) -> Iterator[Change]:
    columns = config.emit.extra_columns
    if "positive_weight" not in columns:
        columns = [*columns, "positive_weight"]
    yield {"emit.bad_positives": "down_weight", "emit.extra_columns": columns}


def _cap_documents(config: Config) -> Iterator[Change]:
    most = config.emit.max_per_document
    yield from ({"emit.max_per_document": value} for value in (50, 20, 10, 5, 2, 1) if most is None or value < most)


def _reject_near_copies(config: Config) -> Iterator[Change]:
    limit = config.filter.max_positive_similarity
    if limit is None or limit > CLOSE_TO_POSITIVE:
        yield {"filter.max_positive_similarity": CLOSE_TO_POSITIVE}
