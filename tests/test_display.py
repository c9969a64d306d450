"""Numbers and texts as people see them."""

import pytest

from hnmine.display import interval, number, one_line, percent, shorten, signed


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567, "1,234,567"), (0.12345, "0.123"), (-2.0, "-2.000"), (None, "-"), (float("nan"), "-"), (0, "0")],
)
def test_numbers(value, text):
    assert number(value) == text


def test_signs_shares_and_intervals():
    assert [signed(0.5), signed(-0.5), signed(None)] == ["+0.500", "-0.500", "-"]
    assert [percent(0.1234), percent(None)] == ["12.3%", "-"]
    assert [interval([0.1, 2]), interval([-1.0, 1.0], sign=True), interval(None)] == [
        "0.100 to 2", "-1.000 to +1.000", "",
    ]  # fmt: skip


@pytest.mark.parametrize("ending", ["...", "…"])
def test_a_text_is_cut_to_its_width_with_the_ending_counted(ending):
    assert shorten("x" * 10, 10, ending) == "x" * 10
    assert shorten("x" * 11, 10, ending) == "x" * (10 - len(ending)) + ending


def test_one_line():
    assert one_line(" a\n\tb  c ") == "a b c"
