"""The client of a model's server: order, repeats, rate limits, refusals, and a key that shows up nowhere."""

import json
import threading
from email.utils import formatdate

import httpx
import pytest

from hnmine.config.models import EmbedConfig
from hnmine.errors import ConfigError, ModelError, ServerError
from hnmine.models import http_client
from hnmine.models.http_client import HttpClient, retry_after, tokens_of
from tests.ctrl_c import ctrl_c_when
from tests.fake_server import LONG, Fault

SECRET = "sk-Tr0ub4dor"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(http_client, "FIRST_PAUSE", 0.002)


def client(url: str, route: str = "/embeddings", patient: bool = True, **settings) -> HttpClient:
    return HttpClient(url, EmbedConfig(model=url, **settings), "embed", route, patient=patient)


def body(*texts: str) -> dict:
    return {"model": "hash-model", "input": list(texts)}


def size(answer) -> int:
    return len(answer["data"])


def said(server, fault: Fault | None, **settings) -> str:
    """Return the error of a request that fails once, and is not sent again."""
    server.faults = [fault]
    with pytest.raises(ServerError) as error:
        client(server.url, retries=0, **settings).post(body("amber"), size)
    assert error.value.__context__ is None or error.value.__suppress_context__  # httpx's own holds the request
    return str(error.value)


def test_results_come_in_order_with_several_requests_in_flight(server):
    # the first and the third answer wait until later ones have come
    waits = [Fault(until=lambda count=count: len(server.seen) >= count) for count in (3, 5)]
    server.faults = [waits[0], None, waits[1], None, None]
    sizes = [3, 1, 4, 1, 5, 9, 2, 6]
    one = client(server.url, requests_in_flight=3)
    assert list(one.post_all((body(*["tide"] * size) for size in sizes), size)) == sizes
    assert 1 < server.most <= 3
    assert (one.requests.answered, one.requests.repeated, one.requests.tokens) == (8, 0, sum(sizes))


def test_requests_begin_at_once_and_few_of_them(server):
    taken = []

    def bodies():
        for number in range(50):
            taken.append(number)
            yield body(str(number))

    one = client(server.url, requests_in_flight=2)
    results = one.post_all(bodies(), size)
    assert len(taken) == 4
    next(results)
    assert len(taken) == 5
    results.close()  # as where the work ends early
    with pytest.raises(ServerError, match="stopped"):
        one.post(body("x"), size)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429, {"Retry-After": "0"}), Fault(503), Fault(500), Fault(529), Fault(drop=True), Fault(truncate=True),
        Fault(body=b"<html>"), Fault(body=b""), Fault(body=b"[" * 100_000), Fault(503, {"Retry-After": "soon"}),
        Fault(429, {"Retry-After": formatdate(usegmt=True)}), Fault(headers={"Content-Encoding": "gzip"}),
    ],
    ids=lambda fault: str(fault.status) + ("-drop" if fault.drop else "-truncate" if fault.truncate else ""),
)  # fmt: skip
def test_what_may_succeed_later_is_sent_again(server, fault):
    server.faults = [fault, fault]
    one = client(server.url, retries=2)
    assert one.post(body("a", "b"), size) == 2
    assert (one.requests.answered, one.requests.repeated) == (1, 2)
    server.faults = [fault] * 3
    with pytest.raises(ServerError, match=r"^embed\.model http://127.*, tried 3 times; what is finished is kept"):
        one.post(body("a"), size)


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(server):
    server.faults = [Fault(until=lambda: len(server.seen) > 1)]
    one = client(server.url, timeout=0.5, retries=100)
    assert one.post(body("a"), size) == 1
    assert one.requests.repeated >= 1


