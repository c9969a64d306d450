"""The file that keeps the replies of a server as they come, with what was asked: judged.replies.jsonl."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from hnmine.commands.judge.questions import Question
from hnmine.commands.judge.replies import Exchange, as_reply, json_object
from hnmine.display import well_formed
from hnmine.errors import LockedOutput, OutputError, reason


def replies_path(path: Path) -> Path:
    """Return the file beside a file of judgements that keeps a server's replies: judged.replies.jsonl."""
    return path.with_name(f"{path.stem}.replies.jsonl")


class ReplyLog:
    """A file of replies that is open for appending.

    Args:
        file: the file, at its end.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def exchanges(self) -> Iterator[Exchange]:
        """Yield the requests and replies that the file has, in their order; lines that are no such are passed over."""
        self._file.seek(0)
        for line in self._file:
            found = _exchange(json_object(line.decode(errors="replace")))
            if found is not None:
                yield found

    def append(self, question: Question, reply: dict[str, Any]) -> Exchange:
        """Add a request and the reply to it, as in a line of a batch output, and return both.

        Raises:
            OutputError: the file cannot be written.
        """
        asked = {
            "custom_id": question.custom_id,
            "query_id": question.query_id,
            "candidates": [one.key for one in question.candidates],
            "most_tokens": question.most_tokens,
        }
        line = well_formed(json.dumps(asked | reply, ensure_ascii=False)).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"{self._file.name}: cannot be written: {reason(error)}; free some space") from None
        return Exchange.of(question, as_reply(reply))


def _exchange(record: Mapping[str, Any]) -> Exchange | None:
    names, keys, most = [record.get("custom_id"), record.get("query_id")], record.get("candidates"), "most_tokens"
    if not isinstance(keys, list) or not isinstance(record.get(most), int):
        return None
    if not all(isinstance(name, str) for name in [*names, *keys]):
        return None
    return Exchange(str(names[0]), str(names[1]), tuple(keys), record[most], as_reply(record))


@contextmanager
def reply_log(path: Path) -> Iterator[ReplyLog]:
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
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LockedOutput(f"{path}: another `hnmine judge` is writing to it; wait for it to end") from None
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
        del content
        yield ReplyLog(file)
    finally:
        with suppress(OSError):  # `append` has said that a line cannot be written; closing tries it once more
            file.close()
