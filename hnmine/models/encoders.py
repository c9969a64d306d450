"""Encoders: the protocol that turns texts into vectors, its implementations, and checks of vectors."""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np

from hnmine.config.models import EmbedConfig, Kind, TeacherTable
from hnmine.config.served import is_served
from hnmine.errors import InputError, ModelError
from hnmine.models.command_encoder import CommandEncoder
from hnmine.models.model_files import load_model
from hnmine.models.quantised import Quantised, require_openvino, use_quantised
from hnmine.models.served import SERVED_ROWS, ServedEncoder
from hnmine.models.served_identity import Identity
from hnmine.runtime.cpu_flags import multiplies_bfloat16
from hnmine.runtime.threads import in_order
from hnmine.runtime.torch_settings import one_torch_thread
from hnmine.runtime.worker_slot import thread_count

HASH_DIM, HASH_CELL_ROWS = 256, 256

# Rows that are tokenised and sorted together. Padding changes the last bits of a vector, so a text must be batched
# with the same others whatever the shard size: cells begin at fixed rows, and embed's files hold whole cells.
CELL_ROWS = 2048
# Models that take more tokens than this have smaller cells, so that the tokens of a cell fit into memory.
CELL_LENGTH, LEAST_CELL_ROWS = 512, 256

BATCH_TOKENS = {"cpu": 1024}
GPU_BATCH_TOKENS = 16_384
# Padded tokens of a batch that one thread of a CPU computes while others compute other batches. All threads share a
# larger one, since each would hold one in memory.
BATCH_OF_A_THREAD = BATCH_TOKENS["cpu"]

EncodeTexts = Callable[[Callable[[int], None]], Any]
"""Encodes texts that were prepared and returns a row for each; its argument is called with the number of texts done
since the last call."""


class CellModel(Protocol):
    """Encodes texts, cell by cell.

    Attributes:
        cell_rows: rows of a table that are encoded together, so that vectors do not depend on how it is sharded.
    """

    cell_rows: int

    def prepare(self, texts: Any, kind: Kind) -> EncodeTexts:
        """Return a function that encodes the texts (or images, as bytes).

        Work that needs no model, as tokenising, is done beforehand.
        """
        ...


class Encoder(CellModel, Protocol):
    """Turns texts into vectors: float32, one a text, not normalised."""

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors, shape (len(texts), dim), not normalised."""
        ...


def largest_cell_rows(config: EmbedConfig) -> int:
    """Return a number of rows that is a multiple of the encoder's `cell_rows`, without loading the encoder."""
    if is_served(config.model):
        return SERVED_ROWS
    return HASH_CELL_ROWS if config.model == "hash" else CELL_ROWS


