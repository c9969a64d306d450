"""The protocol of students, and the students by name."""

from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from hnmine.config.models import EmbedConfig
from hnmine.errors import ModelError
from hnmine.models.model_files import load_model
from hnmine.students.static import StaticStudent
from hnmine.students.task import Examples, Task
from hnmine.students.token_table import TokenTable, model_table, word_tokens, word_vectors
from hnmine.students.training import Tick, Training

StudentName = Literal["static", "top-layers", "full"]
DEFAULTS: dict[str, Training] = {
    "static": Training(epochs=5, batch=64, rate=5e-3, max_tokens=128),
    "top-layers": Training(epochs=2, batch=32, rate=1e-4, max_tokens=64, layers=1),
    "full": Training(epochs=2, batch=32, rate=3e-5, max_tokens=64),
}
"""How each student is trained where nothing else is asked for."""
MOST_TOKENS = 128
"""Tokens that a text is cut to at most."""


class Student(Protocol):
    """A model that is trained anew on each mined set and tested on the same queries.

    Attributes:
        name: the student's name, such as "static".
    """

    name: str

    def train(self, examples: Examples, seed: int) -> np.ndarray:
        """Return nDCG@10 of each test query after training on the examples; float64, shape (m,).

        The same examples and seed give the same bits on one machine's CPU, whatever else trains at the same time.
        """
        ...

    def untrained(self) -> np.ndarray:
        """Return nDCG@10 of each test query before training; float64, shape (m,)."""
        ...


class GivenVectors(NamedTuple):
    """A run's vectors of the task's texts: queries, shape (q, d), and documents, shape (n, d)."""

    queries: np.ndarray
    documents: np.ndarray


def no_tick(examples: int) -> None:
    """Count nothing."""


def load_student(
    name: str, model: str | EmbedConfig | None, task: Task, training: Training | None = None,
    vectors: GivenVectors | None = None, tick: Tick = no_tick,
) -> Student:  # fmt: skip
    """Return a student that is to be trained on sets of a task.

    Args:
        name: a `StudentName`.
        model: the model to begin with, by name or as the table [embed] of a config; for "static" the source of its
            token vectors. None, "hash", "precomputed" and a server name no model: the static student makes word
            vectors from `vectors`.
        task: what all mined sets share.
        training: how it is trained; `DEFAULTS` of the name otherwise.
        vectors: needed where there is no model.
        tick: called with the number of examples as they are trained on, in the thread that trains.

    Raises:
        ModelError: the model cannot be loaded, or the student needs one and there is none.
    """
    how = training or DEFAULTS[name]
    how = replace(how, max_tokens=min(how.max_tokens, MOST_TOKENS))
    config = EmbedConfig(model=model) if isinstance(model, str) else model
    if config is None or not config.loads_model:
        if name != "static":
            raise ModelError(f"the student {name} trains the run's model, and it has none; use static")
        if vectors is None:
            raise ModelError("a static student without a model needs the run's vectors")
        return StaticStudent(task, _made_table(task, vectors, how.max_tokens), how, tick)
    loaded: Any = load_model("SentenceTransformer", config, "embed", config.device)
    if name == "static":
        texts = [*task.query_texts, *task.document_texts]
        return StaticStudent(task, model_table(loaded, texts, how.max_tokens), how, tick)
    from hnmine.students.transformer import TransformerStudent  # imports torch

    return TransformerStudent(loaded, task, how, tick, name)


def _made_table(task: Task, vectors: GivenVectors, max_tokens: int) -> TokenTable:
    tokens, count = word_tokens([*task.query_texts, *task.document_texts], max_tokens)
    return TokenTable(tokens, word_vectors(tokens, count, np.concatenate([vectors.queries, vectors.documents])))
