"""Runs stages for the command line, and draws their results: stages, report, and changes against an earlier run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hnmine.cli.terminal import draw_table, print_result, progress_on, say, say_item, warn
from hnmine.commands.plan.warnings import unused_settings
from hnmine.config.tables import Config
from hnmine.display import interval, number, percent
from hnmine.errors import EmptySet
from hnmine.pipeline.run import RunOptions, StageResult, run
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.negative_columns import shares_line
from hnmine.stages.report.empty_set import why_empty
from hnmine.stages.report.headline import (
    JUDGED,
    NUMBERS,
    agreement_lines,
    judged_line,
    judging_rows,
    relabelled_line,
    sample_rows,
    setting_rows,
)
from hnmine.stages.report.limits import check_limits, check_names, parse_limits
from hnmine.stages.report.number_names import number_names
from hnmine.storage.paths import existing_path
from hnmine.storage.store import read_json

_RESULTS = {
    "ingest": "{documents:,} documents, {queries:,} queries, {positives:,} positives",
    "embed": "{documents:,} + {queries:,} vectors of {dim} numbers",
    "index": "{kind} ({reason})",
    "retrieve": "{candidates:,} candidates",
    "rescore": "{scored:,} candidates and {positives:,} positives rescored",
    "hubs": "{documents:,} documents over {bank:,} queries",
    "emit": "{rows:,} rows, {examples_full:,} of {examples:,} examples full",
}
_IF_ANY = {
    "ingest": (
        "collapsed_copies", "empty_documents", "empty_queries", "queries_without_positive", "judgements_skipped",
        "eval_queries_left_out", "eval_positives_left_out", "eval_queries_without_positive",
    ),
    "emit": ("positives_left_out", "queries_left_out", "positives_down_weighted"),
}  # fmt: skip
"""Counts that are shown if they are not 0."""
_BAD_POSITIVES = {
    "left_out": "suspected positives left out",
    "queries_left_out": "queries left without a positive as a result",
    "down_weighted": "suspected positives weighted down",
}


def option_settings(
    engine: str | None, ray_address: str | None, model: str | None, previous: Path | None
) -> Iterator[str]:
    """Yield --engine, --ray-address, --model and --previous as settings, in the form of `--set`.

    Paths start at the working directory, as that of --out does.
    """
    if engine is not None:
        yield f"engine={engine}"
    if ray_address is not None:
        yield f"ray_address={ray_address}"
    if model is not None:
        local = existing_path(model)
        is_path = model.startswith(("./", "../")) or (local is not None and local.is_dir())
        name = str((local or Path(model)).absolute()) if is_path else model
        yield f"embed.model={json.dumps(name, ensure_ascii=False)}"
    if previous is not None:
        yield f"previous.run={json.dumps(str(previous.absolute()), ensure_ascii=False)}"


def run_stages(
    config: Config, stages: tuple[str, ...], options: RunOptions, as_json: bool, limits: tuple[list[str], list[str]]
) -> None:
    """Run stages, draw their summary, print the result, and check that there are rows and the limits of a report.

    The result is the path of the output, or stages and report as JSON; `limits` has the values of --fail-under and of
    --fail-over.

    Raises:
        EmptySet: there is no training row; the result has been printed.
    """
    under, over = parse_limits(limits[0], "--fail-under"), parse_limits(limits[1], "--fail-over")
    names = number_names(config) if "report" in stages else set()
    if "report" in stages:
        own = {"report.fail_under": config.report.fail_under, "report.fail_over": config.report.fail_over}
        check_names({"--fail-under": under, "--fail-over": over, **own}, names)
    warn(text for name, text in unused_settings(config).items() if name.split(".")[0] in stages)
    with progress_on() as progress:
        results = run(config, stages, options, progress)
    report = None
    draw_stages(results)
    warn(filter(None, [missing_random(config, {r.stage: r.counts for r in results})]))
    if "report" in stages:
        path = RunContext(config, config.out_folder, options.source).reading("report") / "report.json"
        report = read_json(path)
        assert report is not None
        draw_report(report, path)
    if as_json:
        ran = [{"stage": r.stage, "ran": r.ran, "seconds": r.seconds, "counts": r.counts} for r in results]
        print_result({"out": str(config.out_folder), "stages": ran, "report": report})
    else:
        print_result(str(config.out_folder if len(stages) > 1 else config.out_folder / stages[0]))
    if "emit" in stages or "report" in stages:
        refuse_empty(RunContext(config, config.out_folder, options.source))
    if report is not None:
        check_limits(report, {**config.report.fail_under, **under}, {**config.report.fail_over, **over}, names)


def refuse_empty(context: RunContext) -> None:
    """Check that a run has training rows.

    Raises:
        EmptySet: it has none; with the reason, and what would give some.
    """
    if why := why_empty(context):
        raise EmptySet(why)


def draw_stages(results: Sequence[StageResult]) -> None:
    """Draw a line for each stage: seconds and result."""
    rows = ((r.stage, f"{r.seconds:.1f}" if r.ran else "kept", _result(r)) for r in results)
    draw_table("Stages", ("stage", "seconds", "result"), rows)
    if "report" not in [r.stage for r in results]:  # the report repeats these warnings
        stages = ("ingest", "retrieve", "filter", "emit")
        warn(r.counts["warning"] for r in results if "warning" in r.counts and r.stage in stages)


def missing_random(config: Config, counts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return why a small corpus gave fewer random negatives than `choose = "mixed"` wants, or "".

    `counts` are those of the stages that ran or were kept; without ingest or emit there is nothing to say. Nor is there
    where a cap on documents or a condition may leave none.
    """
    retrieve, emit = config.retrieve, counts.get("emit")
    documents = counts["ingest"]["documents"] if "ingest" in counts else 0
    if emit is None or not 0 < documents <= max(retrieve.max_candidates, retrieve.max_top_k):
        return ""
    if config.emit.max_per_document is not None or retrieve.where:
        return ""
    wanted = config.emit.random_negatives * emit["examples"]
    drawn = emit["negatives_random"] - emit["negatives_filled_up"]
    if drawn >= wanted:
        return ""
    return (
        f"only {drawn:,} of {wanted:,} random negatives were drawn: a query's candidates are never drawn, and of "
        f"{documents:,} documents retrieve.top_k = {retrieve.top_k} leaves too few; lower retrieve.top_k"
    )


