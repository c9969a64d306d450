"""The file of a server's replies: what is written comes back, and other lines are passed over."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hnmine.commands.judge.questions import Candidate, Texts, make_question
from hnmine.commands.judge.replies import Exchange
from hnmine.commands.judge.reply_log import replies_path, reply_log
from hnmine.config.models import JudgeTable
from hnmine.errors import LockedOutput, OutputError
from tests.commands.judge.fakes import batch_line

QUESTIONS = [
    make_question(Texts(f"q{n}", "query", [], [Candidate(f"d{m}", "ä", {}) for m in range(n + 1)]), JudgeTable(), "m")
    for n in range(3)
]


def test_requests_and_replies_come_back_in_their_order(tmp_path: Path) -> None:
    path = replies_path(tmp_path / "new" / "judged.jsonl")
    assert path.name == "judged.replies.jsonl"
    written: list[Exchange] = []
    for own in (QUESTIONS[:2], QUESTIONS[2:]):
        with reply_log(path) as log:
            assert list(log.exchanges()) == written
            for one in own:
                line = batch_line(one.custom_id, "Größe")
                written.append(log.append(one, {"response": line["response"], "error": None}))
    with reply_log(path) as log:
        assert list(log.exchanges()) == written
    assert [one.query_id for one in written] == ["q0", "q1", "q2"]
    assert written[2].keys == tuple(one.key for one in QUESTIONS[2].candidates)
    assert (written[1].reply.text, written[1].reply.tokens) == ("Größe", (100, 10))
    assert written[1].most_tokens == QUESTIONS[1].most_tokens


def test_other_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    good = {"custom_id": "a", "query_id": "q", "candidates": ["k"], "most_tokens": 1, "response": None, "error": "no"}
    wrong = [{**good, name: None} for name in ("custom_id", "query_id", "candidates", "most_tokens")]
    lines = [*map(json.dumps, [*wrong, {**good, "candidates": [1]}, [1], good]), "no JSON", "\udcff"]
    path.write_text("".join(line + "\n" for line in lines), errors="surrogateescape")
    with reply_log(path) as log:
        (found,) = log.exchanges()
    assert (found.custom_id, found.keys, found.reply.text, found.reply.fault) == ("a", ("k",), None, "no")


def test_two_processes_do_not_ask_the_same_at_the_same_time(tmp_path: Path) -> None:
    with reply_log(tmp_path / "r.jsonl"), pytest.raises(LockedOutput, match="another"), reply_log(tmp_path / "r.jsonl"):
        pass


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"r\.jsonl: cannot be written"), reply_log(tmp_path / "file" / "r.jsonl"):
        pass


@contextmanager
def files_of(most: int) -> Iterator[None]:
    """Let this process make no file longer than `most` bytes within the block."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_a_message_and_keeps_the_replies_before(tmp_path: Path) -> None:
    path, reply = tmp_path / "r.jsonl", {"response": batch_line("a", "x" * 100)["response"], "error": None}
    with reply_log(path) as log:
        log.append(QUESTIONS[0], reply)
    full, message = files_of(path.stat().st_size + 50), r"r\.jsonl: cannot be written: .*; free some space"
    with pytest.raises(OutputError, match=message), full, reply_log(path) as log:
        log.append(QUESTIONS[1], reply)
    with reply_log(path) as log:
        assert [one.query_id for one in log.exchanges()] == ["q0"]
