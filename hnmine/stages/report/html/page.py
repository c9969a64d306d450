"""Renders report.html from report.json and the texts of its examples."""

import base64
import hashlib
import math
import re
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any

from hnmine import __version__, display
from hnmine.config.auto import resolve_auto
from hnmine.config.filter import FilterConfig
from hnmine.config.section import toml_value
from hnmine.config.tables import Config
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.report.examples import Texts
from hnmine.stages.report.expected import numbers_of
from hnmine.stages.report.headline import (
    AT_OR_ABOVE,
    JUDGED,
    NUMBERS,
    Number,
    agreement_lines,
    judged_line,
    judging_rows,
    relabelled_line,
    sample_rows,
    setting_rows,
)
from hnmine.stages.report.html.plots import PLOTS

if TYPE_CHECKING:
    from markupsafe import Markup

KINDS = {
    "random": (
        "Random rows",
        "Rows of the set drawn at random, each with its highest-scored rejected candidates.",
    ),
    "lowest_eci": ("Lowest ECI", "Queries whose negatives are easiest, or nearest to their positive."),
    "missing": ("Missing negatives", "Queries that got the fewest of the negatives wanted."),
    "suspicious": ("Most suspicious negatives", "Negatives that are most likely to be unlabelled positives."),
    "bad_positives": ("Suspected bad positives", "Labelled positives that score no higher than random documents do."),
}
_SECTIONS = {
    "verdict": "Verdict", "numbers": "Numbers", "eci-parts": "ECI", "distributions": "Scores",
    "false-negatives": "False negatives", "verdicts": "Candidates", "previous": "Earlier run", "biases": "Biases",
    "batches": "Batches", "documents": "Documents", "probe": "Probe", "examples": "Examples",
}  # fmt: skip
"""Titles of the sections in the table of contents, by id; those in `_OPTIONAL` are there if the report has them."""
_OPTIONAL = ("previous", "batches")
_PROBE = re.compile(r'<section id="probe">.*?</section>', re.DOTALL)
_LONGEST_ID, _LONGEST_HUB = 80, 160


def render(
    report: dict[str, Any], texts: Texts, config: Config, run: dict[str, str], probe: dict[str, Any] | None = None
) -> str:
    """Return report.html: one file that loads nothing else, the same for the same report and texts.

    Args:
        report: content of report.json; its timings are not shown.
        texts: of the examples and the busiest documents.
        config: the run's.
        run: which run it is, as labels and values. They make one line of the file, the only one with paths and times.
        probe: result of `hnmine probe` for the same negatives.
    """
    from markupsafe import Markup

    emitted, script, limited = report["counts"]["emit"], _asset("search.js.j2").strip(), numbers_of(config)
    return render_template(
        "report.html.j2",
        _FILTERS,
        report=report,
        run={name: display.one_line(value) for name, value in run.items()},
        rule=rule_text(config.filter),
        emit=config.emit,
        formats=", ".join(config.emit.formats),
        share=AT_OR_ABOVE,
        sections={name: title for name, title in _SECTIONS.items() if name not in _OPTIONAL or report.get(name)},
        probe=Markup(_probe_section(probe, config.input.uses_images)),
        texts=texts,
        plots={name: Markup(draw(report)) for name, draw in PLOTS.items()},
        numbers=[_card(limited[one.name], report) for one in NUMBERS],
        judged_name=JUDGED,
        judged=judged_line(report),
        relabelled=relabelled_line(report["relabelled"]) if "relabelled" in report else "",
        sample=[*sample_rows(report), *judging_rows(report), *setting_rows(report)],
        agreements=agreement_lines(report["counts"].get("embed", {})),
        kinds=KINDS,
        style=Markup(stylesheet()),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=__version__,
        most_capacity=math.log1p(emitted["negatives_wanted"] / max(1, emitted["examples"])),
        anything=any(report["examples"].values()),
    )


def with_probe(page: str, probe: dict[str, Any]) -> str:
    """Return a page of `render` with the result of `hnmine probe` in place of the one that it has, if any."""
    return _PROBE.sub(lambda found: _probe_section(probe), page, count=1)


def _probe_section(probe: dict[str, Any] | None, images: bool = False) -> str:
    return render_template("probe.html.j2", _FILTERS, probe=probe, images=images).strip()