def _result(r: StageResult) -> str:
    if r.stage == "filter":
        verdicts = r.counts["verdicts"]
        rejected = sum(verdicts.values()) - verdicts["keep"]
        line = f"{verdicts['keep']:,} kept, {rejected:,} marked otherwise"
        if deeper := r.counts.get("queries_searched_deeper"):
            line += f"; {deeper:,} queries searched deeper, to at most {r.counts['deepest_list']:,} candidates"
        if short := r.counts.get("queries_short_at_max_top_k"):
            line += f"; {short:,} queries still short at retrieve.max_top_k"
        return line
    parts = [_RESULTS.get(r.stage, "").format(**r.counts)]
    for name, own in r.counts.get("formats", {}).items():
        left_out = f" (too few negatives in {own['examples_left_out']:,} examples)" if own["examples_left_out"] else ""
        parts.append(f"{own['rows']:,} {name} rows{left_out}")
    if "documents_in_all" in r.counts:
        parts.append(f"of {r.counts['documents_in_all']:,} documents")
    if r.stage == "embed" and "guide_dim" in r.counts:
        parts.append(f"and of {r.counts['guide_dim']:,} by the guide")
    parts += [f"and of {dim:,} by {name}" for name, dim in sorted(r.counts.get("source_dims", {}).items())]
    parts += agreement_lines(r.counts)
    for table, spent in r.counts.get("served", {}).items():
        parts.append(f"{spent['requests']:,} requests with {spent['tokens']:,} tokens to the server of {table}")
    if r.stage == "emit" and r.counts.get("negatives_previous"):
        parts.append(f"{r.counts['negatives_previous']:,} negatives of the earlier run stay")
    if r.stage == "emit" and r.counts["negatives_random"]:
        filled_up = r.counts["negatives_filled_up"]
        parts.append(f"{r.counts['negatives_random']:,} random negatives ({filled_up:,} to fill up)")
    shown = (name for name in _IF_ANY.get(r.stage, ()) if r.counts.get(name))
    parts += [f"{r.counts[name]:,} {name.replace('_', ' ')}" for name in shown]
    return ", ".join(parts)


