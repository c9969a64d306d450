"""Replies of a judge, in the format of OpenAI's batch interface, and what they say of each candidate."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from hnmine.commands.judge.questions import Question
from hnmine.commands.judge.templates import TEMPLATES, Answer
from hnmine.display import well_formed
from hnmine.readers.lines import read_lines
from hnmine.storage.input_files import Source

NO_REPLY, MALFORMED, MISSING, DOUBLED, NOT_ALLOWED = "no_reply", "malformed", "missing", "doubled", "not_allowed"
FAULTS = {
    NO_REPLY: "the request has no reply, or an error",
    MALFORMED: "the reply is no JSON object with letters of candidates",
    MISSING: "the reply lacks the candidate",
    DOUBLED: "the reply has the candidate several times",
    NOT_ALLOWED: "the reply's value is not one of those asked for",
}
"""Why a candidate has no judgement."""
UNREADABLE, OTHER, REPEATED, EXTRA = "unreadable_lines", "other_requests", "repeated_replies", "extra_letters"
NOTES = {
    UNREADABLE: "lines that are no replies",
    OTHER: "replies to other requests",
    REPEATED: "further replies to the same request, left out",
    EXTRA: "letters that no candidate has, left out",
}
"""What else may be wrong with replies, none of which takes a judgement away."""
_MOST_OBJECTS = 100
"""Opening braces of a reply at which an object is looked for."""
_THOUGHTS = re.compile(r"^.*</think(?:ing)?>", re.DOTALL)


class Reply(NamedTuple):
    """The reply to a request.

    Attributes:
        text: what the model wrote; None if it refused or the request failed.
        fault: why there is no text, or why it may be cut.
        tokens: of the request and of the reply; None where the server did not say.
    """

    text: str | None
    fault: str
    tokens: tuple[int | None, int | None] = (None, None)


@dataclass
class Findings:
    """What is wrong with replies: for each kind, where, in order."""

    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, place: str) -> None:
        """Note one place."""
        self.places[kind].append(well_formed(place))


def read_replies(sources: Iterable[Source], asked: Mapping[str, Question], findings: Findings) -> dict[str, Reply]:
    """Return the reply to each request that has one, by the request's name; an error gives way to a reply.

    Of several replies to a request the first counts.
    """
    found: dict[str, Reply] = {}
    for source in sources:
        for number, line in read_lines(source):
            if not line.strip():
                continue
            record = _object(line)
            name = record.get("custom_id")
            if not isinstance(name, str):
                findings.add(UNREADABLE, f"{source.name} line {number:,}")
            elif name not in asked:
                findings.add(OTHER, name)
            elif name in found and found[name].text is not None:
                findings.add(REPEATED, asked[name].query_id)
            else:
                found[name] = as_reply(record)
    return found


def _object(text: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def as_reply(record: Mapping[str, Any]) -> Reply:
    """Return the reply in a line of a batch output: {"custom_id", "response": {"status_code", "body"}, "error"}."""
    response, error = record.get("response"), record.get("error")
    body = response.get("body") if isinstance(response, dict) else None
    if error or not isinstance(body, dict) or not isinstance(body.get("choices"), list) or not body["choices"]:
        own = body.get("error") if isinstance(body, dict) else None
        return Reply(None, _message(error or own or "no reply"))
    usage = body.get("usage")
    counts = [_count(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    choice = body["choices"][0] if isinstance(body["choices"][0], dict) else {}
    message = choice.get("message") if isinstance(choice.get("message"), dict) else {}
    assert isinstance(message, dict)
    cut = "the reply was cut off; raise judge.answer_tokens" if choice.get("finish_reason") == "length" else ""
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        return Reply("", f"refused: {well_formed(message['refusal'][:100])}", (counts[0], counts[1]))
    return Reply(_text(message.get("content")), cut, (counts[0], counts[1]))


def _message(error: Any) -> str:
    text = error.get("message") if isinstance(error, dict) else error
    return well_formed(" ".join(str(text or error).split())[:200])


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(content: Any) -> str:
    """Return the text of a message, which may be given in parts."""
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return well_formed(content) if isinstance(content, str) else ""


class Said(NamedTuple):
    """What a reply says of a candidate: an answer, or the name of a fault."""

    answer: Answer | None
    fault: str


def read_answers(question: Question, reply: Reply | None, findings: Findings) -> list[Said]:
    """Return what a reply says of each candidate of its request, in their order; faults are noted by query."""
    if reply is None or reply.text is None:
        said = [Said(None, NO_REPLY)] * len(question.candidates)
    else:
        said = _answers(question, reply.text, findings)
    why = f" ({reply.fault})" if reply is not None and reply.fault else ""
    for fault in dict.fromkeys(one.fault for one in said if one.fault):
        findings.add(fault, f"{question.query_id}{why}")
    return said


def _answers(question: Question, text: str, findings: Findings) -> list[Said]:
    letters, template = question.letters, TEMPLATES[question.template]
    values: dict[str, list[Any]] = defaultdict(list)
    for name, value in _letters(text, letters):
        values[name].append(value)
    if not set(values) & set(letters):
        return [Said(None, MALFORMED)] * len(letters)
    if set(values) - set(letters):
        findings.add(EXTRA, question.query_id)
    found = []
    for letter, candidate in zip(letters, question.candidates, strict=True):
        given = values[letter]
        if len(given) != 1:
            found.append(Said(None, DOUBLED if given else MISSING))
            continue
        value = _as_dict(given[0])
        answer = template.answer(value, candidate.text)
        found.append(Said(answer, "" if answer is not None else NOT_ALLOWED))
    return found


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object, with keys that are there several times."""

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> "_Pairs":
        """Return keys and values as a decoder of JSON gives them; escapes in texts may stand for no character."""
        return cls((key, well_formed(value) if isinstance(value, str) else value) for key, value in pairs)


def _as_dict(value: Any) -> Any:
    return dict(value) if isinstance(value, _Pairs) else value


def _letters(text: str, letters: list[str]) -> _Pairs:
    """Return keys and values of the first JSON object in a text that has a candidate's letter among its keys.

    A model may put its thoughts, a sentence, or the fence of a code block around it, or the object into another one.
    """
    text = _THOUGHTS.sub("", text)
    decoder = json.JSONDecoder(object_pairs_hook=_Pairs.of)
    for place in (found.start() for found in islice(re.finditer(r"\{", text), _MOST_OBJECTS)):
        try:
            pairs, _ = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        named = _Pairs((key.strip().upper(), value) for key, value in pairs)
        if {key for key, _ in named} & set(letters):
            return named
    return _Pairs()


def named_findings(findings: Findings) -> dict[str, dict[str, Any]]:
    """Return number and first places of each kind of fault, for a command's answer."""
    return {
        kind: {"count": len(findings.places[kind]), "meaning": meaning, "first": findings.places[kind][:10]}
        for kind, meaning in (FAULTS | NOTES).items()
        if findings.places[kind]
    }
