"""Replies of a judge, in the format of OpenAI's batch interface, and what they say of each candidate."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from string import ascii_uppercase
from typing import Any, NamedTuple

from hnmine.commands.judge.questions import Candidate, Question
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

    Of several replies to a request the first counts. A line without a response and an error, as of a file of requests,
    is no reply.
    """
    found: dict[str, Reply] = {}
    for source in sources:
        for number, line in read_lines(source):
            if not line.strip():
                continue
            record = json_object(line)
            name = record.get("custom_id")
            if not isinstance(name, str) or not record.keys() & {"response", "error"}:
                findings.add(UNREADABLE, f"{source.name} line {number:,}")
            elif name not in asked:
                findings.add(OTHER, name)
            elif name in found and found[name].text is not None:
                findings.add(REPEATED, asked[name].query_id)
            else:
                found[name] = as_reply(record)
    return found


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object in a line; an empty one if the line holds none."""
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


class Exchange(NamedTuple):
    """A request and the reply to it.

    Attributes:
        custom_id: the request's name.
        query_id: its query.
        keys: of its candidates, in their order.
        most_tokens: the most tokens that both can have taken.
        reply: the reply.
    """

    custom_id: str
    query_id: str
    keys: tuple[str, ...]
    most_tokens: int
    reply: Reply

    @classmethod
    def of(cls, question: Question, reply: Reply) -> "Exchange":
        """Return a request with its reply."""
        keys = tuple(one.key for one in question.candidates)
        return cls(question.custom_id, question.query_id, keys, question.most_tokens, reply)


class Answers:
    """Which candidates were asked about, in which request.

    Of several requests about a candidate the first with a reply counts.
    """

    def __init__(self, exchanges: Iterable[Exchange] = ()) -> None:
        self._of: dict[str, Exchange] = {}
        for one in exchanges:
            self.add(one)

    def add(self, one: Exchange) -> None:
        """Add a request with its reply."""
        for key in one.keys:
            if not self.has(key):
                self._of[key] = one

    def asked(self, key: str) -> Exchange | None:
        """Return the request about a candidate; None if there is none. It may lack a reply that has text."""
        return self._of.get(key)

    def has(self, key: str) -> bool:
        """Return whether a candidate was asked about in a request that has a reply."""
        found = self._of.get(key)
        return found is not None and found.reply.text is not None

    def exchanges(self) -> list[Exchange]:
        """Return the requests that count for a candidate, each once."""
        return list({one.custom_id: one for one in self._of.values()}.values())


class Said(NamedTuple):
    """What a reply says of a candidate: an answer, or the name of a fault; and the request with this reply."""

    answer: Answer | None
    fault: str
    exchange: Exchange | None


def read_answers(question: Question, answers: Answers, findings: Findings) -> list[Said]:
    """Return what replies say of each candidate of a request, in their order; faults are noted by query.

    The candidates may have been asked about in other requests than this one.
    """
    values: dict[str, dict[str, list[Any]]] = {}
    found = []
    for candidate in question.candidates:
        asked = answers.asked(candidate.key)
        if asked is not None and asked.custom_id not in values:
            values[asked.custom_id] = _values(asked, findings)
        found.append(_said(question, candidate, asked, values))
    faults = ((one.fault, one.exchange.reply.fault if one.exchange else "") for one in found if one.fault)
    for fault, why in dict.fromkeys(faults):
        findings.add(fault, f"{question.query_id} ({why})" if why else question.query_id)
    return found


def _said(
    question: Question, candidate: Candidate, asked: Exchange | None, values: Mapping[str, Mapping[str, list[Any]]]
) -> Said:
    if asked is None or asked.reply.text is None:
        return Said(None, NO_REPLY, asked)
    given = values[asked.custom_id]
    if not given:
        return Said(None, MALFORMED, asked)
    own = given.get(ascii_uppercase[asked.keys.index(candidate.key)], [])
    if len(own) != 1:
        return Said(None, DOUBLED if own else MISSING, asked)
    answer = TEMPLATES[question.template].answer(_as_dict(own[0]), candidate.text)
    return Said(answer, "" if answer is not None else NOT_ALLOWED, asked)


def _values(asked: Exchange, findings: Findings) -> dict[str, list[Any]]:
    """Return the values that a reply gives under each letter of its request; nothing if it has none of the letters."""
    letters = list(ascii_uppercase[: len(asked.keys)])
    values: dict[str, list[Any]] = defaultdict(list)
    for name, value in _letters(asked.reply.text or "", letters):
        values[name].append(value)
    if set(values) - set(letters):
        findings.add(EXTRA, asked.query_id)
    return {letter: values[letter] for letter in letters if letter in values}


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
