"""A sentence-transformers model as an encoder: texts tokenised once, batched by token count, run by its own modules."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from hnmine.arrays.token_batches import token_batches
from hnmine.config import EmbedConfig, TeacherTable
from hnmine.config.teacher import Kind
from hnmine.errors import ModelError
from hnmine.models.model_files import find_model, first_line, require_models
from hnmine.models.quantised import Quantised, require_openvino, use_quantised
from hnmine.runtime.worker_slot import choose_device, current_slot, thread_count

# Rows that are tokenised and sorted together. Padding shows in the last bits of a vector, so that a text must meet
# the same others whatever the shard size: cells lie at fixed rows, and the embed stage's files hold whole ones.
CELL_ROWS = 2048
# Where texts may be longer than this many tokens, cells are smaller by as much, to bound what their tokens take.
CELL_LENGTH, LEAST_CELL_ROWS = 512, 256

BATCH_TOKENS = {"cpu": 1024}
GPU_BATCH_TOKENS = 16_384


class ModelEncoder:
    """A sentence-transformers model.

    Args:
        config: the embed table, or the guide's.
        table: which of them, for messages.
        quantised: its transformer in 8-bit numbers, where `precision` asks for them.

    Raises:
        MissingExtra: sentence-transformers, or OpenVINO where it is needed, is not installed.
        ModelError: the model cannot be loaded, its weights are not safetensors, or its device is too slow for
            the precision asked for.
    """

    def __init__(self, config: EmbedConfig, table: TeacherTable = "embed", quantised: Quantised | None = None) -> None:
        require_models(table)
        if config.precision == "int8":
            require_openvino(table)
        path = find_model(config, table)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import sentence_transformers
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self.model = sentence_transformers.SentenceTransformer(
                path,
                revision=config.revision,
                device="cpu"
                if config.precision == "int8"
                else choose_device(config.device, current_slot(), torch.cuda.device_count()),
                trust_remote_code=config.trust_remote_code,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:  # loaders raise anything; the user needs the model's name and the reason
            raise ModelError(f"{table}.model {config.model!r} cannot be loaded: {first_line(error)}") from error
        check_precision(config, str(self.model.device.type), table)
        self.model.to(torch.float32 if config.precision == "int8" else getattr(torch, config.precision)).eval()
        if current_slot().count > 1:
            torch.set_num_threads(thread_count())
        if config.max_length is not None:
            self.model.max_seq_length = config.max_length
        self.config = config
        self.cell_rows = cell_rows(self.model.max_seq_length)
        self.batch_tokens = config.batch_tokens or BATCH_TOKENS.get(self.model.device.type, GPU_BATCH_TOKENS)
        if quantised is not None:
            names = list(next(self.tensors(["text"], "document"), {}))
            use_quantised(self.model, quantised, names, thread_count())

    def prepare(self, texts: Sequence[str], kind: Kind) -> Callable[[Callable[[int], None]], np.ndarray]:
        """Return what makes the texts' vectors, the texts tokenised by then where the model allows it."""
        features = self._features(list(texts), kind)
        if features is None:
            return partial(self._plain, list(texts), kind)
        return partial(self._batched, features, kind)

    def tensors(self, texts: Sequence[str], kind: Kind) -> Iterator[dict[str, Any]]:
        """Yield the features of the texts that are tensors, batch by batch; none where batches cannot be cut."""
        import torch

        features = self._features(list(texts), kind)
        if features is not None:
            for rows in self._batches(features):
                yield {k: v.contiguous() for k, v in slice_features(features, rows).items() if torch.is_tensor(v)}

    def _batches(self, features: dict[str, Any]) -> list[np.ndarray]:
        return token_batches(features["attention_mask"].numpy().sum(axis=1), self.batch_tokens)

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors of the texts, each behind the prompt of its kind."""
        return self.prepare(texts, kind)(lambda rows: None)

    def _features(self, texts: list[str], kind: Kind) -> dict[str, Any] | None:
        """Return what the model's own tokenizer makes of the texts; None where batches cannot be cut from it."""
        if not texts or not hasattr(self.model, "preprocess"):  # sentence-transformers before 5.4 cannot be asked
            return None
        features = self.model.preprocess(texts, prompt=self._prompt(kind), **self._task(kind))
        return dict(features) if is_sliceable(features, len(texts)) else None

    def _prompt(self, kind: Kind) -> str | None:
        """Return the prompt: the config's, else the one that the model itself puts before every text, if any."""
        name = self.model.default_prompt_name
        return self.config.prompt(kind) or (None if name is None else self.model.prompts.get(name))

    def _task(self, kind: Kind) -> dict[str, str]:
        """Return what says to a model of two towers which one is meant."""
        return {"task": kind} if any(type(module).__name__ == "Router" for module in self.model) else {}

    def _batched(self, features: dict[str, Any], kind: Kind, tick: Callable[[int], None]) -> np.ndarray:
        import torch

        rows_in_all = len(features["attention_mask"])
        out: np.ndarray | None = None
        with torch.inference_mode():
            for rows in self._batches(features):
                batch = slice_features(features, rows)
                moved = {k: v.to(self.model.device) if torch.is_tensor(v) else v for k, v in batch.items()}
                found = self.model(moved, **self._task(kind))["sentence_embedding"]
                vectors = found[:, : self.model.truncate_dim].float().cpu().numpy()
                if out is None:
                    out = np.empty((rows_in_all, vectors.shape[1]), dtype=np.float32)
                out[rows] = vectors
                tick(len(rows))
        assert out is not None
        return out

    def _plain(self, texts: list[str], kind: Kind, tick: Callable[[int], None]) -> np.ndarray:
        model: Any = self.model  # its overloads know no task
        vectors = model.encode(
            texts,
            prompt=self.config.prompt(kind) or None,
            batch_size=self.config.batch_size,
            show_progress_bar=False,
            convert_to_tensor=True,
            normalize_embeddings=False,
            **self._task(kind),
        )
        tick(len(texts))
        return np.ascontiguousarray(vectors.float().cpu().numpy(), dtype=np.float32)


