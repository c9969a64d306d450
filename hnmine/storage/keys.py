"""Content keys of stages and shards, and what a stage's folder records of them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hnmine.storage.store import MANIFEST, STARTED, read_json


def digest(data: Any) -> str:
    """Return the sha256 of a value's canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def item_key(stage_key: str, name: str, first: int, rows: int) -> str:
    """Return the key of one shard: the stage's, and which rows the shard covers."""
    return digest([stage_key, name, first, rows])


def recorded(folder: Path) -> Mapping[str, Any] | None:
    """Return what a stage's folder says of itself: its manifest, or that it was started."""
    found: Mapping[str, Any] | None = read_json(folder / MANIFEST) or read_json(folder / STARTED)
    return found


def is_done(folder: Path, key: str) -> bool:
    """Tell whether a stage's folder is complete under this key."""
    manifest = read_json(folder / MANIFEST)
    return bool(manifest) and manifest["key"] == key
