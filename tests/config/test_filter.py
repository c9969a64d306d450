"""The table [filter]."""

import pytest

from hnmine.config.filter import FilterConfig, RuleName
from hnmine.stages.filter.verdicts import rule_names


@pytest.mark.parametrize("rule", ["auto", ["auto"]])
def test_auto_means_the_same_in_a_list_of_its_own(rule: RuleName | list[RuleName]) -> None:
    config = FilterConfig(rule=rule)
    assert config == FilterConfig()
    assert rule_names(config) == ["percent", "calibrated"]


def test_other_lists_stay_as_they_are_in_keys_of_older_runs() -> None:
    assert FilterConfig(rule=["percent"]).semantic()["rule"] == ["percent"]
