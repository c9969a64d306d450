"""Numbers, sizes and texts in the form that people read and write: in tables, HTML pages, messages and the config."""

import math
import re
from collections.abc import Sequence

MISSING = "-"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


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


def parse_size(text: str) -> int:
    """Return the bytes of `4GB`, `512 MiB`, `1.5g` or `1000`.

    Raises:
        ValueError: the text is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text.lower())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 4GB or 512MiB")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def well_formed(text: str) -> str:
    """Return a text that UTF-8 can hold: halves of surrogate pairs, as cut JSON may have, become question marks."""
    return text.encode(errors="replace").decode()


def format_size(size: float) -> str:
    """Return a size as text with a decimal unit: `1.5 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


_IMAGE_LABEL = re.compile(r"^\[image \d+x\d+\] ?")


def with_image_label(text: str, width: int, height: int) -> str:
    """Return the text of a document that is an image, as people read it: `[image 640x480] a caption`."""
    return f"[image {width}x{height}] {text}".rstrip()


def without_image_label(text: str) -> str:
    """Return the text that `with_image_label` was given; that of a document without an image as it is."""
    return _IMAGE_LABEL.sub("", text)
