"""The page's figures, each a pure function of report.json."""

from collections.abc import Callable
from typing import Any

from hnmine.stages.report.html.svg import CHOSEN, FAINT, INK, KEPT, POSITIVE, REJECTED, Drawing
from hnmine.storage.schemas.filter import KEEP, VERDICTS

LABELS = {
    "positive": "positives",
    "negative": "negatives",
    "kept": "kept",
    "rejected": "rejected",
    "chosen": "chosen",
    "queries": "queries",
}
TONES = {
    "positive": POSITIVE,
    "kept": KEPT,
    "rejected": REJECTED,
    "chosen": CHOSEN,
    "negative": CHOSEN,
    "queries": KEPT,
}


def draw_all(report: dict[str, Any]) -> dict[str, str]:
    """Return every figure of the page as SVG, by name; an empty text where there is nothing to draw."""
    return {name: draw(report) for name, draw in PLOTS.items()}


def _steps(drawing: Drawing, histogram: dict[str, Any], names: tuple[str, ...]) -> float:
    """Draw histograms as shares of their own total, and return the highest share."""
    highest = 0.0
    for name in names:
        total = sum(histogram[name])
        if total:
            shares = [count / total for count in histogram[name]]
            highest = max(highest, *shares)
            drawing.axes.stairs(shares, histogram["edges"], fill=True, color=TONES[name], alpha=0.22)
            drawing.axes.stairs(shares, histogram["edges"], color=TONES[name], linewidth=1.6, label=LABELS[name])
    return highest


def _finish(drawing: Drawing, x: str, y: str, legend: int = 0) -> None:
    axes = drawing.axes
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y")
    axes.margins(x=0.01)
    if legend:
        drawing.figure.subplots_adjust(top=1 - 26 / drawing.height)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=legend, borderaxespad=0)


def _percent(drawing: Drawing, axis: str = "y") -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    which = drawing.axes.yaxis if axis == "y" else drawing.axes.xaxis
    which.set_major_locator(MaxNLocator(5))
    which.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))


def scores(report: dict[str, Any]) -> str:
    """Draw scores of positives, of kept and rejected candidates, and of the chosen."""
    histogram = report["histograms"]["score"]
    with Drawing("scores", "Histograms of the scores of positives, kept, rejected and chosen candidates") as drawing:
        _steps(drawing, histogram, ("rejected", "kept", "chosen", "positive"))
        _finish(drawing, "score by the teacher", "share of each group", 4)
        _percent(drawing)
    return drawing.svg


def margins(report: dict[str, Any]) -> str:
    """Draw margins of the chosen: anchor score minus score."""
    histogram = report["histograms"]["margin"]
    if not sum(histogram["chosen"]):
        return ""
    with Drawing("margins", "Histogram of margins: score of the positive minus score of the negative") as drawing:
        axes_top = 1.15 * _steps(drawing, histogram, ("chosen",))
        drawing.axes.set_ylim(0, axes_top)
        if histogram["edges"][0] <= 0 <= histogram["edges"][-1]:
            drawing.axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (3, 2)))
            drawing.axes.annotate(
                "scores above\nits positive ", (0, 0.99), xycoords=("data", "axes fraction"), ha="right", va="top"
            )
        _finish(drawing, "margin: positive minus negative", "share of the negatives")
        _percent(drawing)
    return drawing.svg


def eci(report: dict[str, Any]) -> str:
    """Draw ECI over queries."""
    with Drawing("eci", "Histogram of ECI over queries") as drawing:
        drawing.axes.set_ylim(0, 1.15 * _steps(drawing, report["histograms"]["eci"], ("queries",)) or 1)
        if report["eci"] is not None:
            drawing.axes.axvline(report["eci"], color=INK, linewidth=1, linestyle=(0, (3, 2)))
            right = report["eci"] < report["histograms"]["eci"]["edges"][-1] / 2
            drawing.axes.annotate(
                f" mean {report['eci']:.2f} ",
                (report["eci"], 0.99),
                xycoords=("data", "axes fraction"),
                ha="left" if right else "right",
                va="top",
            )
        _finish(drawing, "ECI of a query, in nats", "share of the queries")
        _percent(drawing)
    return drawing.svg


def places(report: dict[str, Any]) -> str:
    """Draw mean hardness by the negative's place among the chosen."""
    rows = report["hardness_by_place"]
    if not rows:
        return ""
    with Drawing("places", "Mean hardness of the negatives by their place among those chosen") as drawing:
        x = [row["place"] for row in rows]
        axes = drawing.axes
        axes.bar(x, [row["hardness"] for row in rows], color=CHOSEN, width=0.7)
        axes.set_ylim(0, 1)
        if len(x) <= 12:
            axes.set_xticks(x)
            for row in rows:
                axes.annotate(
                    f"{row['hardness']:.2f}",
                    (row["place"], row["hardness"]),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                )
        _finish(drawing, "place among the chosen, the hardest first", "mean hardness")
    return drawing.svg