def draw_report(data: dict[str, Any], path: Path) -> None:
    """Draw a report: numbers, conclusion, scores, verdicts, findings, paths of its files; `path` is report.json."""
    warn([*data["warnings"], *filter(None, [data.get(name, {}).get("warning") for name in ("batches", "relabelled")])])
    draw_table("\nReport", ("number", "value", "95% interval", "meaning"), _headline(data))
    conclusion = data["conclusion"]
    styles = {"good": "bold green", "usable": "bold yellow"}
    say(f"\n{conclusion['line']}", styles.get(conclusion["level"], "bold red"))
    for reason in conclusion["reasons"]:
        change = "\n".join(f"  {text}" for text in reason["change"].split("; ") if text)
        say_item(f"{reason['text']}\nto change it:\n{change}" if change else reason["text"])
    columns = ("count", "mean", "std", "min", "p25", "p50", "p75", "max")
    scores = data["distributions"].items()
    rows = ((name, *(number(values.get(column)) for column in columns), "") for name, values in scores)
    draw_table("\nScores", ("", *columns, ""), rows)
    total = sum(data["verdicts"].values()) or 1
    verdicts = ((name, number(count), percent(count / total)) for name, count in data["verdicts"].items() if count)
    draw_table("\nVerdicts", ("verdict", "candidates", "share"), verdicts)
    draw_table("\nWorth a look", ("finding", "count", ""), _findings(data))
    if data.get("embedding") is not None:
        say(_embedding(data["embedding"]))
    for line in agreement_lines(data["counts"].get("embed", {})):
        say(line)
    search = data["counts"].get("index", {})
    if search.get("kind", "flat") != "flat":
        say(f"approximate search: {search['kind']} ({search['reason']})")
    if line := shares_line(data["sources"]):
        say(line.removesuffix("\n"))
    files = [str(file) for file in (path, path.with_suffix(".html")) if file.exists()]
    say("\n" + "\n".join(files), "dim", soft_wrap=True)
    if "previous" in data:
        _draw_previous(data["previous"])


