"""Teachers that a server computes, by the route /embeddings of OpenAI."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from hnmine.config.models import EmbedConfig, Kind, TeacherTable
from hnmine.display import one_line, shorten
from hnmine.errors import ModelError
from hnmine.models.http_client import HttpClient, Requests, tokens_of
from hnmine.models.served_identity import Identity, identify, identity_or_known, listed_model

SERVED_ROWS = 1024
"""Rows of a cell and of a file: what is paid again at most where a run is stopped. Requests hold texts of one cell."""
PROBE = "Hard negatives are documents that a search ranks high for a query and that do not answer it."
"""The text whose vector tells one model from another."""
BYTES_A_TOKEN = 4
"""UTF-8 bytes that are taken for a token, as no tokenizer is at hand; 3 to 5 in English."""
_ADVICE = (
    "; if a text is too long for the model, shorten it or let the server cut it; if the request is too large, lower "
    "{table}.request_texts or {table}.request_tokens"
)


class UnusableVector(ModelError):
    """The vector of one text cannot be used; `place` is the text's place among those that were encoded."""

    def __init__(self, message: str, place: int) -> None:
        super().__init__(message)
        self.place = place


class ServedEncoder:
    """An encoder whose vectors a server computes.

    The server cuts texts that are too long for its model, or refuses them.

    Args:
        config: the table; its `model` is the server's address.
        table: the table's name, for messages.
        identity: what the model is known by; its name and dimension are then not asked for.

    Attributes:
        spent: requests and tokens of the vectors returned since `take_counts`, without those sent again.

    Raises:
        ConfigError: the environment variable with the key is not set.
        ServerError: the server cannot be reached, or lists no model or several.
    """

    cell_rows = SERVED_ROWS

    def __init__(
        self, config: EmbedConfig, table: TeacherTable = "embed", identity: Mapping[str, Any] | None = None
    ) -> None:
        self.config, self.table, self.spent = config, table, Requests()
        self.client = _client(config, table)
        self.model = identity["model"] if identity else listed_model(self.client, config, table)[0]
        self.dim: int | None = identity["size"] if identity else None

    def prepare(self, texts: Sequence[str], kind: Kind) -> Callable[[Callable[[int], None]], np.ndarray]:
        """Return a function that returns the texts' vectors; the first requests are sent now."""
        prompt = self.config.prompt(kind)
        asked = [prompt + text for text in texts]
        batches = request_batches(asked, self.config.request_texts, self.config.request_tokens)
        bodies = (_body(self.config, self.model, [asked[row] for row in rows]) for rows in batches)
        return partial(self._collect, asked, batches, self.client.post_all(bodies, _Answer))

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors of the texts, each with the prompt of its kind before it."""
        return self.prepare(texts, kind)(lambda rows: None)

    def take_counts(self) -> dict[str, int]:
        """Return the requests and tokens of the vectors returned since the last call."""
        taken, self.spent = self.spent, Requests()
        return {"requests": taken.answered, "tokens": taken.tokens}

    def _collect(
        self, texts: list[str], batches: list[np.ndarray], answers: Iterator["_Answer"], tick: Callable[[int], None]
    ) -> np.ndarray:
        out = np.empty((0, self.dim or 0), dtype=np.float32)
        try:
            for rows, answer in zip(batches, answers, strict=True):
                vectors = self._checked(answer, rows, texts)
                if not len(out):
                    out = np.empty((len(texts), vectors.shape[1]), dtype=np.float32)
                out[rows] = vectors
                self.spent.answered += 1
                self.spent.tokens += answer.tokens
                tick(len(rows))
        except BaseException:
            self.client.stop()  # also the requests that were begun for the next texts
            raise
        return out

    def _checked(self, answer: "_Answer", rows: np.ndarray, texts: list[str]) -> np.ndarray:
        """Return the vectors of a request's texts in their order, after checking their number and numbers."""
        found, where = answer.vectors, f"{self.table}.model {self.client.server} ({self.model})"
        if answer.places != list(range(len(rows))):
            numbers = f"{answer.places[:12]}{' ...' if len(found) > 12 else ''}"
            raise ModelError(
                f"{where}: asked for the vectors of {len(rows)} texts, and got {len(found)} with the indices {numbers}"
            )
        for place, vector in enumerate(found):
            shown = f"the text that begins {shorten(one_line(texts[rows[place]]), 60)!r}"
            if vector.ndim != 1 or not len(vector):
                raise UnusableVector(
                    f"{where}: no vector, but an array of shape {vector.shape} for {shown}", rows[place]
                )
            self.dim = self.dim or len(vector)
            if len(vector) != self.dim:
                raise UnusableVector(
                    f"{where}: a vector of {len(vector)} numbers for {shown}, where others have {self.dim}", rows[place]
                )
            if not np.isfinite(vector).all():
                raise UnusableVector(f"{where}: the vector of {shown} holds numbers that are not finite", rows[place])
        return np.stack(found)


