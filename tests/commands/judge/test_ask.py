"""Asking a server: what is sent within a budget, what is kept when it stops, and that nothing is paid for twice."""

import json
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hnmine import run
from hnmine.commands.judge.ask import Asking, Budget, Spent
from hnmine.commands.judge.judge import JudgeOptions, ask_server
from hnmine.commands.judge.questions import Candidate, Question, Texts, make_question
from hnmine.commands.judge.replies import Answers, Exchange, Reply
from hnmine.commands.judge.reply_log import replies_path, reply_log
from hnmine.config.models import JudgeTable
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, OutputError, ServerError
from hnmine.models.http_client import HttpClient
from hnmine.runtime.engines import Progress
from tests.commands.judge.fakes import asked_of, batch_line, chat_of
from tests.ctrl_c import ctrl_c_when
from tests.fake_server import LONG, FakeServer, Fault, wait_for
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
        answers, spent = Answers(log.exchanges()), Spent(budget)
        for one in answers.exchanges():
            spent.add(one)
        todo = [one for one in QUESTIONS if not answers.has(one.candidates[0].key)]
        stopped = Asking(send, lambda: None, log, answers, spent, at_once, Progress()).ask(todo, len(todo))
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
    spent.add(Exchange.of(QUESTIONS[0], Reply("{}", "")))
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
        Asking(send, lambda: None, log, Answers(), Spent(Budget()), 1, Progress()).ask(QUESTIONS[:1], 1)
    assert json.loads(path.read_text())["response"]["body"]["choices"][0]["message"]["content"].endswith(": ?")


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


class Noted(Progress):
    """Keeps what is shown.

    Attributes:
        notes: messages.
        steps: the total and the done requests of each step.
        done: requests since.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[tuple[int, int]] = []
        self.done = 0

    def start(self, stage: str, step: str, unit: str, total: int, done: int) -> None:
        self.steps.append((total, done))

    def advance(self, rows: int) -> None:
        self.done += rows

    def note(self, message: str) -> None:
        self.notes.append(message)


def kept(path: Path) -> int:
    return len(replies_path(path).read_text().splitlines())


def test_after_ctrl_c_nothing_is_sent_and_the_replies_in_flight_are_kept(folder: Path, tmp_path: Path) -> None:
    path, shown, answer = tmp_path / "judged.jsonl", Noted(), threading.Event()
    with FakeServer() as server:

        def late(body: Any) -> str:
            assert answer.wait(60)
            return str(chat(folder)(body))

        server.chat = late
        made = config(folder, server, timeout=LONG, requests_in_flight=3)
        pressed = ctrl_c_when(lambda: len(server.posts("/chat/completions")) == 3)
        shown.note = lambda message: answer.set()  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt), pressed:
            ask_server(made, path, JudgeOptions(), shown)
        assert len(server.posts("/chat/completions")) == kept(path) == 3


def test_a_second_ctrl_c_ends_at_once_though_the_server_never_answers(folder: Path, tmp_path: Path) -> None:
    path, shown = tmp_path / "judged.jsonl", Noted()
    with FakeServer() as server:
        server.chat = chat(folder)
        server.faults = [None, None, *[Fault(never=True)] * 50]
        made = config(folder, server, timeout=LONG, requests_in_flight=3)
        stalled = lambda: shown.done == 2 and len(server.posts("/chat/completions")) == 5  # noqa: E731 - a condition
        with pytest.raises(KeyboardInterrupt), ctrl_c_when(stalled, lambda: bool(shown.notes)):
            ask_server(made, path, JudgeOptions(), shown)
        assert (len(server.posts("/chat/completions")), kept(path)) == (5, 2)
        assert shown.notes == [
            "no more requests are sent; waiting for the replies to 3 that were, as they are paid for: Ctrl-C ends "
            "without them"
        ]
        assert not path.exists()
        server.faults.clear()
        found = ask_server(made, path, JudgeOptions(), shown)
        assert (found["requests"], found["stopped"]) == (found["requests_in_all"], False)
        assert shown.steps[1] == (found["requests_in_all"], 2)


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
    assert kept(tmp_path / "judged.jsonl") == 1


MANY = JudgeOptions(budget=Budget(requests=10**6))


@pytest.mark.parametrize(
    "starts",
    [
        [JudgeOptions(), MANY],
        [JudgeOptions(number=7), JudgeOptions(number=30), MANY],
        [JudgeOptions(budget=Budget(requests=n)) for n in (2, 3, 9, 10**6)],
        [JudgeOptions(number=11), JudgeOptions(budget=Budget(requests=14)), JudgeOptions(number=40), MANY],
        [JudgeOptions(per_query=1), JudgeOptions(per_query=3), JudgeOptions(sample="random", number=20), MANY],
        [MANY, JudgeOptions(sample="worth", number=100), JudgeOptions(sample="worth", budget=Budget(tokens=10**9))],
        [JudgeOptions(sample="random", number=9), JudgeOptions(sample="random", number=25, seed=3), JudgeOptions()],
    ],
)  # fmt: skip
def test_no_candidate_is_asked_about_twice_whatever_was_asked_before(
    folder: Path, tmp_path: Path, starts: list[JudgeOptions]
) -> None:
    with FakeServer() as server:
        server.chat = chat(folder)
        for place, options in enumerate(starts):
            path = tmp_path / "judged.jsonl"
            made = config(folder, server, candidates=4 - place % 2)  # nor whatever the size of a request
            found = ask_server(made, path, options._replace(replace=True), Progress())
            asked = [asked_of(seen.body) for seen in server.posts("/chat/completions")]
            times = Counter((one["query"], text) for one in asked for text in one["candidates"].values())
            assert set(times.values()) == {1}
            assert len(asked) <= (options.budget.requests or 10**9) or place
            if not found["stopped"]:
                with FakeServer() as fresh:
                    fresh.chat = chat(folder)
                    alone = config(folder, fresh, candidates=4 - place % 2)
                    ask_server(alone, tmp_path / "alone" / f"{place}.jsonl", options, Progress())
                here, there = judgements(path), judgements(tmp_path / "alone" / f"{place}.jsonl")
                assert list(here.items()) == list(there.items())


def judgements(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the lines of a file of judgements by query and document, without the name of the request."""
    found = (json.loads(line) for line in path.read_text().splitlines())
    return {(one["query_id"], one["doc_id"]): {**one, "request": ""} for one in found}


