"""Trains students on the sets of all settings: splits, sets, stored trainings, and the time that they may take."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.commands.student_options import FEWEST_QUERIES, TRAIN_SHARE, check_sides
from hnmine.commands.tune.grid import Setting
from hnmine.commands.tune.halving import Halving, halve, rounds
from hnmine.commands.tune.mined import Candidates, MinedSet, SetNumbers, TrainingSide
from hnmine.commands.tune.pool import Labels, Pool, make_pool, whole_corpus
from hnmine.commands.tune.result import Numbers
from hnmine.commands.tune.trainings import Trainings, digest_of_arrays, digest_of_examples
from hnmine.errors import TooFewQueries
from hnmine.runtime.engines import Progress
from hnmine.runtime.threads import in_threads
from hnmine.storage.store import digest, digest_of_texts
from hnmine.students.split import split_queries
from hnmine.students.student import Student
from hnmine.students.task import Examples

CONTROLS = ("own", "in_batch", "random")
VERSION = 1
"""Increased when the same settings lead to other trainings."""


@dataclass
class Tuner:
    """One tune of a run.

    Attributes:
        candidates: of the queries that take part.
        labels: of the same queries.
        settings: to be tried.
        seeds: number of seeds, each with its own split and order of examples.
        folder: where finished trainings are kept.
        student_key: what determines the student, beside the task: JSON values.
        load: loads the student for a pool.
        documents: number of documents that the student ranks, if the corpus has more.
        deadline: `time.monotonic` after which no training begins; infinite without a limit.
        progress: shows trainings as they are done.
    """

    candidates: Candidates
    labels: Labels
    settings: Sequence[Setting]
    seeds: int
    folder: Path
    student_key: Any
    load: Callable[[Pool], Student]
    documents: int
    deadline: float
    progress: Progress

    def __post_init__(self) -> None:
        self._by_name = {one.name: one for one in self.settings}
        self._numbers: dict[tuple[str, int], SetNumbers] = {}
        self._examples: dict[tuple[str, int], str] = {}
        self._sides: dict[int, TrainingSide] = {}

    @cached_property
    def splits(self) -> list[np.ndarray]:
        """Whether each query trains, for each seed, bool.

        Raises:
            TooFewQueries: there are too few, or too few that can be tested on.
        """
        queries, seed = len(self.labels.rows), self.candidates.context.config.seed
        where = self.candidates.context.reading("retrieve")
        if queries < FEWEST_QUERIES:
            raise TooFewQueries(
                f"{where}: tune needs {FEWEST_QUERIES} labelled queries, to train on some and test on others, and "
                f"{queries:,} take part (all of the run, or what --queries allows)"
            )
        found = [split_queries(self.labels.linked, TRAIN_SHARE, _seed(seed, number)) for number in range(self.seeds)]
        check_sides(found, where)
        return found

    def run(self) -> Halving:
        """Train by successive halving."""
        names, controls = list(self._by_name), [one.name for one in self.settings if one.role in CONTROLS]
        self.splits  # noqa: B018 - too few queries are found before anything is mined
        self.progress.start("tune", "tune", "trainings", planned(len(names), len(controls), self.seeds), 0)
        try:
            return halve(names, controls, self.seeds, self._measure)
        finally:
            self.progress.end()

    def mine(self, name: str, seed: int) -> MinedSet:
        """Return the set of a setting for the queries that train with a seed."""
        return self._side(seed).mine(self._by_name[name])

    def _side(self, seed: int) -> TrainingSide:
        if seed not in self._sides:
            self._sides[seed] = self.candidates.side(self.labels.rows[self.splits[seed]])
        return self._sides[seed]

    @cached_property
    def pool(self) -> Pool:
        """The ranked documents: of a large corpus, those of all sets among them."""
        sets: list[MinedSet] = []
        if not whole_corpus(self.candidates.context, self.documents):
            sets = [self.mine(name, seed) for seed in range(self.seeds) for name in self._by_name]
        return make_pool(self.candidates, self.labels, sets, self.documents)

    @cached_property
    def trainings(self) -> Trainings:
        """The stored trainings."""
        task = self.pool.task
        parts = [
            VERSION, self.student_key, self.candidates.context.config.seed, digest_of_texts(task.query_texts),
            digest_of_texts(task.document_texts), digest_of_arrays(task.known.values, task.known.offsets),
        ]  # fmt: skip
        return Trainings(self.folder, digest(parts), len(self.labels.rows))

    @cached_property
    def _student(self) -> Student:
        return self.load(self.pool)

    @cached_property
    def untrained(self) -> np.ndarray:
        """nDCG@10 of each query before training, float64."""
        found = self.trainings.read("untrained", 0)
        if found is None:
            found = self._student.untrained()
            self.trainings.write("untrained", 0, found)
        return found

    def _measure(self, names: Sequence[str], seed: int) -> Mapping[str, np.ndarray]:
        sets: dict[str, Examples] = {}
        for name in names:
            mined = self.mine(name, seed)
            examples = self.pool.examples(mined)
            key = digest_of_examples(examples)
            self._numbers[name, seed] = mined.numbers
            self._examples[name, seed] = key
            sets.setdefault(key, examples)
        untrained = self.untrained
        stored = {key: self.trainings.read(key, seed) for key in sets}
        missing = [key for key, own in stored.items() if own is None and len(sets[key].queries)]
        if missing and time.monotonic() < self.deadline:
            self._student  # noqa: B018 - loaded once, before several threads ask for it

        def train(key: str) -> None:
            if time.monotonic() < self.deadline:
                trained = self._student.train(sets[key], _seed(self.candidates.context.config.seed, seed))
                self.trainings.write(key, seed, trained)
                stored[key] = trained
                self.progress.advance(1)

        in_threads(train, missing)
        found = {}
        for name in names:
            key = self._examples[name, seed]
            after = stored[key] if len(sets[key].queries) else untrained
            if after is not None:
                found[name] = np.where(self.splits[seed], np.nan, after - untrained)
        self.progress.advance(len(names) - len(missing))
        return found

    def numbers(self, found: Halving) -> tuple[dict[str, Numbers], bool]:
        """Return the numbers of the sets of each trained setting, and whether false negatives were measured."""
        everything = self.candidates.side(self.labels.rows)
        measured = everything.protocol.measured
        sets_of: dict[str, list[str]] = {}
        out = {}
        for name, gains in found.gains.items():
            sets = [self._numbers[name, seed] for seed in range(len(gains))]
            keys = [self._examples[name, seed] for seed in range(len(gains))]
            setting = self._by_name[name]
            rate = everything.measured_rate(setting) if measured else None
            if rate is None:
                rate = _mean([one.expected for one in sets]) if setting.mines else None
            elif setting.config.emit.random_negatives:  # a random document counts as no false negative
                rate *= setting.config.emit.retrieved_negatives / setting.config.emit.num_negatives
            pairs = ((other, min(len(own), len(keys))) for other, own in sets_of.items())
            same = next((other for other, common in pairs if sets_of[other][:common] == keys[:common]), None)
            sets_of[name] = keys
            fill = _mean([one.fill for one in sets])
            out[name] = Numbers(rate, _mean([one.hardness for one in sets]), fill, same)
        return out, measured


def _mean(values: Sequence[float | None]) -> float | None:
    real = [value for value in values if value is not None]
    return float(np.mean(real)) if real else None


def _seed(seed: int, number: int) -> int:
    """Return the seed of a split from the run's and its number, below 2^63."""
    return (seed * 1009 + number) % 2**63


def planned(settings: int, controls: int, seeds: int) -> int:
    """Return how many trainings successive halving plans at most, given the numbers of settings, controls and seeds."""
    total, active = 0, settings
    for number, part in enumerate(rounds(seeds)):
        if number:
            active = min(active, (active + 1) // 2 + controls)
        total += active * len(part)
    return total
