"""Sends requests to a judge within a budget, and keeps each reply as it comes."""

import fcntl
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from hnmine.commands.judge.questions import Question
from hnmine.commands.judge.replies import Reply, as_reply
from hnmine.display import well_formed
from hnmine.errors import HnmineError, LockedOutput, OutputError, ServerError, reason
from hnmine.runtime.engines import Progress

Send = Callable[[dict[str, Any]], dict[str, Any]]
"""Gives the server's answer to the body of a request, as the line of a batch output has it (`reply_record`)."""
MOST_REFUSED = 3
"""Requests that a server may refuse before it has answered one."""


class Budget(NamedTuple):
    """What may be spent, replies of earlier starts included; None: any number."""

    requests: int | None = None
    tokens: int | None = None


@dataclass
class Spent:
    """What has been spent, and what requests in flight may still take.

    Attributes:
        budget: what may be spent.
        requests: answered requests.
        tokens: what they took; the most that they can have taken, where the server did not say.
        waiting: the most that each request in flight can take.
    """

    budget: Budget
    requests: int = 0
    tokens: int = 0
    waiting: dict[str, int] = field(default_factory=dict)

    def allows(self, question: Question) -> bool:
        """Return whether a request can be sent without any risk of exceeding the budget."""
        most = question.most_tokens + sum(self.waiting.values())
        return (self.budget.requests is None or self.requests + len(self.waiting) < self.budget.requests) and (
            self.budget.tokens is None or self.tokens + most <= self.budget.tokens
        )

    def add(self, question: Question, reply: Reply) -> None:
        """Count a reply; a refused request costs nothing."""
        self.waiting.pop(question.custom_id, None)
        if reply.text is not None:
            known = [count for count in reply.tokens if count is not None]
            self.requests += 1
            self.tokens += sum(known) if len(known) == len(reply.tokens) else question.most_tokens


@contextmanager
def reply_log(path: Path) -> Iterator[BinaryIO]:
    """Open a file of replies for appending, for this process alone; a line that a kill left half-written is removed.

    Raises:
        LockedOutput: another process appends to it.
        OutputError: it cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {reason(error)}; check the path") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LockedOutput(f"{path}: another `hnmine judge` is writing to it; wait for it to end") from None
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
        yield file


@dataclass
class Asking:
    """Sends requests and keeps the replies.

    Attributes:
        send: called in several threads.
        stop: called where the work ends early; a request is then not sent again after a fault.
        log: of `reply_log`.
        replies: by the request's name; new ones are added.
        spent: what has been spent.
        at_once: how many requests wait for a reply at a time.
        progress: counts requests.
    """

    send: Send
    stop: Callable[[], None]
    log: BinaryIO
    replies: dict[str, Reply]
    spent: Spent
    at_once: int
    progress: Progress
    _running: dict[Future[dict[str, Any]], Question] = field(default_factory=dict)

    def ask(self, questions: Sequence[Question]) -> bool:
        """Send the requests that have no reply yet, in their order; return whether the budget ended before they did.

        Raises:
            HnmineError: the server cannot be used. Replies that are on their way are kept before.
        """
        todo = deque[Question]()
        for one in questions:
            known = self.replies.get(one.custom_id)
            if known is None or known.text is None:
                todo.append(one)
            else:
                self.spent.add(one, known)
        self.progress.start("judge", "ask", "requests", len(questions), len(questions) - len(todo))
        with ThreadPoolExecutor(self.at_once, thread_name_prefix="judge") as pool:
            try:
                self._ask(todo, pool)
            except BaseException:
                self.stop()
                self._keep_running()
                raise
        self.progress.end()
        return bool(todo)

    def _ask(self, todo: deque[Question], pool: ThreadPoolExecutor) -> None:
        refused = 0
        while todo or self._running:
            while todo and len(self._running) < self.at_once and self.spent.allows(todo[0]):
                question = todo.popleft()
                self.spent.waiting[question.custom_id] = question.most_tokens
                self._running[pool.submit(self.send, question.body)] = question
            if not self._running:
                return
            for done in wait(self._running, return_when=FIRST_COMPLETED).done:
                reply = self._keep(done)
                refused += reply.text is None
                if refused >= MOST_REFUSED and not self.spent.requests:
                    raise ServerError(f"the server refuses every request: {reply.fault}")

    def _keep(self, done: Future[dict[str, Any]]) -> Reply:
        question = self._running.pop(done)
        record = {"custom_id": question.custom_id, **done.result()}
        _append(self.log, record)
        reply = self.replies[question.custom_id] = as_reply(record)
        self.spent.add(question, reply)
        self.progress.advance(1)
        return reply

    def _keep_running(self) -> None:
        """Wait for the requests in flight, which are paid for, and keep their replies."""
        while self._running:
            for done in wait(self._running, return_when=FIRST_COMPLETED).done:
                with suppress(HnmineError):
                    self._keep(done)


def _append(log: BinaryIO, record: dict[str, Any]) -> None:
    line = well_formed(json.dumps(record, ensure_ascii=False)).encode() + b"\n"
    try:
        log.write(line)
        log.flush()
        os.fsync(log.fileno())
    except OSError as error:
        raise OutputError(f"{log.name}: cannot be written: {reason(error)}; free some space") from None
