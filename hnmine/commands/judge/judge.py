"""The commands that ask a judge: requests written to a file, replies read from files, or both by a server."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from hnmine.commands.export_judgements import NUMBER, ExportOptions, refuse_existing
from hnmine.commands.finished_run import FinishedRun, finished_run
from hnmine.commands.judge.ask import Asking, Budget, Spent
from hnmine.commands.judge.judgements import Pair, counts, judgement_lines, merged
from hnmine.commands.judge.questions import Question, asked_lines, asked_path, batch_lines, one_file, read_asked
from hnmine.commands.judge.replies import Answers, Exchange, Findings, named_findings, read_replies
from hnmine.commands.judge.reply_log import replies_path, reply_log
from hnmine.commands.judge.selection import Selection, select, select_again
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
from hnmine.storage.store import write_lines

MANY = 10**9
"""Candidates where only the budget limits them."""
SampleName = Literal["negatives", "worth", "random"]
STAGES_READ = ("ingest", "filter", "emit")


class JudgeOptions(NamedTuple):
    """What a judge is asked about, and what may be spent.

    Attributes:
        number: largest number of candidates; None: `NUMBER`, or any number within a budget if `sample` is not random.
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
    selection = _select(run, options, judge.served_model, first)
    write_lines(asked_lines(islice(selection.questions(), options.budget.requests)), asked_path(path))
    found = {"requests": 0, "candidates": 0, "most_tokens": 0}
    query_ids = set()

    def counted(questions: Iterable[Question]) -> Iterator[Question]:
        for one in questions:
            found["requests"] += 1
            found["candidates"] += len(one.candidates)
            found["most_tokens"] += one.most_tokens
            query_ids.add(one.query_id)
            yield one

    write_lines(batch_lines(counted(islice(selection.questions(), options.budget.requests))), path)
    named = {"path": str(path), "asked": str(asked_path(path)), "judge": judge.served_model, "template": judge.template}
    return named | found | {"queries": len(query_ids)} | run.differences


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
    own = {(one.query_id, candidate.doc_id) for one in questions for candidate in one.candidates}
    _refuse_loss(path, _judged(path, options), own | set(first or ()))
    findings = Findings()
    sources = find_sources(list(files), Path.cwd(), "--replies", (".jsonl",))
    found = read_replies(sources, {one.custom_id: one for one in questions}, findings)
    if not found:
        names = ", ".join(one.name for one in sources)
        raise InputError(f"{names}: no reply to the requests of {asked}; name the files that belong together")
    answers = Answers(Exchange.of(one, found[one.custom_id]) for one in questions if one.custom_id in found)
    lines = judgement_lines(questions, answers, findings)
    named = {"judge": questions[0].judge, "template": questions[0].template}
    return named | _write(path, lines, answers, findings, first, options) | {"stopped": False}


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
    selection = _select(run, options, server.model, first)
    others = {pair: number for pair, number in _judged(path, options).items() if pair not in (first or ())}
    _refuse_loss(path, others, others.keys() - selection.lacks(others))
    with reply_log(replies_path(path)) as log:
        answers, todo = _earlier(selection, Answers(log.exchanges()))
        spent = Spent(options.budget)
        for one in answers.exchanges():
            spent.add(one)
        requests_in_all = spent.requests + len(todo)
        asking = Asking(server.send, server.stop, log, answers, spent, judge.requests_in_flight, progress)
        stopped = asking.ask(selection.questions(todo, answers), len(todo))
    findings = Findings()
    lines = judgement_lines(_asked_about(selection, answers), answers, findings)
    result = _write(path, lines, answers, findings, first, options)
    named = {"judge": server.model, "template": judge.template}
    return {**result, **named, "stopped": stopped, "requests_in_all": requests_in_all, **run.differences}


