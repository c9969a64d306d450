"""docs/report.md says of the headline numbers what the package says, limits included."""

import pytest

from hnmine.stages.report.headline import NUMBERS, OTHER_NUMBERS
from tests.support import ROOT

PAGE = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: n.name)
def test_each_headline_number_stands_there_with_its_texts(number):
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{number.name}` |") and line.count("|") == 5)
    assert f"| {number.good} |" in row


@pytest.mark.parametrize("number", [n for n in NUMBERS if n.flaw is not None], ids=lambda n: n.name)
def test_each_limit_of_the_headline_stands_there(number):
    word = "below" if number.low_is_bad else "above"
    stop = "" if number.stop is None else f"{word} {number.stop:g} "
    assert f"| `{number.name}` | {word} {number.flaw:g} | {stop}|" in PAGE


@pytest.mark.parametrize("path", sorted(OTHER_NUMBERS))
def test_each_limit_beside_the_headline_stands_there(path):
    signed = OTHER_NUMBERS[path].signed is not None and OTHER_NUMBERS[path].signed[1]
    assert f"| `{path}` | {'beyond ±' if signed else 'above '}{OTHER_NUMBERS[path].flaw:g} | |" in PAGE