def tradeoff(report: dict[str, Any]) -> str:
    """Draw the false-negative rate of settings against their hardness, the run's own marked."""
    rows = report["tradeoff"]["settings"]
    if not rows:
        return ""
    with Drawing("tradeoff", "False-negative rate against hardness for several filter settings", 290) as drawing:
        axes = drawing.axes
        others = [row for row in rows if not row["own"]]
        front = sorted((row["hardness"], row["rate"]) for row in rows if row["front"])
        axes.plot(*zip(*front, strict=True), color=KEPT, linewidth=1.2, label="best trade-offs")
        for group, tone, shape, label in (
            (others, REJECTED, "o", "other settings"),
            ([row for row in rows if row["own"]], CHOSEN, "D", "this run"),
        ):
            if group:
                x, y = [row["hardness"] for row in group], [row["rate"] for row in group]
                ends = [
                    [row["rate"] - row["interval"][0] for row in group],
                    [row["interval"][1] - row["rate"] for row in group],
                ]
                axes.errorbar(
                    x, y, yerr=[[max(0, end) for end in side] for side in ends], fmt="none", ecolor=tone, alpha=0.5
                )
                axes.scatter(x, y, s=70 if shape == "D" else 26, marker=shape, color=tone, zorder=3, label=label)
        _label_settings(drawing, rows)
        axes.set_ylim(bottom=0)
        _finish(drawing, "hardness", "false-negative rate", 3)
        axes.margins(x=0.08)
        _percent(drawing)
    return drawing.svg


def _label_settings(drawing: Drawing, rows: list[dict[str, Any]]) -> None:
    """Number the settings as the table beside the figure does, but for those too near another's number."""
    wide, high = (max(row[name] for row in rows) - min(row[name] for row in rows) for name in ("hardness", "rate"))
    placed: list[tuple[float, float]] = []
    for number, row in enumerate(rows):
        at = (row["hardness"], row["rate"])
        free = all(abs(at[0] - x) > 0.035 * wide or abs(at[1] - y) > 0.045 * high for x, y in placed)
        if number and free:
            drawing.axes.annotate(str(number), at, xytext=(4, 4), textcoords="offset points", fontsize=8)
        if free:
            placed.append(at)


def funnel(report: dict[str, Any]) -> str:
    """Draw how many candidates are left after each verdict, then how many were chosen and wanted."""
    rows = funnel_rows(report)
    with Drawing(
        "funnel", "Candidates left after each verdict, then chosen and wanted", 16 + 23 * len(rows), 132
    ) as drawing:
        axes = drawing.axes
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
        drawing.figure.subplots_adjust(bottom=8 / drawing.height)
        for side in ("bottom", "left"):
            axes.spines[side].set_visible(False)
    return drawing.svg


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


def length(report: dict[str, Any]) -> str:
    """Draw lengths of positives and negatives."""
    histogram = report["biases"]["length"]["histogram"]
    with Drawing("length", "Histograms of the length of positives and negatives in characters") as drawing:
        _steps(drawing, histogram, ("positive", "negative"))
        axes = drawing.axes
        axes.set_xscale("log")
        low, high = histogram["edges"][0], histogram["edges"][-1]
        ticks = [step * 10**power for power in range(8) for step in ((1,) if high > 500 * low else (1, 2, 5))]
        axes.set_xticks([tick for tick in ticks if low <= tick <= high] or [low, high])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.minorticks_off()
        _finish(drawing, "length in characters", "share of each group", 2)
        _percent(drawing)
    return drawing.svg


def overlap(report: dict[str, Any]) -> str:
    """Draw the share of the query's word weight that positives and negatives hold."""
    histogram = report["biases"]["query_overlap"]["histogram"]
    with Drawing("overlap", "Histograms of the words that positives and negatives share with their query") as drawing:
        _steps(drawing, histogram, ("positive", "negative"))
        _finish(drawing, "share of the query's words, by weight", "share of each group", 2)
        _percent(drawing)
        _percent(drawing, "x")
    return drawing.svg


def hubs(report: dict[str, Any]) -> str:
    """Draw how many documents serve once, twice, and so on."""
    rows = [row for row in report["hubs"]["served"] if row["documents"]]
    if not rows:
        return ""
    with Drawing("hubs", "How many documents serve as a negative how often", left=24) as drawing:
        axes = drawing.axes
        labels = [f"{r['from']:,}" if r["from"] == r["to"] else f"{r['from']:,}–{r['to']:,}" for r in rows]
        axes.bar(range(len(rows)), [row["documents"] for row in rows], color=CHOSEN, width=0.7)
        for place, row in enumerate(rows):
            axes.annotate(
                f"{row['documents']:,}",
                (place, row["documents"]),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
            )
        axes.set_xticks(range(len(rows)), labels)
        axes.set_ylim(0, 1.1 * max(row["documents"] for row in rows))
        axes.set_yticks([])
        _finish(drawing, "times that a document serves", "documents")
    return drawing.svg


PLOTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "scores": scores, "margins": margins, "eci": eci, "places": places, "tradeoff": tradeoff, "funnel": funnel,
    "length": length, "overlap": overlap, "hubs": hubs,
}  # fmt: skip