def rule_text(config: FilterConfig) -> str:
    """Return a filter's rules with their settings, then other settings that are not the default, as a short text."""
    resolved, names = resolve_auto(config), rule_names(config)
    values = {name: getattr(resolved, name, None) for name in names}
    text = " + ".join(name if value is None else f"{name} {toml_value(value)}" for name, value in values.items())
    changed = [
        f"{name} = {toml_value(value)}"
        for name, value in config.chosen().items()
        if name != "rule" and name not in names
    ]
    return "; ".join([f"auto ({text})" if config.rule == "auto" else text or "none", *changed])


def render_template(name: str, filters: dict[str, Callable[..., Any]], **data: Any) -> str:
    """Return a template of this package filled with data; values are escaped, and a missing one is an error."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= filters
    return environment.from_string(_asset(name)).render(**data)


def stylesheet() -> str:
    """Return the style sheet of a report's page."""
    return _asset("style.css.j2")


def _asset(name: str) -> str:
    return (resources.files("hnmine.stages.report.html") / "templates" / name).read_text(encoding="utf-8")


def _card(one: Number, report: dict[str, Any]) -> dict[str, Any]:
    """Return a headline number for the page: its texts, value, interval, and level of the conclusion."""
    levels = {reason["number"]: reason["level"] for reason in reversed(report["conclusion"]["reasons"])}
    value, interval = report[one.name], report["intervals"].get(one.name)
    if one.name == "false_negative_rate" and value is not None:
        interval = report["hidden_positives"]["this_filter"]["interval"]
    return {
        "text": one,
        "value": value,
        "level": levels.get(one.name, "plain" if one.flaw is None or value is None else "good"),
        "interval": interval,
        "change": next((r["change"] for r in report["conclusion"]["reasons"] if r["number"] == one.name), ""),
        "reason": report.get(f"{one.name}_reason"),
        "bar": value if one.name in ("coverage", "fill", "hardness", "safety") else None,
    }


def setting(keys: dict[str, Any]) -> str:
    """Return keys of the filter table as a short text: the rules, then their settings."""
    rules = [keys["rule"]] if isinstance(keys["rule"], str) else keys["rule"]
    rest = {name: value for name, value in keys.items() if name != "rule"}
    if len(rules) == len(rest) == 1 and set(rest) <= {rules[0], "max_false_negative_rate"}:
        return f"{rules[0]} {toml_value(*rest.values())}"
    return ", ".join([" + ".join(rules), *(f"{name} = {toml_value(value)}" for name, value in rest.items())])


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a typographic minus sign; an en dash for None and for what is not finite."""
    text = display.number(value, digits)
    return "–" if text == display.MISSING else text.replace("-", "−")


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal; an en dash for None."""
    return "–" if value is None else display.percent(value)


def short(text: str) -> str:
    """Return an id, cut to 80 characters."""
    return display.shorten(text, _LONGEST_ID, "…")


def brief(text: str) -> str:
    """Return a text cut to 160 characters."""
    return display.shorten(text, _LONGEST_HUB, "…")


def signed(value: float | None) -> str:
    """Return a difference with its sign, typographic if it is a minus; an en dash for None."""
    text = display.signed(value)
    return "–" if text == display.MISSING else text.replace("-", "−")


def breakable(name: str) -> "Markup":
    """Return a name, escaped, that may be broken into lines after each underscore."""
    from markupsafe import Markup

    return Markup("_<wbr>").join(name.split("_"))


def code(text: str) -> "Markup":
    """Return one of the package's own texts with its `words in backticks` as code, escaped."""
    from markupsafe import Markup, escape

    parts = str(text).split("`")
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def marked(text: str, words: set[str]) -> "Markup":
    """Return a text, escaped, with each word marked whose case-folded form is among `words`."""
    from markupsafe import Markup, escape

    parts = re.split(r"(\w+)", text)
    return Markup("").join(
        Markup("<mark>{}</mark>").format(p) if i % 2 and p.casefold() in words else escape(p)
        for i, p in enumerate(parts)
    )


_FILTERS: dict[str, Callable[..., Any]] = {
    "number": number, "percent": percent, "count": display.number, "marked": marked, "code": code, "short": short,
    "breakable": breakable,
    "brief": brief, "setting": setting, "signed": signed,
}  # fmt: skip
