"""Draws the results of plan, explain, sweep, tune, probe, export-judgements, compare and audit as terminal tables."""

from collections.abc import Iterator
from typing import Any

from hnmine.cli.terminal import draw_table, hint, say, warn
from hnmine.commands.compare.compare import labels
from hnmine.commands.compare.settings import value_text
from hnmine.commands.compare.verdict import NOTE
from hnmine.config.section import toml_value
from hnmine.display import MISSING, format_size, interval, number, one_line, percent, shorten, signed
from hnmine.stages.report.headline import NUMBERS

TEXT_WIDTH, AUDIT_TEXT_WIDTH = 160, 100
PLAN_LIMITS = 8
"""How many limits of a plan are drawn; --json has all."""
COMPARED_NEGATIVES = 3
"""How many negatives of a set are drawn for a query of a comparison; --json and --html have all."""
AUDIT_EXAMPLES = 2
"""How many examples of a fault are drawn; --json has all."""


def draw_plan(data: dict[str, Any]) -> None:
    """Draw a plan: stages, estimates, warnings, and on given machines hours and limits."""
    rows = ((stage["stage"], stage["state"], stage["work"]) for stage in data["stages"])
    draw_table("Stages", ("stage", "state", "would do"), rows, texts=("state",))
    free = data["disk_free_bytes"]
    room = "in an object store" if free is None else f"free: {format_size(free)}"
    estimates = (
        ("documents", number(data["documents"]), ""),
        ("queries", number(data["queries"]), ""),
        ("disk", format_size(data["disk_bytes"]), room),
        ("memory, each worker", format_size(data["memory_bytes"]), f"workers: {data['workers']}"),
        *_judge_cost(data.get("judge")),
    )  # fmt: skip
    draw_table("\nEstimates", ("what", "size", ""), estimates)
    warn(data["warnings"], "yellow")
    if "scale" in data:
        _scale(data["scale"])


def _judge_cost(judge: dict[str, int] | None) -> Iterator[tuple[str, str, str]]:
    if judge is not None:
        note = (
            f"about {judge['prompt_tokens']:,} tokens, a quarter of their bytes, and up to {judge['answer_tokens']:,} "
            f"in answers; for `hnmine judge` about the retrieved negatives, at most {judge['candidates']:,}"
        )
        yield "requests to the judge", number(judge["requests"]), note


def _scale(data: dict[str, Any]) -> None:
    steps = [
        (
            *(one["stage"], f"{one['tasks']:,}", f"{one['at_once']:,}", f"{one['hours']:.2f}"),
            *(format_size(one[name]) for name in ("memory_bytes", "read_bytes", "written_bytes")),
            f"{one['step']} ({one['bound']})",
        )
        for one in data["steps"]
    ]
    columns = ("stage", "tasks", "at once", "hours", "memory each", "read", "written", "step, and its bound")
    draw_table("\nOn these machines", columns, steps)
    say(f"in all {data['hours']:.1f} hours, {format_size(data['moved_bytes'])} moved")
    say(f"index: {data['index']}")
    limits = data["limits"][:PLAN_LIMITS]
    rows = ((one["name"], f"{one['use']:.2f}", one["value"], one["bound"], one["then"]) for one in limits)
    styles = ("bold yellow" if one["use"] > 1 else "" for one in limits)
    draw_table("\nLimits (exceeded where use is above 1)", ("limit", "use", "needs", "has", "then"), rows, styles)
    warn(data["warnings"], "yellow")


def draw_explanation(data: dict[str, Any]) -> None:
    """Draw the candidates of a query, and hint at those that are not shown."""
    say(f"{data['query_id']}: {data['query']}", "bold")
    guided = any(positive["guide_score"] is not None for positive in data["positives"])
    guide = ("guide",) if guided else ()
    source = ("source",) if len({p["source"] for p in data["positives"]}) > 1 else ()
    positives = (
        (
            p["doc_id"],
            number(p["score"]),
            *_guide(p, guided),
            number(p["standing"]),
            *map(p.get, source),
            _short(p["text"]),
        )
        for p in data["positives"]
    )
    draw_table("\nPositives", ("doc_id", "score", *guide, "standing", *source, "text"), positives)
    for anchor in data["anchors"]:
        sources = list(anchor["candidates"][0]["source_ranks"]) if anchor["candidates"] else []
        checked = ("rescored",) if any("rescore_score" in c for c in anchor["candidates"]) else ()
        rows = [*_candidates(anchor, sources, guided, checked=bool(checked))]
        title = f"\nCandidates for anchor score {anchor['anchor_score']:.3f}"
        columns = ("rank", "score", *sources, *guide, *checked, "sim", "verdict", "doc_id", "text")
        draw_table(title, columns, (row for row, _ in rows), (style for _, style in rows), ("verdict", "doc_id"))
    likely = any(c["likely_positive"] for anchor in data["anchors"] for c in anchor["candidates"])
    also = "; + likely positive (emit.relabel)" if likely else ""
    say(f"* chosen as a negative{also}; sim: cosine to the most similar positive")
    say("standing: share of the candidates, positives not counted, that score below the positive")
    if hidden := sum(anchor["not_shown"] for anchor in data["anchors"]):
        hint(f"{hidden:,} more candidates are not shown: --all shows them, --top N shows more")


