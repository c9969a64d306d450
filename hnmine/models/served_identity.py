"""What tells one served model from another: its name, what the server says of it, and its answer to a probe."""

import base64
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hnmine.config.models import EmbedConfig, RescoreConfig
from hnmine.config.served import ServedModel
from hnmine.display import shorten
from hnmine.errors import ConfigError, ModelError, ServerError
from hnmine.models.http_client import HttpClient

TOLERANCE = 0.0141
"""Largest distance of two probe vectors of the same model, relative to their length: a cosine of 0.9999."""
STATED = ("id", "root", "parent", "revision", "owned_by", "backend", "dtype", "quantization", "max_model_len")
"""What a server says of a model in /models, as far as it stays the same while the model does."""
Identity = dict[str, Any]
"""What identifies a served model in content keys, as JSON values: `model`, its name; `stated`, what the server says of
it; `size` and `probe`, the numbers of its answer to a probe, as base64 of float32."""


def listed_model(client: HttpClient, settings: ServedModel, table: str) -> tuple[str, dict[str, Any]]:
    """Return the name of the model to ask for, and what the server says of it in /models; nothing if it has no list.

    Raises:
        ServerError: `served_model` is not given, and the server does not list exactly one model.
    """
    answer = client.get("/models")
    entries = answer.get("data") if isinstance(answer, dict) else answer
    entries = entries if isinstance(entries, list) else []
    models = [one for one in entries if isinstance(one, dict)]
    listed = [one for one in models if isinstance(one.get("id"), str) and _is_plain(one["id"])]
    name = settings.served_model
    if name is None:
        names = sorted({one["id"] for one in listed})
        if len(names) != 1:
            shown = ", ".join(shorten(one, 100) for one in names[:12])
            some = f"{len(names)} models: {shown}" if names else "no models"
            raise ServerError(f"{table}.model {client.server} lists {some}; name one in {table}.served_model")
        name = names[0]
    own = next((one for one in listed if one["id"] == name), {})
    return name, {key: own[key] for key in STATED if _is_plain(own.get(key))}


def _is_plain(value: Any) -> bool:
    """Return whether a value is a finite number, a bool or a text of printable characters."""
    if isinstance(value, str):
        return value.isprintable()
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


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
