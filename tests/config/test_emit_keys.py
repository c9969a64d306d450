"""Content keys of [emit]: settings that came later are parts of them only where they are used."""

from typing import Any

import pytest

from hnmine.config.emit import EmitConfig


@pytest.mark.parametrize("emit", [{}, {"choose": "simans"}, {"strata": 4}])
def test_keys_without_newer_settings_are_as_before_these(emit: dict[str, Any]) -> None:
    assert not {"strata", "mixing", "mixing_query"} & EmitConfig(**emit).semantic().keys()


def test_newer_settings_are_part_of_the_key_where_they_are_used() -> None:
    assert EmitConfig(choose="stratified", strata=4).semantic()["strata"] == 4
    assert EmitConfig(mixing_query=2).semantic().keys() >= {"mixing", "mixing_query"}
