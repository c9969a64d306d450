"""A made-up student, whose gain is known, and runs for it to train on."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hnmine.config.tables import Config
from hnmine.pipeline.run import run
from hnmine.students.task import Examples, Task
from tests.support import WORDS, config_for, write_collection

QUERIES, COPIES = 60, 12


def collection(folder: Path) -> Path:
    """Write 60 queries, each with one labelled document and 11 more that are as relevant, but not labelled.

    Documents of a query share five of its words, those of others one or two, so that the top of any ranking is full of
    false negatives.
    """
    corpus, queries, qrels = {}, {}, []
    generator = np.random.default_rng(5)
    for i in range(QUERIES):
        own = [WORDS[(i * 7 + step * (i % 5 + 1)) % len(WORDS)] + str(i % 6) for step in range(6)]
        queries[f"q{i:03}"] = " ".join(own[:5])
        for copy in range(COPIES):
            other = [f"{WORDS[k]}{k % 6}" for k in generator.integers(0, len(WORDS), 3)]
            corpus[f"d{i:03}-{copy:02}"] = " ".join([*own[:5], *other, f"n{i * COPIES + copy}"])
        qrels.append((f"q{i:03}", f"d{i:03}-00", 1))
    return write_collection(folder, corpus, queries, qrels)


def finished(folder: Path, **tables: object) -> Config:
    """Return the config of a finished run of a collection."""
    config = config_for(folder, **{"retrieve": {"top_k": 40, "max_top_k": 40}, "filter": {"rule": "none"}} | tables)
    run(config)
    return config


@dataclass
class Fake:
    """A student that loses by negatives that begin with the query's own words, and gains by others.

    Attributes:
        task: of the tune.
        trained: digests of the sets that were trained on, one for each training.
        stop: raises KeyboardInterrupt at this training; none by default.
        noise: of a query's nDCG.
        gain: of having negatives.
        loss: of having nothing but false ones.
    """

    task: Task
    trained: list[str] = field(default_factory=list)
    stop: int | None = None
    noise: float = 0.01
    gain: float = 0.1
    loss: float = 0.3
    name: str = "static"

    def untrained(self) -> np.ndarray:
        return np.full(len(self.task.query_texts), 0.4)

    def train(self, examples: Examples, seed: int) -> np.ndarray:
        if self.stop is not None and len(self.trained) >= self.stop:
            raise KeyboardInterrupt
        text = repr((examples.queries.tolist(), examples.negatives.values.tolist(), seed))
        self.trained.append(hashlib.sha256(text.encode()).hexdigest())
        owners = examples.negatives.owners
        starts = [self.task.query_texts[q] for q in examples.queries[owners].tolist()]
        texts = [self.task.document_texts[d] for d in examples.negatives.values.tolist()]
        false = np.mean([text.startswith(start) for text, start in zip(texts, starts, strict=True)] or [0.0])
        fill = len(owners) > 0
        # of queries and seeds alone, so that it is common to all sets
        noise = np.random.default_rng(seed).normal(0, self.noise, len(self.task.query_texts))
        return np.clip(0.45 + self.gain * fill - self.loss * false + noise, 0, 1)


class Loader:
    """Loads `Fake` students, as `load_student` would, and keeps the last."""

    def __init__(self, **settings: object) -> None:
        self.settings, self.student = settings, None

    def __call__(self, name, model, task, training, vectors):
        self.student = Fake(task, **self.settings)
        return self.student
