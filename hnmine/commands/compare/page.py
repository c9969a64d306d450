"""The page of `hnmine compare --html`: one file that needs nothing else."""

from importlib.resources import files
from typing import Any

MOST_TEXT = 400


def compare_page(data: dict[str, Any]) -> str:
    """Return the page for what `compare` found; texts are escaped, and cut to `MOST_TEXT`."""
    import jinja2

    source = files("hnmine.stages.report.html").joinpath("templates", "compare.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "signed": signed, "share": share, "cut": cut, "ends": ends}
    return environment.from_string(source).render(**data, labels=labels(len(data["sets"])))


def labels(count: int) -> list[str]:
    """Return a short name for each set: A, B, ...; numbers where letters run out."""
    return [chr(ord("A") + i) if count <= 26 else str(i + 1) for i in range(count)]


def number(value: float | None) -> str:
    """Return a number for people; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Return a difference with its sign."""
    return "-" if value is None else f"{value:+.3f}"


def share(value: float | None) -> str:
    """Return a share in percent."""
    return "-" if value is None else f"{value:.1%}"


def ends(interval: list[float] | None, sign: bool = False) -> str:
    """Return an interval for people; nothing where there is none."""
    return "" if interval is None else " to ".join(signed(end) if sign else number(end) for end in interval)


def cut(text: str) -> str:
    """Return a text on one line, cut."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_TEXT else line[: MOST_TEXT - 3] + "..."
