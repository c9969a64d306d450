"""The top layers of a transformer of any architecture, over stored states of the layers below them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from hnmine.arrays.ragged import Ragged
from hnmine.display import format_size
from hnmine.errors import ModelError
from hnmine.models.encoders import slice_features

MOST_BYTES = 4_000_000_000
"""Largest size of all stored states together."""


class StoredStates(torch.nn.Module):
    """Stands in a model for its lower layers: returns the states that they gave for the texts at hand.

    Attributes:
        current: states of the current batch, shape (texts, tokens, d).
    """

    def __init__(self, below: torch.nn.Module, returns_tuple: bool) -> None:
        super().__init__()
        self.current: Any = None
        self._returns_tuple = returns_tuple
        if hasattr(below, "attention_type"):  # by which some models choose a layer's mask
            self.attention_type = below.attention_type

    def forward(self, *given: Any, **named: Any) -> Any:
        """Return the states of the current batch, whatever the layer is given."""
        return (self.current,) if self._returns_tuple else self.current


class States:
    """The states of all texts that enter a layer, as float16 in memory.

    Args:
        values: float16, shape (tokens of all texts, d).
        tokens: the positions in `values` of each text's tokens.
    """

    def __init__(self, values: Any, tokens: Ragged) -> None:
        self.values, self.tokens = values, tokens

    def place(self, model: Any, texts: np.ndarray, mask: Any) -> None:
        """Make a model compute with the states of some texts (int64), whose tokens are those of the mask."""
        stored = next(module for module in model.modules() if isinstance(module, StoredStates))
        rows = torch.from_numpy(self.tokens.take(texts).values)
        padded = torch.zeros((*mask.shape, self.values.shape[1]), dtype=torch.float32)
        padded[mask.bool()] = self.values[rows].float()
        stored.current = padded.to(model.device)


class _Recorded(Exception):
    """Ends a model's forward at the layer whose input was recorded."""


def find_layers(model: Any) -> torch.nn.ModuleList:
    """Return the layers of a sentence-transformers model's transformer.

    They are the first list of as many modules of one class as the model's config has layers.

    Raises:
        ModelError: there is no such list.
    """
    transformer = getattr(model[0], "auto_model", None)
    count = getattr(getattr(transformer, "config", None), "num_hidden_layers", None)
    for module in transformer.modules() if transformer is not None and count else ():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count and len({type(m) for m in module}) == 1:
            return module
    name = type(model[0] if transformer is None else transformer).__name__
    raise ModelError(f"the layers of a {name} are not found; use the student full or static")


def record_states(model: Any, layer: Any, features: dict[str, Any], batches: Iterable[np.ndarray]) -> States:
    """Return the states of all texts that enter a layer.

    Args:
        model: of sentence-transformers.
        layer: one of its layers.
        features: the tokenizer's output for all texts.
        batches: the texts, each once, int64.

    Raises:
        ModelError: the states are not one vector a token, are too large for float16, or need more than `MOST_BYTES`.
    """
    counts = features["attention_mask"].numpy().sum(axis=1).astype(np.int64)
    total = int(counts.sum())
    tokens = Ragged.from_lengths(np.arange(total), counts)
    values: Any = None
    for rows in batches:
        batch = slice_features(features, rows)
        states, mask = _entering(model, layer, batch), batch["attention_mask"].bool()
        if not torch.is_tensor(states) or states.shape[:2] != mask.shape:
            raise ModelError("the states between the model's layers are not one vector a token; use the student full")
        if values is None:
            _check_size(total, states.shape[2])
            values = torch.empty((total, states.shape[2]), dtype=torch.float16)
        values[torch.from_numpy(tokens.take(rows).values)] = states.cpu()[mask].half()
    if not bool(torch.isfinite(values).all()):
        raise ModelError("the states between the model's layers are too large for float16; use the student full")
    return States(values, tokens)


def _check_size(tokens: int, width: int) -> None:
    size = 2 * tokens * width
    if size > MOST_BYTES:
        raise ModelError(
            f"the states of {tokens:,} tokens take {format_size(size)}, and at most {format_size(MOST_BYTES)} are "
            "kept; compare on fewer documents, or use the student static"
        )


def _entering(model: Any, layer: Any, batch: dict[str, Any]) -> Any:
    """Return what enters a layer for a batch."""
    seen: list[Any] = []

    def record(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append(given[0] if given else named.get("hidden_states"))
        raise _Recorded

    hook = layer.register_forward_pre_hook(record, with_kwargs=True)
    try:
        model({k: v.to(model.device) if torch.is_tensor(v) else v for k, v in batch.items()})
    except _Recorded:
        pass
    finally:
        hook.remove()
    return seen[0] if seen else None


def keep_top_layers(model: Any, layers: torch.nn.ModuleList, first: int, batch: dict[str, Any]) -> None:
    """Put stored states in the place of the layers before `first`, and take the input embeddings out of training.

    Args:
        model: of sentence-transformers; changed in place.
        layers: its layers, as `find_layers` returns them.
        first: number of the first layer that stays.
        batch: features of any text.
    """
    outputs: list[Any] = []
    hook = layers[first].register_forward_hook(lambda module, given, output: outputs.append(output))
    model({k: v.to(model.device) if torch.is_tensor(v) else v for k, v in batch.items()})
    hook.remove()
    kept = list(layers)[first:]
    stored = StoredStates(layers[max(0, first - 1)], isinstance(outputs[0], tuple))
    del layers[:]
    layers.extend([stored, *kept])
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            module.weight.requires_grad_(False)
