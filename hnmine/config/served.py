"""Settings of models that a server computes, shared by the tables of the config that may name one."""

from typing import Any
from urllib.parse import urlsplit

from hnmine.config.section import MOST_SECONDS, Name, Section, setting

URL_SCHEMES = ("http://", "https://")
"""Beginnings of a `model` that is the address of a server."""


def is_served(model: str) -> bool:
    """Return whether a value of `model` is the address of a server, not a model to load."""
    return model.lower().startswith(URL_SCHEMES)


def address_problem(model: str) -> str | None:
    """Return what is wrong with the address of a server, without what may be secret in it; None if nothing."""
    wrong = "is not an address such as http://localhost:8000/v1"
    if " " in model or not model.isprintable():
        return wrong
    try:
        parts = urlsplit(model)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return wrong
    if not host:
        return "names no server; write for example http://localhost:8000/v1"
    if parts.username is not None or parts.password is not None:
        return "holds a user name or a password; name the environment variable with the key in api_key_env"
    if parts.query or parts.fragment:
        return "has a part after ? or #; leave it out, and name the environment variable with the key in api_key_env"
    return None


class ServedModel(Section):
    """What a table adds whose `model` may be the address of a server. A loaded model uses none of it.

    Of these settings only `served_model` can change what is written.
    """

    served_model: Name | None = setting(
        None, 'model = "http...": name of the model that is asked for (default: the only one that the server lists)'
    )
    api_key_env: Name | None = setting(
        None,
        'model = "http...": name of the environment variable that holds the key, such as OPENAI_API_KEY '
        "(default: no key is sent)",
        no_effect=True,
    )
    requests_in_flight: int = setting(
        8, 'model = "http...": requests that wait for an answer at a time, in each worker', no_effect=True, ge=1, le=256
    )
    timeout: float = setting(
        60.0, 'model = "http...": seconds to wait for an answer', no_effect=True, gt=0, le=MOST_SECONDS
    )
    retries: int = setting(
        6, 'model = "http...": how often a request that failed temporarily is sent again', no_effect=True, ge=0, le=100
    )

    def semantic(self) -> dict[str, Any]:
        """Return the settings for content keys: `served_model` only if it is given, as in keys of older runs."""
        kept = super().semantic()
        if self.served_model is None:
            del kept["served_model"]
        return kept


class ServedTexts(ServedModel):
    """Those of `ServedModel`, and how many texts one request holds."""

    request_texts: int = setting(32, 'model = "http...": texts of a request at most', no_effect=True, ge=1, le=1024)
    request_tokens: int = setting(
        8192,
        'model = "http...": tokens of a request at most, taken to be a quarter of its UTF-8 bytes; '
        "a longer text has a request of its own",
        no_effect=True,
        ge=1,
    )
