"""A judge for tests that knows the truth, and its replies in the format of a batch output."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from hnmine.commands.judge.questions import Question

WORDS = {
    "better-or-worse": lambda relevant, text: {"verdict": "better" if relevant else "worse"},
    "answers": lambda relevant, text: {"quote": " ".join(text.split()[:4]) if relevant else ""},
    "grades": lambda relevant, text: {"grade": 5 if relevant else 1},
}


def completion(content: str, *, finish: str = "stop", usage: bool = True) -> dict[str, Any]:
    """Return a chat completion with this content."""
    found: dict[str, Any] = {
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}],
    }
    return found | ({"usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}} if usage else {})


def batch_line(custom_id: str, content: str, **more: Any) -> dict[str, Any]:
    """Return a line of a batch output."""
    body = completion(content, **more)
    return {"id": "batch_req_1", "custom_id": custom_id, "response": {"status_code": 200, "body": body}, "error": None}


def content_by(template: str, texts: Mapping[str, str], relevant: Mapping[str, bool]) -> str:
    """Return what a judge says by a template, about texts by letter."""
    said = {letter: {"reason": "so", **WORDS[template](relevant[letter], text)} for letter, text in texts.items()}
    return json.dumps(said, ensure_ascii=False)


def true_content(question: Question, truth: Mapping[str, set[str]]) -> str:
    """Return what a judge says that knows the truth, as relevant documents by query id."""
    pairs = dict(zip(question.letters, question.candidates, strict=True))
    relevant = {letter: one.doc_id in truth[question.query_id] for letter, one in pairs.items()}
    return content_by(question.template, {letter: one.text for letter, one in pairs.items()}, relevant)


def asked_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return query, relevant and candidates of a request."""
    found: dict[str, Any] = json.loads(body["messages"][1]["content"])
    return found


def chat_of(
    truth: Mapping[str, set[str]], queries: Mapping[str, str], corpus: Mapping[str, str]
) -> Callable[[Any], str]:
    """Return a judge that gets requests as a server does, and knows the truth.

    Args:
        truth: relevant documents by query id.
        queries: query ids by text.
        corpus: document ids by text.
    """

    def chat(body: Any) -> str:
        asked = asked_of(body)
        relevant = {
            letter: corpus[text] in truth[queries[asked["query"]]] for letter, text in asked["candidates"].items()
        }
        template = next(name for name in WORDS if f"`{FIELDS[name]}`" in body["messages"][0]["content"])
        return content_by(template, asked["candidates"], relevant)

    return chat


FIELDS = {"better-or-worse": "verdict", "answers": "quote", "grades": "grade"}
