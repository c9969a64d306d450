"""A server of models in a thread of the test, which answers as it should or in any wrong way that a test asks for.

Its vectors are those of the hash encoder, its scores of pairs those of the hash cross-encoder, so a run with it writes
what a run with `model = "hash"` writes. Chats are answered by a function of the test.

    with FakeServer() as server:
        server.faults += [Fault(429, {"Retry-After": "0"}), Fault(drop=True)]  # of the next two requests
        ... model = server.url ...
    server.texts["some text"]  # how often it was embedded
"""

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from hnmine.config.models import EmbedConfig, RescoreConfig
from hnmine.models.cross_encoders import HashCrossEncoder
from hnmine.models.encoders import HashEncoder

HASH = HashEncoder(EmbedConfig(model="hash"))
PAIRS = HashCrossEncoder(RescoreConfig(model="hash"))


LONG = 1e6
"""Seconds that no test waits."""


def wait_for(there: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something is true, or for so many seconds."""
    end = time.monotonic() + seconds
    while not there() and time.monotonic() < end:
        time.sleep(0.001)


@dataclass
class Fault:
    """One wrong answer to a POST.

    Attributes:
        status, headers: of the answer.
        body: in place of the right one.
        change: changes the right answer.
        truncate: whether the connection breaks off within the body.
        drop: whether it breaks off before any answer.
        until: what must be true before the answer: see `wait_for`.
        never: whether no answer comes at all, as long as the server runs.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    change: Callable[[Any], Any] | None = None
    truncate: bool = False
    drop: bool = False
    until: Callable[[], bool] = lambda: True
    never: bool = False


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class FakeServer:
    """See the module.

    Attributes:
        url: what `model` names.
        models: entries of /models; None for a server without the route.
        key: the key that every request must bring; None for none.
        faults: of the next POST requests, the first first; None for a right answer.
        chat: returns the reply to the body of /chat/completions.
        embed: returns the vectors of texts.
        field: name of the documents in a request of /rerank: documents, or texts for a server that answers as TEI does.
        raw: whether /rerank may be asked for raw scores.
        pairs: how often each (query, document) was scored.
        seen: all requests so far.
        texts: how often each text was embedded.
        most: requests that were in work at the same time, at most.
        ended: set when the server ends.
    """

    def __init__(self, port: int = 0) -> None:
        self.models: list[dict[str, Any]] | None = [{"id": "hash-model", "object": "model", "owned_by": "tests"}]
        self.key: str | None = None
        self.faults: list[Fault | None] = []
        self.chat: Callable[[Any], str] = lambda body: "{}"
        self.embed: Callable[[list[str]], np.ndarray] = lambda texts: HASH.encode(texts, "document")
        self.seen: list[Seen] = []
        self.texts: Counter[str] = Counter()
        self.field, self.raw = "documents", True
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.most = self._working = 0
        self._lock, self.ended = threading.Lock(), threading.Event()
        self._server = _Server(("127.0.0.1", port), self)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> "FakeServer":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server: requests in work break off, and nothing answers any more."""
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def posts(self, route: str = "/embeddings") -> list[Seen]:
        """Return the POST requests of a route so far."""
        return [seen for seen in self.seen if seen.method == "POST" and seen.path.endswith(route)]

    def begin(self, seen: Seen) -> Fault | None:
        with self._lock:
            self.seen.append(seen)
            self._working += 1
            self.most = max(self.most, self._working)
            return self.faults.pop(0) if seen.method == "POST" and self.faults else None

    def end(self) -> None:
        with self._lock:
            self._working -= 1

    def answer(self, seen: Seen) -> tuple[int, Any]:
        if self.key is not None and seen.headers.get("authorization") != f"Bearer {self.key}":
            return 401, {"error": {"message": f"wrong key, not {seen.headers.get('authorization', 'none')}"}}
        routes = {
            ("GET", "/models"): self._models, ("POST", "/embeddings"): self._embeddings,
            ("POST", "/rerank"): self._rerank, ("POST", "/chat/completions"): self._chat,
        }  # fmt: skip
        found = routes.get((seen.method, "/" + seen.path.removeprefix("/v1/")))
        if found == self._rerank and (self.field not in seen.body or ("raw_scores" in seen.body and not self.raw)):
            return 422, {"detail": f"missing field `{self.field}`, or unknown field `raw_scores`"}
        answer = found(seen.body) if found else None
        return (404, {"detail": "Not Found"}) if answer is None else (200, answer)

    def _models(self, body: Any) -> Any:
        return self.models and {"object": "list", "data": self.models}

    def _embeddings(self, body: Any) -> Any:
        texts = body["input"]
        with self._lock:
            self.texts.update(texts)
        vectors = np.asarray(self.embed(texts), dtype="<f4")
        in_text = body.get("encoding_format") == "base64"
        rows = [base64.b64encode(row.tobytes()).decode() if in_text else row.tolist() for row in vectors]
        data = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(rows)]
        used = sum(len(text.split()) for text in texts)
        return {
            "object": "list", "data": data[::-1], "model": body["model"],
            "usage": {"prompt_tokens": used, "total_tokens": used},
        }  # fmt: skip

    def _rerank(self, body: Any) -> Any:
        pairs = [(body["query"], text) for text in body[self.field]]
        with self._lock:
            self.pairs.update(pairs)
        scores = PAIRS.score(pairs)
        order = np.argsort(-scores, kind="stable").tolist()
        if self.field == "texts":
            return [{"index": at, "score": float(scores[at])} for at in order]
        found = [{"index": at, "relevance_score": float(scores[at])} for at in order]
        return {"results": found, "usage": {"total_tokens": len(pairs)}}

    def _chat(self, body: Any) -> Any:
        said = {"role": "assistant", "content": self.chat(body)}
        used = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        return {"object": "chat.completion", "model": body["model"], "choices": [choice], "usage": used}


class _Server(ThreadingHTTPServer):
    daemon_threads, block_on_close, allow_reuse_address = True, False, True

    def __init__(self, address: tuple[str, int], fake: FakeServer) -> None:
        self.fake = fake
        self.open: set[Any] = set()
        super().__init__(address, _Handler)

    def get_request(self) -> Any:
        connection, address = super().get_request()
        self.open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self.open):
            self.shutdown_request(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize, disable_nagle_algorithm = "HTTP/1.1", -1, True
    server: _Server

    def log_message(self, *args: Any) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        self._reply()

    def do_POST(self) -> None:
        self._reply()

    def _reply(self) -> None:
        fake, size = self.server.fake, int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, self.path, headers, body)
        fault = fake.begin(seen) or Fault()
        try:
            self._send(fault, seen)
        finally:
            fake.end()

    def _send(self, fault: Fault, seen: Seen) -> None:
        wait_for(fault.until)
        if fault.never:
            self.server.fake.ended.wait()
        if fault.drop:
            self.close_connection = True
            return
        status, content = fault.status, fault.body
        if content is None:
            found = {"error": {"message": f"fault {status}"}}
            if status == 200:
                status, found = self.server.fake.answer(seen)
            content = json.dumps(fault.change(found) if fault.change else found).encode()
        self.send_response(status)
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault.truncate else content)
        self.close_connection = self.close_connection or fault.truncate


def served_teacher(server: FakeServer, **given: Any) -> EmbedConfig:
    """Return the table [embed] of a server; no request is repeated."""
    return EmbedConfig(model=server.url, retries=0, **given)
