"""docs/report.md says of the headline numbers what the package says, limits included."""

import pytest

from hnmine.stages.report.headline import NUMBERS, SIDE
from tests.support import ROOT

PAGE = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: n.name)
def test_each_headline_number_stands_there_with_its_texts(number):
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{number.name}` |") and line.count("|") == 5)
    assert row.endswith(f"| {number.good} | {number.change} |")


@pytest.mark.parametrize("number", [n for n in NUMBERS if n.flaw is not None], ids=lambda n: n.name)
def test_each_limit_of_the_headline_stands_there(number):
    word = "below" if number.low else "above"
    assert f"| `{number.name}` | {word} {number.flaw:g} | {word} {number.stop:g} |" in PAGE


@pytest.mark.parametrize("path", sorted(SIDE))
def test_each_limit_beside_the_headline_stands_there(path):
    signed = SIDE[path].ends is not None and SIDE[path].ends[1]
    assert f"| `{path}` | {'beyond ±' if signed else 'above '}{SIDE[path].flaw:g} | |" in PAGE
