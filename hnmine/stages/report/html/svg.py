"""Matplotlib figures as SVG elements for a page: in the page's colours and font, with the same bytes every time."""

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT = "#010101", "#020202"
COLOURS = {INK: "--ink", FAINT: "--line", "#030301": "--c1", "#030302": "--c2", "#030303": "--c3", "#030304": "--c4"}
"""Placeholder colours of a figure, and the CSS variables of the page that replace them."""
POSITIVE, KEPT, REJECTED, CHOSEN = list(COLOURS)[2:]
_STYLE: Any = {
    "svg.hashsalt": "hnmine", "svg.fonttype": "none", "path.simplify": False,
    "font.family": "DejaVu Sans", "font.size": 9.5, "axes.titlesize": 9.5, "xtick.labelsize": 9, "ytick.labelsize": 9,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.edgecolor": FAINT, "grid.color": FAINT, "axes.linewidth": 0.8, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "xtick.major.size": 0, "ytick.major.size": 0,
    "legend.frameon": False, "legend.fontsize": 9, "legend.handlelength": 1.2, "legend.columnspacing": 1.2,
}  # fmt: skip
_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def resize(axes: "Axes", height: float | None = None, left: float = 50, top: float = 8, bottom: float = 40) -> None:
    """Set a figure's height, unchanged by default, and the margins of its axes, in units of 1/360 of its width.

    The margins are fixed: a layout engine would draw every figure twice to measure it.
    """
    figure: Any = axes.figure
    if height is None:
        height = 72 * figure.get_figheight()
    figure.set_figheight(height / 72)
    figure.subplots_adjust(left / 360, bottom / height, 352 / 360, 1 - top / height)


def to_svg(draw: Callable[["Axes", dict[str, Any]], bool], title: str, report: dict[str, Any]) -> str:
    """Return a figure of a report as an SVG element, empty if `draw` returns False.

    Args:
        draw: draws on the axes of a figure 360 units wide and 220 high; its name is a prefix of all ids in the SVG.
        title: text of aria-label.
        report: passed to `draw`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(360 / 72, 220 / 72))
        axes = figure.add_subplot()
        resize(axes)
        if not draw(axes, report):
            return ""
        figure.savefig(buffer, format="svg", metadata=dict(_METADATA))
    return _for_page(buffer.getvalue(), draw.__name__, title)


def _for_page(text: str, name: str, title: str) -> str:
    """Return the SVG element without prolog and addresses, with prefixed ids and the page's font and colours."""
    text = text[text.index("<svg") :].strip()
    text = re.sub(r'\s(?:xmlns(?::\w+)?|version|width|height)="[^"]*"', "", text, count=5)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font: \1px system-ui, sans-serif", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    for colour, variable in COLOURS.items():
        text = text.replace(colour, f"var({variable})")
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg class="plot" id="{name}" role="img" aria-label="{label}"', 1)