def test_replies_to_other_settings_are_none_to_these_and_count_in_no_budget(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "judged.jsonl"
    two = JudgeOptions(budget=Budget(requests=2), replace=True)
    with FakeServer() as server:
        server.chat = chat(folder)
        ways = ({}, {"template": "grades"}, {"answer_tokens": 90}, {"served_model": "other"}, {"text_length": 100})
        for number, way in enumerate(ways[:4]):
            found = ask_server(config(folder, server, **way), path, two, Progress())
            assert (found["requests"], len(server.posts("/chat/completions"))) == (2, 2 * number + 2)
        ask_server(config(folder, server, **ways[4]), path, two, Progress())  # no text is longer: nothing else is asked
        assert len(server.posts("/chat/completions")) == 8


def test_no_judgement_is_lost_where_the_budget_ends_before_it_is_given_again(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "judged.jsonl"
    with FakeServer() as server:
        server.chat = chat(folder)
        ask_server(config(folder, server), path, JudgeOptions(), Progress())
        before = path.read_bytes()
        other, two = config(folder, server, template="grades"), JudgeOptions(budget=Budget(requests=2))
        with pytest.raises(OutputError, match=r"judged\.jsonl line \d+, and [\d,]+ more: a judgement"):
            ask_server(other, path, two, Progress())
        assert path.read_bytes() == before
        assert ask_server(other, path, two._replace(replace=True), Progress())["requests"] == 2, "these are paid for"
        assert ask_server(other, path, JudgeOptions(), Progress())["stopped"] is False


def test_a_random_sample_has_a_size_of_its_own_whatever_the_budget(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "judged.jsonl"
    with FakeServer() as server:
        server.chat = chat(folder)
        options = JudgeOptions(sample="random", number=12, budget=Budget(requests=4))
        few = ask_server(config(folder, server), path, options, Progress())
        more = ask_server(config(folder, server), path, options._replace(budget=Budget()), Progress())
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert (few["requests"], few["stopped"], more["pairs"]) == (4, True, 12)
        assert {one["sample"].split("-")[1] for one in lines} == {"12"}
        default = JudgeOptions(sample="random", budget=Budget(requests=1))
        ask_server(config(folder, server), tmp_path / "default.jsonl", default, Progress())
        lines = [json.loads(line) for line in (tmp_path / "default.jsonl").read_text().splitlines()]
        assert {one["sample"].split("-")[1] for one in lines} == {"200"}


def test_the_progress_is_that_of_the_budget(folder: Path, tmp_path: Path) -> None:
    shown = Noted()
    with FakeServer() as server:
        server.chat = chat(folder)
        for most in (2, 5, 5, 3):
            options = JudgeOptions(budget=Budget(requests=most))
            ask_server(config(folder, server), tmp_path / "judged.jsonl", options, shown)
    assert (shown.steps, shown.done) == ([(2, 0), (5, 2), (5, 5), (5, 5)], 5)


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
