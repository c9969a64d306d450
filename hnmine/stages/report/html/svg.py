"""Matplotlib figures as SVG elements for a page: in the page's colours and font, with the same bytes every time."""

import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT = "#010101", "#020202"
COLOURS = {INK: "--ink", FAINT: "--line", "#030301": "--c1", "#030302": "--c2", "#030303": "--c3", "#030304": "--c4"}
"""Placeholder colours of a figure, and the CSS variables of the page that replace them."""
POSITIVE, KEPT, REJECTED, CHOSEN = list(COLOURS)[2:]
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "hnmine",
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 1.2,
    "legend.columnspacing": 1.2,
    "path.simplify": False,
}
_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


class Drawing:
    """A context manager for one figure with one pair of axes; `svg` holds it afterwards.

    Args:
        name: in letters and digits; a prefix of all ids in the SVG.
        title: text of aria-label.
        height: in units of which the figure's width has 360.
        left: margin left of the axes, in the same units.
    """

    def __init__(self, name: str, title: str, height: float = 220, left: float = 50) -> None:
        self.name, self.title, self.height, self.left = name, title, height, left
        self.svg = ""

    def __enter__(self) -> "Drawing":
        import matplotlib as mpl
        from matplotlib.figure import Figure

        style: Any = _STYLE
        self._settings = mpl.rc_context(style)
        self._settings.__enter__()
        self.figure: Figure = Figure(figsize=(360 / 72, self.height / 72))
        # fixed margins: a layout engine would draw every figure twice to measure it
        self.figure.subplots_adjust(self.left / 360, 40 / self.height, 352 / 360, 1 - 8 / self.height)
        self.axes: Axes = self.figure.add_subplot()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                buffer = io.StringIO()
                self.figure.savefig(buffer, format="svg", metadata=dict(_METADATA))
                self.svg = _for_page(buffer.getvalue(), self.name, self.title)
        finally:
            self._settings.__exit__(*error)


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
