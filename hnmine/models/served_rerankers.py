"""Cross-encoders that a server computes, by the route /rerank as Cohere, Jina, infinity, vLLM and TEI have it."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from hnmine.config.models import RescoreConfig
from hnmine.errors import ModelError
from hnmine.models.http_client import HttpClient, Refused, Requests, tokens_of
from hnmine.models.served import estimated_tokens, request_batches
from hnmine.models.served_identity import Identity, identify, identity_or_known

SERVED_QUERIES = 256
"""Queries of a file: what is paid again at most where a run is stopped."""
QUERY = "how are hard negatives found"
DOCUMENTS = (
    "Hard negatives are documents that a search ranks high for a query and that do not answer it.",
    "Hard negatives are found by searching the corpus for every query and leaving out what is relevant.",
    "The search ranks every document of the corpus by the product of two vectors.",
    "Photographic negatives are found in archives, mostly on glass or film.",
    "How are the hard cases of the exam found every year?",
    "The ferry leaves the harbour at noon.",
)
"""The pairs whose scores tell one model from another."""
_ADVICE = (
    "; if a text is too long for the model, shorten it or let the server cut it; if the request is too large, lower "
    "rescore.request_texts or rescore.request_tokens"
)


class Form(NamedTuple):
    """The form of request that a server takes.

    Attributes:
        field: name of the texts: `documents`, or `texts` as TEI has it.
        raw: whether it may be asked for raw scores, without a sigmoid.
    """

    field: str
    raw: bool

    def body(self, model: str, query: str, documents: Sequence[str]) -> dict[str, Any]:
        """Return the request for the scores of documents for one query."""
        found: dict[str, Any] = {"query": query, self.field: list(documents)}
        if self.field == "texts":
            found |= {"return_text": False, "truncate": True}
        else:
            found |= {"model": model, "top_n": len(documents), "return_documents": False}
        return found | ({"raw_scores": True} if self.raw else {})


FORMS = tuple(Form(field, raw) for raw in (True, False) for field in ("documents", "texts"))
"""The forms that are tried, the first that the server does not refuse is taken."""


class ServedReranker:
    """A cross-encoder whose scores a server computes: one request has one query and many documents.

    The server cuts pairs that are too long for its model, or refuses them. Scores are raw where the server gives raw
    ones; else they have mostly passed a sigmoid, and the best may be equal.

    Args:
        config: the table; its `model` is the server's address.
        identity: of the model, by `reranker_identity`.

    Attributes:
        spent: requests and tokens of the scores returned since `take_counts`, without those sent again.

    Raises:
        ConfigError: the environment variable with the key is not set.
    """

    def __init__(self, config: RescoreConfig, identity: Mapping[str, Any]) -> None:
        self.config, self.spent = config, Requests()
        self.client, self.model, self.form = _client(config), identity["model"], Form(**identity["form"])

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the score of each (query, text), float32; consecutive pairs of one query share requests.

        Raises:
            ServerError: the server cannot be reached, refuses, or does not answer as it should.
            ModelError: it gives scores of other documents than it was asked for.
        """
        out, asked = np.empty(len(pairs), dtype=np.float32), self._requests(pairs)
        bodies = (self.form.body(self.model, pairs[rows[0]][0], [pairs[row][1] for row in rows]) for rows in asked)
        for rows, answer in zip(asked, self.client.post_all(bodies, _Scores), strict=True):
            out[rows] = answer.of(len(rows), f"rescore.model {self.client.server} ({self.model})")
            self.spent.answered += 1
            self.spent.tokens += answer.tokens
        return out

    def _requests(self, pairs: Sequence[tuple[str, str]]) -> list[np.ndarray]:
        """Return the places of the pairs of each request, int64; together every place once."""
        found: list[np.ndarray] = []
        for query, places in groupby(range(len(pairs)), key=lambda place: pairs[place][0]):
            own = np.array(list(places), dtype=np.int64)
            room = self.config.request_tokens - int(estimated_tokens(len(query.encode())))
            texts = [pairs[place][1] for place in own]
            found += [own[rows] for rows in request_batches(texts, self.config.request_texts, max(1, room))]
        return found

    def take_counts(self) -> dict[str, int]:
        """Return the requests and tokens of the scores returned since the last call."""
        taken, self.spent = self.spent, Requests()
        return {"requests": taken.answered, "tokens": taken.tokens}


class _Scores:
    """The scores in an answer of /rerank, a list or in `results` or `data`, and the tokens that it says were used."""

    def __init__(self, answer: Any) -> None:
        entries = answer if isinstance(answer, list) else answer["data" if "data" in answer else "results"]
        self.indices = [int(entry["index"]) for entry in entries]
        found = [entry["relevance_score" if "relevance_score" in entry else "score"] for entry in entries]
        with np.errstate(over="ignore"):  # a missing number, as JSON has no NaN, becomes NaN
            self.scores = np.asarray(found, dtype=np.float64).astype(np.float32)
        if self.scores.shape != (len(entries),):
            raise ValueError("a score is no number")
        self.tokens = tokens_of(answer)

    def of(self, count: int, where: str) -> np.ndarray:
        """Return the scores in the order of the documents, whose number is `count`; `where` begins a message."""
        if sorted(self.indices) != list(range(count)):
            raise ModelError(
                f"{where}: asked for the scores of {count} documents, and got {len(self.indices)} scores, of "
                f"{len(set(self.indices) & set(range(count)))} of them"
            )
        out = np.empty(count, dtype=np.float32)
        out[self.indices] = self.scores
        return out


def _client(config: RescoreConfig, *, patient: bool = True) -> HttpClient:
    return HttpClient(config.model, config, "rescore", "/rerank", patient=patient, advice=_ADVICE)


def reranker_identity(config: RescoreConfig, known: Sequence[Identity], *, ask: bool = True) -> Identity:
    """Return what identifies a served cross-encoder, with the `form` of its requests; see `identity_or_known`."""

    def find(usable: Sequence[Identity]) -> Identity:
        client, taken = _client(config, patient=False), list[Form]()

        def probe(name: str) -> np.ndarray:
            form, scores = _first_taken(client, name)
            taken.append(form)
            return scores

        # read after the probe: a known one whose form the server does not take any more is another model
        alike = (one for one in usable if one["form"] == taken[0]._asdict())
        return identify(client, config, "rescore", probe, alike) | {"form": taken[0]._asdict()}

    return identity_or_known(config, "rescore", known, find, ask=ask)


def _first_taken(client: HttpClient, name: str) -> tuple[Form, np.ndarray]:
    """Return the first form of request that a server takes, and its scores of the probe pairs."""

    def ask(form: Form) -> tuple[Form, np.ndarray]:
        answer = client.post(form.body(name, QUERY, DOCUMENTS), _Scores)
        return form, answer.of(len(DOCUMENTS), f"rescore.model {client.server} ({name})")

    refused: list[Refused] = []
    for form in FORMS:
        try:
            return ask(form)
        except Refused as error:
            refused.append(error)
    by_documents, by_texts = refused[-2:]
    # a server that takes `documents` says that they are missing, and its reason is in the answer before
    raise by_documents if "documents" in str(by_texts) else by_texts
