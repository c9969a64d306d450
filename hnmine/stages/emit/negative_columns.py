"""Extra columns of emitted negatives: P(false negative), weight, guide score, and the sources that found them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged, single_array
from hnmine.config.tables import Config
from hnmine.stages.emit.chosen import NO_CANDIDATE, PREVIOUS_NEGATIVE
from hnmine.stages.filter.candidates import source_ranks


@dataclass(frozen=True)
class EmittedNegatives:
    """The source of each negative of a shard's examples; one value per negative.

    Attributes:
        positions: int64, positions among the query's candidates; see `hnmine.stages.emit.chosen`.
        candidates: int64, indices among all candidates of the shard; null for negatives that are no candidates.
        anchors: int64, indices among all anchors of the shard.
        documents: int64, document rows.
    """

    positions: np.ndarray
    candidates: pa.Array
    anchors: np.ndarray
    documents: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, chosen: pa.Table, anchors: np.ndarray) -> "EmittedNegatives":
        """Return the negatives of the given anchors (int64; one after another, repeats are fine).

        `table` holds the shard's judged candidates, `chosen` has a row for each of their anchors.
        """
        positions, documents = (Ragged.from_arrow(chosen.column(name)) for name in ("positions", "doc_rows"))
        owners = Ragged.from_arrow(table.column("anchor_scores")).owners
        spread = positions.places(anchors)
        of_anchors = positions.owners[spread]
        found, starts = positions.values[spread], Ragged.from_arrow(table.column("doc_rows")).starts
        at = pa.array(starts[owners[of_anchors]] + found, mask=found < 0)
        return cls(found, at, of_anchors, documents.values[spread])


def filter_columns(
    config: Config, table: pa.Table, negatives: EmittedNegatives, previous: pa.Table | None
) -> dict[str, pa.Array]:
    """Return p_false_negative and weight if the filter gives probabilities, and guide_score if there is a guide.

    Random documents have no probability (null) and weight 1. `table` holds the shard's judged candidates, `previous`
    its rows of `emit/previous` (None without a previous run), which hold the values of kept previous negatives.
    """
    columns = {}
    if config.filter.gives_probabilities:
        p = false_negative_probabilities(table, negatives, previous)
        columns = {"p_false_negative": p, "weight": pc.subtract(pa.scalar(1, pa.float32()), pc.fill_null(p, 0))}
    if config.guide is not None:
        scores = pa.array(Ragged.from_arrow(table.column("guide_scores")).values).take(negatives.candidates)
        columns["guide_score"] = _with_previous(scores, "guide_scores", negatives, previous)
    return columns


def false_negative_probabilities(table: pa.Table, negatives: EmittedNegatives, previous: pa.Table | None) -> pa.Array:
    """Return P(false negative) of each negative, null for random documents; see `filter_columns` for the arguments."""
    by_anchor = Ragged.from_arrow(single_array(table.column("probabilities")).flatten())
    at = by_anchor.starts[negatives.anchors] + negatives.positions
    p = pa.array(by_anchor.values).take(pa.array(at, mask=negatives.positions < 0))
    return _with_previous(p, "probabilities", negatives, previous)


def _with_previous(values: pa.Array, name: str, negatives: EmittedNegatives, previous: pa.Table | None) -> pa.Array:
    """Return the values with those of kept previous negatives filled in from a column of `emit/previous`."""
    kept = negatives.positions == PREVIOUS_NEGATIVE
    if previous is None or not kept.any():
        return values
    lists = Ragged.from_arrow(previous.column("doc_rows"))
    at, _ = lists.find(negatives.anchors[kept], negatives.documents[kept])
    stored = pc.list_flatten(previous.column(name)).combine_chunks().take(pa.array(at))
    return pc.replace_with_mask(values, pa.array(kept), stored.cast(values.type))


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
    unique, inverse = np.unique(found, return_inverse=True)
    return pa.array([source_label(int(bits), config) for bits in unique], pa.string()).take(pa.array(inverse))


def source_label(bits: int, config: Config) -> str:
    """Return the label of a set of sources, or of a position below 0: see `NO_CANDIDATE`."""
    names = [source.label for source in config.retrieve.source]
    if bits < 0:
        return NO_CANDIDATE[bits]
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
