"""Mined sets side by side, as tables on stderr."""

from typing import Any

from rich.console import Console
from rich.text import Text

from hnmine.cli.show import _console, _row, _short, _table, number
from hnmine.commands.compare.page import ends, labels, share, signed


def comparison(data: dict[str, Any]) -> None:
    """Draw what `hnmine.commands.compare.compare.compare` found."""
    console, names = _console(), labels(len(data["sets"]))
    for label, one in zip(names, data["sets"], strict=True):
        console.print(Text(f"{label} = {one['name']} ({one['kind']})"), soft_wrap=True)
    for warning in data["warnings"]:
        console.print(Text(f"warning: {warning}", style="bold yellow"))
    _sets(console, data["sets"], names)
    for label, pair in zip(names[1:], data["comparisons"], strict=True):
        _pair(console, pair, names[0], label)
    only = _table("\nIn one set and no other", "set", "queries", "negatives", "")
    for label, one in zip(names, data["only"], strict=True):
        _row(only, (label, number(one["queries"]), number(one["negatives"]), "of queries that all have"))
    console.print(only)
    _queries(console, data["most_different"], names)


def _sets(console: Console, sets: list[dict[str, Any]], names: list[str]) -> None:
    table = _table("\nSets", "number", *names, "")
    for name in ("queries", "queries_with_negatives", "examples", "negatives", "documents"):
        _row(table, (name.replace("_", " "), *(number(one[name]) for one in sets), ""))
    known: dict[str, Any] = next((one["numbers"] for one in sets if one["numbers"]), {})
    for name in known:
        values = (number(one["numbers"][name]["value"]) if one["numbers"] else "-" for one in sets)
        _row(table, (name, *values, ""))
    console.print(table)


def _pair(console: Console, pair: dict[str, Any], here: str, there: str) -> None:
    queries, negatives = pair["queries"], pair["negatives"]
    console.print(Text(f"\n{there} against {here}", style="bold"))
    alone = f"{number(queries['only_base'])} in {here} alone, {number(queries['only_other'])} in {there} alone"
    console.print(Text(f"matched by {pair['matched_by']}: {number(queries['shared'])} queries in both, {alone}"))
    if pair["numbers"] is None:
        console.print(Text(pair["numbers_reason"]))
    else:
        table = _table("", "number", here, there, "difference", "95% interval, paired", "")
        for name, row in pair["numbers"].items():
            sure = row["interval"] and (row["interval"][0] > 0 or row["interval"][1] < 0)
            values = (number(row["base"]), number(row["other"]), signed(row["difference"]), ends(row["interval"], True))
            _row(table, (name, *values, "*" if sure else ""))
        console.print(table)
        console.print("* the interval leaves out 0")
    table = _table("", "negatives", "count", "score", "rank", "score shift", "rank shift", "")
    titles = {"both": "in both", "only_base": f"in {here} alone", "only_other": f"in {there} alone"}
    for side, title in titles.items():
        one, shifts = pair[side], pair[side].get("shifts", {})
        moved = (signed(shifts.get(name, {}).get("mean")) for name in ("scores", "ranks"))
        _row(table, (title, number(one["negatives"]), number(one["mean_score"]), number(one["mean_rank"]), *moved, ""))
    console.print(table)
    same = f"{number(negatives['queries_alike'])} queries have the same in both"
    apart = f"{number(negatives['queries_disjoint'])} none in common"
    overlap = f"in common: {share(negatives['share'])} of all; mean Jaccard of a query {number(negatives['jaccard'])}"
    console.print(Text(f"{overlap}; {same}, {apart}"))
    for label, other, side in ((here, there, "only_base"), (there, here, "only_other")):
        fates = ", ".join(f"{name} {count:,}" for name, count in pair[side].get("fates", {}).items())
        if fates:
            console.print(Text(f"those in {label} alone are in {other}: {fates}"))


def _queries(console: Console, queries: list[dict[str, Any]], names: list[str]) -> None:
    for query in queries:
        title = f"{query['query_id']}: {query['query']}" if query["query_id"] is not None else query["query"]
        table = _table("", "set", "score", "rank", "negatives that not all have")
        for label, own in zip(names, query["negatives"], strict=True):
            for one in own:
                rank = number(None if one["rank"] is None else int(one["rank"]))
                _row(table, (label, number(one["score"]), rank, _short(one["text"])))
        agreed = f"{query['shared']:,} in all sets, Jaccard {query['jaccard']:.3f}"
        console.print(Text(f"\n{_short(title)} ({agreed})", style="bold"))
        console.print(table)
