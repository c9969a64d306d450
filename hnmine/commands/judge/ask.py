"""Sends requests to a judge within a budget, and keeps each reply as it comes."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from hnmine.commands.judge.questions import Question
from hnmine.commands.judge.replies import Answers, Exchange
from hnmine.commands.judge.reply_log import ReplyLog
from hnmine.errors import HnmineError, ServerError
from hnmine.runtime.engines import Progress
from hnmine.runtime.threads import in_background

Send = Callable[[dict[str, Any]], dict[str, Any]]
"""Gives the server's answer to the body of a request, as a line of a batch output has it."""
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

    def add(self, one: Exchange) -> None:
        """Count a request with its reply; one that was refused costs nothing."""
        self.waiting.pop(one.custom_id, None)
        if one.reply.text is not None:
            known = [count for count in one.reply.tokens if count is not None]
            self.requests += 1
            self.tokens += sum(known) if len(known) == len(one.reply.tokens) else one.most_tokens


@dataclass
class Asking:
    """Sends requests and keeps the replies.

    Attributes:
        send: called in several threads.
        stop: called where the work ends early; a request is then not sent again after a fault.
        log: keeps the replies.
        answers: those of earlier starts; new ones are added.
        spent: what has been spent, earlier starts included.
        at_once: how many requests wait for a reply at a time.
        progress: counts requests.
    """

    send: Send
    stop: Callable[[], None]
    log: ReplyLog
    answers: Answers
    spent: Spent
    at_once: int
    progress: Progress
    _running: dict[Future[dict[str, Any]], Question] = field(default_factory=dict)

    def ask(self, questions: Iterable[Question], count: int) -> bool:
        """Send `count` requests in their order; return whether the budget ended before they did.

        Where the work ends early, the replies to requests in flight, which are paid for, are waited for and kept;
        Ctrl-C then ends at once.

        Raises:
            HnmineError: the server cannot be used.
        """
        done, most = self.spent.requests, self.spent.budget.requests
        self.progress.start("judge", "ask", "requests", min(done + count, max(done, most or done + count)), done)
        try:
            ended = self._ask(questions)
        except BaseException:
            self.stop()
            self._keep_running()
            raise
        self.progress.end()
        return ended

    def _ask(self, questions: Iterable[Question]) -> bool:
        todo, refused = iter(questions), 0
        following = next(todo, None)
        while following is not None or self._running:
            while following is not None and len(self._running) < self.at_once and self.spent.allows(following):
                self.spent.waiting[following.custom_id] = following.most_tokens
                self._running[in_background(partial(self.send, following.body))] = following
                following = next(todo, None)
            if not self._running:
                break
            for done in wait(self._running, return_when=FIRST_COMPLETED).done:
                one = self._keep(done)
                refused += one.reply.text is None
                if refused >= MOST_REFUSED and not self.spent.requests:
                    raise ServerError(f"the server refuses every request: {one.reply.fault}")
        return following is not None

    def _keep(self, done: Future[dict[str, Any]]) -> Exchange:
        try:
            one = self.log.append(self._running[done], done.result())
        except HnmineError:
            del self._running[done]
            raise
        del self._running[done]  # not before the reply is kept: Ctrl-C may come in between
        self.answers.add(one)
        self.spent.add(one)
        self.progress.advance(1)
        return one

    def _keep_running(self) -> None:
        """Wait for the requests in flight and keep their replies."""
        if self._running:
            self.progress.note(
                f"no more requests are sent; waiting for the replies to {len(self._running)} that were, as they are "
                "paid for: Ctrl-C ends without them"
            )
        while self._running:
            for done in wait(self._running, return_when=FIRST_COMPLETED).done:
                with suppress(HnmineError):
                    self._keep(done)