def test_all_requests_wait_as_long_as_the_server_asks(monkeypatch):
    now, waits = [0.0], []

    class Clock:
        """A flag that is never set; waiting for it moves the time on."""

        def is_set(self):
            return False

        def wait(self, seconds):
            waits.append(seconds)
            now[0] += seconds
            return False

    one = client("http://127.0.0.1:9")
    monkeypatch.setattr(http_client.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(one, "_stopped", Clock())
    one._pause(http_client._Again("busy", wait=40.0), 0, 0)
    assert one._resume == 40.0
    assert 40.0 <= waits[0] < 40.1
    now[0] = 33.0  # a request that begins before that
    one._wait(one._resume - now[0])
    assert waits[1:] == [7.0]
    with pytest.raises(ServerError, match="asks to wait 3,600 s: what is finished is kept"):
        one._pause(http_client._Again("busy", wait=3600.0), 0, 0)


def test_pauses_double_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(http_client, "FIRST_PAUSE", 0.5)
    waits: list[float] = []
    monkeypatch.setattr(HttpClient, "_wait", lambda self, seconds: waits.append(seconds))
    one = client("http://127.0.0.1:9")
    for attempt in range(9):
        one._pause(http_client._Again("down"), 3, attempt)
    for attempt, pause in enumerate(waits):
        most = min(30.0, 0.5 * 2**attempt)
        assert most / 2 <= pause <= most


def test_a_server_that_asks_for_no_wait_is_not_asked_at_once(monkeypatch):
    monkeypatch.setattr(http_client, "FIRST_PAUSE", 0.5)
    waits: list[float] = []
    monkeypatch.setattr(HttpClient, "_wait", lambda self, seconds: waits.append(seconds))
    client("http://127.0.0.1:9")._pause(http_client._Again("busy", wait=0.0), 0, 4)
    assert 4.0 <= waits[0] <= 8.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", f"socks9://me:{SECRET}@127.0.0.1:1"), ("HTTP_PROXY", f"http://me:{SECRET}@127.0.0.1:port"),
        ("SSL_CERT_FILE", "/none/such.pem"),
    ],
)  # fmt: skip
def test_an_environment_that_allows_no_connection_is_named_without_its_values(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"^embed\.model: no connections can be made, .*{name}") as error:
        client("http://127.0.0.1:9")
    assert SECRET not in str(error.value)


def test_retry_after_is_seconds_or_a_date():
    assert retry_after("7", 0.0) == 7.0
    assert retry_after(formatdate(1000, usegmt=True), 940.0) == 60.0
    assert retry_after(formatdate(1000, usegmt=True), 2000.0) == 0.0
    assert [retry_after(value, 0.0) for value in (None, "soon", "nan", "")] == [None] * 4
    assert retry_after("-3", 0.0) == 0.0


def test_tokens_are_those_that_the_server_says():
    assert tokens_of({"usage": {"prompt_tokens": 3, "total_tokens": 5}}) == 5
    assert tokens_of({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}) == 7
    assert [tokens_of(answer) for answer in ({}, [], {"usage": None}, {"usage": {"total_tokens": "9"}})] == [0] * 4


def test_refusals_say_what_to_do(server):
    assert "POST /v1/embeddings gave 400: fault 400" in said(server, Fault(400))
    assert "set embed.api_key_env to the name of the environment variable" in said(server, Fault(401))
    assert "set embed.api_key_env" in said(server, Fault(403, body=b"no"))
    assert "check the address, which usually ends in /v1, and embed.served_model" in said(server, Fault(404))
    redirect = Fault(307, {"Location": "https://elsewhere.example/v1"})
    assert "it redirects to https://elsewhere.example/v1, which is not followed" in said(server, redirect)
    long = said(server, Fault(422, body=b"\x1b[31mred\x07\n\n" + b"z" * 10_000))
    assert "\x1b" not in long
    assert "\x07" not in long
    assert "[31mred zzz" in long
    assert len(long) < 600
    assert len(server.seen) == 6


def test_an_answer_of_another_shape_is_an_error_that_names_the_server(server):
    assert "not an answer of /embeddings (KeyError: 'data'): {" in said(server, Fault(body=b'{"object": "list"}'))
    assert "(TypeError: " in said(server, Fault(body=b"[]"))

    def refuse(answer):
        raise ModelError("of its own")

    with pytest.raises(ModelError, match="of its own"):
        client(server.url).post(body("x"), refuse)


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_answer_of_any_depth_is_refused_as_any_other(server, status):
    assert "[[[" in said(server, Fault(status, body=b"[" * 100_000))


@pytest.mark.parametrize("host", ["a" * 70, "..", "xn--zz99999"])
def test_a_host_that_can_be_none_is_an_error_of_the_address(host):
    with pytest.raises(ServerError, match=r"^embed\.model http://.*; check the address$"):
        client(f"http://{host}:9/v1").post(body("x"), size)


