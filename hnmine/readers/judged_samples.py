"""Judged random samples: completed files of `hnmine export-judgements --sample random`."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from hnmine.config.tables import Config
from hnmine.errors import InputError, Problems
from hnmine.readers.columns import COLUMNS, as_relevance, as_text
from hnmine.readers.judgements import as_judgement
from hnmine.readers.tables import ABSENT, RowLocation, read_chunks, read_layout
from hnmine.storage.input_files import TABLE_ENDINGS, Source, find_sources

SAMPLE, STRATUM, SIZE, PROBABILITY, JUDGE = "sample", "stratum", "stratum_size", "inclusion_probability", "judge"
"""Fields of a sampled line besides those of every exported line; `JUDGE` is the user's own, and may be missing."""
_FIELDS = ("query_id", "doc_id", "judgement", SAMPLE, STRATUM, SIZE, JUDGE)


class SampledJudgement(NamedTuple):
    """A line of a judged sample.

    Attributes:
        query_id: the query's id.
        doc_id: the document's id.
        judgement: relevant, irrelevant, unsure or empty.
        sample: name of the sample, which begins with that of the set that it was drawn from.
        stratum: its stratum, from 1.
        size: the pairs of that stratum in the set.
        judge: who judged, or the file's name.
        location: where the line is.
    """

    query_id: str
    doc_id: str
    judgement: str
    sample: str
    stratum: int
    size: int
    judge: str
    location: RowLocation


def sample_files(config: Config) -> list[Source]:
    """Return the files of `report.judged_sample`.

    Raises:
        InputError: files do not exist.
    """
    given = config.report.judged_sample
    return [] if given is None else find_sources(given, config.base, "report.judged_sample", TABLE_ENDINGS)


def read_sampled(source: Source, config: Config, problems: Problems, *, only: bool) -> Iterator[SampledJudgement]:
    """Yield the sampled lines of a file; lines that cannot be read as such become problems.

    With `only` a line without the fields of a sample is a problem, else it is passed over.
    """
    layout = read_layout(source, config.input.quoting)
    missing = [name for name in _FIELDS if name not in layout.names and name != JUDGE]
    if missing and not layout.open:
        if only:
            problems.add(
                f"{source.name}: no field {', '.join(missing)}; `hnmine export-judgements --sample random` writes a "
                "file with all that is needed"
            )
        return
    fields = [name for name in _FIELDS if name in layout.names or layout.open]
    for chunk in read_chunks(source, layout, fields):
        columns: dict[str, list[Any]] = chunk.columns
        for index in range(len(chunk.lines)):
            line = {name: columns[name][index] if name in columns else ABSENT for name in _FIELDS}
            if not only and line[SAMPLE] is ABSENT:
                continue
            where = chunk.location(index)
            found = _converted(line, source.name, where, config.input.relevant_from)
            if isinstance(found, str):
                problems.add(f"{where}: {found}")
            else:
                yield found


def _converted(line: dict[str, Any], file: str, where: RowLocation, relevant_from: int) -> SampledJudgement | str:
    """Return a line of a sample, or what is wrong with it."""
    ids = [COLUMNS[name].convert(line[name]) for name in ("query_id", "doc_id")]
    sample = as_text(line[SAMPLE])
    stratum, size = (None if line[name] is ABSENT else as_relevance(line[name]) for name in (STRATUM, SIZE))
    judgement = None if line["judgement"] is ABSENT else as_judgement(line["judgement"], relevant_from)
    checks = {
        "query_id": ids[0] is not None, "doc_id": ids[1] is not None, SAMPLE: bool(sample),
        STRATUM: stratum is not None and stratum > 0, SIZE: size is not None and size > 0,
        "judgement": judgement is not None,
    }  # fmt: skip
    wrong = [name for name, good in checks.items() if not good]
    if wrong:
        return (
            f"{', '.join(wrong)}: not as `hnmine export-judgements --sample random` writes it; change only judgement "
            "(relevant, irrelevant, unsure, true, false, a number, or empty)"
        )
    assert sample is not None
    assert stratum is not None
    assert size is not None
    assert judgement is not None
    judge = as_text(line[JUDGE]) or file
    return SampledJudgement(ids[0], ids[1], judgement, sample, stratum, size, judge, where)


def sampled_judgements(config: Config, judgements: list[Source]) -> list[SampledJudgement]:
    """Return the sampled lines of `report.judged_sample`, and of the files of `input.judgements` that have some.

    A file that both name is read once.

    Raises:
        InputError: files cannot be read, lines are not as they were written, or there are lines of two samples.
    """
    problems = Problems()
    found: list[SampledJudgement] = []
    own = sample_files(config)
    further = [source for source in judgements if source.path not in {one.path for one in own}]
    for source, only in [*((one, True) for one in own), *((one, False) for one in further)]:
        try:
            found += read_sampled(source, config, problems, only=only)
        except InputError as error:
            problems.add(str(error))
    names = sorted({one.sample for one in found})
    if len(names) > 1:
        firsts = (next(one.location for one in found if one.sample == name) for name in names)
        where = ", ".join(f"{name} ({first})" for name, first in zip(names, firsts, strict=True))
        problems.add(f"lines of {len(names)} samples, of which one can be read at a time: {where}")
    problems.raise_if_any()
    return found
