"""The commands that ask a judge: requests written to a file, replies read from files, or both by a server."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hnmine.commands.export_judgements import NUMBER, ExportOptions, refuse_existing
from hnmine.commands.finished_run import FinishedRun, finished_run
from hnmine.commands.judge.ask import Asking, Budget, Spent, reply_log
from hnmine.commands.judge.judgements import Pair, counts, judgement_lines, merged
from hnmine.commands.judge.questions import Question, asked_lines, asked_path, batch_lines, one_file, read_asked
from hnmine.commands.judge.replies import Findings, Reply, named_findings, read_replies
from hnmine.commands.judge.selection import select, select_again
from hnmine.commands.judge.server import ChatServer
from hnmine.config.models import JudgeTable
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, InputError, OutputError
from hnmine.readers.json_rows import json_objects
from hnmine.readers.judge_lines import FIRST, SECOND, JudgeLine, read_judge_lines
from hnmine.readers.judgements import EMPTY, RELEVANT
from hnmine.readers.lines import read_lines
from hnmine.runtime.engines import Progress
from hnmine.storage.input_files import find_sources
from hnmine.storage.store import write_text

MANY = 10**9
"""Candidates where only the budget limits them."""
SampleName = Literal["negatives", "worth", "random"]
STAGES_READ = ("ingest", "filter", "emit")


class JudgeOptions(NamedTuple):
    """What a judge is asked about, and what may be spent.

    Attributes:
        number: largest number of candidates; None: `NUMBER`, or any number within a budget.
        per_query: largest number of one query; None: as many as one request holds.
        sample: what to ask about: the negatives that are most worth judging, all candidates that are, or a random
            sample of the negatives.
        seed: of the sample; None: the run's.
        again: judgements of a first judge: a second one is asked about what they call relevant.
        budget: requests and tokens that may be spent.
        replace: whether an existing file may be replaced.
    """

    number: int | None = None
    per_query: int | None = None
    sample: SampleName = "negatives"
    seed: int | None = None
    again: Path | None = None
    budget: Budget = Budget()
    replace: bool = False

    def judge(self, config: Config) -> tuple[str, JudgeTable]:
        """Return the path and the content of the table of the judge that is asked."""
        second = self.again is not None and config.judge.second is not None
        return "judge.second" if second else "judge", config.judge.table(again=self.again is not None)


def export_requests(config: Config, path: Path, options: JudgeOptions, source: Path | None = None) -> dict[str, Any]:
    """Write requests to a judge as a file for OpenAI's batch interface, and beside it what they are about.

    Raises:
        ConfigError: the name of the model is missing; or the requests would replace the judgements of the first judge.
        OutputError: a file exists already.
        InputError: nothing is left to judge.
        IncompleteStage: the run is not complete as far as emit.
    """
    table, judge = options.judge(config)
    for file in (path, asked_path(path)):
        refuse_existing(file, replace=options.replace)
    if judge.served_model is None:
        raise ConfigError(f"{table}.served_model: needed, since each line of the file names the model that is asked")
    run, first = finished_run(config, source, STAGES_READ), _first(path, options)
    questions = _select(run, options, judge.served_model, first)[: options.budget.requests]
    write_text("".join(asked_lines(questions)), asked_path(path))
    write_text("".join(batch_lines(questions)), path)
    return {
        "path": str(path),
        "asked": str(asked_path(path)),
        "judge": judge.served_model,
        "template": judge.template,
        "requests": len(questions),
        "candidates": sum(len(one.candidates) for one in questions),
        "queries": len({one.query_id for one in questions}),
        "most_tokens": sum(one.most_tokens for one in questions),
        **run.differences,
    }


def read_batch(path: Path, files: Sequence[str], asked: Path, options: JudgeOptions) -> dict[str, Any]:
    """Write the judgements that the replies of a batch give.

    Args:
        path: the file of judgements.
        files: the replies: files, folders, globs, URLs.
        asked: the file that `export_requests` wrote beside the requests.
        options: of which `again` and `replace` count.

    Raises:
        InputError: a file is missing or cannot be read, or no reply belongs to the requests.
        OutputError: `path` holds judgements of other candidates.
    """
    first = _first(path, options)
    questions = read_asked(asked)
    _refuse_others(path, questions, first, options)
    findings = Findings()
    sources = find_sources(list(files), Path.cwd(), "--replies", (".jsonl",))
    found = read_replies(sources, {one.custom_id: one for one in questions}, findings)
    if not found:
        names = ", ".join(one.name for one in sources)
        raise InputError(f"{names}: no reply to the requests of {asked}; name the files that belong together")
    named = {"judge": questions[0].judge, "template": questions[0].template}
    return named | _write(path, (questions, found, findings), first, stopped=False)


def ask_server(
    config: Config, path: Path, options: JudgeOptions, progress: Progress, source: Path | None = None
) -> dict[str, Any]:
    """Ask the judge of the config about candidates of a finished run, and write its judgements.

    Replies are kept beside the file of judgements as they come; only requests that have none are sent.

    Raises:
        ConfigError: the config names no server.
        ServerError: the server cannot be used.
        OutputError: `path` holds judgements of other candidates, or a file cannot be written.
        InputError: nothing is left to judge.
        IncompleteStage: the run is not complete as far as emit.
    """
    table, judge = options.judge(config)
    if judge.model is None:
        raise ConfigError(
            f'{table}.model: needed to ask a server: set it to an address such as "http://localhost:8000/v1"; to read '
            "replies from files, give --replies and --asked"
        )
    run, first = finished_run(config, source, STAGES_READ), _first(path, options)
    server = ChatServer(judge, table)
    questions = _select(run, options, server.model, first)
    _refuse_others(path, questions, first, options)
    findings = Findings()
    with reply_log(replies_path(path)) as log:
        known = find_sources(log.name, Path.cwd(), "--path", (".jsonl",))
        found = read_replies(known, {one.custom_id: one for one in questions}, Findings())
        spent = Spent(options.budget)
        stopped = Asking(server.send, server.stop, log, found, spent, judge.requests_in_flight, progress).ask(questions)
    asked = [one for one in questions if one.custom_id in found] if stopped else questions
    result = _write(path, (asked, found, findings), first, stopped=stopped)
    named = {"judge": server.model, "template": judge.template}  # also where the budget allowed no request
    return {**result, **named, "requests_in_all": len(questions), **run.differences}


def replies_path(path: Path) -> Path:
    """Return the file beside a file of judgements that keeps a server's replies: judged.replies.jsonl."""
    return path.with_name(f"{path.stem}.replies.jsonl")


