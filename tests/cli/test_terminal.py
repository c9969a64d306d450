"""Tables: numbers are aligned to the right, texts to the left."""

import pytest

from hnmine.cli.terminal import draw_table


def test_columns_of_texts_are_aligned_left_and_others_right(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("a", "1", "done", "x"), ("b", "100", "to do", "y")]
    draw_table("", ("name", "count", "state", "work"), rows, texts=("state",))
    lines = [line.rstrip() for line in capsys.readouterr().err.splitlines()]
    assert lines[-2:] == ["a         1  done   x", "b       100  to do  y"]


def test_a_number_between_is_aligned_right_though_the_last_column_has_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    draw_table("", ("over", "p", "gain", "p"), [("a", "1", "2", "3"), ("b", "100", "2", "3")])
    assert "a       1     2  3" in capsys.readouterr().err
