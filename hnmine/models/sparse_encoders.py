"""Sparse encoders: models that give a text weights of terms, most of them 0, such as SPLADE."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hnmine.config.models import Kind, SparseConfig
from hnmine.errors import ModelError
from hnmine.models.encoders import BATCH_TOKENS, CELL_ROWS, BatchedModel
from hnmine.models.model_files import find_model, load_model

if TYPE_CHECKING:
    from scipy.sparse import csr_array

GPU_BATCH_TOKENS = 4096  # SPLADE computes a number for each token and term of the vocabulary
SPARSE_CELL_ROWS = CELL_ROWS
"""A number of rows that is a multiple of any sparse encoder's `cell_rows`."""


class SparseModelEncoder(BatchedModel):
    """A sentence-transformers SparseEncoder: SPLADE, one whose queries need no inference, CSR or another.

    It gives texts as a scipy matrix, float32, shape (texts, terms), each row with its terms ascending and no zeros.

    Raises:
        ModelError: the model cannot be loaded, is no sparse encoder, or its weights are not safetensors.
    """

    def __init__(self, config: SparseConfig, table: str) -> None:
        model = load_model("SparseEncoder", config, table, config.device)
        if _is_untrained(model, Path(find_model(config, table))):
            raise ModelError(
                f"{table}.model {config.model!r} is no sparse encoder: its sparse layer would have random weights; "
                "name a model such as SPLADE"
            )
        model.eval()
        if config.max_length is not None:
            _cut_texts(model, config.max_length)
        self.config, self.table = config, table
        self.max_active: int | None = config.max_active or model.max_active_dims
        super().__init__(
            model, config.prompt, config.batch_tokens or BATCH_TOKENS.get(model.device.type, GPU_BATCH_TOKENS)
        )

    def encode_batches(self, features: dict[str, Any], kind: Kind, tick: Callable[[int], None]) -> "csr_array":
        """Return the weights of the texts."""
        from scipy.sparse import vstack

        done, parts = [np.zeros(0, dtype=np.int64)], []
        limit = {} if self.max_active is None else {"max_active_dims": self.max_active}
        for rows, found in self.outputs(features, kind, **limit):
            parts.append(self._largest(found))
            done.append(rows)
            tick(len(rows))
        return vstack(parts, format="csr")[np.argsort(np.concatenate(done))]

    def encode_plain(self, texts: list[str], kind: Kind, tick: Callable[[int], None]) -> "csr_array":
        """Return the texts' weights by the model's own `encode`, in parts of a bounded size."""
        from scipy.sparse import vstack

        parts = []
        for first in range(0, len(texts), self.config.batch_size):
            some = texts[first : first + self.config.batch_size]
            found = self.model.encode(
                some,
                prompt=self.config.prompt(kind) or None,
                batch_size=self.config.batch_size,
                show_progress_bar=False,
                convert_to_tensor=True,
                convert_to_sparse_tensor=False,
                **self.task(kind),
            )
            parts.append(self._largest(found))
            tick(len(some))
        return vstack(parts, format="csr")

    def _largest(self, found: Any) -> "csr_array":
        """Return a tensor of weights, without all but the largest of each row.

        Raises:
            ModelError: a weight is not finite.
        """
        from scipy.sparse import csr_array

        if self.max_active is not None:
            from sentence_transformers.util import select_max_active_dims

            found = select_max_active_dims(found, max_active_dims=self.max_active)
        dense = found.to_dense() if found.is_sparse else found
        weights = csr_array(dense.float().cpu().numpy())
        if not np.isfinite(weights.data).all():
            raise ModelError(f"{self.table}.model {self.config.model!r} gave weights that are not finite")
        return weights


def _is_untrained(model: Any, folder: Path) -> bool:
    """Return whether a model has a sparse layer that its folder does not name: the library adds one to dense models."""
    named = folder / "modules.json"
    name = "SparseAutoEncoder"
    has_layer = any(type(module).__name__ == name for module in model.modules())
    return has_layer and not (named.is_file() and name in named.read_text(encoding="utf-8"))


def _cut_texts(model: Any, length: int) -> None:
    """Let a model cut texts to a number of tokens; its static parts go by the tokenizer's own limit."""
    model.max_seq_length = length
    for module in model.modules():
        if type(module).__name__ == "SparseStaticEmbedding":
            module.tokenizer.model_max_length = length
