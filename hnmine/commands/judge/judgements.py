"""The judgement file that replies give: a line for each candidate of an answered request."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hnmine.commands.judge.questions import Question
from hnmine.commands.judge.replies import Answers, Findings, Said, read_answers
from hnmine.readers.judge_lines import CHOSEN, FAULT, FIRST, JUDGE, REQUEST, SECOND, TEMPLATE, TOKENS, JudgeLine
from hnmine.readers.judgements import EMPTY, IRRELEVANT, RELEVANT, UNSURE

Pair = tuple[str, str]
"""Query id and document id."""
_OPINION = ("judgement", JUDGE, TEMPLATE, "grade", "reason", FAULT, REQUEST, *TOKENS, FIRST, SECOND)
"""The fields of a line that are one judge's; the others say what was judged."""


def judgement_lines(questions: Iterable[Question], answers: Answers, findings: Findings) -> dict[Pair, dict[str, Any]]:
    """Return the line of each candidate, in the order of the requests; those without a reply have none.

    A candidate about which the reply says nothing valid has an empty judgement and a fault.
    """
    lines: dict[Pair, dict[str, Any]] = {}
    for question in questions:
        for candidate, one in zip(question.candidates, read_answers(question, answers, findings), strict=True):
            if one.exchange is None or one.exchange.reply.text is None:
                continue
            pair = question.query_id, candidate.doc_id
            lines[pair] = {
                "query_id": pair[0],
                "doc_id": pair[1],
                **_opinion(one),
                JUDGE: question.judge,
                TEMPLATE: question.template,
                REQUEST: one.exchange.custom_id,
                **dict(zip(TOKENS, one.exchange.reply.tokens, strict=True)),
                **candidate.fields,
            }
    return lines


def _opinion(said: Said) -> dict[str, Any]:
    if said.answer is None:
        return {"judgement": EMPTY, FAULT: said.fault}
    return {"judgement": said.answer.judgement, "grade": said.answer.grade, "reason": said.answer.reason}


def merged(first: Mapping[Pair, JudgeLine], second: Mapping[Pair, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the lines of a first judge, with the second one's judgement in its place where there is one.

    Each line keeps what both judges said: the one that does not decide is under `first`, or under `second` where the
    second judge gave no valid answer.
    """
    for pair, line in first.items():
        other = second.get(pair)
        if other is None:
            yield line.fields
        elif other["judgement"] == EMPTY:
            yield {**line.fields, SECOND: _of_judge(other)}
        else:
            kept = {name: value for name, value in line.fields.items() if name not in _OPINION}
            yield {**kept, **_of_judge(other), FIRST: _of_judge(line.fields)}


def _of_judge(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in _OPINION if name in line}


def counts(lines: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many lines say what, and how many of the negatives of the run are relevant."""
    lines = list(lines)
    said = Counter(line["judgement"] for line in lines)
    return {
        "pairs": len(lines),
        **{word: said[word] for word in (RELEVANT, IRRELEVANT, UNSURE)},
        "unanswered": said[EMPTY],
        "negatives": sum(line.get(CHOSEN) is True for line in lines),
        "negatives_relevant": sum(line.get(CHOSEN) is True and line["judgement"] == RELEVANT for line in lines),
    }
