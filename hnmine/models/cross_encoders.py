"""Cross-encoders: models that score a query and a text together."""

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hnmine.config.models import RescoreConfig
from hnmine.config.served import is_served
from hnmine.errors import ModelError
from hnmine.models.late_interaction import LateInteraction
from hnmine.models.model_files import load_model
from hnmine.models.served_identity import Identity
from hnmine.models.served_rerankers import ServedReranker, reranker_identity

HASH_RESCORE_WARNING = (
    "rescored by shared words (the hash cross-encoder), for tests and dry runs only: do not train on what is mined "
    "with it"
)


class CrossScorer(Protocol):
    """Scores pairs of texts."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return a score for each (query, text), float32, shape (len(pairs),); higher is more relevant."""
        ...


class HashCrossEncoder:
    """Word overlap, |q and d| / sqrt(|q| |d|) over distinct words; for tests and dry runs, never for training.

    max_length is the number of words that a text is cut to.
    """

    def __init__(self, config: RescoreConfig) -> None:
        self.max_length = config.max_length

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return float32 scores in [0, 1], one a pair; 0 where either text has no word."""
        out = np.zeros(len(pairs), dtype=np.float32)
        for place, (query, text) in enumerate(pairs):
            asked, held = set(_words(query)), set(_words(text)[: self.max_length])
            if asked and held:
                out[place] = len(asked & held) / (len(asked) * len(held)) ** 0.5
        return out


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


class ModelCrossEncoder:
    """A sentence-transformers CrossEncoder with one output; its scores are logits, no sigmoid is applied.

    A sigmoid would round the best scores to the same 1.0 in float32, and percentiles need only their order.

    Raises:
        ModelError: the model cannot be loaded, has more than one output, or its weights are not safetensors.
    """

    def __init__(self, config: RescoreConfig) -> None:
        self.model = load_model("CrossEncoder", config, "rescore", config.device, max_length=config.max_length)
        if self.model.num_labels != 1:
            raise ModelError(
                f"rescore.model {config.model!r} gives {self.model.num_labels} numbers for a pair of texts; "
                "name a cross-encoder that gives one (num_labels = 1)"
            )
        self.config = config

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the model's logit of each pair, batched by length."""
        import torch

        order = np.argsort([len(query) + len(text) for query, text in pairs], kind="stable")[::-1]
        found = self.model.predict(
            [pairs[at] for at in order],
            batch_size=self.config.batch_size,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
            convert_to_numpy=True,
        )
        out = np.empty(len(pairs), dtype=np.float32)
        out[order] = np.asarray(found, dtype=np.float32).reshape(-1)
        return out


def make_cross_scorer(config: RescoreConfig, identity: Identity | None = None) -> CrossScorer:
    """Return the scorer that the config names; errors are those of its class.

    `identity` is that of a model that a server computes: see `hnmine.models.served_rerankers.reranker_identity`.
    """
    if is_served(config.model):
        return ServedReranker(config, identity or reranker_identity(config, ()))
    if config.kind == "late_interaction":
        return LateInteraction(config)
    return HashCrossEncoder(config) if config.model == "hash" else ModelCrossEncoder(config)
