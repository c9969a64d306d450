"""Tables align numbers to the right and texts to the left; the lines of an item are indented."""

import pytest

from hnmine.cli.terminal import PIPE_WIDTH, draw_table, say_item


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


def test_the_lines_of_an_item_are_indented_as_they_are_given_also_where_they_are_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say_item("fill: 0\nto change it:\n  rule = 1\n  " + "x" * (PIPE_WIDTH - 5) + " y")
    lines = [line.rstrip() for line in capsys.readouterr().err.splitlines()]
    assert lines == ["- fill: 0", "  to change it:", "    rule = 1", "    " + "x" * (PIPE_WIDTH - 5), "    y"]


def test_a_name_in_the_first_column_stays_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hnmine.cli.terminal.PIPE_WIDTH", 60)
    words = "negatives that score at or above their positive by the teacher"
    draw_table("", ("number", "value", "meaning"), [("negatives_at_or_above_positive", "0.023", words)])
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("negatives_at_or_above_positive  0.023  negatives") for line in lines)
    assert max(map(len, lines)) <= 60
    assert " ".join(" ".join(line[39:].split()) for line in lines if line[39:].strip()).endswith(words)
