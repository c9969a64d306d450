"""The page of a report: a pure function of report.json and the texts of its examples."""

import base64
import hashlib
import math
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from hnmine import __version__
from hnmine.config.section import toml_value
from hnmine.stages.report.examples import Texts
from hnmine.stages.report.headline import NUMBERS, SIDE, Number, agreement_lines
from hnmine.stages.report.html.plots import draw_all

if TYPE_CHECKING:
    from markupsafe import Markup

KINDS = {
    "lowest_eci": ("Lowest ECI", "Queries whose negatives are easiest, or nearest to their positive."),
    "missing": ("Missing negatives", "Queries that got the fewest of the negatives wanted."),
    "suspicious": ("Most suspicious negatives", "Negatives that are most likely to be unlabelled positives."),
    "bad_positives": ("Suspected bad positives", "Labelled positives that most candidates outscore."),
}
_LONGEST_ID = 80


def render(report: dict[str, Any], texts: Texts) -> str:
    """Return report.html: one file that needs nothing else, the same for the same report.

    Args:
        report: what report.json holds; its timings are not shown.
        texts: of the report's examples.
    """
    from jinja2 import BaseLoader, Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=BaseLoader()
    )
    environment.filters |= {
        "number": number, "percent": percent, "count": count, "marked": marked, "code": code, "short": short,
        "setting": setting,
    }  # fmt: skip
    template = environment.from_string(_asset("report.html.j2"))
    script = _asset("search.js.j2").strip()
    plots = {name: Markup(svg) for name, svg in draw_all(report).items()}
    return template.render(
        report=report,
        texts=texts,
        plots=plots,
        numbers=[_card(one, report) for one in NUMBERS],
        agreements=agreement_lines(report["counts"].get("embed", {})),
        side=SIDE,
        kinds=KINDS,
        style=Markup(_asset("style.css.j2")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=__version__,
        most_capacity=math.log1p(_wanted(report)),
        anything=any(report["examples"].values()),
    )


def _asset(name: str) -> str:
    return (resources.files("hnmine.stages.report.html") / "templates" / name).read_text(encoding="utf-8")


def _card(one: Number, report: dict[str, Any]) -> dict[str, Any]:
    """Return a headline number with its texts, its interval, and how it stands to its limits."""
    levels = {reason["number"]: reason["level"] for reason in reversed(report["conclusion"]["reasons"])}
    judged = one.flaw is not None and report[one.name] is not None
    return {
        "text": one,
        "value": report[one.name],
        "level": levels.get(one.name, "good" if judged else "plain"),
        "interval": _interval(report, one.name),
        "reason": report.get(f"{one.name}_reason"),
        "bar": report[one.name] if one.name in ("coverage", "fill", "hardness", "safety") else None,
    }


def _interval(report: dict[str, Any], name: str) -> list[float] | None:
    """Return a number's 95% interval: of the bootstrap, or the measured rate's; None where there is none."""
    found: list[float] | None = report.get("intervals", {}).get(name)
    if found is None and name == "false_negative_rate" and report[name] is not None:
        found = report["hidden_positives"]["this_filter"]["interval"]
    return found


def _wanted(report: dict[str, Any]) -> float:
    """Return how many negatives each example wants, on average."""
    emitted = report["counts"]["emit"]
    wanted: float = emitted["negatives_wanted"] / max(1, emitted["examples"])
    return wanted


def setting(keys: dict[str, Any]) -> str:
    """Return keys of the filter table in short: the rules, then what is set for them."""
    rules = [keys["rule"]] if isinstance(keys["rule"], str) else keys["rule"]
    rest = {name: value for name, value in keys.items() if name != "rule"}
    if len(rules) == len(rest) == 1 and set(rest) <= {rules[0], "max_false_negative_rate"}:
        return f"{rules[0]} {toml_value(*rest.values())}"
    return ", ".join([" + ".join(rules), *(f"{name} = {toml_value(value)}" for name, value in rest.items())])


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for people; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def percent(value: float | None) -> str:
    """Return a share as a percentage with one digit; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f}%"


def count(value: int) -> str:
    """Return a whole number with its thousands apart."""
    return f"{value:,}"


def short(text: str) -> str:
    """Return an id of bearable length."""
    return text if len(text) <= _LONGEST_ID else text[: _LONGEST_ID - 1] + "…"


def code(text: str) -> "Markup":
    """Return a text of the package's with its `words in backticks` as code, escaped."""
    from markupsafe import Markup, escape

    parts = str(text).split("`")
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def marked(text: str, words: set[str]) -> "Markup":
    """Return a text with those of its words that are among `words` (case-folded) marked, escaped."""
    from markupsafe import Markup, escape

    parts = re.split(r"(\w+)", text)
    return Markup("").join(
        Markup("<mark>{}</mark>").format(p) if i % 2 and p.casefold() in words else escape(p)
        for i, p in enumerate(parts)
    )
