"""What identifies the served cross-encoder of a run, and what its scores took."""

from pathlib import Path
from typing import Any

from hnmine.models.served_identity import Identity
from hnmine.models.served_rerankers import reranker_identity
from hnmine.runtime.stage import RunContext
from hnmine.storage.paths import map_paths
from hnmine.storage.schemas.rescore import RANDOM_PAIRS, RESCORES
from hnmine.storage.store import Shards, read_counts, recorded

PAIRS, PAIRS_FOLDER = 256, "random"
"""Random pairs of the run, for the background, and where they are."""


def identity_of(context: RunContext) -> Identity:
    """Return what identifies the model of [rescore] on its server, which is asked once a run.

    One that this run's folder or the source run's recorded is taken again if it fits, and its key with it.

    Raises:
        ConfigError, ModelError, ServerError: see `hnmine.models.served_identity.identity_or_known`.
    """
    config = context.config.rescore
    assert config is not None

    def find() -> Identity:
        return reranker_identity(config, known_identities(context), ask=not context.local_models)

    return context.digests.once(f"identity of rescore in {context.out}", find)


def known_identities(context: RunContext) -> list[Identity]:
    """Return what this run's folder and the source run's recorded of a served cross-encoder."""
    folders = [context.folder("rescore"), *([] if context.source is None else [context.source / "rescore"])]
    return [found for folder in folders if (found := recorded_identity(folder)) is not None]


def recorded_identity(folder: Path) -> Identity | None:
    """Return what a folder of the stage says of its served cross-encoder; None where it had none."""
    found: dict[str, Any] | None = (recorded(folder) or {}).get("parts", {}).get("rescore_model")
    return found if found and found.get("encoder") == "served" else None


def served_counts(context: RunContext) -> dict[str, int]:
    """Return the requests and tokens that the stored scores took; those sent again are not counted."""
    folder = context.folder("rescore")
    paths = [*Shards(folder, RESCORES).paths, *Shards(folder / PAIRS_FOLDER, RANDOM_PAIRS).paths]
    found = map_paths(read_counts, paths)
    return {name: sum(one[name] for one in found) for name in ("requests", "tokens")}