def _first(path: Path, options: JudgeOptions) -> dict[Pair, JudgeLine] | None:
    """Return the lines that a first judge gave, by query and document; None if this is the first one.

    Raises:
        ConfigError: its file is also the one to write.
        InputError: it is missing, or `hnmine judge` did not write it.
    """
    if options.again is None:
        return None
    if options.again.absolute() == path.absolute():
        raise ConfigError(f"--path: {path} has the judgements of the first judge; choose another file")
    source = one_file(options.again, "--again")
    found = {(line.query_id, line.doc_id): line for line in read_judge_lines(source)}
    if not found:
        raise InputError(f"{source.name}: has no line of a judge; name a file that `hnmine judge` wrote")
    return found


def _select(
    run: FinishedRun, options: JudgeOptions, model: str, first: Mapping[Pair, JudgeLine] | None
) -> list[Question]:
    """Return the requests, the most valuable first; `first` are the lines of a first judge, see `_first`.

    Raises:
        ConfigError: the run has images; or options that choose candidates are given beside `again`.
        InputError: nothing is left to judge.
    """
    context = run.context
    if context.config.input.uses_images:
        raise ConfigError("judge: a language model is asked about texts, and this run has images")
    _, judge = options.judge(context.config)
    if first is not None:
        defaults = JudgeOptions()._asdict()
        given = [name for name in ("number", "per_query", "sample", "seed") if getattr(options, name) != defaults[name]]
        if given:
            raise ConfigError(
                f"judge: {', '.join('--' + name.replace('_', '-') for name in given)}: not with --again, which asks "
                "about all that the first judge calls relevant; leave it out, or set a budget such as --max-requests"
            )
        found = select_again(context, first, judge, model)
        why = f"{options.again} calls nothing relevant"
    else:
        number = options.number or (NUMBER if options.budget == Budget() else MANY)
        per_query, sample = options.per_query or judge.candidates, options.sample
        wanted = ExportOptions(number, per_query, False, sample == "random", options.seed, sample == "negatives")
        found = select(context, wanted, judge, model)
        why = "all are labelled, judged or rejected by checks"
        if sample != "worth":
            why = "the run has no negatives" if sample == "random" else "the run has none that is not judged"
    if not found:
        raise InputError(f"{context.out}: no candidate is left to judge: {why}")
    return found


def _refuse_others(
    path: Path, questions: list[Question], first: Mapping[Pair, JudgeLine] | None, options: JudgeOptions
) -> None:
    """Check that an existing file holds no judgement that would be lost.

    Raises:
        OutputError: it does.
    """
    if options.replace or not path.exists():
        return
    own = {(one.query_id, candidate.doc_id) for one in questions for candidate in one.candidates} | set(first or ())
    source = one_file(path, "--path")
    for number, line in json_objects(source, read_lines(source)):
        pair = line.get("query_id"), line.get("doc_id")
        is_own = all(isinstance(name, str) for name in pair) and pair in own
        if line.get("judgement") not in (None, EMPTY) and not is_own:
            raise OutputError(
                f"{source.name} line {number:,}: a judgement that the judge is not asked for, and that would be lost; "
                "choose another --path, or pass --force"
            )


def _write(
    path: Path,
    said: tuple[Sequence[Question], Mapping[str, Reply], Findings],
    first: Mapping[Pair, JudgeLine] | None,
    *,
    stopped: bool,
) -> dict[str, Any]:
    """Write the file of judgements, and return what is in it for the terminal."""
    questions, replies, findings = said
    own = judgement_lines(questions, replies, findings)
    lines = list(own.values()) if first is None else list(merged(first, own))
    write_text("".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines), path)
    answered = [
        reply for one in questions if (reply := replies.get(one.custom_id)) is not None and reply.text is not None
    ]
    known = [reply.tokens for reply in answered if None not in reply.tokens]
    found: dict[str, Any] = {
        "path": str(path),
        "requests": len(answered),
        "without_usage": len(answered) - len(known),
        "prompt_tokens": sum(one[0] or 0 for one in known),
        "completion_tokens": sum(one[1] or 0 for one in known),
        **counts(own.values()),
        "findings": named_findings(findings),
        "stopped": stopped,
        "sampled": any("inclusion_probability" in line for line in lines),
        "again": None,
    }
    if first is not None:
        found["again"] = {
            "asked": sum(line.judgement == RELEVANT for line in first.values()),
            "confirmed": sum(FIRST in line and line["judgement"] == RELEVANT for line in lines),
            "overturned": sum(FIRST in line and line["judgement"] != RELEVANT for line in lines),
            "no_answer": sum(SECOND in line for line in lines),
        }
    return found
