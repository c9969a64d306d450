"""Numbers and texts as people see them."""

import pytest

from hnmine.display import (
    format_size,
    interval,
    number,
    one_line,
    parse_size,
    percent,
    shorten,
    signed,
    well_formed,
)


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


def test_half_a_surrogate_pair_becomes_a_question_mark():
    assert well_formed("so \ud83d") == "so ?"
    assert well_formed("naïve 🙂") == "naïve 🙂"


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("4GB", 4 * 10**9), (" 1.5 g ", 15 * 10**8), ("512MiB", 512 * 2**20), ("2ki", 2048), ("0", 0)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "4 apples", "1e9", "4GBB", "1,5GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write for example 4GB or 512MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e9, "2.0 GB"), (5e15, "5000.0 TB")]
)
def test_sizes_for_people(size: float, text: str) -> None:
    assert format_size(size) == text
