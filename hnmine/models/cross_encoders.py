"""Cross-encoders: what scores a query and a text together, behind one small protocol."""

import os
import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hnmine.config import RescoreConfig
from hnmine.errors import ModelError
from hnmine.models.model_files import find_model, first_line, require_models
from hnmine.runtime.worker_slot import choose_device, current_slot, thread_count

HASH_RESCORE_WARNING = (
    "rescored by shared words (the hash cross-encoder), for tests and dry runs only: do not train on what is mined "
    "with it"
)


class CrossScorer(Protocol):
    """Scores pairs of texts."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return one number for each (query, text), float32, shape (len(pairs),); higher is more relevant."""
        ...


class HashCrossEncoder:
    """Shared words: |q and d| / sqrt(|q| |d|) over distinct words; for tests and dry runs, never for training.

    Args:
        config: the rescore table; max_length cuts the text, a token being a word.
    """

    def __init__(self, config: RescoreConfig) -> None:
        self.max_length = config.max_length

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return float32 in [0, 1], one a pair; 0 where either text has no word."""
        out = np.zeros(len(pairs), dtype=np.float32)
        for place, (query, text) in enumerate(pairs):
            asked, held = _words(query), set(_words(text)[: self.max_length])
            if asked and held:
                shared = len(set(asked) & held)
                out[place] = shared / (len(set(asked)) * len(held)) ** 0.5
        return out


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


class ModelCrossEncoder:
    """A sentence-transformers CrossEncoder with one output; its scores are logits, no sigmoid is applied.

    A sigmoid would round the best scores to the same 1.0 in float32, and percentiles need their order alone.

    Args:
        config: the rescore table.

    Raises:
        MissingExtra: sentence-transformers is not installed.
        ModelError: the model cannot be loaded, gives more than one number, or its weights are not safetensors.
    """

    def __init__(self, config: RescoreConfig) -> None:
        require_models("rescore")
        path = find_model(config, "rescore")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import sentence_transformers
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self.model = sentence_transformers.CrossEncoder(
                path,
                revision=config.revision,
                device=choose_device(config.device, current_slot(), torch.cuda.device_count()),
                trust_remote_code=config.trust_remote_code,
                max_length=config.max_length,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:  # loaders raise anything; the user needs the model's name and the reason
            raise ModelError(f"rescore.model {config.model!r} cannot be loaded: {first_line(error)}") from error
        if self.model.num_labels != 1:
            raise ModelError(
                f"rescore.model {config.model!r} gives {self.model.num_labels} numbers for a pair of texts; "
                "name a cross-encoder that gives one (num_labels = 1)"
            )
        if current_slot().count > 1:
            torch.set_num_threads(thread_count())
        self.config, self.raw = config, torch.nn.Identity()

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the model's logit of each pair, batched by length."""
        order = np.argsort([len(query) + len(text) for query, text in pairs], kind="stable")[::-1]
        found = self.model.predict(
            [pairs[at] for at in order],
            batch_size=self.config.batch_size,
            show_progress_bar=False,
            activation_fn=self.raw,
            convert_to_numpy=True,
        )
        out = np.empty(len(pairs), dtype=np.float32)
        out[order] = np.asarray(found, dtype=np.float32).reshape(-1)
        return out


def make_cross_scorer(config: RescoreConfig) -> CrossScorer:
    """Return the scorer that the config names.

    Raises:
        MissingExtra: the model needs a package that is not installed.
        ModelError: the model cannot be loaded.
    """
    return HashCrossEncoder(config) if config.model == "hash" else ModelCrossEncoder(config)
