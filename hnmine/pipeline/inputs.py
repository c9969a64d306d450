"""Checks of the user's files that a run reads late, before it starts; their readers check all rows in their turn."""

from hnmine.config.tables import Config
from hnmine.errors import InputError, Problems
from hnmine.models.precomputed import check_vector_files
from hnmine.readers.collection import check_files
from hnmine.readers.metadata import check_fields
from hnmine.readers.runs import check_run
from hnmine.search.imported_run import run_files


def check_inputs(config: Config) -> None:
    """Open every input file and check its first rows.

    Raises:
        InputError: names all problems found, in the words of the stages that read the files.
    """
    problems = Problems()
    try:
        check_files(config, problems)
        check_fields(config, problems)
    except InputError as error:  # files that are not there
        problems.add(str(error))
    check_late_files(config, problems)
    problems.raise_if_any()


def refuse_late_faults(config: Config, *, ingested: bool) -> None:
    """Check the first rows of the files that stages after ingest read, before a model is loaded.

    `ingested` says that ingest has read the others. If it has not, and one of these is at fault, their first rows are
    checked as well, so that all problems are named at once.

    Raises:
        InputError: names all problems found.
    """
    problems = Problems()
    check_late_files(config, problems)
    if problems.messages and not ingested:
        check_inputs(config)
    problems.raise_if_any()


def check_late_files(config: Config, problems: Problems) -> None:
    """Note what the first rows of the files say is wrong with them that stages after ingest read: vectors and runs."""
    for table, teacher in config.teachers.items():
        if teacher.model == "precomputed":
            check_vector_files(config, table, problems)
    for source in config.retrieve.source:
        if source.kind != "run":
            continue
        try:
            for file in run_files(source, config.base):
                check_run(file, config.input, problems)
        except InputError as error:
            problems.add(str(error))
