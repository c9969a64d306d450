"""`hnmine tune`: trains students on the mined sets of many settings, and chooses a setting by their gain."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from hnmine.arrays.random_numbers import sample_rows
from hnmine.commands.finished_run import finished_run
from hnmine.commands.student_options import MAX_QUERIES, SEEDS, check_student, student_model
from hnmine.commands.tune.grid import default_grid, read_grid, settings_of
from hnmine.commands.tune.mined import Candidates
from hnmine.commands.tune.page import tune_page
from hnmine.commands.tune.pool import Labels, Pool
from hnmine.commands.tune.result import build_result
from hnmine.commands.tune.tuner import Tuner
from hnmine.config.models import EmbedConfig
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, IncompleteStage, OutputError
from hnmine.models.model_files import fingerprint
from hnmine.runtime.engines import Progress
from hnmine.runtime.stage import RunContext
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.hubs.normalised import normalises_hubs
from hnmine.stages.rescore.rescored import reads_rescored
from hnmine.storage.schemas.ingest import QUERIES
from hnmine.storage.store import Shards, recorded, write_json, write_text
from hnmine.students import DEFAULT_STUDENT
from hnmine.students.batches import LossName
from hnmine.students.pool import MOST_DOCUMENTS
from hnmine.students.student import DEFAULTS, GivenVectors, Student, load_student

RESULT, PAGE, FOLDER = "tune.json", "tune.html", "tune"
LAYERED = "top-layers"
"""The student that trains some of a model's layers."""


@dataclass(frozen=True)
class Options:
    """How settings are tried.

    Attributes:
        student: a name of `hnmine.students.student`.
        loss: whose negatives a query is trained against: those of the whole batch, or its own.
        layers: number of layers that the student top-layers trains; its default if None.
        model: the model to begin with, in place of embed.model.
        seeds: number of splits that the last settings are trained with.
        seconds: no training begins after this time; None for no limit.
        queries: largest number of queries that take part.
        grid: a file of settings in place of the default grid.
    """

    student: str = DEFAULT_STUDENT
    loss: str = "batch"
    layers: int | None = None
    model: str | None = None
    seeds: int = SEEDS
    seconds: float | None = None
    queries: int = MAX_QUERIES
    grid: Path | None = None


Load = Callable[..., Student]
"""Returns a student; takes what `load_student` takes."""


def tune(
    config: Config,
    source: Path | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
    load: Load = load_student,
) -> dict[str, Any]:
    """Train students on the sets of many settings, mined from the stored candidates, and choose a setting.

    Args:
        config: the whole config; its stages up to retrieve must be done. Nothing is retrieved anew, save the deeper
            lists that the stage filter would search for under a setting.
        source: output folder of another run to read finished stages from.
        options: defaults if None.
        progress: shows trainings as they are done.
        load: returns a student.

    Returns:
        student, model, loss, queries, documents (ranked), of_corpus, seeds, untrained (nDCG@10), measured (whether
        false-negative rates are measured, else expected), cut (whether time ran out), what `build_result` returns, and
        what `FinishedRun.differences` says of the run. Without the last it is written to `tune.json` in the output
        folder, and drawn on `tune.html`; `page` is its path. Where that fails, not_kept says why.

    Raises:
        ConfigError: an option or the grid is wrong; all problems are named.
        IncompleteStage: a stage up to retrieve is not complete.
        ModelError: the student needs a model, and embed.model names none.
        TooFewQueries: there are too few queries to train and test on.
    """
    began, options = time.monotonic(), options or Options()
    _check(options)
    scores = ("rescore",) if reads_rescored(config) else ("hubs",) if normalises_hubs(config) else ()
    run = finished_run(config, source, ("ingest", "embed", "retrieve", *scores))
    context = run.context
    rows = Shards(context.reading("ingest") / "queries", QUERIES).rows
    rows_used = sample_rows(rows, options.queries, context.config.seed)
    candidates = Candidates.read(context, rows_used)
    guided = _guided(candidates, context)
    entries = default_grid(context.config, guided=guided)
    if options.grid is not None:
        entries = read_grid(options.grid, context.config)
    model = student_model(context.config, options.student, options.model)
    training = replace(DEFAULTS[options.student], loss=cast(LossName, options.loss))
    if options.layers is not None:
        training = replace(training, layers=options.layers)

    def loaded(pool: Pool) -> Student:
        vectors = GivenVectors(*pool.vectors()) if model is None else None
        return load(options.student, model, pool.task, training, vectors)

    tuner = Tuner(
        candidates=candidates,
        labels=Labels.read(context, rows_used),
        settings=settings_of(context.config, entries),
        seeds=options.seeds,
        folder=context.out / FOLDER,
        student_key=[options.student, asdict(training), _identity(context, model)],
        load=loaded,
        documents=MOST_DOCUMENTS[options.student],
        deadline=np.inf if options.seconds is None else began + options.seconds,
        progress=progress or Progress(),
    )
    found = tuner.run()
    if not found.finalists:
        raise ConfigError(f"--seconds {options.seconds:g}: there was no time for a single training; allow more")
    numbers, measured = tuner.numbers(found)
    result = {
        "student": options.student, "model": model.model if model is not None else None, "loss": options.loss,
        "queries": len(rows_used), "documents": len(tuner.pool.documents), "of_corpus": tuner.pool.of_corpus,
        "seeds": found.seeds, "untrained": float(tuner.untrained.mean()), "measured": measured, "cut": found.cut,
        **build_result(tuner.settings, found, numbers, context.config.seed),
    }  # fmt: skip
    kept: dict[str, Any] = {}
    try:
        write_json(result, context.out / RESULT)
        write_text(tune_page(result), context.out / PAGE)
    except OutputError as error:  # the answer is not lost with a folder that cannot be written to
        kept = {"not_kept": str(error)}
    return result | {"page": str(context.out / PAGE)} | kept | run.differences


def _check(options: Options) -> None:
    problems = check_student(options.student, options.loss)
    if options.layers is not None and options.student != LAYERED:
        problems.add(f"--layers: only the student {LAYERED} has a number of layers to train, not {options.student}")
    problems.raise_if_any(ConfigError)


def _guided(candidates: Candidates, context: RunContext) -> bool:
    """Return whether a guide scored the candidates.

    Raises:
        IncompleteStage: the config's rule needs it, and it did not.
    """
    guided = candidates.table.num_rows > 0 and len(candidates.table.column("guide_scores")[0]) > 0
    if "guide" in rule_names(context.config.filter) and not guided:
        raise IncompleteStage(f"{context.reading('retrieve')} was made without [guide]; run `hnmine retrieve` again")
    return guided


def _identity(context: RunContext, model: EmbedConfig | None) -> Any:
    """Return what tells a model from others: a hash of its files, or the key of the vectors in its place."""
    if model is None:
        return (recorded(context.reading("embed")) or {})["key"]
    return fingerprint(model, context.digests, local=True)
