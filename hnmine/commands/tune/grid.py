"""The settings that `hnmine tune` tries: by default a grid that depends on the config, or those of a file."""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hnmine.config.emit import EmitConfig
from hnmine.config.file import check_config
from hnmine.config.filter import FilterConfig
from hnmine.config.section import toml_value
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, Problems, reason
from hnmine.stages.report.html.page import setting as filter_text
from hnmine.storage.store import digest

Role = Literal["own", "in_batch", "random", "tried"]
"""own: the config's settings; in_batch: no mined negatives; random: random documents in equal number; tried: others."""

RULE_KEYS = (
    "rule", "percent", "margin", "adaptive", "easiest", "two_sided", "max_false_negative_rate", "guide_margin",
    "multi_similarity", "min_score", "max_score", "ranks",
)  # fmt: skip
CHOICE_KEYS = ("num_negatives", "choose", "simans_a", "simans_b", "strata", "random_share", "diversity")
"""The settings of [filter] and [emit] that every entry of a grid determines: those that it lacks have their defaults,
but num_negatives, which is the config's."""
_KEPT_KEYS = (
    "probabilities", "judged_negatives", "anchor", "anchor_quantile", "bad_positive_quantile",
    "max_positive_similarity", "max_query_similarity", "ensemble", "fallback", "prefer_judged", "max_per_document",
    "bad_positives",
)  # fmt: skip
"""Settings that an entry may have as well; the config's where it lacks them."""
WINDOWS, MOST_WINDOWS = (11, 31, 96, 251, 501), 3
"""First ranks of the windows that are tried: the deepest three that the candidates reach."""
_FILES = 'write it as TOML, with a table [[setting]] for each, or as JSON, a list of objects: {"rule": "percent"}'


