"""Which sources found a chosen negative, and how that is said."""

from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.config import Config
from hnmine.stages.filter.candidates import source_ranks

RETRIEVED, RANDOM_DOCUMENT, PREVIOUS_NEGATIVE = 0, -1, -2
"""What stands for a candidate of the teacher alone, for a random document, and for a negative of an earlier run that is
no candidate, where others have a set of sources."""


def source_sets(ranks: np.ndarray) -> np.ndarray:
    """Return the sources that found each candidate as a set: bit i stands for source i.

    Args:
        ranks: int, shape (n, sources): 0 where a source did not find the candidate.

    Returns:
        int64, shape (n,); `RETRIEVED` where there are no sources.
    """
    return np.asarray(((ranks > 0) << np.arange(ranks.shape[1], dtype=np.int64)).sum(axis=1, dtype=np.int64))


def found_by(table: pa.Table, at: pa.Array) -> np.ndarray:
    """Return the sets of the candidates at these positions of a table's candidates; null gives `RANDOM_DOCUMENT`."""
    drawn = at.is_null().to_numpy(zero_copy_only=False)
    sets = np.append(source_sets(source_ranks(table)), RANDOM_DOCUMENT)
    return np.asarray(sets[np.where(drawn, len(sets) - 1, at.fill_null(0).to_numpy())])


def said(sets: np.ndarray, config: Config) -> pa.Array:
    """Return the sets in words: the sources' names joined by +, "retrieved", "random" or "previous"."""
    names = [source.label for source in config.retrieve.source]
    unique, inverse = np.unique(sets, return_inverse=True)
    return pa.array([_one(int(bits), names) for bits in unique], pa.string()).take(pa.array(inverse))


def _one(bits: int, names: list[str]) -> str:
    if bits < 0:
        return "random" if bits == RANDOM_DOCUMENT else "previous"
    return "+".join(name for place, name in enumerate(names) if bits >> place & 1) or "retrieved"


def shares_line(found: dict[str, Any]) -> str:
    """Return in a line which share of the negatives each source found; nothing where there are not several sources.

    Args:
        found: `sources` of report.json.
    """
    named = {name: own["share"] for name, own in found.items() if name != "retrieved" and own["negatives"]}
    if len(found.keys() - {"retrieved", "previous", "random"}) < 2 or not named:
        return ""
    line = ", ".join(f"{name} {named[name]:.1%}" for name in sorted(named, key=lambda name: (-named[name], name)))
    several = "; what several found counts for each" if sum(named.values()) > 1 + 1e-9 else ""
    return f"\nchosen from: {line}{several}\n"


def shares(sets: np.ndarray, hardness: np.ndarray, config: Config) -> dict[str, Any]:
    """Return for each source how many of the negatives it found, their share, hardness, and what it alone found.

    A negative that several sources found counts for each of them.

    Args:
        sets: int64, shape (negatives,).
        hardness: float64, shape (negatives,).
        config: for the sources' names.
    """
    found: dict[str, Any] = {}
    for place, source in enumerate(config.retrieve.source):
        own = (sets >= 0) & (sets >> place & 1 == 1)
        count = int(own.sum())
        found[source.label] = {
            "negatives": count,
            "share": count / max(1, len(sets)),
            "hardness": float(hardness[own].mean()) if count else None,
            "alone": int((sets == 1 << place).sum()),
        }
    return found
