"""The settings that are tried: what the default grid holds, which count as one, and what is wrong with a grid file."""

import json
import random

import pytest

from hnmine.commands.tune.grid import default_grid, read_grid, settings_of, with_settings
from hnmine.config.emit import EmitConfig
from hnmine.config.filter import FilterConfig
from hnmine.config.tables import Config
from hnmine.errors import ConfigError


def config(**tables):
    return Config.model_validate(tables)


OWN = [
    config(),
    config(filter={"rule": "percent", "percent": 0.9}),
    config(
        filter={"rule": ["percent", "two_sided"], "ranks": [11, 100]}, emit={"num_negatives": 10, "choose": "diverse"}
    ),
    config(emit={"choose": "mixed", "random_share": 1.0}),
    config(retrieve={"top_k": 1000}),
    config(retrieve={"top_k": 20}),
]


@pytest.mark.parametrize("own", OWN, ids=range(len(OWN)))
def test_the_default_grid_has_the_controls_and_the_configs_setting(own):
    found = settings_of(own, default_grid(own))
    assert 12 <= len(found) <= 20
    roles = [one.role for one in found]
    assert roles.count("own") == roles.count("in_batch") == 1
    assert roles.count("random") == (1 if own.emit.retrieved_negatives else 0)
    assert next(one for one in found if one.role == "own").config == own
    assert len({one.name for one in found}) == len({one.key for one in found}) == len(found)
    for one in found:
        assert one.config.emit.format == own.emit.format
        assert one.config.retrieve == own.retrieve
        FilterConfig.model_validate(one.config.filter.model_dump())
        EmitConfig.model_validate(one.config.emit.model_dump())
        if one.config.filter.ranks is not None and one.role != "own":
            assert one.config.filter.ranks[0] + own.emit.num_negatives <= own.retrieve.top_k + 1


def test_windows_reach_as_deep_as_the_candidates():
    firsts = []
    for depth in (20, 100, 1000):
        grid = default_grid(config(retrieve={"top_k": depth}))
        firsts.append({keys["ranks"][0] for keys in grid if keys["rule"] == "none" and "ranks" in keys})
    assert firsts == [{11}, {11, 31, 96}, {96, 251, 501}]


def test_equal_settings_are_tried_once_whatever_their_order():
    own = config(filter={"rule": "percent", "percent": 0.9})
    entries = [{"rule": "percent", "percent": 0.9}, {"rule": "none"}, {"rule": "none", "num_negatives": 5}]
    for order in range(5):
        random.Random(order).shuffle(entries)
        assert [one.name for one in settings_of(own, entries)] == [
            "5 random documents", "no mined negatives", "yours: percent 0.9", "unfiltered",
        ]  # fmt: skip


def test_an_entry_takes_the_defaults_for_what_it_does_not_name():
    own = config(
        filter={"rule": "margin", "margin": 0.2, "ranks": [5, 50], "anchor": "mean"},
        emit={"num_negatives": 7, "choose": "random", "max_per_document": 3},
    )
    found = with_settings(own, {"rule": "none"})
    assert found.filter.margin == FilterConfig().margin
    assert found.filter.ranks is None
    assert found.emit.choose == "top"
    assert (found.filter.anchor, found.emit.num_negatives, found.emit.max_per_document) == ("mean", 7, 3)


def test_names_say_what_is_set():
    own = config(filter={"rule": "percent", "percent": 0.9})
    entries = [
        {"rule": "none", "ranks": (31, 100)}, {"rule": "percent", "percent": 0.95, "choose": "mixed"},
        {"rule": "calibrated", "max_false_negative_rate": 0.1, "num_negatives": 1}, {"rule": "none", "anchor": "mean"},
        {"rule": "percent", "percent": 0.5, "ranks": (2, 9)},
    ]  # fmt: skip
    assert {one.name for one in settings_of(own, entries) if one.role == "tried"} == {
        "ranks 31 to 100", "percent 0.95, choose mixed", "calibrated 0.1, 1 negative", "unfiltered, anchor mean",
        "percent 0.5, ranks 2 to 9",
    }  # fmt: skip


def test_a_grid_file_is_read_from_toml_and_json(tmp_path):
    rows = [{"rule": "percent", "percent": 0.9}, {"rule": "none", "ranks": [11, 60], "num_negatives": 2}]
    (tmp_path / "grid.json").write_text(json.dumps(rows))
    (tmp_path / "grid.toml").write_text(
        '[[setting]]\nrule = "percent"\npercent = 0.9\n\n'
        '[[setting]]\nrule = "none"\nranks = [11, 60]\nnum_negatives = 2\n'
    )
    wanted = [{"rule": "percent", "percent": 0.9}, {"rule": "none", "ranks": (11, 60), "num_negatives": 2}]
    for name in ("grid.json", "grid.toml"):
        assert read_grid(tmp_path / name, config(input={"pairs": "p"})) == wanted


def test_all_problems_of_a_grid_are_named_at_once(tmp_path):
    rows = [
        {"rule": "percent", "percnt": 0.9}, {"rule": "percent", "percent": 3}, {"rule": "perc"}, "percent",
        {"rule": "none", "format": "triplet"}, {"rule": "none", "score": "rescored"}, {"rule": "none"},
        {"rule": "absolute"},
    ]  # fmt: skip
    (tmp_path / "grid.json").write_text(json.dumps(rows))
    with pytest.raises(ConfigError) as error:
        read_grid(tmp_path / "grid.json", config(input={"pairs": "p"}))
    lines = str(error.value).splitlines()
    for number, text in (
        (1, "percnt: unknown key; did you mean percent?"), (2, "filter.percent"), (3, "filter.rule"),
        (4, "not a table"), (5, "format: cannot be tuned"), (6, "score: cannot be tuned"), (8, "min_score"),
    ):  # fmt: skip
        assert any(f"setting {number}: " in line and text in line for line in lines), (number, lines)
    assert not any("setting 7" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "write it as TOML"),
        ("[]", "holds no list"),
        ('{"a": 1}', "holds no list"),
        ("[" * 100_000, "write it as TOML"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_grid_is_refused(tmp_path, text, message):
    file = tmp_path / "grid.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_grid(file, config())
