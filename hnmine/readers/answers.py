"""Reading judgements of single candidates: the file that `hnmine export-judgements` writes, filled in."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hnmine.config import InputConfig
from hnmine.errors import Problems
from hnmine.readers.columns import as_id, convert
from hnmine.readers.tables import ABSENT, Place, chunks, look
from hnmine.storage.input_files import Source

RELEVANT, IRRELEVANT, UNSURE, EMPTY = "relevant", "irrelevant", "unsure", ""
FIELDS = ("query_id", "doc_id", "judgement")
_WORDS = {RELEVANT: RELEVANT, IRRELEVANT: IRRELEVANT, UNSURE: UNSURE, "": EMPTY, "true": RELEVANT, "false": IRRELEVANT}


@dataclass(frozen=True)
class Answer:
    """One line of a judgement file: what was said of a pair, and where."""

    query_id: str
    doc_id: str
    judgement: str
    place: Place


def read_answers(source: Source, config: InputConfig, problems: Problems) -> Iterator[Answer]:
    """Yield a file's judgements, those not filled in as `EMPTY`; lines that make no sense become problems.

    Raises:
        InputError: the file cannot be read.
    """
    layout = look(source, config.quoting)
    missing = [name for name in FIELDS if name not in layout.names]
    if missing:
        problems.add(
            f"{source.name}: no field {', '.join(missing)}; it has: {', '.join(layout.names)}; "
            "`hnmine export-judgements` writes a file with all that is needed"
        )
        return
    for chunk in chunks(source, layout, list(FIELDS)):
        queries = convert(chunk.columns["query_id"], as_id, "a query id", chunk.place, problems)
        docs = convert(chunk.columns["doc_id"], as_id, "a document id", chunk.place, problems)
        for index, given in enumerate(chunk.columns["judgement"]):
            said = as_answer(given, config.relevant_from)
            if said is None:
                problems.add(f"{chunk.place(index)}: {_what(given)}")
            elif queries[index] is not None and docs[index] is not None:
                yield Answer(queries[index], docs[index], said, chunk.place(index))


def as_answer(value: Any, relevant_from: int) -> str | None:
    """Return what a judgement says; None where it says nothing known.

    Words count whatever their case. true and false are relevant and irrelevant; a number is relevant from
    `relevant_from` on, also where it is written as a text; null is not filled in.
    """
    if value is None:
        return EMPTY
    if isinstance(value, bool):
        return RELEVANT if value else IRRELEVANT
    if isinstance(value, str) and value.strip().casefold() in _WORDS:
        return _WORDS[value.strip().casefold()]
    if not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return RELEVANT if number >= relevant_from else IRRELEVANT


def _what(value: Any) -> str:
    if value is ABSENT:
        return 'the field judgement is missing; leave it "" where nothing was judged'
    return f"judgement: relevant, irrelevant, unsure, true, false or a number expected, found {str(value)[:40]!r}"