def _headline(data: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    rate = data.get("hidden_positives", {}).get("this_filter", {}).get("interval")
    intervals = data["intervals"] | {"false_negative_rate": rate}
    for one in NUMBERS:
        value, reason = data[one.name], data.get(f"{one.name}_reason")
        meaning = f"{one.meaning} ({reason})" if reason and value is None else one.meaning
        yield one.name, number(value), interval(intervals[one.name]), meaning


def _findings(data: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    shortage, hubs, bad = data["shortage"], data["hubs"], data["suspected_bad_positives"]
    yield "examples with fewer negatives than wanted", number(shortage["examples_short"]), ""
    yield "examples without any negative", number(shortage["examples_without_negatives"]), ""
    if shortage["negatives_random"]:
        note = "no part of the false-negative rate"
        yield "negatives that are random documents", number(shortage["negatives_random"]), note
        note = f"in {number(shortage['examples_filled_up'])} examples where too few were kept"
        yield "of these, filled up", number(shortage["negatives_filled_up"]), note
    share = f"{percent(data['negatives_positive_elsewhere_share'])} of the negatives"
    yield "negatives that are another query's positive", number(data["negatives_positive_elsewhere"]), share
    if (kept_out := data.get("evaluation")) is not None:
        note = f"{number(kept_out['queries'])} queries and {number(kept_out['documents'])} documents belong to it"
        yield "queries left out, as the evaluation set has them", number(kept_out["queries_left_out"]), note
        emptied = f"{number(kept_out['queries_without_positive'])} queries are left without a positive as a result"
        yield "positives left out, likewise", number(kept_out["positives_left_out"]), emptied
        yield "candidates rejected, likewise", number(kept_out["candidates_rejected"]), ""
    if (further := data.get("relabelled")) is not None:
        yield (
            "relabelled positives",
            number(further["by_probability"] + further["by_judgement"]),
            relabelled_line(further),
        )
    if (batches := data.get("batches")) is not None:
        scores = f"{number(batches['random_score'])} in random batches"
        note = f"{batches['full']:,} full; {percent(batches['fill'])} of all places filled"
        yield "batches", number(batches["count"]), note
        yield "mean score to the batch's other positives", number(batches["score"]), scores
        kept_apart = number(batches["conflicts"] - batches["conflicts_within"])
        yield "pairs of examples kept apart", kept_apart, "possible false negatives of one another"
        if batches["conflicts_within"]:
            note = f"by emit.batch_leftover; {number(batches['same_query'])} examples share a batch with their query's"
            yield "such pairs that share a batch", number(batches["conflicts_within"]), note
        if batches["examples_left_out"]:
            yield "examples without a full batch", number(batches["examples_left_out"]), "get no rows"
    busiest = f"document {hubs['top'][0]['doc_id']}" if hubs["top"] else ""
    yield "most queries of which one document is a negative", number(hubs["most_served"]), busiest
    if line := judged_line(data):
        yield JUDGED, number(data["hidden_positives"]["this_filter"]["judged"]["hidden"]), line
    yield from sample_rows(data)
    yield from judging_rows(data)
    yield from setting_rows(data)
    worst = ", ".join(f"{w['query_id']} {w['doc_id']}" for w in bad["worst"][:3])
    yield "suspected bad positives", number(bad["count"]), worst and f"worst: {worst}"
    yield from ((meaning, number(bad[name]), "") for name, meaning in _BAD_POSITIVES.items() if bad[name])


def _embedding(found: dict[str, Any]) -> str:
    """Return in a line how many documents have vectors, and the recall that this costs."""
    recall = found["recall"]
    line = f"embedded {found['embedded']:,} of {found['documents']:,} documents; recall of the dense top "
    if recall["value"] is None:
        return f"{line}{recall['top_k']:,} unknown: {recall['reason']}"
    low, high = recall["interval"]
    line += f"{recall['top_k']:,}: {recall['value']:.2f} ({low:.2f}-{high:.2f})"
    return line + (f", estimated from {found['by_chance']:,} random documents" if found["by_chance"] else "")


def _draw_previous(data: dict[str, Any]) -> None:
    meanings = {
        "then": "its negatives, by its model",
        "now": "its negatives, by the present model",
        "new": "the present negatives",
    }
    rows = ((k, number(data[k]["score"]), number(data[k]["hardness"]), meaning) for k, meaning in meanings.items())
    draw_table("\nAgainst the earlier run", ("negatives", "score", "hardness", ""), rows)
    names = ("churn", "rows_changed", "overlap")
    shares = ", ".join(f"{name.replace('_', ' ')} {number(data[name])}" for name in names)
    say(f"{data['queries']:,} queries in {data['rows']:,} rows compared: {shares}")
    say(f"of its negatives: {', '.join(f'{count:,} {name}' for name, count in data['fates'].items())}")
    if data["replace"] == "easy":
        say(f"{data['stayed']:,} stayed; {data['no_room']:,} hard ones left out (row full or document used up)")
