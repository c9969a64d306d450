"""The figures of report.html, each drawn from report.json alone; a drawing function returns whether it drew one."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from hnmine.stages.report.html.svg import CHOSEN, FAINT, INK, KEPT, POSITIVE, REJECTED, resize, to_svg
from hnmine.storage.schemas.filter import KEEP, VERDICTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

SERIES = {
    "positive": ("positives", POSITIVE),
    "kept": ("kept", KEPT),
    "rejected": ("rejected", REJECTED),
    "chosen": ("chosen", CHOSEN),
    "negative": ("negatives", CHOSEN),
    "queries": ("queries", KEPT),
}
"""Label and colour of each series of a histogram."""

_ROOM = 0.3
"""Share of a figure's width that a label needs to the left of a vertical line."""


def _steps(axes: "Axes", histogram: dict[str, Any], names: tuple[str, ...]) -> float:
    """Draw histograms as shares of their own totals, and return the highest share."""
    highest = 0.0
    for name in names:
        total = sum(histogram[name])
        if total:
            shares, (label, colour) = [count / total for count in histogram[name]], SERIES[name]
            highest = max(highest, *shares)
            axes.stairs(shares, histogram["edges"], fill=True, color=colour, alpha=0.22)
            axes.stairs(shares, histogram["edges"], color=colour, linewidth=1.6, label=label)
    return highest


def _bars(axes: "Axes", x: list[int], heights: list[float], labels: list[str]) -> None:
    """Draw bars with their labels on top; without labels where there are none."""
    axes.bar(x, heights, color=CHOSEN, width=0.7)
    for label, place, height in zip(labels, x, heights, strict=False):
        axes.annotate(label, (place, height), xytext=(0, 2), textcoords="offset points", ha="center")


def _vertical_line(axes: "Axes", x: float, label: str, side: str) -> None:
    """Draw a dashed line at x with a label at its top, whose `side` (left or right) is at the line."""
    axes.axvline(x, color=INK, linewidth=1, linestyle=(0, (3, 2)))
    axes.annotate(label, (x, 0.99), xycoords=("data", "axes fraction"), ha=side, va="top")


def finish(axes: "Axes", x: str, y: str, legend: int = 0, *, percent: bool = True) -> None:
    """Label the axes, draw a legend of that many columns above them, and write the y axis in percent."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y")
    axes.margins(x=0.01)
    if legend:
        resize(axes, top=26)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=legend, borderaxespad=0)
    if percent:
        _percent(axes.yaxis)


def _percent(axis: "Axis") -> None:
    """Write the ticks of an axis as percentages."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))


def scores(axes: "Axes", report: dict[str, Any]) -> bool:
    """Draw the scores of positives and of kept, rejected and chosen candidates."""
    histogram = report["histograms"]["score"]
    _steps(axes, histogram, ("rejected", "kept", "chosen", "positive"))
    finish(axes, "score by the teacher", "share of each group", 4)
    return True


def margins(axes: "Axes", report: dict[str, Any]) -> bool:
    """Draw the margins of the chosen negatives: anchor score minus score."""
    histogram = report["histograms"]["margin"]
    if not sum(histogram["chosen"]):
        return False
    highest, (low, *_, high) = _steps(axes, histogram, ("chosen",)), histogram["edges"]
    axes.set_ylim(0, 1.15 * highest)
    if low <= 0 <= high and -low >= _ROOM * (high - low):
        _vertical_line(axes, 0, "scores above\nits positive ", "right")
    elif low <= 0 <= high:
        axes.set_ylim(0, 1.4 * highest)
        _vertical_line(axes, 0, " further left: scores\n above its positive", "left")
    finish(axes, "margin: positive minus negative", "share of the negatives")
    return True


def eci(axes: "Axes", report: dict[str, Any]) -> bool:
    """Draw the ECI of the queries."""
    histogram, mean = report["histograms"]["eci"], report["eci"]
    axes.set_ylim(0, 1.15 * _steps(axes, histogram, ("queries",)) or 1)
    if mean is not None:
        side = "left" if mean < histogram["edges"][-1] / 2 else "right"
        _vertical_line(axes, mean, f" mean {mean:.2f} ", side)
    finish(axes, "ECI of a query, in nats", "share of the queries")
    return True


def places(axes: "Axes", report: dict[str, Any]) -> bool:
    """Draw mean hardness by the negative's place among the chosen."""
    rows = report["hardness_by_place"]
    if not rows:
        return False
    x, heights, few = [row["place"] for row in rows], [row["hardness"] for row in rows], len(rows) <= 12
    _bars(axes, x, heights, [f"{height:.2f}" for height in heights] if few else [])
    axes.set_ylim(0, 1)
    if few:
        axes.set_xticks(x)
    finish(axes, "place among the chosen, the hardest first", "mean hardness", percent=False)
    return True


def tradeoff(axes: "Axes", report: dict[str, Any]) -> bool:
    """Draw the false-negative rate of settings against their hardness, with the run's own marked."""
    rows = report["tradeoff"]["settings"]
    if not rows:
        return False
    resize(axes, 290)
    front = sorted((row["hardness"], row["rate"]) for row in rows if row["front"])
    if front:
        x, y = (list(values) for values in zip(*front, strict=True))
        axes.scatter(x, y, s=120, facecolors="none", edgecolors=KEPT, linewidths=1.2, label="best trade-offs")
    for own, colour, shape, size, label in (
        (False, REJECTED, "o", 26, "other settings"), (True, CHOSEN, "D", 70, "this run"),
    ):  # fmt: skip
        group = [row for row in rows if row["own"] is own]
        if group:
            x, y = [row["hardness"] for row in group], [row["rate"] for row in group]
            below = [max(0, row["rate"] - row["interval"][0]) for row in group]
            above = [max(0, row["interval"][1] - row["rate"]) for row in group]
            axes.errorbar(x, y, yerr=[below, above], fmt="none", ecolor=colour, alpha=0.5)
            axes.scatter(x, y, s=size, marker=shape, color=colour, zorder=3, label=label)
    _label_settings(axes, rows)
    axes.set_ylim(bottom=0)
    finish(axes, "hardness", "false-negative rate", 3)
    axes.margins(x=0.08)
    return True


