"""Lines of judgement files that `hnmine judge` wrote: what each judge said, and what it cost."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hnmine.readers.columns import as_float
from hnmine.readers.json_rows import JSON_ENDINGS, json_rows
from hnmine.readers.judgements import EMPTY, as_judgement
from hnmine.storage.input_files import Source

JUDGE, TEMPLATE, REQUEST, FAULT = "judge", "template", "request", "fault"
"""Fields of a line: the model's name, the way of asking, the request's name, and why a candidate has no judgement."""
TOKENS = ("prompt_tokens", "completion_tokens")
"""Fields of a line: tokens of its whole request and of the whole reply."""
FIRST, SECOND = "first", "second"
"""Fields of a line that hold what another judge said: the one before, or a later one that gave no answer."""
CHOSEN, VALUE = "chosen", "value"
"""Fields of a line: whether the candidate was a negative of the run, and its judging value."""


class Opinion(NamedTuple):
    """What one judge said of a candidate.

    Attributes:
        judge: name of the model.
        template: the way of asking.
        judgement: relevant, irrelevant, unsure or empty.
        request: name of the request; other candidates may share it.
        tokens: of the whole request and of the whole reply; None where the server did not say.
    """

    judge: str
    template: str
    judgement: str
    request: str
    tokens: tuple[int | None, int | None]


class JudgeLine(NamedTuple):
    """A line that `hnmine judge` wrote.

    Attributes:
        query_id: the query's id.
        doc_id: the document's id.
        judgement: what counts: relevant, irrelevant, unsure or empty.
        chosen: whether the candidate was a negative of the run that the judge was asked about.
        value: its judging value; 0 where the line has none.
        opinions: of each judge, the one that decides first.
        fields: the whole line.
    """

    query_id: str
    doc_id: str
    judgement: str
    chosen: bool
    value: float
    opinions: tuple[Opinion, ...]
    fields: dict[str, Any]


def read_judge_lines(source: Source) -> Iterator[JudgeLine]:
    """Yield the lines of a file that `hnmine judge` wrote; lines that others wrote are passed over.

    Raises:
        InputError: the file cannot be read.
    """
    if source.ending not in JSON_ENDINGS:
        return
    for _, record in json_rows(source)[1]:
        found = _line(record)
        if found is not None:
            yield found


def _line(record: dict[str, Any]) -> JudgeLine | None:
    ids = [record.get(name) for name in ("query_id", "doc_id")]
    own = tuple(_opinions(record))
    if not own or not all(isinstance(one, str) for one in ids):
        return None
    value = record.get(VALUE)
    number = (as_float(value) if isinstance(value, int | float) else None) or 0.0
    # what is no number in JSON cannot be written again
    fields = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return JudgeLine(str(ids[0]), str(ids[1]), own[0].judgement, record.get(CHOSEN) is True, number, own, fields)


def _opinions(record: Mapping[str, Any]) -> Iterator[Opinion]:
    """Yield what the judge of a line said, then the others."""
    names = [record.get(name) for name in (JUDGE, TEMPLATE, REQUEST)]
    if not all(isinstance(name, str) for name in names):
        return
    judge, template, request = map(str, names)
    judgement = as_judgement(record.get("judgement"), 1)
    counts = [given if isinstance(given := record.get(name), int) else None for name in TOKENS]
    yield Opinion(judge, template, judgement or EMPTY, request, (counts[0], counts[1]))
    for name in (FIRST, SECOND):
        if isinstance(record.get(name), dict):
            yield from _opinions(record[name])
