"""The verdict of a comparison: better only without a loss, and silent about what was not measured."""

from typing import Any

import pytest

from hnmine.commands.compare.verdict import measured, verdict

QUERIES = {"shared": 50, "only_base": 0, "only_other": 0}
FEW = {"hidden": 20, "chosen": 1000, "rate": 0.02}
MANY = {"hidden": 150, "chosen": 1000, "rate": 0.15}


def pair(hardness: tuple[float, ...], fill: tuple[float, ...], **more: Any) -> dict[str, Any]:
    """Return a comparison with (first, other, interval) of hardness and of fill."""
    numbers = {
        name: {"base": base, "other": other, "difference": other - base, "interval": [low, high]}
        for name, (base, other, low, high) in (("hardness", hardness), ("fill", fill))
    }
    negatives = {"base": 100, "other": 100, "shared": 40}
    return {"queries": QUERIES, "negatives": negatives, "numbers": numbers, **more}


HARDER, EASIER, ALIKE = (0.5, 0.7, 0.15, 0.25), (0.7, 0.5, -0.25, -0.15), (0.6, 0.61, -0.01, 0.03)
FULL = (1.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("hardness", "rates", "better", "parts"),
    [
        (HARDER, (FEW, FEW), "other", ["B is better than A", "harder negatives (0.700, not 0.500)", "false negatives"]),
        (EASIER, (FEW, FEW), "base", ["A is better than B", "harder negatives (0.700, not 0.500)"]),
        (ALIKE, (MANY, FEW), "other", ["B is better", "fewer measured false negatives (2.0%, not 15.0%)", "hardness"]),
        (EASIER, (MANY, FEW), None, ["Neither of A and B", "fewer measured false", "easier negatives (0.500, not"]),
        (HARDER, (FEW, MANY), None, ["Neither of A and B", "more measured false negatives (15.0%, not 2.0%)"]),
        (ALIKE, (FEW, FEW), None, ["A and B: no clear difference in false negatives, hardness and fill."]),
        (HARDER, (FEW, None), None, ["B has harder negatives", "false negatives cannot be compared", "neither is"]),
        (ALIKE, (None, None), None, ["no clear difference in hardness and fill; false negatives cannot be compared"]),
    ],
)
def test_a_set_is_better_only_if_it_loses_nothing_and_all_is_measured(hardness, rates, better, parts) -> None:
    found = verdict(("A", "B"), pair(hardness, FULL), rates, (False, False))
    assert found["better"] == better
    for part in parts:
        assert part in found["line"]


def test_other_vectors_labels_and_queries_are_no_ground_for_a_verdict() -> None:
    vectors = verdict(("A", "B"), pair(HARDER, FULL), (MANY, FEW), (True, False))
    assert vectors["better"] is None
    assert "hardness cannot be compared" in vectors["line"]
    assert "harder" not in vectors["line"]
    for given, unlike in (({}, (False, True)), ({"queries": {**QUERIES, "only_other": 3}}, (False, False))):
        found = verdict(("A", "B"), pair(HARDER, FULL, **given), (MANY, FEW), unlike)
        assert found["better"] is None
        assert "false negatives cannot be compared" in found["line"]


def test_equal_sets_and_plain_files_have_no_better_one() -> None:
    same = pair(HARDER, FULL, negatives={"base": 9, "other": 9, "shared": 9})
    assert verdict(("A", "B"), same, (FEW, FEW), (False, False)) == {
        "better": None, "line": "A and B have the same negatives in the queries of both.",
    }  # fmt: skip
    plain = {"queries": QUERIES, "negatives": {"base": 9, "other": 8, "shared": 7}, "numbers": None}
    found = verdict(("A", "B"), plain | {"numbers_reason": "no report"}, (None, None), (False, False))
    assert found == {"better": None, "line": "No verdict on A and B: no report."}


def test_what_a_report_measured() -> None:
    assert measured(None) is measured({}) is measured({"hidden_positives": {"this_filter": {"rate": None}}}) is None
    own = {"rate": 0.1, "interval": [0, 0.2], "hardness": 0.5, "fill": 1, "chosen": 10, "hidden": 1, "eci": 0.4}
    assert measured({"hidden_positives": {"this_filter": own}}) == {k: v for k, v in own.items() if k != "eci"}
