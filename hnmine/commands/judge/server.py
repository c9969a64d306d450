"""A judge that is asked over HTTP: `/chat/completions` as OpenAI and most servers of models have it."""

from typing import Any

from hnmine.config.tables import JudgeTable
from hnmine.errors import ConfigError, few
from hnmine.models.http_client import HttpClient, Refused

ROUTE = "/chat/completions"


class ChatServer:
    """A model behind an address.

    Args:
        judge: the table that names it.
        table: the table's name, for messages.

    Attributes:
        model: its name in requests.

    Raises:
        ConfigError: the table names no model, and the server does not list exactly one; or the key is missing.
        ServerError: the server cannot be reached.
    """

    def __init__(self, judge: JudgeTable, table: str) -> None:
        assert judge.model is not None
        self._client = HttpClient(judge.model, judge, table, ROUTE)
        self.model = judge.served_model or self._listed(table)

    def _listed(self, table: str) -> str:
        """Return the only model that the server lists."""
        answer = self._client.get("/models")
        listed = answer.get("data") if isinstance(answer, dict) else None
        names = [one["id"] for one in listed or () if isinstance(one, dict) and isinstance(one.get("id"), str)]
        if len(names) == 1:
            return str(names[0])
        found = f"lists {few(names)}" if names else "lists no model"
        raise ConfigError(f"{table}.served_model: needed, since the server {found}; name the model to ask")

    def send(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to a request as in a line of a batch output; that of a refused request has an error.

        Raises:
            ServerError: the server cannot be used.
        """
        try:
            answer = self._client.post(body, _as_completion)
        except Refused as error:
            return {"response": None, "error": {"message": str(error)}}
        return {"response": {"status_code": 200, "body": answer}, "error": None}


def _as_completion(answer: Any) -> dict[str, Any]:
    if not answer["choices"][0]["message"]:
        raise ValueError("no message")
    return dict(answer)