def check_precision(config: EmbedConfig, device: str, table: TeacherTable) -> None:
    """Refuse short numbers where they are slow.

    Raises:
        ModelError: the device is the CPU, and the precision float16 or bfloat16.
    """
    if device == "cpu" and config.precision not in ("float32", "int8"):
        raise ModelError(
            f"{table}.precision: {config.precision} needs a GPU, and none was found; the CPU computes it several times "
            'slower than float32; set precision = "float32"'
        )


def cell_rows(longest: int | None) -> int:
    """Return the rows of a cell for a model that cuts texts at some number of tokens: a divisor of CELL_ROWS."""
    rows = CELL_ROWS
    while rows > LEAST_CELL_ROWS and (longest is None or rows * longest > CELL_ROWS * CELL_LENGTH):
        rows //= 2
    return rows


def is_sliceable(features: Any, texts: int) -> bool:
    """Tell whether features are one row a text of tokens and padding at one end, and scalars that hold for all.

    What else models take (images, packed or averaged tokens, padding to a fixed width) is left to themselves.
    """
    import torch

    mask = features.get("attention_mask")
    if not torch.is_tensor(mask) or mask.ndim != 2 or len(mask) != texts or "input_ids" not in features:
        return False
    for value in features.values():
        if torch.is_tensor(value) and value.shape != mask.shape:
            return False
        if not torch.is_tensor(value) and not isinstance(value, str | int | float | None):
            return False
    return int(mask.sum(1).max()) == mask.shape[1]


def slice_features(features: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Return the features of some rows, without the columns that are padding in all of them."""
    import torch

    chosen = torch.from_numpy(rows)
    used = torch.nonzero(features["attention_mask"][chosen].any(dim=0)).flatten().tolist() or [0]
    span = slice(used[0], used[-1] + 1)
    return {k: v[chosen][:, span] if torch.is_tensor(v) else v for k, v in features.items()}
