"""The page of a comparison, and its figure."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hnmine import display
from hnmine.commands.compare.compare import labels
from hnmine.commands.compare.settings import value_text
from hnmine.commands.compare.verdict import NOTE
from hnmine.stages.report.html.page import code, render_template
from hnmine.stages.report.html.plots import finish
from hnmine.stages.report.html.svg import CHOSEN, KEPT, REJECTED, resize, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 400
"""Characters shown of a text on the page."""
_TITLE = "False-negative rate against hardness of the compared sets"


def compare_page(data: dict[str, Any]) -> str:
    """Return the result of `compare` as one HTML file that loads nothing else; texts are escaped and cut."""
    from markupsafe import Markup

    filters: dict[str, Callable[..., Any]] = {
        "number": display.number, "signed": display.signed, "percent": display.percent, "code": code,
        "interval": display.interval, "cut": lambda text: display.shorten(display.one_line(text), LONGEST),
        "value": value_text,
    }  # fmt: skip
    figure = Markup(to_svg(tradeoff, _TITLE, data))
    return render_template(
        "compare.html.j2", filters, **data, labels=labels(len(data["sets"])), figure=figure, note=NOTE
    )


def tradeoff(axes: "Axes", data: dict[str, Any]) -> bool:
    """Draw the false-negative rate of each set against its hardness, and the settings that the first run tried."""
    sets = data["sets"]
    measured = [(label, one["hidden_positives"]) for label, one in zip(labels(len(sets)), sets, strict=True)]
    points = [(label, found) for label, found in measured if found is not None and found["hardness"] is not None]
    if not points:
        return False
    resize(axes, 290)
    others = [row for row in data["tradeoff"] if not row["own"]]
    if others:
        x, y = [row["hardness"] for row in others], [row["rate"] for row in others]
        axes.scatter(x, y, s=22, color=REJECTED, label="other settings of A")
    if best := [row for row in data["tradeoff"] if row["front"]]:
        x, y = [row["hardness"] for row in best], [row["rate"] for row in best]
        axes.scatter(x, y, s=120, facecolors="none", edgecolors=KEPT, linewidths=1.2, label="best of A")
    at: dict[tuple[float, float], list[str]] = {}
    for label, found in points:
        at.setdefault((found["hardness"], found["rate"]), []).append(label)
        low, high = (abs(end - found["rate"]) for end in found["interval"])
        axes.errorbar(found["hardness"], found["rate"], yerr=[[low], [high]], fmt="none", ecolor=CHOSEN, alpha=0.6)
    x, y = [place[0] for place in at], [place[1] for place in at]
    axes.scatter(x, y, s=64, marker="D", color=CHOSEN, zorder=3, label="compared sets")
    for place, names in at.items():
        axes.annotate(", ".join(names), place, xytext=(7, 4), textcoords="offset points", weight="bold", zorder=4)
    axes.set_ylim(bottom=0)
    finish(axes, "hardness", "false-negative rate", 3)
    axes.margins(x=0.1)
    return True
