"""Shell completion of values: settings, rules, formats, engines, students, numbers of a report, and query ids of a run.

Each function takes the options that are on the line so far, by parameter, and the beginning of the value. None of them
loads a model library.
"""

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

MOST = 50
"""Query ids offered."""
SECONDS = 0.5
"""Time spent at most on looking for query ids."""
_BASH, _WORDS, _WORD = "complete_bash", "COMP_WORDS", "COMP_CWORD"


def settings(given: Mapping[str, Any], start: str) -> list[str]:
    """Return `table.key=` for every setting, and after it the values that it allows."""
    from hnmine.config.section import choices, tables
    from hnmine.config.section import settings as settings_of
    from hnmine.config.tables import Config

    found = {name: field.annotation for name, field in settings_of(Config).items()}
    for table in tables(Config):
        if not table.header.startswith("[["):
            found |= {f"{table.path}.{name}": one.annotation for name, one in settings_of(table.model).items()}
    name, equals, value = start.partition("=")
    if not equals:
        return [f"{one}=" for one in found if one.startswith(start)]
    allowed = ("true", "false") if found.get(name) is bool else choices(found.get(name))
    return [f"{name}={one}" for one in allowed if str(one).startswith(value)]


def engines(given: Mapping[str, Any], start: str) -> list[str]:
    """Return the engines."""
    return _allowed("engine", start)


def rules(given: Mapping[str, Any], start: str) -> list[str]:
    """Return the rules against false negatives."""
    return _allowed("filter.rule", start)


def formats(given: Mapping[str, Any], start: str) -> list[str]:
    """Return the shapes of training rows."""
    return _allowed("emit.format", start)


def _allowed(name: str, start: str) -> list[str]:
    return [one.removeprefix(f"{name}=") for one in settings({}, f"{name}={start}")]


def recipes(given: Mapping[str, Any], start: str) -> list[str]:
    """Return the recipes."""
    from hnmine.commands.recipes import RECIPES

    return [name for name in RECIPES if name.startswith(start)]


def students(given: Mapping[str, Any], start: str) -> list[str]:
    """Return the students."""
    from hnmine.students.student import DEFAULTS

    return [name for name in DEFAULTS if name.startswith(start)]


def numbers(given: Mapping[str, Any], start: str) -> list[str]:
    """Return `name=` for every number that the config's report can have."""
    from hnmine.config.tables import Config
    from hnmine.stages.report.number_names import number_names

    config = _config(given) if given.get("config") else Config()
    return [f"{name}=" for name in sorted(number_names(config)) if name.startswith(start)]


def query_ids(given: Mapping[str, Any], start: str) -> list[str]:
    """Return the first query ids of the finished run that begin so; none of a run in an object store."""
    from hnmine.runtime.stage import RunContext
    from hnmine.storage.remote_path import RemotePath

    config = _config(given)
    folder = RunContext(config, config.out_folder, given.get("source")).reading("filter")
    found: list[str] = []
    began = time.monotonic()
    for name in () if isinstance(folder, RemotePath) else _ids(folder):
        if name.startswith(start) and name.isprintable():
            found.append(name)
        if len(found) == MOST or time.monotonic() - began > SECONDS:
            break
    return found


def _ids(folder: Any) -> Iterator[str]:
    import pyarrow.parquet as pq

    for path in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(4096, columns=["query_id"]):
            yield from batch.column(0).to_pylist()


def _config(given: Mapping[str, Any]) -> Any:
    from hnmine.config.file import load_config

    return load_config(given["config"], tuple(given.get("override") or ()), given.get("out"))


def answer_bash(run: Callable[[], int]) -> int:
    """Run the command line, which answers bash's question for completions, and return its exit code.

    Bash takes `filter.rule=two` for three words and replaces the last one: the words are joined before, and what bash
    has is cut off the answers.
    """
    words, at = os.environ[_WORDS].split("\n"), int(os.environ[_WORD])
    joined, at, had = _joined(words, at)
    os.environ[_WORDS], os.environ[_WORD] = "\n".join(joined), str(at)
    shown = io.StringIO()
    code = 0
    with contextlib.redirect_stdout(shown):
        try:
            code = run()
        except SystemExit as ended:
            code = int(ended.code or 0)
    sys.stdout.write("".join(f"{line.removeprefix(had)}\n" for line in shown.getvalue().splitlines()))
    return code


def asks_bash() -> bool:
    """Return whether bash asks for completions."""
    return os.environ.get("_HNMINE_COMPLETE") == _BASH and _WORDS in os.environ and _WORD in os.environ


def _joined(words: Iterable[str], at: int) -> tuple[list[str], int, str]:
    """Return words with `name`, `=` and `value` joined, the place of the current word, and its part up to the `=`."""
    joined: list[str] = []
    place, had = at, ""
    for number, word in enumerate(words):
        follows = joined and (word == "=" or (joined[-1].endswith("=") and not joined[-1].startswith("-")))
        if follows and not (word == "" and number != at):
            joined[-1] += word
        else:
            joined.append(word)
        if number == at:
            place = len(joined) - 1
            had = joined[-1][: joined[-1].rindex("=") + 1] if follows else ""
    return joined, place, had