@dataclass(frozen=True)
class Setting:
    """A setting of filter and emit.

    Attributes:
        role: why it is tried.
        config: the whole config with it.
        name: short text, different for different settings.
    """

    role: Role
    config: Config
    name: str

    @property
    def mines(self) -> bool:
        """Whether its negatives are chosen among retrieved candidates."""
        return self.role != "in_batch" and self.config.emit.retrieved_negatives > 0

    @property
    def key(self) -> str:
        """A digest of what it determines; equal for settings that lead to the same set whatever the candidates."""
        return "" if self.role == "in_batch" else digest(values_of(self.config))

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return the keys of [filter] and [emit] that it determines and that are not at their defaults.

        The rule and the number of negatives are always among them. Both tables are empty for `in_batch`, which is no
        setting of a run.
        """
        if self.role == "in_batch":
            return {"filter": {}, "emit": {}}
        plain, own = plain_values(self.config), values_of(self.config)
        shown = {table: {k: v for k, v in own[table].items() if v != plain[table][k]} for table in own}
        if "random_share" in shown["emit"]:  # without it, the rule would decide on both
            shown["emit"]["choose"] = own["emit"]["choose"]
        rule = {"rule": own["filter"]["rule"]} if self.mines else {}
        count = {"num_negatives": own["emit"]["num_negatives"]}
        return {"filter": rule | shown["filter"], "emit": count | shown["emit"]}


_OF_CHOICE = {
    "simans_a": "simans", "simans_b": "simans", "strata": "stratified", "random_share": "mixed", "diversity": "diverse",
}  # fmt: skip
"""Settings that only one way of choosing has."""
_OF_RULE = ("multi_similarity",)
"""Settings left out where the rule of their name is not used, as in keys of older trainings."""


def values_of(config: Config) -> dict[str, dict[str, Any]]:
    """Return every setting of filter and emit that an entry of a grid may have and that matters, as JSON values."""
    names = {"filter": set(FilterConfig.model_fields), "emit": set(EmitConfig.model_fields)}
    allowed = set(RULE_KEYS) | set(CHOICE_KEYS) | set(_KEPT_KEYS)
    allowed -= {name for name, choose in _OF_CHOICE.items() if choose != config.emit.choose}
    allowed -= {name for name in _OF_RULE if name not in config.filter.rules}
    found = {table: getattr(config, table).model_dump(mode="json", include=names[table] & allowed) for table in names}
    if not config.emit.retrieved_negatives:  # no rule matters where all negatives are random documents
        found["filter"] = {name: found["filter"][name] for name in ("anchor", "bad_positive_quantile")}
    return found


def plain_values(config: Config) -> dict[str, dict[str, Any]]:
    """Return the values that these settings have in a config that names the rule and the number of negatives alone."""
    emit = {**EmitConfig().model_dump(), "num_negatives": config.emit.num_negatives}
    plain = config.changed({"filter": {"rule": config.filter.rule}, "emit": emit})
    defaults = FilterConfig().model_dump(mode="json")
    return {"filter": defaults, "emit": plain.emit.model_dump(mode="json")}


def with_settings(config: Config, keys: Mapping[str, Any]) -> Config:
    """Return the config with an entry of a grid: settings of filter and emit in one mapping, already checked."""
    tables: dict[str, dict[str, Any]] = {
        "filter": {name: getattr(FilterConfig(), name) for name in RULE_KEYS},
        "emit": {name: getattr(EmitConfig(), name) for name in CHOICE_KEYS if name != "num_negatives"},
    }
    for name, value in keys.items():
        tables["filter" if name in FilterConfig.model_fields else "emit"][name] = value
    return config.changed(tables)


def settings_of(config: Config, entries: Iterable[Mapping[str, Any]]) -> list[Setting]:
    """Return the settings to try: the config's own, the two controls, then the entries; each once.

    Their order is that of their names, whatever that of the entries.
    """
    n = config.emit.num_negatives
    tried = [with_settings(config, keys) for keys in entries]
    random = with_settings(config, {"choose": "mixed", "random_share": 1.0})
    given: list[tuple[Role, Config, str]] = [
        ("own", config, f"yours: {_name(config, config)}"),
        ("in_batch", config, "no mined negatives"),
        ("random", random, f"{n} random documents"),
        *(("tried", one, _name(one, config)) for one in tried),
    ]
    found: dict[str, Setting] = {}
    for role, one, name in given:
        setting = Setting(role, one, name)
        if setting.key not in found:
            found[setting.key] = setting
    names: dict[str, int] = {}
    for key, setting in found.items():  # two settings could differ in a key that a name does not show
        times = names[setting.name] = names.get(setting.name, 0) + 1
        if times > 1:
            found[key] = Setting(setting.role, setting.config, f"{setting.name} ({times})")
    return sorted(found.values(), key=lambda one: (one.role == "tried", one.name))


def _name(config: Config, own: Config) -> str:
    """Return a short text of a setting: the rule with its value, then what else differs from the defaults."""
    if not config.emit.retrieved_negatives:
        return f"{config.emit.num_negatives} random documents"
    plain, values = plain_values(config), values_of(config)
    base = values_of(own)
    rules = {name: getattr(config.filter, name) for name in config.filter.rules if hasattr(config.filter, name)}
    shown = {k: v for k, v in values["filter"].items() if k in RULE_KEYS and v != plain["filter"][k]}
    ranks = shown.pop("ranks", None)
    text = filter_text({"rule": values["filter"]["rule"]} | rules | shown)
    if text == "none":
        text = "unfiltered" if ranks is None else ""
    more = {k: v for k, v in values["emit"].items() if k in CHOICE_KEYS and v != plain["emit"][k]}
    more.pop("num_negatives", None)
    for table in base:  # what an entry changes of the config's other settings
        more |= {k: v for k, v in values[table].items() if k in _KEPT_KEYS and v != base[table].get(k, v)}
    count = config.emit.num_negatives
    words = [] if ranks is None else [f"ranks {ranks[0]} to {ranks[1]}"]
    if count != own.emit.num_negatives:
        words.append(f"{count} negative{'s' if count > 1 else ''}")
    words += [
        f"{key} {value}" if isinstance(value, str) else f"{key} {toml_value(value)}" for key, value in more.items()
    ]
    return ", ".join(word for word in (text, *words) if word)


def default_grid(config: Config, *, guided: bool = False) -> list[dict[str, Any]]:
    """Return the entries tried by default.

    Args:
        config: the run's; the windows and the variants depend on it.
        guided: whether a guide scored the candidates.
    """
    n, depth = config.emit.num_negatives, config.retrieve.max_candidates
    own = {key: getattr(config.filter, key) for key in RULE_KEYS}
    own |= {key: getattr(config.emit, key) for key in CHOICE_KEYS if key != "num_negatives"}
    windows = [first for first in WINDOWS if first + n <= depth + 1][-MOST_WINDOWS:]
    return [
        {"rule": "auto"},
        {"rule": "none"},
        *({"rule": "percent", "percent": p} for p in (0.8, 0.9, 0.95)),
        *({"rule": "two_sided", "two_sided": t} for t in (-1.0, 0.0, 1.0)),
        *({"rule": "calibrated", "max_false_negative_rate": r} for r in (0.02, 0.05)),
        *({"rule": "none", "ranks": (first, depth)} for first in windows),
        *({**own, "choose": choose} for choose in ("top", "random", "mixed")),
        *({**own, "num_negatives": count} for count in (1, 10)),
        *([{"rule": "guide"}] if guided else []),
    ]


def read_grid(path: Path, config: Config) -> list[dict[str, Any]]:
    """Return the entries of a grid file, checked.

    Raises:
        ConfigError: the file cannot be read, or with every unknown key, wrong value and contradiction in it.
    """
    rows = _read_rows(path)
    problems = Problems()
    entries = []
    for number, row in enumerate(rows, start=1):
        where = f"{path}: setting {number}"
        if not isinstance(row, dict):
            problems.add(f"{where}: not a table of settings: {row!r}")
            continue
        unknown = [name for name in row if name not in (*RULE_KEYS, *CHOICE_KEYS, *_KEPT_KEYS)]
        for name in unknown:
            problems.add(f"{where}: {name}: {_unknown(name)}")
        if not unknown:
            entries += _checked(row, config, where, problems)
    problems.raise_if_any(ConfigError)
    return entries


def _read_rows(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"--grid {path}: cannot be read: {reason(error)}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--grid {path}: {reason(error)}; {_FILES}") from None
    if isinstance(data, dict) and set(data) == {"setting"}:
        data = data["setting"]
    if not isinstance(data, list) or not data:
        raise ConfigError(f"--grid {path}: holds no list of settings; {_FILES}")
    return data


def _unknown(name: str) -> str:
    known = (*RULE_KEYS, *CHOICE_KEYS, *_KEPT_KEYS)
    if name in FilterConfig.model_fields or name in EmitConfig.model_fields:
        return "cannot be tuned, since no student sees it or it needs other candidates"
    near = difflib.get_close_matches(name, known, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; known keys: {', '.join(known)}"


def _checked(row: dict[str, Any], config: Config, where: str, problems: Problems) -> list[dict[str, Any]]:
    """Return a row as an entry with values of the right types, in a list; an empty one where there are problems."""
    # what is not given stays so: some settings may not be given, even with their defaults
    raw = config.model_dump(mode="json", exclude_none=True, exclude_unset=True, by_alias=True)
    raw = {"filter": {}, "emit": {}} | raw
    for name in RULE_KEYS:
        raw["filter"].pop(name, None)
    for name in CHOICE_KEYS:
        if name != "num_negatives":
            raw["emit"].pop(name, None)
    for name, value in row.items():
        raw["filter" if name in FilterConfig.model_fields else "emit"][name] = value
    try:
        checked = check_config(raw, where, config.base)
    except ConfigError as error:
        for line in str(error).splitlines():
            problems.add(line)
        return []
    tables = (checked.filter, checked.emit)
    return [{name: getattr(tables[0] if name in FilterConfig.model_fields else tables[1], name) for name in row}]
