"""Stored results: a line of JSON for each trained student, and the gain of every test query in a file beside."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.storage.store import digest, write_atomic

UNTRAINED = "untrained"
"""The arm of a record that holds what the student makes of the test queries before training."""


@dataclass(frozen=True)
class Record:
    """A student trained on a mined set.

    Attributes:
        collection, sample: what it was trained and tested on; sample "300x150" for a part of the queries, "" for all.
        student, setting: the student, and the name of its setting.
        arm, seed, mined: the arm, the seed of the split, and a hash of the mined set.
        gain: mean nDCG@10 over the test queries after training, minus that before.
        untrained: mean nDCG@10 before training.
        training, tested, documents: numbers of training queries, test queries and ranked documents.
        false_negatives, cosine, fill, negatives: as `mine.measure` gives them.
        seconds: of training and testing.
        numbers: the numbers of the report, where hnmine mined the set.
    """

    collection: str
    sample: str
    student: str
    setting: str
    arm: str
    seed: int
    mined: str
    gain: float
    untrained: float
    training: int
    tested: int
    documents: int
    seconds: float
    false_negatives: float | None = None
    cosine: float | None = None
    fill: float | None = None
    negatives: int = 0
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Names the record: the same training has the same key."""
        return digest(
            [self.collection, self.sample, self.student, self.setting, self.arm, self.seed, self.mined]
        )[:16]  # fmt: skip


class Records:
    """The records of a file, in the order in which they were made, and the values of their queries."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.with_suffix("")
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        known = {one.name for one in fields(Record)}
        found = [Record(**{k: v for k, v in json.loads(line).items() if k in known}) for line in lines if line]
        self.all = {one.key: one for one in found}

    def add(self, record: Record, query_ids: list[str], ndcg: np.ndarray) -> None:
        """Store a record, and the nDCG@10 of each test query. The line comes last, so a killed benchmark lacks it."""
        self.folder.mkdir(parents=True, exist_ok=True)

        def save(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez_compressed(file, query_ids=np.array(query_ids), ndcg=ndcg)

        write_atomic(self.folder / f"{record.key}.npz", save)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record)) + "\n")
        self.all[record.key] = record

    def values(self, record: Record) -> dict[str, float]:
        """Return the nDCG@10 of each test query after training, by its id."""
        with np.load(self.folder / f"{record.key}.npz") as stored:
            return dict(zip(stored["query_ids"].tolist(), stored["ndcg"].tolist(), strict=True))

    def latest(self, **wanted: Any) -> list[Record]:
        """Return the records with these attributes; of one arm and seed whose set has changed, the last made."""
        found = {}
        for one in self.all.values():
            if all(getattr(one, name) == value for name, value in wanted.items()):
                found[one.collection, one.sample, one.student, one.setting, one.arm, one.seed] = one
        return list(found.values())


def hash_of(positives: np.ndarray, negatives: Ragged, queries: np.ndarray | None = None) -> str:
    """Return a hash of a mined set; `queries` where it has several examples of a query."""
    lists = [positives.tolist(), negatives.values.tolist(), negatives.offsets.tolist()]
    return digest(lists if queries is None else [*lists, queries.tolist()])[:16]
