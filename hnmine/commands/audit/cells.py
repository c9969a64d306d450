"""The values of single cells: lists that text files hold as text, labels, scores."""

import ast
import re
from typing import Any

import numpy as np

from hnmine.commands.audit.shapes import Shape
from hnmine.readers.tables import ABSENT, Chunk

# A text in quotes, as Python, numpy and JSON write it inside a list.
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)


def unfold(chunk: Chunk, shape: Shape) -> None:
    """Turn the cells of a text file that hold lists, as `datasets` and pandas write them, into lists."""
    for _, name in shape.scores:
        chunk.columns[name] = [_numbers_in(cell) for cell in chunk.columns[name]]
    if shape.name == "labeled-list":
        if shape.label is not None:
            chunk.columns[shape.label] = [_numbers_in(cell) for cell in chunk.columns[shape.label]]
        chunk.columns[shape.positive] = [_texts_in(cell) for cell in chunk.columns[shape.positive]]


def _numbers_in(cell: Any) -> Any:
    """Return the numbers of a cell like `[0.5 nan]` or `[0.5, 0.4]`; another cell as it is."""
    if isinstance(cell, str) and cell.startswith("[") and cell.endswith("]"):
        return cell[1:-1].replace(",", " ").split()
    return cell


def _texts_in(cell: Any) -> Any:
    """Return the texts of a cell like `['a' 'b']` or `["a", "b"]`; another cell as it is."""
    if isinstance(cell, str) and cell.startswith("[") and cell.endswith("]"):
        try:
            return [ast.literal_eval(part) for part in _QUOTED.findall(cell)]
        except (ValueError, SyntaxError):
            return cell
    return cell


def as_list(value: Any) -> list[Any]:
    """Return a list; a single value as a list of one."""
    return value if isinstance(value, list) else [value]


def is_positive(value: Any) -> bool:
    """Tell whether a label says relevant: at least 1; soft labels of negatives lie below.

    Raises:
        ValueError: it is no number.
    """
    number = _score(value)
    if number is None or not np.isfinite(number):
        raise ValueError(f"label: a number expected, found {str(value)[:40]!r}")
    return number >= 1


def _score(value: Any) -> float | None:
    """Return a score, None where there is none; text in a CSV is a number too, `nan` and `inf` among them."""
    if value is None or value is ABSENT or value == "":
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"score: a number expected, found {str(value)[:40]!r}") from None


def sized(value: Any, count: int, name: str) -> list[float | None]:
    """Return `count` scores: a list of that length, or a single number or nothing for all of them.

    Raises:
        ValueError: another length, or what is no number.
    """
    if value is None or value is ABSENT:
        return [None] * count
    if not isinstance(value, list):
        return [_score(value)] * count
    if len(value) != count:
        raise ValueError(f"{name}: {len(value)} scores for {count} documents")
    return [_score(part) for part in value]