def _earlier(selection: Selection, answers: Answers) -> tuple[Answers, np.ndarray]:
    """Return those answers that are about what is asked now, and the places of the requests that lack some."""
    now, done = Answers(), []
    places = selection.about({one.query_id for one in answers.exchanges()})
    for place, question in zip(places, selection.questions(places), strict=True):
        found = [answers.asked(one.key) for one in question.candidates]
        for one in found:
            if one is not None:
                now.add(one)
        if all(one is not None and one.reply.text is not None for one in found):
            done.append(place)
    return now, np.setdiff1d(np.arange(len(selection)), done)


def _asked_about(selection: Selection, answers: Answers) -> Iterator[Question]:
    """Yield the requests of a selection with those of their candidates that were asked about."""
    for question in selection.questions(selection.about({one.query_id for one in answers.exchanges()})):
        asked = tuple(one for one in question.candidates if answers.asked(one.key) is not None)
        if asked:
            yield replace(question, candidates=asked)


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


def _select(run: FinishedRun, options: JudgeOptions, model: str, first: Mapping[Pair, JudgeLine] | None) -> Selection:
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
        per_query, sample = options.per_query or judge.candidates, options.sample
        # a random sample has a size of its own: a part of it is a sample, too, but another one
        number = options.number or (NUMBER if options.budget == Budget() or sample == "random" else MANY)
        wanted = ExportOptions(number, per_query, False, sample == "random", options.seed, sample == "negatives")
        found = select(context, wanted, judge, model)
        why = "all are labelled, judged or rejected by checks"
        if sample != "worth":
            why = "the run has no negatives" if sample == "random" else "the run has none that is not judged"
    if not len(found):
        raise InputError(f"{context.out}: no candidate is left to judge: {why}")
    return found


def _judged(path: Path, options: JudgeOptions) -> dict[Pair, int]:
    """Return the pairs that an existing file has a judgement of, with their lines; none if it may be replaced."""
    if options.replace or not path.exists():
        return {}
    source = one_file(path, "--path")
    lines = json_objects(source, read_lines(source))
    given = ((number, line) for number, line in lines if line.get("judgement") not in (None, EMPTY))
    return {(str(line.get("query_id")), str(line.get("doc_id"))): number for number, line in given}


def _refuse_loss(path: Path, judged: Mapping[Pair, int], kept: Collection[Pair]) -> None:
    """Check that no judgement of an existing file (`_judged`) would be lost.

    Raises:
        OutputError: some are not among those that are kept.
    """
    lost = [number for pair, number in judged.items() if pair not in kept]
    if lost:
        more = f", and {len(lost) - 1:,} more" if lost[1:] else ""
        raise OutputError(
            f"{path} line {lost[0]:,}{more}: a judgement that the judge is not asked for, and that would be lost; "
            "choose another --path, ask about as much as before (--number, --max-requests), or pass --force, which "
            "removes no reply that was paid for"
        )


def _write(
    path: Path,
    own: Mapping[Pair, dict[str, Any]],
    answers: Answers,
    findings: Findings,
    first: Mapping[Pair, JudgeLine] | None,
    options: JudgeOptions,
) -> dict[str, Any]:
    """Write the file of judgements, and return what is in it for the terminal.

    Args:
        path: of the file.
        own: its lines, without those of a first judge.
        answers: where they come from.
        findings: what is wrong with replies.
        first: lines of a first judge.
        options: of which `replace` counts.

    Raises:
        OutputError: an existing file has other judgements, or the file cannot be written.
    """
    lines = list(own.values()) if first is None else list(merged(first, own))
    _refuse_loss(path, _judged(path, options), own.keys() | set(first or ()))
    write_lines((json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines), path)
    replies = [one.reply for one in answers.exchanges() if one.reply.text is not None]
    known = [reply.tokens for reply in replies if None not in reply.tokens]
    found: dict[str, Any] = {
        "path": str(path),
        "requests": len(replies),
        "without_usage": len(replies) - len(known),
        "prompt_tokens": sum(one[0] or 0 for one in known),
        "completion_tokens": sum(one[1] or 0 for one in known),
        **counts(own.values()),
        "findings": named_findings(findings),
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
