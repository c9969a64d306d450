"""Content keys of stages and shards, and the key recorded in a stage's folder."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hnmine.storage.store import MANIFEST, STARTED, read_json


def digest(data: Any) -> str:
    """Return the sha256 of a value's canonical JSON, as hex digits.

    Raises:
        ValueError: it holds a number that is not finite.
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def item_key(stage_key: str, name: str, first: int, rows: int) -> str:
    """Return the key of a shard: a hash of the stage's key, the shard's table and the rows that it covers."""
    return digest([stage_key, name, first, rows])


def recorded(folder: Path) -> Mapping[str, Any] | None:
    """Return a stage's manifest, or the note that it was started, or None."""
    found: Mapping[str, Any] | None = read_json(folder / MANIFEST) or read_json(folder / STARTED)
    return found


def is_done(folder: Path, key: str) -> bool:
    """Return whether a stage's folder is complete under this key."""
    manifest = read_json(folder / MANIFEST)
    return bool(manifest) and manifest["key"] == key