class HashEncoder:
    """Deterministic vectors of hashed words and letter trigrams; for tests and dry runs, never for training.

    Each feature of the text adds +1 or -1 (words: +2 or -2) at a place given by its hash, so texts that share words
    have similar vectors. Prompts are applied as for a model, and max_length is the number of words.
    """

    cell_rows = HASH_CELL_ROWS

    def __init__(self, config: EmbedConfig) -> None:
        self.config = config

    def prepare(self, texts: Sequence[str], kind: Kind) -> EncodeTexts:
        """Return a function that encodes the texts."""

        def encode(tick: Callable[[int], None]) -> np.ndarray:
            vectors = self.encode(texts, kind)
            tick(len(texts))
            return vectors

        return encode

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors, shape (len(texts), `HASH_DIM`); a text without a word is one feature."""
        out = np.zeros((len(texts), HASH_DIM), dtype=np.float32)
        prompt = self.config.prompt(kind)
        for row, text in enumerate(texts):
            words = re.findall(r"\w+", (prompt + text).casefold())[: self.config.max_length] or [text]
            for feature in words + [f"{w[i : i + 3]}*" for w in words for i in range(max(1, len(w) - 2))]:
                place, weight = _place(feature)
                out[row, place] += weight
            if not out[row].any():
                out[row, 0] = 1.0
        return out


@lru_cache(1 << 16)
def _place(feature: str) -> tuple[int, float]:
    """Return the place of a feature in the vector and its weight."""
    number = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
    weight = 1.0 if feature.endswith("*") else 2.0
    return number % HASH_DIM, weight if number >> 63 else -weight


class BatchedModel:
    """A sentence-transformers model whose texts are tokenised by the cell and batched by their tokens.

    Args:
        model: the model, on its device, with its final `max_seq_length`.
        prompts: the prompt of each kind of text.
        batch_tokens: padded tokens of a batch.
        side_by_side: whether small batches are computed at the same time, each by one of torch's threads. Threads that
            share a batch wait for one another after each operation, which takes longer than the operations where
            other processes need the cores too.
    """

    def __init__(
        self, model: Any, prompts: Callable[[Kind], str], batch_tokens: int, *, side_by_side: bool = False
    ) -> None:
        self.model, self.prompts, self.batch_tokens, self.side_by_side = model, prompts, batch_tokens, side_by_side
        self.cell_rows = cell_rows(model.max_seq_length)
        self._longest: dict[Kind, int] = {}

    def prepare(self, texts: Sequence[str], kind: Kind) -> EncodeTexts:
        """Return a function that encodes the texts; they are tokenised beforehand where the model allows it."""
        features = self.features(list(texts), kind)
        if features is None:
            return partial(self.encode_plain, list(texts), kind)
        return partial(self.encode_batches, features, kind)

    def encode_batches(self, features: dict[str, Any], kind: Kind, tick: Callable[[int], None]) -> Any:
        """Return a row for each text of the features."""
        raise NotImplementedError

    def encode_plain(self, texts: list[str], kind: Kind, tick: Callable[[int], None]) -> Any:
        """Return a row for each text by the model's own `encode`."""
        raise NotImplementedError

    def features(self, texts: list[str], kind: Kind) -> dict[str, Any] | None:
        """Return the tokenizer's output for the texts; None where it cannot be cut into batches."""
        if not texts or not hasattr(self.model, "preprocess"):  # sentence-transformers before 5.4 lacks it
            return None
        name = self.model.default_prompt_name
        prompt = self.prompts(kind) or (None if name is None else self.model.prompts.get(name))
        features = self.model.preprocess(texts, prompt=prompt, **self.task(kind))
        return dict(features) if is_sliceable(features, len(texts)) else None

    def task(self, kind: Kind) -> dict[str, str]:
        """Return the argument that selects a tower of a two-tower model."""
        return {"task": kind} if any(type(module).__name__ == "Router" for module in self.model) else {}

    def batches(self, features: dict[str, Any]) -> list[np.ndarray]:
        """Return the rows of each batch."""
        return token_batches(features["attention_mask"].numpy().sum(axis=1), self.batch_tokens)

    def outputs(self, features: dict[str, Any], kind: Kind, **settings: Any) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield (rows, the model's tensor of them) for each batch."""
        import torch

        @torch.inference_mode()  # holds for one thread
        def compute(rows: np.ndarray) -> tuple[np.ndarray, Any]:
            batch = slice_features(features, rows)
            moved = {k: v.to(self.model.device) if torch.is_tensor(v) else v for k, v in batch.items()}
            return rows, self.model(moved, **self.task(kind), **settings)["sentence_embedding"]

        batches = self.batches(features)
        tokens = features["attention_mask"].numpy().sum(axis=1)
        small = [self.side_by_side and len(rows) * tokens[rows[0]] <= BATCH_OF_A_THREAD for rows in batches]
        with torch.inference_mode():
            yield from map(compute, (rows for rows, is_small in zip(batches, small, strict=True) if not is_small))
            yield from self._each_by_a_thread(
                compute, list(itertools.compress(batches, small)), kind, int(tokens.max())
            )

    def _each_by_a_thread(
        self, compute: Callable[[np.ndarray], tuple[np.ndarray, Any]], batches: list[np.ndarray], kind: Kind,
        longest: int,
    ) -> Iterator[tuple[np.ndarray, Any]]:  # fmt: skip
        """Yield what `compute` returns for each batch, in order.

        `longest` is the number of tokens of the longest text. Some models keep what they computed for the positions of
        the longest text so far: where a text is longer than all before of its kind, which may have a tower of its own,
        the first batch is computed alone.
        """
        import torch

        threads = torch.get_num_threads()
        before = self._longest.get(kind, 0)
        alone = 1 if longest > before else 0
        self._longest[kind] = max(longest, before)
        with one_torch_thread():
            yield from map(compute, batches[:alone])
            yield from in_order(compute, batches[alone:], threads)


class ModelEncoder(BatchedModel):
    """A sentence-transformers model.

    `table` names the teacher's table in messages; `quantised` is the model's transformer in 8-bit numbers, where
    `precision` asks for them.

    Raises:
        MissingExtra: OpenVINO is needed and not installed.
        ModelError: the model cannot be loaded, its weights are not safetensors, or its device is too slow for
            `precision`.
    """

    def __init__(self, config: EmbedConfig, table: TeacherTable = "embed", quantised: Quantised | None = None) -> None:
        is_int8 = config.precision == "int8"
        if is_int8:
            require_openvino(table)
        import torch

        model = load_model("SentenceTransformer", config, table, "cpu" if is_int8 else config.device)
        check_precision(config, str(model.device.type), table)
        model.to(torch.float32 if is_int8 else getattr(torch, config.precision)).eval()
        if config.max_length is not None:
            model.max_seq_length = config.max_length
        self.config = config
        tokens = config.batch_tokens or BATCH_TOKENS.get(model.device.type, GPU_BATCH_TOKENS)
        side_by_side = model.device.type == "cpu" and not is_int8  # OpenVINO has one request, and threads of its own
        super().__init__(model, config.prompt, tokens, side_by_side=side_by_side)
        if quantised is not None:
            names = list(next(self.tensors(["text"], "document"), {}))
            use_quantised(self.model, quantised, names, thread_count())

    def tensors(self, texts: Sequence[str], kind: Kind) -> Iterator[dict[str, Any]]:
        """Yield the features of the texts that are tensors, batch by batch; nothing where `features` gives None."""
        import torch

        features = self.features(list(texts), kind)
        if features is not None:
            for rows in self.batches(features):
                yield {k: v.contiguous() for k, v in slice_features(features, rows).items() if torch.is_tensor(v)}

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors of the texts, each with the prompt of its kind before it."""
        return np.asarray(self.prepare(texts, kind)(lambda rows: None))

    def encode_batches(self, features: dict[str, Any], kind: Kind, tick: Callable[[int], None]) -> np.ndarray:
        """Return the vectors of the texts."""
        out = np.zeros((0, 0), dtype=np.float32)
        for rows, found in self.outputs(features, kind):
            vectors = found[:, : self.model.truncate_dim].float().cpu().numpy()
            if not len(out):
                out = np.empty((len(features["attention_mask"]), vectors.shape[1]), dtype=np.float32)
            out[rows] = vectors
            tick(len(rows))
        return out

    def encode_plain(self, texts: list[str], kind: Kind, tick: Callable[[int], None]) -> np.ndarray:
        """Return the texts' vectors by the model's own `encode`."""
        vectors = self.model.encode(
            texts,
            prompt=self.config.prompt(kind) or None,
            batch_size=self.config.batch_size,
            show_progress_bar=False,
            convert_to_tensor=True,
            normalize_embeddings=False,
            **self.task(kind),
        )
        tick(len(texts))
        return np.ascontiguousarray(vectors.float().cpu().numpy(), dtype=np.float32)


def check_precision(config: EmbedConfig, device: str, table: TeacherTable) -> None:
    """Check that the device computes in `precision` at a useful speed.

    Raises:
        ModelError: the device is a CPU, and the precision is float16, or bfloat16 without instructions for it.
    """
    if device != "cpu" or config.precision in ("float32", "int8"):
        return
    if config.precision == "bfloat16":
        if multiplies_bfloat16():
            return
        needed = "a GPU or a CPU that multiplies it (flag avx512_bf16 or amx_bf16), and this machine has neither"
    else:
        needed = "a GPU, and none was found"
    raise ModelError(
        f"{table}.precision: {config.precision} needs {needed}; the CPU computes it several times slower than float32; "
        'set precision = "float32"'
    )


def cell_rows(longest: int | None) -> int:
    """Return the rows of a cell for a model that takes up to `longest` tokens (None: any): a divisor of CELL_ROWS."""
    rows = CELL_ROWS
    while rows > LEAST_CELL_ROWS and (longest is None or rows * longest > CELL_ROWS * CELL_LENGTH):
        rows //= 2
    return rows


def is_sliceable(features: Any, texts: int) -> bool:
    """Return whether features are one row a text of tokens and padding at one end, and scalars that hold for all.

    Other inputs of models (images, packed or averaged tokens, padding to a fixed width) cannot be cut into batches.
    """
    import torch

    mask = features.get("attention_mask")
    if not torch.is_tensor(mask) or mask.ndim != 2 or len(mask) != texts or "input_ids" not in features:
        return False
    for value in features.values():
        if value.shape != mask.shape if torch.is_tensor(value) else not isinstance(value, str | int | float | None):
            return False
    return int(mask.sum(1).max()) == mask.shape[1]


def slice_features(features: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Return the features of some rows, without the columns that are padding in all of them."""
    import torch

    chosen = torch.from_numpy(rows)
    used = torch.nonzero(features["attention_mask"][chosen].any(dim=0)).flatten().tolist() or [0]
    span = slice(used[0], used[-1] + 1)
    return {k: v[chosen][:, span] if torch.is_tensor(v) else v for k, v in features.items()}


def token_batches(counts: np.ndarray, most: int) -> list[np.ndarray]:
    """Cut texts, sorted by falling token count and then by row, into batches of at most `most` padded tokens.

    A batch of n texts, the longest of L tokens, costs n * L padded tokens. L is the first text's count, so
    n = max(1, floor(most / L)); a batch exceeds `most` only where a single text does.

    Args:
        counts: int64, shape (n,), tokens of each text; a text without any counts as 1.
        most: padded tokens of a batch, at least 1.

    Returns:
        the rows of each batch, int64; together every row once.
    """
    order = np.argsort(-counts, kind="stable").astype(np.int64)
    longest = np.maximum(counts[order], 1)
    batches = []
    first = 0
    while first < len(order):
        last = first + max(1, most // int(longest[first]))
        batches.append(order[first:last])
        first = last
    return batches


def make_encoder(
    config: EmbedConfig,
    table: TeacherTable = "embed",
    quantised: Quantised | None = None,
    identity: Identity | None = None,
) -> Encoder:
    """Return the encoder that the config names; arguments and errors are those of `ModelEncoder` or `ServedEncoder`."""
    if config.command is not None:
        return CommandEncoder(config, table, CELL_ROWS)
    if is_served(config.model):
        return ServedEncoder(config, table, identity)
    return HashEncoder(config) if config.model == "hash" else ModelEncoder(config, table, quantised)


def check_vectors(vectors: np.ndarray, what: str, similarity: str) -> np.ndarray:
    """Return vectors of shape (n, dim) as float32, normalised for cosine; `what` names them in messages.

    Raises:
        InputError: a vector holds a number that is not finite, or is all zeros under cosine.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    norms = _norms(vectors)
    if not (np.isfinite(norms).all() and norms.all()):
        for bad, fault in vector_faults(vectors, similarity):
            raise InputError(f"{what}: {len(bad):,} vectors {fault}, the first in row {bad[0]:,}")
    return vectors if similarity == "dot" else vectors / norms[:, None]


def _norms(vectors: np.ndarray) -> np.ndarray:
    """Return the lengths of float32 vectors: those of `np.linalg.norm`, bit for bit, with fewer copies."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(np.square(vectors).sum(axis=1)))


def vector_faults(vectors: np.ndarray, similarity: str) -> Iterator[tuple[np.ndarray, str]]:
    """Yield (rows, fault) for the kinds of float32 vectors that cannot be compared; rows are int64 and not empty."""
    norms = _norms(vectors)
    finite = np.isfinite(norms)
    if not finite.all():  # a finite vector may be too long
        finite = np.isfinite(vectors).all(axis=1)
    faults = [(~finite, "hold numbers that are not finite")]
    if similarity == "cosine":
        faults += [(norms == 0, "are all zeros"), (finite & ~np.isfinite(norms), "are too long for float32")]
    yield from ((np.flatnonzero(bad), fault) for bad, fault in faults if bad.any())
