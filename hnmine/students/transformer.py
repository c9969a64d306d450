"""Students that are the teacher's own model: the whole of it, or its top layers over stored states of the lower ones.

Dropout is off, so the seed decides the order of the examples alone.
"""

import copy
from typing import Any

import numpy as np

from hnmine.errors import ModelError
from hnmine.models.encoders import BATCH_TOKENS, is_sliceable, slice_features, token_batches
from hnmine.runtime.torch_settings import one_torch_thread
from hnmine.students.batches import batch_rows, make_batch, steps_of
from hnmine.students.evaluation import ranked_ndcg
from hnmine.students.loss import contrastive_loss
from hnmine.students.task import Examples, Task
from hnmine.students.top_layers import States, find_layers, keep_top_layers, record_states
from hnmine.students.training import Tick, Training, minimise

_SAME = 1e-2
"""Largest difference of two numbers of a normalised vector, computed from stored states and from the text."""
_COMPARED = 8


class TransformerStudent:
    """The teacher's model, trained from its own weights.

    Args:
        model: of sentence-transformers, on any device. It is changed: cut to `max_tokens`, and for "top-layers" to
            its top layers.
        task: what all mined sets share.
        training: how it is trained.
        tick: called with the number of examples as they are trained on.
        name: "full" or "top-layers".

    Raises:
        ModelError: the model's texts cannot be batched by tokens; for "top-layers" also: its layers are not found, they
            give other vectors over stored states, or the states need too much memory.
    """

    def __init__(self, model: Any, task: Task, training: Training, tick: Tick, name: str) -> None:
        import torch

        self.name, self.model, self.task, self.training, self.tick = name, model.float().eval(), task, training, tick
        features_of(model, ["text"])  # a model of another kind is refused before it is changed
        model.max_seq_length = min(training.max_tokens, model.max_seq_length or training.max_tokens)
        self.features = features_of(model, [*task.query_texts, *task.document_texts])
        self.counts = self.features["attention_mask"].numpy().sum(axis=1)
        self.states: States | None = None
        with one_torch_thread(), torch.no_grad():
            if name == "top-layers":
                self._use_states(training.layers)

    def _use_states(self, kept: int) -> None:
        layers = find_layers(self.model)
        rows = np.argsort(self.counts, kind="stable")[:: max(1, len(self.counts) // _COMPARED)]
        expected = self._vectors(self.model, rows)
        first = max(0, len(layers) - kept)
        self.states = record_states(self.model, layers[first], self.features, self.batches(np.arange(len(self.counts))))
        keep_top_layers(self.model, layers, first, slice_features(self.features, rows[:1]))
        found = self._vectors(self.model, rows)
        if not bool(((expected - found).abs() / expected.norm(dim=1, keepdim=True) < _SAME).all()):
            raise ModelError("the model's top layers give other vectors over stored states; use the student full")

    def batches(self, texts: np.ndarray) -> list[np.ndarray]:
        """Return texts (int64) in batches of similar length."""
        most = BATCH_TOKENS["cpu"]
        return [texts[rows] for rows in token_batches(self.counts[texts], most)]

    def untrained(self) -> np.ndarray:
        """Return nDCG@10 of each test query before training, float64, shape (m,)."""
        with one_torch_thread():
            return self._evaluate(self.model)

    def train(self, examples: Examples, seed: int) -> np.ndarray:
        """Return nDCG@10 of each test query after training on the examples, float64, shape (m,)."""
        with one_torch_thread():
            return self._evaluate(self.trained(examples, seed))

    def trained(self, examples: Examples, seed: int) -> Any:
        """Return a copy of the model, trained on the examples."""
        import torch

        how, queries = self.training, len(self.task.query_texts)
        model = self._copy()

        def loss(rows: np.ndarray) -> Any:
            batch = make_batch(examples, self.task.known, rows, how.loss)
            asked = self._vectors(model, batch.queries)
            documents, place = np.unique(queries + batch.documents, return_inverse=True)
            found = self._vectors(model, documents)[torch.from_numpy(place)]
            allowed = torch.from_numpy(batch.allowed).to(found.device)
            return contrastive_loss(asked, found, allowed, how.scale)

        order, steps = batch_rows(examples, how.batch, how.epochs, seed), steps_of(examples, how.batch, how.epochs)
        with torch.enable_grad():
            minimise((p for p in model.parameters() if p.requires_grad), order, steps, how.rate, loss, self.tick)
        return model

    def _copy(self) -> Any:
        """Return a copy of the model whose parameters that are not trained are the model's own."""
        frozen = {id(p): p for p in self.model.parameters() if not p.requires_grad}
        return copy.deepcopy(self.model, frozen)

    def _vectors(self, model: Any, texts: np.ndarray) -> Any:
        """Return the vectors of some texts (int64), computed as one batch, a float32 tensor."""
        import torch

        batch = slice_features(self.features, texts)
        moved = {k: v.to(model.device) if torch.is_tensor(v) else v for k, v in batch.items()}
        if self.states is not None:
            self.states.place(model, texts, batch["attention_mask"])
        return model(moved)["sentence_embedding"]

    def _evaluate(self, model: Any) -> np.ndarray:
        import torch

        queries, test = len(self.task.query_texts), self.task.test
        texts = np.concatenate([test.queries, queries + np.arange(len(self.task.document_texts))])
        parts: list[Any] = []
        order = self.batches(texts)
        with torch.inference_mode():
            parts = [self._vectors(model, rows) for rows in order]
        place = np.empty(queries + len(self.task.document_texts), dtype=np.int64)
        place[np.concatenate(order)] = np.arange(len(texts))
        found = torch.cat(parts)[torch.from_numpy(place[texts])].cpu()
        return ranked_ndcg(found[: len(test.queries)], found[len(test.queries) :], test.relevant)


def features_of(model: Any, texts: list[str]) -> dict[str, Any]:
    """Return the tokenizer's output for texts: tensors of one row a text.

    Raises:
        ModelError: it cannot be cut into batches.
    """
    tokenise = getattr(model, "preprocess", None) or model.tokenize  # which sentence-transformers renamed in 5.4
    features = dict(tokenise(texts))
    if not is_sliceable(features, len(texts)):
        raise ModelError("the model's texts cannot be batched by tokens; use the student static")
    return features