def _label_settings(axes: "Axes", rows: list[dict[str, Any]]) -> None:
    """Number the settings as in the table beside the figure, except those too close to a number already placed."""
    wide, high = (max(row[name] for row in rows) - min(row[name] for row in rows) for name in ("hardness", "rate"))
    placed: list[tuple[float, float]] = []
    for number, row in enumerate(rows):
        at = (row["hardness"], row["rate"])
        free = all(abs(at[0] - x) > 0.035 * wide or abs(at[1] - y) > 0.045 * high for x, y in placed)
        if number and free:
            axes.annotate(str(number), at, xytext=(4, 4), textcoords="offset points", fontsize=8)
        if free:
            placed.append(at)


def funnel(axes: "Axes", report: dict[str, Any]) -> bool:
    """Draw the number of candidates left after each verdict, and the numbers chosen and wanted."""
    rows = funnel_rows(report)
    resize(axes, 16 + 23 * len(rows), left=132, bottom=8)
    most = max(count for _, count, _ in rows) or 1
    tones = {"left": REJECTED, KEEP: KEPT, "chosen": CHOSEN, "wanted": FAINT}
    y = range(len(rows))
    axes.barh(y, [count for _, count, _ in rows], color=[tones[kind] for _, _, kind in rows], height=0.72)
    for place, (_, count, _) in enumerate(rows):
        axes.annotate(f"{count:,}", (count, place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_yticks(y, [label for label, _, _ in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * most)
    axes.xaxis.set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_visible(False)
    return True


def funnel_rows(report: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Return (label, count, kind) of each step from all candidates to those wanted."""
    verdicts, emitted = report["verdicts"], report["counts"]["emit"]
    left = sum(verdicts.values())
    rows = [("candidates", left, "left")]
    for name in VERDICTS:
        if name != KEEP and verdicts.get(name):
            left -= verdicts[name]
            rows.append((f"not {name.replace('_', ' ')}", left, "left"))
    label, _, _ = rows[-1]
    rows[-1] = (label, left, KEEP)
    retrieved = emitted["negatives"] - emitted["negatives_random"]
    rows.append(("chosen of these", retrieved, "chosen"))
    if emitted["negatives_random"]:
        rows.append(("with random ones", emitted["negatives"], "chosen"))
    return [*rows, ("wanted", emitted["negatives_wanted"], "wanted")]


def length(axes: "Axes", report: dict[str, Any]) -> bool:
    """Draw the lengths of positives and negatives."""
    histogram = report["biases"]["length"]["histogram"]
    _steps(axes, histogram, ("positive", "negative"))
    axes.set_xscale("log")
    low, high = histogram["edges"][0], histogram["edges"][-1]
    ticks = [step * 10**power for power in range(8) for step in ((1,) if high > 500 * low else (1, 2, 5))]
    axes.set_xticks([tick for tick in ticks if low <= tick <= high] or [low, high])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.minorticks_off()
    finish(axes, "length in characters", "share of each group", 2)
    return True


def overlap(axes: "Axes", report: dict[str, Any]) -> bool:
    """Draw the shares of the query's word weight that positives and negatives hold."""
    histogram = report["biases"]["query_overlap"]["histogram"]
    _steps(axes, histogram, ("positive", "negative"))
    finish(axes, "share of the query's words, by weight", "share of each group", 2)
    _percent(axes.xaxis)
    return True


def hubs(axes: "Axes", report: dict[str, Any]) -> bool:
    """Draw how many documents serve once, twice, and so on."""
    rows = [row for row in report["hubs"]["served"] if row["documents"]]
    if not rows:
        return False
    resize(axes, left=24)
    x, documents = list(range(len(rows))), [row["documents"] for row in rows]
    _bars(axes, x, documents, [f"{count:,}" for count in documents])
    labels = [f"{r['from']:,}" if r["from"] == r["to"] else f"{r['from']:,}–{r['to']:,}" for r in rows]
    axes.set_xticks(x, labels)
    axes.set_ylim(0, 1.1 * max(documents))
    axes.set_yticks([])
    finish(axes, "queries of which a document is a negative", "documents", percent=False)
    return True


_TITLES = {
    scores: "Histograms of the scores of positives, kept, rejected and chosen candidates",
    margins: "Histogram of margins: score of the positive minus score of the negative",
    eci: "Histogram of ECI over queries",
    places: "Mean hardness of the negatives by their place among those chosen",
    tradeoff: "False-negative rate against hardness for several filter settings",
    funnel: "Candidates left after each verdict, then chosen and wanted",
    length: "Histograms of the length of positives and negatives in characters",
    overlap: "Histograms of the words that positives and negatives share with their query",
    hubs: "How many documents serve as a negative how often",
}
PLOTS: dict[str, Callable[[dict[str, Any]], str]] = {
    draw.__name__: partial(to_svg, draw, title) for draw, title in _TITLES.items()
}
"""Each returns a figure of a report as SVG, or an empty text where there is nothing to draw."""