def draw_random_rows(data: dict[str, Any]) -> None:
    """Draw rows of the set: query, positive and negatives."""
    for row in data["rows"]:
        say(f"{row['query_id']}: {row['query']}", "bold")
        one = row["positive"]
        texts = [("positive", number(one["score"]), "", MISSING, one["doc_id"], _short(one["text"]))]
        for c in row["negatives"]:
            p = number(c["p_false_negative"])
            texts.append((c["verdict"], number(c["score"]), number(c["rank"]), p, c["doc_id"], _short(c["text"])))
        draw_table("", ("verdict", "score", "rank", "P(false negative)", "doc_id", "text"), texts, texts=("doc_id",))
        say("")
    hint(f"{len(data['rows']):,} of {data['rows_in_all']:,} rows; --seed N draws others")


def _candidates(
    anchor: dict[str, Any], sources: list[str], guided: bool, *, checked: bool
) -> Iterator[tuple[tuple[object, ...], str]]:
    """Yield (cells, style) for the candidates of an anchor score, then for its negatives that are not candidates."""
    for c in anchor["candidates"]:
        style = "green" if c["chosen"] else "" if c["verdict"] == "keep" else "dim"
        verdict = c["verdict"] + " *" * c["chosen"] + " +" * c["likely_positive"]
        ranks = (MISSING if c["source_ranks"][name] is None else c["source_ranks"][name] for name in sources)
        own = (number(c["rescore_score"]),) if checked else ()
        numbers = (c["rank"], number(c["score"]), *ranks, *_guide(c, guided), *own, number(c["similarity"]))
        yield (*numbers, verdict, c["doc_id"], _short(c["text"])), style
    for name in ("previous", "random"):
        for c in anchor.get(name, ()):
            blank = ("",) * (len(sources) + guided + checked + 1)
            yield (MISSING, number(c["score"]), *blank, f"{name} *", c["doc_id"], _short(c["text"])), "green"


def _guide(row: dict[str, Any], guided: bool) -> tuple[str, ...]:
    return (number(row["guide_score"]),) if guided else ()


def _short(text: str, width: int = TEXT_WIDTH) -> str:
    return shorten(one_line(text), width)


def draw_sweep(data: dict[str, Any]) -> None:
    """Draw a line for each setting; * marks those that no other beats in rate, hardness and fill at once."""
    measured = data["measured_on_hidden_positives"]
    title = "Settings, the config's own first (hidden positives)" if measured else "Settings, the config's own first"
    columns = ("", "false negatives", "95% interval", "hardness", "fill", "eci", "setting")
    rows = (
        (
            "*" if one["front"] else "",
            *((percent(one["rate"]), "-".join(map(percent, one["interval"]))) if measured else (MISSING, "")),
            *(number(one["hardness"]), f"{one['fill']:.2f}", number(one["eci"])),
            _filter_table(one["settings"]),
        )
        for one in data["settings"]
    )
    draw_table(title, columns, rows)
    if measured:
        say(
            "measured on queries with several positives, all but one of them hidden; "
            "so hardness, fill and ECI differ from the report's; random documents are left out"
        )
    else:
        say(f"false negatives could not be measured: {data['reason']}")
    if data["recommended"] is not None:
        say(f"recommended, {_filter_table(data['recommended'])}: {data['recommended_reason']}", soft_wrap=True)
    elif data["target"] is not None:
        say(f"none recommended: {data['recommended_reason']}", soft_wrap=True)


