"""Puts the choice of a tune into the config file."""

from collections.abc import Mapping
from typing import Any

from hnmine.commands.tune.grid import Setting, with_settings
from hnmine.commands.tune.write_config import write_setting
from hnmine.config.emit import EmitConfig
from hnmine.config.filter import FilterConfig
from hnmine.config.tables import Config


def write_choice(config: Config, result: Mapping[str, Any]) -> str:
    """Put the chosen setting into the config file where it differs, and return what was done.

    Nothing is written where the choice is the config's own setting, or not to mine.

    Args:
        config: as it was loaded.
        result: of `tune`.

    Raises:
        ConfigError: the file cannot be edited in place; it is left as it was.
        OutputError: it cannot be written.
    """
    verdict = result["verdict"]
    row = next(one for one in result["settings"] if one["name"] == verdict["chosen"])
    if row["role"] == "in_batch":
        return f"{config.file} is as it was: no setting of a run mines nothing"
    if row["role"] == "own":
        return f"{config.file} is as it was: its own setting is kept"
    keys: dict[str, Any] = {}
    for table, model in (("filter", FilterConfig), ("emit", EmitConfig)):
        if row[table]:
            checked = model.model_validate(row[table])
            keys |= {name: getattr(checked, name) for name in row[table]}
    setting = Setting(row["role"], with_settings(config, keys), row["name"])
    lines = write_setting(config.file, setting)
    return f"{config.file}: {'; '.join(lines)}" if lines else f"{config.file} has this setting already"
