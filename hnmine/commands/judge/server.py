"""A judge that is asked over HTTP: `/chat/completions` as OpenAI and most servers of models have it."""

from typing import Any

from hnmine.config.models import JudgeTable
from hnmine.models.http_client import HttpClient, Refused
from hnmine.models.served_identity import listed_model

ROUTE = "/chat/completions"


class ChatServer:
    """A model behind an address.

    Args:
        judge: the table that names it.
        table: the table's name, for messages.

    Attributes:
        model: its name in requests.

    Raises:
        ConfigError: the environment has no such key.
        ServerError: the server cannot be reached; or the table names no model, and it does not list exactly one.
    """

    def __init__(self, judge: JudgeTable, table: str) -> None:
        assert judge.model is not None
        self._client = HttpClient(judge.model, judge, table, ROUTE, patient=False)  # finds a mistyped address at once
        self.model = listed_model(self._client, judge, table)[0]
        self._client.patient = True

    def stop(self) -> None:
        """Send nothing more, and nothing again; answers on their way still come."""
        self._client.stop()

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