def _filter_table(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {toml_value(value)}" for key, value in settings.items())


PROBED = {
    "untrained": "before training",
    "in_batch": "no mined negatives",
    "random": "random documents, equal number",
    "mined": "the run's negatives",
    "other": "the other set",
}
"""What `hnmine probe` trains on, in words."""


def draw_probe(data: dict[str, Any]) -> None:
    """Draw retrieval after training on each set, and the differences between them."""
    rows = [(PROBED["untrained"], "", "", f"{data['untrained']:.4f}")]
    rows += (
        (PROBED[name], f"{one['examples']:,}", f"{one['negatives']:,}", f"{one['ndcg_at_10']:.4f}")
        for name, one in data["sets"].items()
    )
    draw_table("Trained on", ("set", "examples", "negatives", "nDCG@10"), rows)
    gains = (
        (PROBED[one["set"]], PROBED[one["over"]], signed(one["ndcg_at_10"]), interval(one["interval"], sign=True),
         f"{one['p']:.4f}")
        for one in data["gains"]
    )  # fmt: skip
    draw_table("\nGain in nDCG@10", ("of", "over", "mean", "95% interval", "p"), gains)
    model = "" if data["model"] is None else f" from {data['model']}"
    say(
        f"\nStudent {data['student']}{model}, {data['queries']:,} queries, {data['documents']:,} documents, "
        f"{data['seeds']} splits, {data['tested']:,} queries tested. Use it to compare sets of these queries; the gain "
        "of your own training differs.",
        soft_wrap=True,
    )
    for name, one in data["sets"].items():
        if one["left_out"]:
            warn([f"{PROBED[name]}: {one['left_out']:,} examples have a query that the run lacks, and are left out"])
    if "not_kept" in data:
        warn([f"the result was not kept: {data['not_kept']}"])


def draw_tune(data: dict[str, Any]) -> None:
    """Draw a line for each setting, best first, and the verdict; * marks those within a standard error of the best."""
    rows, styles = [], []
    for one in data["settings"]:
        over, mark = one["over_random"], "*" if one["within_one_error"] else ""
        rows.append(
            (
                one["name"], mark, signed(one["gain"]), interval(one["interval"], sign=True),
                signed(over and over["difference"]), percent(one["false_negative_rate"]), number(one["hardness"]),
                MISSING if one["fill"] is None else f"{one['fill']:.2f}", one["seeds"],
                f"as {one['same_as']}" if one["same_as"] else "",
            )
        )  # fmt: skip
        styles.append("bold green" if one["chosen"] else "" if one["finalist"] else "dim")
    columns = (
        "setting", "", "gain", "95% interval", "over random", "false negatives", "hardness", "fill", "seeds", "",
    )  # fmt: skip
    draw_table("Settings by gain in nDCG@10, best first", columns, rows, styles)
    begun = f", from {data['model']}" if data["model"] else ""
    rates = "measured on hidden positives" if data["measured"] else "expected: too few queries have several labels"
    say(
        f"\nstudent {data['student']}{begun}; {data['queries']:,} queries, {data['test_queries']:,} of them tested; "
        f"{data['documents']:,} documents ranked; untrained nDCG@10 {data['untrained']:.3f}; false negatives: "
        f"{rates}; * within one standard error of the best",
        soft_wrap=True,
    )
    for line in data["verdict"]["lines"]:
        say(f"\n{line}", "bold", soft_wrap=True)
    if data["cut"]:
        untried = f"; not tried: {'; '.join(data['untried'])}" if data["untried"] else ""
        warn([f"time ran out before all trainings were done{untried}"])
    if "not_kept" in data:
        warn([f"the result was not kept: {data['not_kept']}"])


def draw_judgements(data: dict[str, Any]) -> None:
    """Say which candidates were written for judging, and what to do with the file."""
    if data["sample"] is not None:
        say(
            f"{data['written']:,} negatives of {data['queries']:,} queries, drawn at random; judge the lines in their "
            "order.\nFill in judgement (relevant, irrelevant or unsure), set report.judged_sample to the file and run "
            "`hnmine report`: it gives the set's false-negative rate.",
            soft_wrap=True,
        )
        return
    verdicts = ", ".join(f"{count:,} {name}" for name, count in data["verdicts"].items())
    say(
        f"{data['written']:,} candidates of {data['queries']:,} queries, {data['chosen']:,} of them negatives now "
        f"({verdicts}); uncertainty: {data['uncertainty']}.\n"
        "Fill in judgement (relevant, irrelevant or unsure), set input.judgements to the file and run again.",
        soft_wrap=True,
    )


def draw_requests(data: dict[str, Any]) -> None:
    """Say what a file of requests holds, and what to do with it."""
    say(
        f"{data['requests']:,} requests to {data['judge']} ({data['template']}) about {data['candidates']:,} "
        f"candidates of {data['queries']:,} queries; at most {data['most_tokens']:,} tokens.\n"
        f"Send the file to the model's batch interface, then run `hnmine judge` with --replies and the file that comes "
        f"back, and --asked {data['asked']}.",
        soft_wrap=True,
    )


def draw_judge(data: dict[str, Any]) -> None:
    """Say what a judge said, what it cost, and what was wrong with replies."""
    say(
        f"{data['judge']} ({data['template']}): {data['pairs']:,} candidates judged in {data['requests']:,} requests, "
        f"{data['prompt_tokens'] + data['completion_tokens']:,} tokens: {data['relevant']:,} relevant, "
        f"{data['irrelevant']:,} irrelevant, {data['unsure']:,} unsure, {data['unanswered']:,} without a valid "
        "answer.\n"
        f"Of {data['negatives']:,} negatives of the run {data['negatives_relevant']:,} are called relevant.",
        soft_wrap=True,
    )
    if (again := data["again"]) is not None:
        say(
            f"Of {again['asked']:,} that the first judge calls relevant, {again['confirmed']:,} are confirmed and "
            f"{again['overturned']:,} are not; {again['no_answer']:,} without a valid answer."
        )
    for one in data["findings"].values():
        say(f"{one['count']:,} x {one['meaning']}: {', '.join(one['first'])}", "yellow", soft_wrap=True)
    if data["without_usage"]:
        say(f"{data['without_usage']:,} replies do not say how many tokens they took.", "yellow")
    if data["stopped"]:
        say(f"The budget ended: {data['requests']:,} of {data['requests_in_all']:,} requests are done.", "yellow")
    if not data["pairs"]:
        return
    if data["sampled"]:
        say("Set report.judged_sample to the file and make the report again: hnmine report CONFIG --overwrite.")
    else:
        say("Set input.judgements to the file and run again.")


def draw_comparison(data: dict[str, Any]) -> None:
    """Draw mined sets side by side: numbers, overlap, and the queries that differ most."""
    sets, names = data["sets"], labels(len(data["sets"]))
    for label, one in zip(names, sets, strict=True):
        say(f"{label} = {one['name']} ({one['kind']})", soft_wrap=True)
    for pair in data["comparisons"]:
        say(f"\n{pair['verdict']['line']}", "bold")
    say(NOTE, "dim")
    warn(data["warnings"])
    if data["settings"]:
        differing = ((one["name"], *map(value_text, one["values"]), "") for one in data["settings"])
        draw_table("\nWhat differs in settings", ("setting", *names, ""), differing)
    counts = ("queries", "queries_with_negatives", "examples", "negatives", "documents")
    rows = [(name.replace("_", " "), *(number(one[name]) for one in sets), "") for name in counts]
    for name in next((one["numbers"] for one in sets if one["numbers"]), ()):
        rows.append((name, *(number(one["numbers"][name]["value"] if one["numbers"] else None) for one in sets), ""))
    draw_table("\nSets", ("number", *names, ""), rows)
    for label, pair in zip(names[1:], data["comparisons"], strict=True):
        _pair(pair, names[0], label)
    only = (
        (label, number(one["queries"]), number(one["negatives"]), "of queries in all sets")
        for label, one in zip(names, data["only"], strict=True)
    )
    draw_table("\nIn one set only", ("set", "queries", "negatives", ""), only)
    for query in data["most_different"]:
        title = f"{query['query_id']}: {query['query']}" if query["query_id"] is not None else query["query"]
        say(f"\n{_short(title)} ({query['shared']:,} in all sets, Jaccard {query['jaccard']:.3f})", "bold")
        cells = []
        for name, negatives in zip(names, query["negatives"], strict=True):
            for one in negatives[:COMPARED_NEGATIVES]:
                rank = None if one["rank"] is None else int(one["rank"])
                cells.append((name, number(one["score"]), number(rank), _short(one["text"])))
        draw_table("", ("set", "score", "rank", "negatives that are not in all sets"), cells)
        if hidden := sum(map(len, query["negatives"])) - len(cells):
            say(f"{hidden:,} more in --json and --html", "dim")


def _pair(pair: dict[str, Any], here: str, there: str) -> None:
    queries, negatives = pair["queries"], pair["negatives"]
    say(f"\n{there} against {here}", "bold")
    alone = f"{number(queries['only_base'])} in {here} alone, {number(queries['only_other'])} in {there} alone"
    say(f"matched by {pair['matched_by']}: {number(queries['shared'])} queries in both, {alone}")
    if pair["numbers"] is None:
        say(pair["numbers_reason"])
    else:
        rows = []
        for name, one in pair["numbers"].items():
            bounds = one["interval"]
            mark = "*" if bounds is not None and (bounds[0] > 0 or bounds[1] < 0) else ""
            values = (number(one["base"]), number(one["other"]), signed(one["difference"]), interval(bounds, sign=True))
            rows.append((name, *values, mark))
        draw_table("", ("number", here, there, "difference", "95% interval, paired", ""), rows)
        say("* the interval excludes 0")
    titles = {"both": "in both", "only_base": f"in {here} alone", "only_other": f"in {there} alone"}
    columns = ("negatives", "count", "score", "rank", "score shift", "rank shift", "")
    draw_table("", columns, (_side(title, pair[side]) for side, title in titles.items()))
    overlap = f"in common: {percent(negatives['share'])} of all; mean Jaccard of a query {number(negatives['jaccard'])}"
    same = f"{number(negatives['queries_alike'])} queries have the same in both"
    say(f"{overlap}; {same}, {number(negatives['queries_disjoint'])} none in common")
    for label, other, side in ((here, there, "only_base"), (there, here, "only_other")):
        fates = "; ".join(f"{count:,} {name}" for name, count in pair[side].get("fates", {}).items())
        if fates:
            say(f"those in {label} alone, in {other}: {fates}")


def _side(title: str, one: dict[str, Any]) -> tuple[str, ...]:
    shifts = (signed(one.get("shifts", {}).get(name, {}).get("mean")) for name in ("scores", "ranks"))
    return title, number(one["negatives"]), number(one["mean_score"]), number(one["mean_rank"]), *shifts, ""


def draw_audit(report: dict[str, Any]) -> None:
    """Draw an audit: files, numbers, findings, and for each fault what to do and some examples."""
    say(f"Recognised: {report['columns']}{', ids looked up' if report['ids'] else ''}", "bold")
    for entry in report["files"]:
        say(f"{entry['file']}: {entry['rows']:,} rows", soft_wrap=True)
    say(", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in report["counts"].items()))
    warn(report["warnings"])
    numbers = []
    for one in NUMBERS:
        if one.name in report:
            reason = report.get(f"{one.name}_reason")
            numbers.append((one.name, number(report[one.name]), one.meaning + (f" ({reason})" if reason else "")))
    draw_table("\nNumbers", ("number", "value", "meaning"), numbers)
    _audit_findings(report["findings"])


def _audit_findings(findings: dict[str, Any]) -> None:
    measured = {name: entry for name, entry in findings.items() if entry["count"] is not None}
    faults = {name: entry for name, entry in measured.items() if entry["fault"]}
    shown = faults | measured
    rows = (
        (name, number(entry["count"]), *_size_and_limit(entry), f"{entry['of']}: {entry['meaning']}")
        for name, entry in shown.items()
    )
    styles = ("red" if entry["fault"] else "" if entry["count"] else "dim" for entry in shown.values())
    draw_table("\nFindings", ("finding", "count", "share", "limit", "meaning"), rows, styles)
    for name, entry in faults.items():
        say(f"\n{name}: {entry['advice']}", "bold red")
        for example in entry["examples"][:AUDIT_EXAMPLES]:
            say(f"  {_example(example)}", soft_wrap=True)
    unmeasured = [f"{name} ({entry['reason']})" for name, entry in findings.items() if entry["count"] is None]
    if unmeasured:
        say(f"\nnot measured: {', '.join(unmeasured)}", "dim")
    say(f"\nfaults: {', '.join(faults)}" if faults else "\nno faults found", "bold")


def _size_and_limit(entry: dict[str, Any]) -> tuple[str, str]:
    """Return a finding's share and the highest one allowed; or its effect size (Cohen's d) and the limit of that."""
    limit = entry["limit"]
    if "effect" in entry:
        return f"{entry['effect']:+.2f}", MISSING if limit is None else f"{limit:g}"
    return percent(entry["share"]), MISSING if limit is None else f"{limit:.0%}"


def _example(example: dict[str, Any]) -> str:
    """Return an example of a fault in a line: file and row, texts, numbers."""
    parts = [f"{example['file']} row {example['row']:,}"] if "file" in example else []
    for name, value in example.items():
        if name in ("query", "positive", "negative"):
            parts.append(f"{name}: {MISSING if value is None else _short(value, AUDIT_TEXT_WIDTH)}")
        elif name not in ("file", "row"):
            parts.append(f"{name} {value if isinstance(value, str) else number(value)}")
    return " | ".join(parts)
