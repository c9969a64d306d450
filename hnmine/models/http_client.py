"""Client of a server that computes a model: JSON over HTTP, several requests at a time, repeated where that helps.

A client belongs to one table of the config and one route, such as `/embeddings`, `/rerank` or `/chat/completions`:

    client = HttpClient(config.model, config, "rescore", "/rerank")
    for scores in client.post_all(bodies, parse):  # in the order of the bodies
        ...

`parse` takes the decoded answer and returns what the caller wants of it. Where the answer lacks something, it may fail
with KeyError, IndexError, TypeError or ValueError, which becomes a ServerError that names the server; an HnmineError of
its own passes through.

Sent again, at most `retries` times, with pauses that double: what may succeed later, as a refused or broken connection,
no answer in time, a body that is no JSON, and the statuses of `FOR_NOW`. Where the server says how long to wait
(`Retry-After`), all requests of the client wait as long. Anything else ends the work at once with a ServerError.

Requests are sent in threads that the process does not wait for when it ends: Ctrl-C, or an error, ends it at once, even
if the server never answers.

The key is read from the environment variable `api_key_env`, and sent as `Authorization: Bearer`; it is part of no
message, and what a server says of it is masked. Redirects are not followed, since the key would go along.
"""

import itertools
import json
import math
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hnmine.config.served import ServedModel
from hnmine.display import one_line, shorten
from hnmine.errors import ConfigError, HnmineError, ServerError, reason
from hnmine.runtime.threads import in_background

if TYPE_CHECKING:
    import httpx

ResultT = TypeVar("ResultT")

FOR_NOW = (408, 425, 429, 500, 502, 503, 504, 529)
"""Statuses of answers that may be others later; 529: overloaded."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a request is sent again: the first time, and at most where the server does not say how long."""
LONGEST_WAIT = 300.0
"""Seconds that a server may ask to wait; one that asks for more ends the run, which can be started again later."""
CONNECT_SECONDS = 10.0
MOST_BYTES = 1 << 29
"""Size of an answer that is read at most."""
_SAID = 300  # characters of what a server says that a message repeats


@dataclass
class Requests:
    """What a client has sent so far: requests with an answer, repeats, and tokens as the server counts them."""

    answered: int = 0
    repeated: int = 0
    tokens: int = 0