def test_an_answer_may_not_be_of_any_size(server, monkeypatch):
    monkeypatch.setattr(http_client, "MOST_BYTES", 100)
    assert "an answer of more than 100 bytes" in said(server, Fault(body=b" " * 200))


def test_one_failure_ends_the_requests_that_have_not_begun(server):
    server.faults = [Fault(400)]
    one = client(server.url, requests_in_flight=1)
    results = one.post_all((body(str(number)) for number in range(10)), size)
    with pytest.raises(ServerError, match="gave 400"):
        list(results)
    assert len(server.seen) <= 3


def test_ctrl_c_ends_at_once_though_the_server_never_answers(server):
    server.faults = [Fault(never=True)] * 50
    before, one = set(threading.enumerate()), client(server.url, timeout=LONG, requests_in_flight=3)
    results = one.post_all((body(str(number)) for number in range(50)), size)
    with pytest.raises(KeyboardInterrupt), ctrl_c_when(lambda: len(server.seen) == 3):
        next(results)
    with pytest.raises(ServerError, match="stopped"):
        one._wait(0)
    waiting = [thread for thread in threading.enumerate() if thread not in before and thread.name == "background"]
    assert len(waiting) >= 3
    assert all(thread.daemon for thread in waiting), "the end of the process waits for the others"


def test_a_server_that_is_down_is_tried_again_where_the_client_is_patient(server):
    server.stop()
    with pytest.raises(ServerError, match=r"cannot be reached: .*, tried 3 times"):
        client(server.url, retries=2).post(body("x"), size)
    with pytest.raises(ServerError, match=r"cannot be reached: [^,]*; what is"):
        client(server.url, retries=2, patient=False).post(body("x"), size)


def test_a_host_that_does_not_take_the_connection_is_not_waited_for_where_the_client_is_not_patient(monkeypatch):
    one = client("http://127.0.0.1:9", patient=False)

    def stream(*request, **more):
        raise httpx.ConnectTimeout("timed out")

    monkeypatch.setattr(one._http, "stream", stream)
    with pytest.raises(ServerError, match=r"cannot be reached within 10 s; what is"):
        one.post(body("x"), size)


def test_the_address_may_end_in_the_route(server):
    for url in (server.url, f"{server.url}/", f"{server.url}/embeddings", f"{server.url}/embeddings/"):
        one = client(url)
        assert one.url == f"{server.url}/embeddings"
        assert one.get("/models")["data"][0]["id"] == "hash-model"
    server.models = None
    assert client(server.url).get("/models") is None


def test_the_key_comes_from_the_environment_and_shows_up_nowhere(server, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    server.key = SECRET
    monkeypatch.setenv("MY_KEY", f"{SECRET}\n")
    one = client(server.url, api_key_env="MY_KEY")
    assert one.post(body("x"), size) == 1
    echo = Fault(400, body=f'{{"error": "bad key {SECRET}"}}'.encode())
    messages = [said(server, echo, api_key_env="MY_KEY"), repr(one), str(vars(one.settings))]
    monkeypatch.setenv("MY_KEY", "wrong-key")
    messages.append(said(server, None, api_key_env="MY_KEY"))
    assert "check the key in the environment variable MY_KEY (embed.api_key_env)" in messages[-1]
    assert "wrong-key" not in messages[-1]
    assert "bad key ***" in messages[0]
    escaped = '"' + SECRET
    monkeypatch.setenv("MY_KEY", escaped)
    for status in (200, 401):
        echo = Fault(status, body=json.dumps({"error": {"header": escaped}}).encode())
        messages.append(said(server, echo, api_key_env="MY_KEY"))
        assert "***" in messages[-1]
    server.key = None
    client(server.url).post(body("x"), size)
    assert "authorization" not in server.seen[-1].headers
    assert SECRET not in "".join([*messages, caplog.text])


@pytest.mark.parametrize("value", [None, "", "  ", "two words", "n\u00f6n-ascii"])
def test_a_key_that_is_missing_or_cannot_be_one_is_an_error_of_the_config(monkeypatch, value):
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ConfigError, match=r"embed\.api_key_env: the environment variable MY_KEY ") as error:
        client("http://127.0.0.1:9", api_key_env="MY_KEY")
    assert not value or not value.strip() or value not in str(error.value)