class _Answer:
    """The vectors in an answer of /embeddings, ordered by their `index`, and the tokens that it says were used."""

    def __init__(self, answer: Any) -> None:
        entries = list(answer["data"])
        indexed = [(int(entry.get("index", at)), entry["embedding"]) for at, entry in enumerate(entries)]
        indexed.sort(key=lambda pair: pair[0])
        self.places = [place for place, _ in indexed]
        self.vectors = [_vector(value) for _, value in indexed]
        self.tokens = tokens_of(answer)


def _vector(value: Any) -> np.ndarray:
    """Return a vector as float32: from base64 of little-endian float32, or from a list of numbers."""
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4").astype(np.float32)
    with np.errstate(over="ignore"):
        return np.asarray(value, dtype=np.float64).astype(np.float32)  # None, as JSON has no NaN, becomes NaN


def _only_vector(answer: Any) -> np.ndarray:
    """Return the vector in the answer about a single text; ValueError if there is none that can be used."""
    (vector,) = _Answer(answer).vectors
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
        raise ValueError("one vector of finite numbers expected")
    return vector


def _body(config: EmbedConfig, model: str, texts: Sequence[str]) -> dict[str, Any]:
    return {"model": model, "input": list(texts), "encoding_format": config.encoding_format}


def _client(config: EmbedConfig, table: TeacherTable, *, patient: bool = True) -> HttpClient:
    advice = _ADVICE.format(table=table)
    return HttpClient(config.model, config, table, "/embeddings", patient=patient, advice=advice)


def estimated_tokens(size: float) -> float:
    """Return the tokens of texts of so many UTF-8 bytes, as far as they can be told without a tokenizer."""
    return size / BYTES_A_TOKEN


def request_batches(texts: Sequence[str], most: int, tokens: int) -> list[np.ndarray]:
    """Cut texts, sorted by falling length and then by row, into requests.

    Args:
        texts: any number.
        most: texts of a request, at least 1.
        tokens: estimated tokens of a request, which only a single text may exceed.

    Returns:
        the rows of each request, int64; together every row once.
    """
    counts = np.array([max(1.0, estimated_tokens(len(text.encode()))) for text in texts])
    batches: list[list[int]] = []
    room = 0.0
    for row in np.argsort(-counts, kind="stable").tolist():
        if not batches or len(batches[-1]) == most or counts[row] > room:
            batches.append([])
            room = float(tokens)
        batches[-1].append(row)
        room -= counts[row]
    return [np.array(batch, dtype=np.int64) for batch in batches]


def teacher_identity(
    config: EmbedConfig, table: TeacherTable, known: Sequence[Identity], *, ask: bool = True
) -> Identity:
    """Return what identifies a served teacher; arguments and errors are those of `identity_or_known`."""

    def find(usable: Sequence[Identity]) -> Identity:
        client = _client(config, table, patient=False)

        def probe(name: str) -> np.ndarray:
            return client.post(_body(config, name, [PROBE]), _only_vector)

        return identify(client, config, table, probe, usable)

    return identity_or_known(config, table, known, find, ask=ask)
