"""Trains a student on a run's mined set, on controls and on another set, and compares them on held-out queries."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import random_numbers, sample_rows
from hnmine.commands.finished_run import finished_run
from hnmine.commands.probe.text_sets import Numbering, TextSet, read_set
from hnmine.commands.student_options import (
    FEWEST_QUERIES,
    MAX_QUERIES,
    SEEDS,
    TRAIN_SHARE,
    check_sides,
    check_student,
    student_model,
)
from hnmine.commands.tune.halving import query_means
from hnmine.commands.tune.pool import BEST_CANDIDATES, Labels, Pool, best_first
from hnmine.commands.tune.selection import paired_interval
from hnmine.config.file import load_config
from hnmine.config.models import EmbedConfig
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, InputError, OutputError, TooFewQueries
from hnmine.runtime.engines import Progress
from hnmine.runtime.stage import RunContext
from hnmine.runtime.threads import in_threads
from hnmine.science.random_documents import draw_documents
from hnmine.science.statistics import randomisation_test
from hnmine.stages.report.step import keep_probe
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import MANIFEST, Shards, read_json
from hnmine.storage.vectors import VectorStore
from hnmine.students import DEFAULT_STUDENT
from hnmine.students.batches import LossName
from hnmine.students.pool import MOST_DOCUMENTS, ranked_documents
from hnmine.students.split import split_queries
from hnmine.students.student import DEFAULTS, GivenVectors, Student, load_student
from hnmine.students.task import Examples, Task

SETS = ("in_batch", "random", "mined", "other")
"""in_batch: the run's examples without negatives; random: with random documents, as many as mined ones."""


@dataclass(frozen=True)
class Options:
    """How sets are compared.

    Attributes:
        student: a name of `hnmine.students.student.DEFAULTS`.
        loss: whose negatives a query is compared with: those of the whole batch, or its own.
        model: the model to begin with, in place of embed.model.
        seeds: number of random splits of the queries.
        queries: largest number of queries that take part.
    """

    student: str = DEFAULT_STUDENT
    loss: str = "batch"
    model: str | None = None
    seeds: int = SEEDS
    queries: int = MAX_QUERIES


