"""Requests to a judge: candidates of one query under letters in random order, and the file that says which they are."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from hnmine.commands.judge.templates import TEMPLATES, Template
from hnmine.config.models import MAX_ASKED, JudgeTable, TemplateName
from hnmine.errors import InputError
from hnmine.readers.json_rows import json_objects
from hnmine.readers.lines import read_lines
from hnmine.storage.input_files import Source, find_sources

URL = "/v1/chat/completions"
_CONTROL = re.compile(r"<(?=[|｜]|/?s>|(?:start|end)_of_)|\[(?=/?INST\])")
"""Beginnings of the marks with which chat templates separate messages."""
_SEPARATORS = 64
"""Tokens of a chat template at most, for two messages."""


@dataclass(frozen=True)
class Candidate:
    """A document to judge.

    Attributes:
        doc_id: its id.
        text: its text as the judge sees it.
        fields: what the line of its judgement has besides, such as whether it is a negative of the run.
        key: name of what is asked about it: the same in every request that asks the same of it, whichever other
            candidates are in the request; empty before a request is made.
    """

    doc_id: str
    text: str
    fields: dict[str, Any]
    key: str = ""


@dataclass(frozen=True)
class Question:
    """A request: some candidates of one query.

    Attributes:
        custom_id: its name, from the keys of its candidates in their order.
        query_id: the query's id.
        judge: name of the model.
        template: the way of asking.
        candidates: in the order in which the judge sees them, the first under the letter A.
        body: the request as the server gets it; empty if read from a file.
    """

    custom_id: str
    query_id: str
    judge: str
    template: TemplateName
    candidates: tuple[Candidate, ...]
    body: dict[str, Any]

    @property
    def letters(self) -> list[str]:
        """The candidates' letters."""
        return list(ascii_uppercase[: len(self.candidates)])

    @property
    def most_tokens(self) -> int:
        """The most tokens that the request can take, its reply included.

        A token stands for one byte of the request at least, beside those with which a chat template separates messages.
        """
        limit = int(self.body.get("max_completion_tokens", self.body.get("max_tokens", 0)))
        return len(json.dumps(self.body, ensure_ascii=False).encode()) + _SEPARATORS + limit


@dataclass(frozen=True)
class Texts:
    """What is asked about, in the order in which the judge sees it.

    Attributes:
        query_id: the query's id.
        query: its text.
        positives: texts of labelled positives.
        candidates: the documents, with their whole texts.
    """

    query_id: str
    query: str
    positives: list[str]
    candidates: list[Candidate]


def make_question(texts: Texts, judge: JudgeTable, model: str) -> Question:
    """Return the request for some candidates of a query.

    All texts are strings of one JSON object, so none of them can end before its end, and marks of chat templates in
    them are escaped.

    Args:
        texts: at most `MAX_ASKED` candidates.
        judge: template, longest text, and the form of requests.
        model: name of the model in requests.
    """
    shown = replace(
        texts,
        query=cut(texts.query, judge.text_length),
        positives=[cut(text, judge.text_length) for text in texts.positives],
        candidates=[replace(one, text=cut(one.text, judge.text_length)) for one in texts.candidates],
    )
    # all but the candidates, in a request about an empty one
    common = _digest([texts.query_id, _body(replace(shown, candidates=[Candidate("", "", {})]), judge, model)])
    candidates = tuple(replace(one, key=_digest([common, one.doc_id, one.text])) for one in shown.candidates)
    custom_id = _digest([one.key for one in candidates])
    return Question(custom_id, texts.query_id, model, judge.template, candidates, _body(shown, judge, model))


def _body(shown: Texts, judge: JudgeTable, model: str) -> dict[str, Any]:
    """Return a request as the server gets it, about texts that are cut."""
    template = TEMPLATES[judge.template]
    letters = list(ascii_uppercase[: len(shown.candidates)])
    asked = {
        "query": shown.query,
        "relevant": shown.positives,
        "candidates": {letter: one.text for letter, one in zip(letters, shown.candidates, strict=True)},
    }
    data = _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(asked, ensure_ascii=False, indent=1))
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": template.instructions}, {"role": "user", "content": data}],
        "temperature": 0,
        "max_tokens": judge.answer_tokens * len(letters),
        **_reply_format(judge, template, letters),
    }
    if "max_completion_tokens" in judge.request:
        del body["max_tokens"]
    return body | judge.request


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=12).hexdigest()


def _reply_format(judge: JudgeTable, template: Template, letters: list[str]) -> dict[str, Any]:
    if judge.reply_format == "text":
        return {}
    if judge.reply_format == "json_object":
        return {"response_format": {"type": "json_object"}}
    schema = {"name": "judgements", "strict": True, "schema": template.schema_of(letters)}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def cut(text: str, length: int) -> str:
    """Return a text of at most `length` characters; of a longer one the beginning, and a sign that it was cut."""
    return text if len(text) <= length else f"{text[: length - 2].rstrip()} …"


def batch_lines(questions: Iterable[Question]) -> Iterator[str]:
    """Yield each request as a line of a file for OpenAI's batch interface."""
    for one in questions:
        line = {"custom_id": one.custom_id, "method": "POST", "url": URL, "body": one.body}
        yield json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"


def asked_path(path: Path) -> Path:
    """Return the file beside a file of requests that says what they are about: requests.asked.jsonl."""
    return path.with_name(f"{path.stem}.asked.jsonl")


def asked_lines(questions: Iterable[Question]) -> Iterator[str]:
    """Yield a line for each request: its name, query, judge and template, and the candidates in their order."""
    for one in questions:
        line = {
            "custom_id": one.custom_id,
            "query_id": one.query_id,
            "judge": one.judge,
            "template": one.template,
            "candidates": [asdict(candidate) for candidate in one.candidates],
        }
        yield json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"


def read_asked(path: Path) -> list[Question]:
    """Return the requests that a file of `asked_lines` describes, without their bodies.

    Raises:
        InputError: the file is missing, or a line is not as it was written.
    """
    source = one_file(path, "--asked")
    found = []
    for number, line in json_objects(source, read_lines(source)):
        try:
            found.append(_asked(line))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{source.name} line {number:,}: not as `hnmine export-judgements --format openai-batch` writes it; "
                "name the file that it wrote beside the requests"
            ) from None
    if not found:
        raise InputError(f"{source.name}: the file is empty")
    return found


def _asked(line: Mapping[str, Any]) -> Question:
    """Return the request of a line; KeyError, TypeError or ValueError if it is no such line."""
    names = [line[key] for key in ("custom_id", "query_id", "judge", "template")]
    candidates = tuple(
        Candidate(one["doc_id"], one["text"], dict(one["fields"]), one["key"]) for one in line["candidates"]
    )
    texts = [*names, *(text for one in candidates for text in (one.doc_id, one.text, one.key))]
    if not all(isinstance(text, str) for text in texts) or not 0 < len(candidates) <= MAX_ASKED:
        raise ValueError
    if names[3] not in TEMPLATES:
        raise ValueError
    json.dumps(line, ensure_ascii=False, allow_nan=False).encode()  # ValueError for what cannot be written again
    return Question(names[0], names[1], names[2], names[3], candidates, {})


def one_file(path: Path, option: str) -> Source:
    """Return a file that an option names.

    Raises:
        InputError: it does not exist.
    """
    return find_sources(str(path), Path.cwd(), option, (".jsonl",))[0]
