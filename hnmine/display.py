"""Numbers and texts formatted for people: used by the terminal's tables, the HTML pages and examples in reports."""

import math
from collections.abc import Sequence

MISSING = "-"


def number(value: float | None, digits: int = 3) -> str:
    """Return `1,234` for an int, `0.123` for a float, `-` for None and for what is not finite."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:,}" if isinstance(value, int) else f"{value:z.{digits}f}"


def signed(value: float | None) -> str:
    """Return a difference with its sign: `+0.123`; `-` for None."""
    return MISSING if value is None else f"{value:+.3f}"


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal: `12.3%`; `-` for None."""
    return MISSING if value is None else f"{value:.1%}"


def interval(bounds: Sequence[float] | None, *, sign: bool = False) -> str:
    """Return the bounds of an interval: `0.1 to 0.2`, each with its sign if `sign`; an empty text for None."""
    return "" if bounds is None else " to ".join(signed(bound) if sign else number(bound) for bound in bounds)


def one_line(text: str) -> str:
    """Return a text with every run of white space, line ends included, replaced by one space."""
    return " ".join(text.split())


def shorten(text: str, width: int, ending: str = "...") -> str:
    """Return a text of at most `width` characters; a longer one is cut and ends in `ending`, which counts."""
    return text if len(text) <= width else text[: width - len(ending)] + ending