def probe(
    config: Config,
    source: Path | None = None,
    other: str | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train students on a finished run's mined set and on others, and test them on the same held-out queries.

    Args:
        config: the whole config; its stages up to emit must be done.
        source: output folder of another run to read finished stages from.
        other: a set to compare with: the config file of a finished run, its output folder, or training files of any
            tool. Its texts are matched with the run's; queries that the run lacks are left out.
        options: defaults if None.
        progress: shows trainings as they are done.

    Returns:
        student, model, loss, queries, documents (ranked), seeds, tested (queries), names (of the sets mined and other);
        for each of `SETS` under `sets`: examples, negatives, left_out (examples whose query the run lacks) and
        ndcg_at_10; untrained (nDCG@10); `gains`, a list of set, over, ndcg_at_10 (mean paired difference), interval
        (95%, by query) and p; and what `FinishedRun.differences` says of the run. Without the last it is written to
        `probe.json` in the output folder and shown on the run's report page; where that fails, not_kept says why.

    Raises:
        ConfigError: an option is wrong; all problems are named.
        IncompleteStage: a stage is not done.
        InputError: the other set cannot be read, or has no query of the run.
        ModelError: the student needs a model, and there is none.
        TooFewQueries: there are too few queries to train and test on.
    """
    options = options or Options()
    check_student(options.student, options.loss).raise_if_any(ConfigError)
    run = finished_run(config, source, ("ingest", "embed", "filter", "emit"))
    context = run.context
    model = student_model(context.config, options.student, options.model)
    given = {"mined": read_set(_training_files(context))}
    if other is not None:
        given["other"] = read_set(_named(other))
    comparison = _compare(context, given, options, model, progress or Progress())
    result = {
        "student": options.student, "model": None if model is None else model.model, "loss": options.loss,
        "seeds": options.seeds, "names": {"mined": str(context.out), **({"other": other} if other else {})},
        **comparison,
    }  # fmt: skip
    kept: dict[str, Any] = {}
    try:
        keep_probe(context, result)
    except OutputError as error:  # the answer is not lost with a folder that cannot be written to
        kept = {"not_kept": str(error)}
    return result | kept | run.differences


def _training_files(context: RunContext) -> str:
    """Return the folder of a run's training files; of several formats the first."""
    emit = context.reading("emit")
    formats = list((read_json(emit / MANIFEST) or {}).get("counts", {}).get("formats", {}))
    return str(emit / formats[0] if len(formats) > 1 else emit)


def _named(other: str) -> str:
    """Return the training files that are meant by a path: those of a run for its config file."""
    if not other.endswith(".toml"):
        return other
    run = finished_run(load_config(Path(other)), None, ("emit",))
    return _training_files(run.context)


def _compare(
    context: RunContext, given: Mapping[str, TextSet], options: Options, model: EmbedConfig | None, progress: Progress
) -> dict[str, Any]:
    """Return the numbers of the sets: see `probe`."""
    ingest, seed = context.reading("ingest"), context.config.seed
    labels, corpus_keys, sets, numbering, left_out = _numbered(context, given, options)
    splits = _splits(labels, options.seeds, seed, str(context.reading("emit")))
    total, held = len(corpus_keys), VectorStore(context.reading("embed") / "corpus").held
    used = [part for one in sets.values() for part in (one.positives, one.negatives.values)]
    needed = np.concatenate([labels.relevant.values, *(part[part < total] for part in used)])
    best, most = _best_candidates(context, labels.rows), MOST_DOCUMENTS[options.student]
    rows = ranked_documents(total, held, needed, best, most, seed)
    pool = Pool(context, labels, rows, Shards(ingest / "corpus", CORPUS).rows)
    task = pool.task._replace(document_texts=pool.task.document_texts + _with_prompt(context, numbering.added))
    sets = {name: _in_task(one, rows, total) for name, one in sets.items()}
    sets |= _controls(sets["mined"], task, labels.relevant.with_values(task.known.values), seed)
    student = _student(model, options, pool, task, numbering)
    names = [name for name in SETS if name in sets]
    progress.start("probe", "probe", "trainings", len(names) * options.seeds, 0)
    untrained = student.untrained()
    after: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for number, train in enumerate(splits):

        def trained(name: str, number: int = number, train: np.ndarray = train) -> np.ndarray:
            found = student.train(_on_side(sets[name], train), seed + number)
            progress.advance(1)
            return np.where(train, np.nan, found)

        for name, found in zip(names, in_threads(trained, names), strict=True):
            after[name].append(found)
    progress.end()
    before = [np.where(train, np.nan, untrained) for train in splits]
    return {
        "queries": len(labels.rows), "documents": len(task.document_texts),
        "tested": int((~np.isnan(query_means(before))).sum()), "untrained": _mean(before),
        "sets": {
            name: {
                "examples": len(sets[name].queries), "negatives": len(sets[name].negatives.values),
                "left_out": left_out.get(name, 0), "ndcg_at_10": _mean(after[name]),
            }
            for name in names
        },
        "gains": _gains({"untrained": before, **after}, seed),
    }  # fmt: skip


def _numbered(
    context: RunContext, given: Mapping[str, TextSet], options: Options
) -> tuple[Labels, np.ndarray, dict[str, Examples], Numbering, dict[str, int]]:
    """Return the labels of the queries that take part, the corpus' keys, and the sets by numbers of both.

    Queries of the same text are one, with the labels of all.
    """
    ingest = context.reading("ingest")
    keys = Shards(ingest / "queries", QUERIES).column("text_key").to_numpy()
    _, first = np.unique(keys, return_index=True)
    held = np.sort(first[np.isin(keys[first], given["mined"].queries)])
    rows = held[sample_rows(len(held), options.queries, context.config.seed)]
    labels = Labels.read(context, rows)
    corpus_keys = Shards(ingest / "corpus", CORPUS).column("text_key").to_numpy()
    numbering = Numbering(keys[rows], corpus_keys)
    sets, left_out = {}, {}
    for name, one in given.items():
        sets[name], left_out[name] = numbering.examples(one)
        if not len(sets[name].queries):
            raise InputError(
                f"the {name} set: none of its {left_out[name]:,} examples has a query of the run that takes part; a "
                "probe compares sets of the same queries, matched by their texts"
            )
    return replace(labels, relevant=labels.linked), corpus_keys, sets, numbering, left_out


def _splits(labels: Labels, seeds: int, seed: int, where: str) -> list[np.ndarray]:
    """Return whether each query trains, for each seed, bool.

    Raises:
        TooFewQueries: there are too few, or too few of them can be tested on.
    """
    if len(labels.rows) < FEWEST_QUERIES:
        raise TooFewQueries(
            f"{where}: a probe needs {FEWEST_QUERIES} queries with a training row, to train on some and test on "
            f"others, and {len(labels.rows):,} take part (all with different texts, or what --queries allows)"
        )
    splits = [split_queries(labels.linked, TRAIN_SHARE, (seed + number) % 2**63) for number in range(seeds)]
    check_sides(splits, where)
    return splits


def _best_candidates(context: RunContext, rows: np.ndarray) -> np.ndarray:
    table = Shards(context.reading("filter"), JUDGED).take(rows, ["doc_rows"])
    lists = Ragged.from_arrow(table.column("doc_rows"))
    return best_first(lists, BEST_CANDIDATES)


def _with_prompt(context: RunContext, texts: list[str]) -> list[str]:
    return [context.config.embed.document_prompt + text for text in texts]


def _in_task(one: Examples, rows: np.ndarray, total: int) -> Examples:
    """Return examples by numbers of the task's documents: the ranked ones, then those that the corpus lacks."""

    def numbers(values: np.ndarray) -> np.ndarray:
        return np.where(values < total, np.searchsorted(rows, values), values - total + len(rows))

    return Examples(one.queries, numbers(one.positives), one.negatives.with_values(numbers(one.negatives.values)))


def _controls(mined: Examples, task: Task, known: Ragged, seed: int) -> dict[str, Examples]:
    """Return the mined set without negatives, and with random documents in equal number."""
    size = len(task.document_texts)
    seeds = random_numbers(np.full(len(mined.queries), seed % 2**63, dtype=np.uint64), np.arange(len(mined.queries)))
    own = known.take(mined.queries)
    barred = np.concatenate([own.owners, np.arange(len(mined.queries))]), np.concatenate([own.values, mined.positives])
    owners, documents = draw_documents(seeds, mined.negatives.lengths, np.arange(size), barred)
    counts = np.bincount(owners, minlength=len(mined.queries))
    nothing = Ragged(np.zeros(0, dtype=np.int64), np.zeros(len(mined.queries) + 1, dtype=np.int64))
    return {
        "in_batch": mined._replace(negatives=nothing),
        "random": mined._replace(negatives=Ragged.from_lengths(documents, counts)),
    }


def _student(model: EmbedConfig | None, options: Options, pool: Pool, task: Task, numbering: Numbering) -> Student:
    """Return the student; without a model it begins with the run's vectors, zeros for documents that the run lacks."""
    training = replace(DEFAULTS[options.student], loss=cast(LossName, options.loss))
    vectors = None
    if model is None:
        queries, documents = pool.vectors()
        added = np.zeros((len(numbering.added), documents.shape[1]), dtype=np.float32)
        vectors = GivenVectors(queries, np.concatenate([documents, added]))
    return load_student(options.student, model, task, training, vectors)


def _on_side(one: Examples, train: np.ndarray) -> Examples:
    """Return the examples whose query is trained on."""
    inside = train[one.queries]
    return Examples(one.queries[inside], one.positives[inside], one.negatives.rows(inside))


def _mean(parts: list[np.ndarray]) -> float:
    return float(np.nanmean(query_means(parts)))


def _gains(after: Mapping[str, list[np.ndarray]], seed: int) -> list[dict[str, Any]]:
    """Return the paired differences: of the mined set over all others, and of another set over it and no training."""
    pairs = [("mined", name) for name in ("untrained", "in_batch", "random")]
    if "other" in after:
        pairs += [("other", name) for name in ("untrained", "in_batch", "random", "mined")]
    found = []
    for name, over in pairs:
        parts = [a - b for a, b in zip(after[name], after[over], strict=True)]
        differences = query_means(parts)
        differences = differences[~np.isnan(differences)]
        found.append({
            "set": name, "over": over, "ndcg_at_10": float(differences.mean()),
            "interval": paired_interval(differences, seed), "p": randomisation_test(differences, seed),
        })  # fmt: skip
    return found
