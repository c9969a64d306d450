"""Labels of the sources that found each negative, and each source's share of the negatives."""

from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.config import Config
from hnmine.stages.emit.chosen import RANDOM_DOCUMENT
from hnmine.stages.emit.filter_columns import EmittedNegatives
from hnmine.stages.filter.candidates import source_ranks


def source_sets(ranks: np.ndarray) -> np.ndarray:
    """Return the sources that found each candidate, as a set of bits: bit i is source i of the config.

    Args:
        ranks: int, shape (n, sources): 0 where a source did not find the candidate.

    Returns:
        int64, shape (n,); 0 where there are no sources, and the teacher alone retrieves.
    """
    return np.asarray(((ranks > 0) << np.arange(ranks.shape[1], dtype=np.int64)).sum(axis=1, dtype=np.int64))


def source_labels(table: pa.Table, negatives: EmittedNegatives, config: Config) -> pa.Array:
    """Return a label for each negative of a shard: its sources joined by +, "retrieved", "random" or "previous"."""
    positions, candidates = negatives.positions, negatives.candidates
    sets = np.append(source_sets(source_ranks(table)), 0)  # one more, for an index where there are no candidates
    found = np.where(positions < 0, positions, sets[candidates.fill_null(len(sets) - 1).to_numpy()])
    names = [source.label for source in config.retrieve.source]
    unique, inverse = np.unique(found, return_inverse=True)
    return pa.array([_label(int(bits), names) for bits in unique], pa.string()).take(pa.array(inverse))


def _label(bits: int, names: list[str]) -> str:
    if bits < 0:
        return "random" if bits == RANDOM_DOCUMENT else "previous"
    return "+".join(name for place, name in enumerate(names) if bits >> place & 1) or "retrieved"


def shares_line(found: dict[str, Any]) -> str:
    """Return a line with each source's share, given the section `sources` of report.json; "" without several."""
    named = {name: own["share"] for name, own in found.items() if name != "retrieved" and own["negatives"]}
    if len(found.keys() - {"retrieved", "previous", "random"}) < 2 or not named:
        return ""
    line = ", ".join(f"{name} {named[name]:.1%}" for name in sorted(named, key=lambda name: (-named[name], name)))
    several = "; what several found counts for each" if sum(named.values()) > 1 + 1e-9 else ""
    return f"\nchosen from: {line}{several}\n"


def shares(sets: np.ndarray, hardness: np.ndarray, config: Config) -> dict[str, Any]:
    """Return each source's number of negatives, their share and mean hardness, and the number found by it alone.

    Negatives that several sources found count for each of them.

    Args:
        sets: int64, shape (negatives,): see `source_sets`; below 0 for negatives that are no candidates.
        hardness: float64, shape (negatives,).
        config: for the names of the sources.
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
