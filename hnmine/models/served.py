"""Teachers that a server computes, by the route /embeddings of OpenAI; and what tells one served model from another."""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from hnmine.config.models import EmbedConfig, Kind, RescoreConfig, TeacherTable
from hnmine.config.served import ServedModel
from hnmine.display import one_line, shorten
from hnmine.errors import ConfigError, ModelError, ServerError
from hnmine.models.http_client import HttpClient, Requests, tokens_of

SERVED_ROWS = 1024
"""Rows of a cell and of a file: what is paid again at most where a run is stopped. Requests hold texts of one cell."""
PROBE = "Hard negatives are documents that a search ranks high for a query and that do not answer it."
"""The text whose vector tells one model from another."""
TOLERANCE = 0.0141
"""Largest distance of two probe vectors of the same model, relative to their length: a cosine of 0.9999."""
BYTES_A_TOKEN = 4
"""UTF-8 bytes that are taken for a token, as no tokenizer is at hand; 3 to 5 in English."""
STATED = ("id", "root", "parent", "revision", "owned_by", "backend", "dtype", "quantization", "max_model_len")
"""What a server says of a model in /models, as far as it stays the same while the model does."""
_ADVICE = (
    "; if a text is too long for the model, shorten it or let the server cut it; if the request is too large, lower "
    "{table}.request_texts or {table}.request_tokens"
)
Identity = dict[str, Any]
"""What identifies a served model in content keys, as JSON values: `model`, its name; `stated`, what the server says of
it; `size` and `probe`, the numbers of its answer to a probe, as base64 of float32."""


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
            raise ModelError(f"{where}: asked for the vectors of {len(rows)} texts, and got {len(found)} of others")
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


def listed_model(client: HttpClient, settings: ServedModel, table: str) -> tuple[str, dict[str, Any]]:
    """Return the name of the model to ask for, and what the server says of it in /models; nothing if it has no list.

    Raises:
        ServerError: `served_model` is not given, and the server does not list exactly one model.
    """
    answer = client.get("/models")
    entries = answer.get("data") if isinstance(answer, dict) else answer
    entries = entries if isinstance(entries, list) else []
    listed = [one for one in entries if isinstance(one, dict) and isinstance(one.get("id"), str)]
    name = settings.served_model
    if name is None:
        names = sorted({one["id"] for one in listed})
        if len(names) != 1:
            some = f"{len(names)} models: {', '.join(names[:12])}" if names else "no models"
            raise ServerError(f"{table}.model {client.server} lists {some}; name one in {table}.served_model")
        name = names[0]
    own = next((one for one in listed if one["id"] == name), {})
    return name, {key: own[key] for key in STATED if isinstance(own.get(key), str | int | float | bool)}


def identify(
    client: HttpClient, settings: ServedModel, table: str, probe: Callable[[str], np.ndarray],
    known: Iterable[Identity] = (),
) -> Identity:  # fmt: skip
    """Return what identifies the model that a server has now, in two requests.

    Of the `known` ones, from earlier runs, that one is returned which the server states the same of, and whose probe
    differs from the present one by float rounding only (`TOLERANCE`): so noise changes no content key, and the
    distance is always to what was first recorded.

    Args:
        client: of any route.
        settings: the table that names the server.
        table: its name, for messages.
        probe: returns numbers by which the model of a name can be told, such as the vector of a text.
        known: what earlier runs recorded, the first taken first.

    Raises:
        ServerError: the server cannot be reached, refuses, or lists no model or several.
    """
    name, stated = listed_model(client, settings, table)
    numbers = np.asarray(probe(name), dtype="<f4")
    found = {
        "encoder": "served", "model": name, "stated": stated, "size": len(numbers),
        "probe": base64.b64encode(numbers.tobytes()).decode(),
    }  # fmt: skip
    return next((one for one in known if _same(one, found, numbers)), found)


def _same(known: Identity, found: Identity, numbers: np.ndarray) -> bool:
    if any(known.get(name) != found[name] for name in ("encoder", "model", "stated", "size")):
        return False
    before = np.frombuffer(base64.b64decode(known["probe"]), dtype="<f4").astype(np.float64)
    return bool(np.linalg.norm(before - numbers) <= TOLERANCE * np.linalg.norm(before))


def identity_or_known(
    config: EmbedConfig | RescoreConfig,
    table: str,
    known: Sequence[Identity],
    find: Callable[[Sequence[Identity]], Identity],
    *,
    ask: bool = True,
) -> Identity:
    """Return what identifies a served model.

    Where the server does not answer, or its key is missing, a known one of the same name stands in for it: a run that
    has all that the server is asked for needs no server. A run that needs more fails at the first of it.

    Args:
        config: the model's table.
        table: its name.
        known: what earlier runs recorded.
        find: asks the server, given those of the known ones that it may have; see `identify`.
        ask: whether the server may be asked; if not, the first known one is returned.

    Raises:
        ConfigError: the environment variable with the key is not set, and none is known.
        ServerError: the server does not answer as it should, and none is known.
        ModelError: the server gives no usable answer; or it may not be asked, and none is known.
    """
    usable = [one for one in known if config.served_model in (None, one.get("model"))]
    if not ask:
        if usable:
            return usable[0]
        raise ModelError(
            f"{table}.model {config.model}: the server was not asked what model it has; `hnmine run` asks it"
        )
    try:
        return find(usable)
    except (ConfigError, ServerError):
        if usable:
            return usable[0]
        raise


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
