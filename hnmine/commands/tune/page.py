"""The page of `hnmine tune`, and its figures: gain against false negatives and against hardness."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hnmine import __version__, display
from hnmine.stages.report.html.page import number, percent, render_template, signed, stylesheet
from hnmine.stages.report.html.plots import finish
from hnmine.stages.report.html.svg import CHOSEN, FAINT, KEPT, POSITIVE, REJECTED, resize, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES = {
    "undecided": "Undecided", "in_batch": "Do not mine", "random": "Random documents are enough",
    "setting": "A setting is chosen",
}  # fmt: skip


def tune_page(result: dict[str, Any]) -> str:
    """Return the result of `tune` as one HTML file that loads nothing else; texts are escaped."""
    from markupsafe import Markup

    filters: dict[str, Callable[..., Any]] = {
        "number": number, "count": display.number, "signed": signed, "percent": percent, "span": _span,
    }  # fmt: skip
    figures = {
        "false_negatives": Markup(to_svg(gain_and_false_negatives, "Gain against false negatives", result)),
        "hardness": Markup(to_svg(gain_and_hardness, "Gain against hardness", result)),
    }
    return render_template(
        "tune.html.j2", filters, style=Markup(stylesheet()), version=__version__, figures=figures,
        title=_TITLES[result["verdict"]["outcome"]], **result,
    )  # fmt: skip


def _span(bounds: list[float]) -> str:
    """Return the ends of an interval of differences, each with its sign."""
    return f"{signed(bounds[0])} to {signed(bounds[1])}"


def gain_and_false_negatives(axes: "Axes", result: dict[str, Any]) -> bool:
    """Draw each setting's gain over no mined negatives against its false-negative rate."""
    rate = "measured" if result["measured"] else "expected"
    return _draw(axes, result, "false_negative_rate", f"false-negative rate, {rate}")


def gain_and_hardness(axes: "Axes", result: dict[str, Any]) -> bool:
    """Draw each setting's gain over no mined negatives against its hardness."""
    return _draw(axes, result, "hardness", "hardness")


def _draw(axes: "Axes", result: dict[str, Any], name: str, label: str) -> bool:
    """Draw the settings that have the number `name`; random documents count as no false negatives."""
    rows = [(place, row) for place, row in enumerate(result["settings"], start=1) if row["over_in_batch"] is not None]
    points = [
        (place, row, 0.0 if row[name] is None else row[name])
        for place, row in rows
        if row[name] is not None or row["role"] == "random"
    ]
    if not points:
        return False
    resize(axes, 290)
    axes.axhline(0, color=FAINT, linewidth=1)
    best = [(x, row["over_in_batch"]["difference"]) for _, row, x in points if row["front"]]
    if best:
        left, up = ([point[end] for point in best] for end in (0, 1))
        axes.scatter(left, up, s=130, facecolors="none", edgecolors=KEPT, linewidths=1.2, label="front")
    for role, colour, shape, legend in (
        ("tried", REJECTED, "o", "tried"), ("random", POSITIVE, "s", "random"), ("own", CHOSEN, "D", "yours"),
    ):  # fmt: skip
        group = [(x, row["over_in_batch"]) for _, row, x in points if row["role"] == role]
        if not group:
            continue
        x, y = [at for at, _ in group], [over["difference"] for _, over in group]
        below = [max(0.0, over["difference"] - over["interval"][0]) for _, over in group]
        above = [max(0.0, over["interval"][1] - over["difference"]) for _, over in group]
        axes.errorbar(x, y, yerr=[below, above], fmt="none", ecolor=colour, alpha=0.4)
        axes.scatter(x, y, s=36, marker=shape, color=colour, zorder=3, label=legend)
    for place, row, right in points:
        at = (right, row["over_in_batch"]["difference"])
        axes.annotate(str(place), at, xytext=(5, 4), textcoords="offset points", fontsize=8)
    finish(axes, label, "gain over no mined negatives, nDCG@10", 4, percent=False)
    axes.margins(x=0.08)
    return True
