"""Asking a server: what is sent within a budget, what is kept when it stops, and that nothing is paid for twice."""

import json
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hnmine import run
from hnmine.commands.judge.ask import Asking, Budget, Spent, reply_log
from hnmine.commands.judge.judge import JudgeOptions, ask_server, replies_path
from hnmine.commands.judge.questions import Candidate, Question, Texts, make_question
from hnmine.commands.judge.replies import Findings, Reply, read_replies
from hnmine.config.models import JudgeTable
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, LockedOutput, OutputError, ServerError
from hnmine.models.http_client import HttpClient
from hnmine.runtime.engines import Progress
from hnmine.storage.input_files import find_sources
from tests.commands.judge.fakes import batch_line, chat_of
from tests.fake_server import FakeServer, Fault, wait_for
from tests.support import config_for, make_collection

QUESTIONS = [
    make_question(Texts(f"q{n}", f"query {n}", ["known"], [Candidate("d", "text " * n, {})]), JudgeTable(), "m")
    for n in range(30)
]
TOKENS = {one.custom_id: random.Random(one.custom_id).randrange(one.most_tokens) for one in QUESTIONS}
BY_BODY = {json.dumps(one.body): one for one in QUESTIONS}


def sent_and_spent(path: Path, budget: Budget, at_once: int) -> tuple[list[Question], Spent, bool]:
    """Ask with a server whose requests take `TOKENS`; return what was sent, in order, and whether the budget ended."""
    sent: list[Question] = []
    lock = threading.Lock()

    def send(body: dict[str, Any]) -> dict[str, Any]:
        question = BY_BODY[json.dumps(body)]
        with lock:
            sent.append(question)
        line = batch_line(question.custom_id, "{}")
        used = TOKENS[question.custom_id]
        line["response"]["body"]["usage"] = {"prompt_tokens": used // 2, "completion_tokens": used - used // 2}
        return {name: line[name] for name in ("response", "error")}

    with reply_log(path) as log:
        known = find_sources(str(path), Path.cwd(), "", (".jsonl",))
        replies = read_replies(known, {one.custom_id: one for one in QUESTIONS}, Findings())
        spent = Spent(budget)
        stopped = Asking(send, lambda: None, log, replies, spent, at_once, Progress()).ask(QUESTIONS)
    return sent, spent, stopped


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("tokens", [1, 5_000, 20_000, 10**9])
def test_a_budget_of_tokens_is_never_exceeded_and_buys_the_most_valuable(
    tmp_path: Path, tokens: int, at_once: int
) -> None:
    sent, spent, stopped = sent_and_spent(tmp_path / "r.jsonl", Budget(tokens=tokens), at_once)
    assert spent.tokens == sum(TOKENS[one.custom_id] for one in sent) <= tokens
    count = len(sent)
    assert {one.custom_id for one in sent} == {one.custom_id for one in QUESTIONS[:count]}
    assert stopped == (count < len(QUESTIONS))
    if stopped:
        assert spent.tokens + QUESTIONS[count].most_tokens > tokens
    again, more, _ = sent_and_spent(tmp_path / "r.jsonl", Budget(tokens=tokens), at_once)
    assert (again, more.tokens) == ([], spent.tokens)


def test_a_budget_of_requests_counts_earlier_replies_and_can_be_raised(tmp_path: Path) -> None:
    for most, expected in ((7, QUESTIONS[:7]), (7, []), (12, QUESTIONS[7:12]), (None, QUESTIONS[12:])):
        sent, _, stopped = sent_and_spent(tmp_path / "r.jsonl", Budget(requests=most), 3)
        assert {one.custom_id for one in sent} == {one.custom_id for one in expected}
        assert stopped == (most is not None)


def test_where_the_server_does_not_say_the_most_that_a_request_can_take_counts() -> None:
    spent = Spent(Budget(tokens=QUESTIONS[0].most_tokens + QUESTIONS[1].most_tokens - 1))
    assert spent.allows(QUESTIONS[0])
    spent.add(QUESTIONS[0], Reply("{}", ""))
    assert spent.tokens == QUESTIONS[0].most_tokens
    assert not spent.allows(QUESTIONS[1])


def test_a_killed_process_leaves_whole_replies_that_are_not_paid_for_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    sent_and_spent(path, Budget(), 2)
    content = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for cut in (0, 1, ends[0] - 1, ends[0], ends[10] + 25, len(content) - 1):
        path.write_bytes(content[:cut])
        sent, _, _ = sent_and_spent(path, Budget(), 2)
        kept = sum(end <= cut for end in ends)
        assert len(sent) == len(QUESTIONS) - kept
        names = Counter(json.loads(line)["custom_id"] for line in path.read_text().splitlines())
        assert names == dict.fromkeys(TOKENS, 1)


def test_a_reply_that_utf_8_cannot_hold_is_kept(tmp_path: Path) -> None:
    def send(body: dict[str, Any]) -> dict[str, Any]:
        return {"response": batch_line("", "half an emoji: \ud83d")["response"], "error": None}

    path = tmp_path / "replies.jsonl"
    with reply_log(path) as log:
        Asking(send, lambda: None, log, {}, Spent(Budget()), 1, Progress()).ask(QUESTIONS[:1])
    assert json.loads(path.read_text())["response"]["body"]["choices"][0]["message"]["content"].endswith(": ?")


def test_two_processes_do_not_ask_the_same_at_the_same_time(tmp_path: Path) -> None:
    with reply_log(tmp_path / "r.jsonl"), pytest.raises(LockedOutput, match="another"), reply_log(tmp_path / "r.jsonl"):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run."""
    found = make_collection(tmp_path_factory.mktemp("asked"))
    run(config_for(found), stages=("ingest", "embed", "index", "retrieve", "filter", "emit"))
    return found


def texts(folder: Path, name: str, key: str) -> dict[str, str]:
    found = (json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines())
    return {one["text"]: one[key] for one in found}


def chat(folder: Path) -> Any:
    """Return a judge that calls every document with an even number relevant."""
    truth = {f"q{n}": {f"d{m}" for m in range(0, 60, 2)} for n in range(20)}
    return chat_of(truth, texts(folder, "queries", "query_id"), texts(folder, "corpus", "doc_id"))


def config(folder: Path, server: FakeServer, **judge: Any) -> Config:
    return config_for(folder, judge={"model": server.url, "candidates": 4, "retries": 0, **judge})


def test_killing_the_server_loses_nothing_and_the_file_is_the_same(folder: Path, tmp_path: Path) -> None:
    with FakeServer() as server:
        server.chat = chat(folder)
        whole = ask_server(config(folder, server), tmp_path / "whole.jsonl", JudgeOptions(), Progress())
        asked = len(server.posts("/chat/completions"))
    assert whole["judge"] == "hash-model"
    assert whole["requests"] == asked == whole["requests_in_all"]
    assert (whole["prompt_tokens"], whole["completion_tokens"]) == (10 * asked, 2 * asked)
    assert whole["relevant"] + whole["irrelevant"] == whole["pairs"] > 40
    path, paid = tmp_path / "again.jsonl", 0

    def kept() -> int:
        return len(replies_path(path).read_text().splitlines())

    for most in (3, 9, 10**6):
        with FakeServer() as server:

            def dying(body: Any, server: FakeServer = server, most: int = most, paid: int = paid) -> str:
                if len(server.posts("/chat/completions")) > most:
                    wait_for(lambda: kept() > paid)  # the first ones are answered
                    server.stop()
                return str(chat(folder)(body))

            server.chat = dying
            if most < asked:
                with pytest.raises(ServerError, match=r"judge\.model"):
                    ask_server(config(folder, server), path, JudgeOptions(), Progress())
                assert not path.exists()
                assert kept() > paid
                paid = kept()
            else:
                found = ask_server(config(folder, server), path, JudgeOptions(), Progress())
                assert len(server.posts("/chat/completions")) == asked - paid
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert {**found, "path": ""} == {**whole, "path": ""}


def test_a_stop_by_the_user_sends_nothing_again_and_keeps_what_is_answered(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, stop = threading.Event(), HttpClient.stop
    monkeypatch.setattr(HttpClient, "stop", lambda client: (stop(client), stopped.set()))

    class Interrupted(Progress):
        def advance(self, rows: int) -> None:
            raise KeyboardInterrupt

    with FakeServer() as server:
        server.chat = chat(folder)
        server.faults += [None, *[Fault(503, {"Retry-After": "0"}, until=stopped.is_set)] * 50]
        made = config(folder, server, retries=9, requests_in_flight=3)
        with pytest.raises(KeyboardInterrupt):
            ask_server(made, tmp_path / "judged.jsonl", JudgeOptions(), Interrupted())
        assert len(server.posts("/chat/completions")) <= 3
    assert len(replies_path(tmp_path / "judged.jsonl").read_text().splitlines()) == 1


def test_a_refused_request_costs_no_other_its_judgements_and_is_sent_again_next_time(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "judged.jsonl"
    with FakeServer() as server:
        server.chat = chat(folder)
        server.faults += [None, Fault(400)]
        once = config(folder, server, served_model="named", requests_in_flight=1)
        found = ask_server(once, path, JudgeOptions(), Progress())
        assert found["findings"]["no_reply"]["count"] == 1
        assert found["requests"] == found["requests_in_all"] - 1
        assert found["judge"] == "named"
        seen = len(server.posts("/chat/completions"))
        again = ask_server(once, path, JudgeOptions(), Progress())
        assert len(server.posts("/chat/completions")) == seen + 1
        assert again["findings"] == {}
        server.faults += [Fault(422)] * 9
        with pytest.raises(ServerError, match="refuses every request"):
            ask_server(once, tmp_path / "other.jsonl", JudgeOptions(), Progress())
        server.models = [{"id": "one"}, {"id": "two"}]
        with pytest.raises(ServerError, match="two"):
            ask_server(config(folder, server), tmp_path / "other.jsonl", JudgeOptions(), Progress())


def test_a_budget_stops_with_what_it_bought_and_no_judgement_is_overwritten(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "judged.jsonl"
    with FakeServer() as server:
        server.chat = chat(folder)
        none = ask_server(config(folder, server), path, JudgeOptions(budget=Budget(tokens=1)), Progress())
        assert (none["judge"], none["template"], none["requests"]) == ("hash-model", "better-or-worse", 0)
        few = ask_server(config(folder, server), path, JudgeOptions(budget=Budget(requests=2)), Progress())
        assert (few["requests"], few["stopped"]) == (2, True)
        assert len({json.loads(line)["query_id"] for line in path.read_text().splitlines()}) == 2
        more = ask_server(config(folder, server), path, JudgeOptions(budget=Budget(requests=5)), Progress())
        assert (more["requests"], len(server.posts("/chat/completions"))) == (5, 5)
        other = JudgeOptions(number=1)
        with pytest.raises(OutputError, match="would be lost"):
            ask_server(config(folder, server), path, other, Progress())
        ask_server(config(folder, server), path, other._replace(replace=True), Progress())
        assert len(path.read_text().splitlines()) == 1
    with pytest.raises(ConfigError, match=r"judge\.model: needed"):
        ask_server(config_for(folder), path, JudgeOptions(), Progress())