class HttpClient:
    """Sends requests to one route of a server; see the module.

    Args:
        address: of the server, such as `http://localhost:8000/v1`; it may end in the route.
        settings: the table that names it.
        table: the table's name, for messages.
        route: what is asked, such as `/embeddings`.
        patient: whether a server that cannot be reached is tried again; False to find a mistyped address at once.
        advice: end of the message about a request that is wrong or too large (400, 413, 422).

    Attributes:
        url: of the route.
        requests: what was sent so far.

    Raises:
        ConfigError: the environment variable with the key is not set, or holds what no key can be; or those that name a
            proxy or certificates cannot be used.
    """

    def __init__(
        self, address: str, settings: ServedModel, table: str, route: str, *, patient: bool = True, advice: str = ""
    ) -> None:
        self.server = address.rstrip("/").removesuffix(route).rstrip("/")
        self.url = self.server + route
        self.settings, self.table, self.route, self.patient, self._advice = settings, table, route, patient, advice
        self.requests = Requests()
        self._key = _read_key(settings, table)
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "hnmine"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._http = _connections(settings, table, headers)
        self._slots = threading.Semaphore(settings.requests_in_flight)
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._resume = 0.0  # monotonic time before which nothing is sent
        self._numbers = itertools.count()
        # not when the process ends: requests in flight may still use the connections
        weakref.finalize(self, self._http.close).atexit = False

    def __repr__(self) -> str:
        return f"HttpClient({self.url!r})"

    def post(self, body: Mapping[str, Any], parse: Callable[[Any], ResultT]) -> ResultT:
        """Return what `parse` makes of the answer to one request.

        Raises:
            ServerError: the server cannot be reached, refuses, or does not answer as it should.
        """
        return self._parsed(self._send("POST", self.url, _encoded(body)), parse)

    def post_all(self, bodies: Iterable[Mapping[str, Any]], parse: Callable[[Any], ResultT]) -> Iterator[ResultT]:
        """Return what `parse` makes of each answer, in the order of the bodies.

        The first requests are sent before anything is taken from the result; twice `requests_in_flight` are sent or
        waiting at most, so that little is paid for in vain if the work ends early. An error ends the client: requests
        that are not sent yet never will be.

        Raises:
            ServerError: as `post`; when the failed answer's turn comes.
        """
        todo, begun = iter(bodies), deque[Future[ResultT]]()

        def begin(most: int) -> None:
            for body in itertools.islice(todo, most):
                begun.append(in_background(partial(self.post, body, parse)))

        begin(2 * self.settings.requests_in_flight)

        def results() -> Iterator[ResultT]:
            try:
                while begun:
                    found = begun.popleft().result()
                    begin(1)
                    yield found
            except BaseException:
                self.stop()
                raise

        return results()

    def stop(self) -> None:
        """Send nothing more; requests that wait to be sent fail."""
        self._stopped.set()

    def get(self, route: str) -> Any | None:
        """Return the decoded answer of another route of the server; None where it has no such route (404, 405).

        Raises:
            ServerError: as `post`.
        """
        try:
            return self._send("GET", self.server + route, None)
        except _NoRoute:
            return None

    def _parsed(self, answer: Any, parse: Callable[[Any], ResultT]) -> ResultT:
        try:
            return parse(answer)
        except HnmineError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            said = self._safe(json.dumps(answer, ensure_ascii=False)[: 4 * _SAID])
            raise ServerError(
                f"{self._named}: not an answer of {self.route} ({type(error).__name__}: {self._safe(reason(error))}): "
                f"{said}"
            ) from None

    @property
    def _named(self) -> str:
        return f"{self.table}.model {self.server}"

    def _send(self, method: str, url: str, body: bytes | None) -> Any:
        """Return the decoded answer to a request, sent when its turn comes, and again as long as that may help."""
        with self._slots:
            return self._send_now(method, url, body)

    def _send_now(self, method: str, url: str, body: bytes | None) -> Any:
        number = next(self._numbers)
        for attempt in itertools.count():
            self._wait(self._resume - time.monotonic())
            try:
                answer = self._once(method, url, body)
            except _Again as fault:
                if attempt >= self.settings.retries or (fault.unreachable and not self.patient):
                    tried = f", tried {attempt + 1} times" if attempt else ""
                    raise ServerError(f"{self._named}: {fault}{tried}; {_REMEDY}") from None
                self._pause(fault, number, attempt)
                continue
            with self._lock:
                self.requests.answered += 1
                self.requests.tokens += tokens_of(answer)
            return answer
        raise AssertionError("unreachable")

    def _pause(self, fault: "_Again", number: int, attempt: int) -> None:
        """Wait before a request is sent again; where the server says how long, the other requests wait too."""
        with self._lock:
            self.requests.repeated += 1
        asked = fault.wait
        if asked is not None and asked > LONGEST_WAIT:
            raise ServerError(f"{self._named}: {fault}; it asks to wait {asked:,.0f} s: {_REMEDY}") from None
        # drawn, so that requests that failed together do not come back together
        drawn = random.Random(f"{os.getpid()} {number} {attempt}").uniform(0.5, 1.0)
        pause = drawn * min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
        if asked is not None:
            with self._lock:
                self._resume = max(self._resume, time.monotonic() + asked)
            pause = max(pause, asked + drawn * min(asked, FIRST_PAUSE))  # a date by a clock that is behind asks for 0
        self._wait(pause)

    def _wait(self, seconds: float) -> None:
        """Wait, but no longer than the work goes on."""
        if self._stopped.is_set() or (seconds > 0 and self._stopped.wait(seconds)):
            raise ServerError(f"{self._named}: stopped after another request failed")

    def _once(self, method: str, url: str, body: bytes | None) -> Any:
        """Return the decoded answer to a request that is sent once.

        Raises:
            _Again: it may succeed later.
        """
        import httpx

        try:
            with self._http.stream(method, url, content=body) as response:
                content = self._read(response)
        except httpx.ConnectTimeout:
            seconds = min(CONNECT_SECONDS, self.settings.timeout)
            raise _Again(f"cannot be reached within {seconds:g} s", unreachable=True) from None
        except httpx.TimeoutException:
            raise _Again(f"no answer within {self.settings.timeout:g} s ({self.table}.timeout)") from None
        except httpx.ConnectError as error:
            if "CERTIFICATE" in str(error).upper():
                raise ServerError(f"{self._named}: {self._safe(str(error))}") from None
            raise _Again(f"cannot be reached: {self._safe(str(error))}", unreachable=True) from None
        except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError, httpx.DecodingError) as error:
            raise _Again(f"the connection broke off: {self._safe(reason(error))}") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: no name of a host
            raise ServerError(f"{self._named}: {self._safe(reason(error))}; check the address") from None
        if response.is_success:
            try:
                return json.loads(content)
            except (ValueError, RecursionError):
                said = self._safe(content[: 4 * _SAID].decode(errors="replace"))
                raise _Again(f"the answer is no JSON: {said or 'it is empty'}") from None
        self._refuse(response, self._safe(_message_of(content)))
        raise AssertionError("unreachable")

    def _read(self, response: "httpx.Response") -> bytes:
        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise ServerError(f"{self._named}: an answer of more than {MOST_BYTES:,} bytes; send less at a time")
        return b"".join(parts)

    def _refuse(self, response: "httpx.Response", said: str) -> None:
        """Raise what the status of an answer that is no success means; `said` is the server's message."""
        status, asked = response.status_code, response.request.method
        what = f"{asked} {response.request.url.path} gave {status}" + (f": {said}" if said else "")
        if status in FOR_NOW:
            raise _Again(what, wait=retry_after(response.headers.get("Retry-After"), time.time()))
        if 300 <= status < 400:
            target = self._safe(response.headers.get("Location", ""))
            raise ServerError(
                f"{self._named}: {what}; it redirects to {target or 'nowhere'}, which is not followed, as the key "
                f"would go along; name the right address in {self.table}.model"
            )
        if status in (401, 403):
            name = self.settings.api_key_env
            remedy = (
                f"check the key in the environment variable {name} ({self.table}.api_key_env)"
                if name
                else f"set {self.table}.api_key_env to the name of the environment variable that holds the key"
            )
            raise ServerError(f"{self._named}: {what}; {remedy}")
        if status in (404, 405):
            raise _NoRoute(
                f"{self._named}: {what}; check the address, which usually ends in /v1, and {self.table}.served_model"
            )
        raise Refused(f"{self._named}: {what}{self._advice if status in (400, 413, 422) else ''}")

    def _safe(self, text: str) -> str:
        """Return what a server said for a message: one line, no control characters, shortened, without the key."""
        for form in {self._key, json.dumps(self._key)[1:-1]} - {""}:  # as it is, and as JSON writes it
            text = text.replace(form, "***")
        return shorten("".join(c for c in one_line(text) if c.isprintable()), _SAID)


_REMEDY = "what is finished is kept: run the same command again when the server answers"


class _Again(Exception):
    """A request that may succeed later; `wait` are the seconds that the server asks for, None where it does not say."""

    def __init__(self, message: str, *, wait: float | None = None, unreachable: bool = False) -> None:
        super().__init__(message)
        self.wait, self.unreachable = wait, unreachable


class Refused(ServerError):
    """The server refuses one request, such as one that is too long; others may succeed."""


class _NoRoute(ServerError):
    """The server does not know what it was asked for."""


def tokens_of(answer: Any) -> int:
    """Return the tokens that an answer says were used, prompt and completion together; 0 where it does not say.

    `usage` is as in answers of OpenAI: `total_tokens`, or the sum of `prompt_tokens` and `completion_tokens`.
    """
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return 0
    counts = [usage.get("total_tokens")]
    if not isinstance(counts[0], int):
        counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    return sum(count for count in counts if isinstance(count, int) and count > 0)


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a header Retry-After asks to wait: a number, or a date of HTTP; None where it is neither.

    `now` is the time in seconds since 1970; a date that has passed gives 0.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _read_key(settings: ServedModel, table: str) -> str:
    """Return the key from the environment; an empty text where the table names no variable."""
    if settings.api_key_env is None:
        return ""
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key:
        raise ConfigError(
            f"{table}.api_key_env: the environment variable {settings.api_key_env} is not set, or empty; set it to the "
            "server's key"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(
            f"{table}.api_key_env: the environment variable {settings.api_key_env} holds characters that no key has"
        )
    return key


def _connections(settings: ServedModel, table: str, headers: Mapping[str, str]) -> "httpx.Client":
    """Return httpx's client, which reads proxies and certificates from the environment.

    Raises:
        ConfigError: they cannot be used; the message repeats no value, since a proxy's may hold a password.
    """
    import httpx

    most = settings.requests_in_flight
    try:
        return httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(settings.timeout, connect=min(CONNECT_SECONDS, settings.timeout), pool=None),
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
            follow_redirects=False,
        )
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        socks = "; a SOCKS proxy needs the package socksio" if isinstance(error, ImportError) else ""
        raise ConfigError(
            f"{table}.model: no connections can be made, because of an environment variable for proxies (HTTP_PROXY, "
            f"HTTPS_PROXY, ALL_PROXY, NO_PROXY) or certificates (SSL_CERT_FILE, SSL_CERT_DIR){socks}; correct it"
        ) from None


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def _message_of(content: bytes) -> str:
    """Return what the body of a refusal says: the message within its JSON, or its text."""
    text = content[: 1 << 16].decode(errors="replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for name in ("error", "message", "detail", "error_message"):
        inner = found.get(name) if isinstance(found, dict) else None
        if inner:
            found = inner.get("message", inner) if isinstance(inner, dict) else inner
            break
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
