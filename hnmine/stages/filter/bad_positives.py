"""Suspected bad positives: labelled positives that score no higher than random documents do."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.runtime.threads import in_threads
from hnmine.science.anchors import positive_of_anchor
from hnmine.science.percentiles import is_suspected, positive_percentile, positive_weight
from hnmine.science.z_scores import at_background
from hnmine.stages.filter.candidates import Batch
from hnmine.storage.schemas.report import BAD_POSITIVES
from hnmine.storage.store import Shards

BAD_POSITIVES_FILE = "bad_positives.parquet"
SUSPECT_COLUMNS = ("positive_scores", "positive_standing", "background_mean", "background_std")
"""The columns of a filter table that `suspected` reads."""
_COLUMNS = ["query_id", "query_row", "positive_rows", "positive_scores", "positive_standing"]


def positive_percentiles(batch: Batch) -> Ragged:
    """Return the percentile of each positive among its query's candidates that are no positives, float32 in [0, 1]."""
    others = batch.counted
    own = batch.positive_scores
    return own.with_values(positive_percentile(own.values, own.owners, batch.scores[others], batch.owners[others]))


def suspected(table: pa.Table, quantile: float) -> np.ndarray:
    """Return whether each positive of a filter table is suspected to be wrong, bool.

    It scores no higher than a random document may well do (see `hnmine.science.z_scores.at_background`), and below the
    quantile of its query's candidates.
    """
    scores, percentiles = (Ragged.from_arrow(table.column(name)) for name in SUSPECT_COLUMNS[:2])
    mean, std = (table.column(name).to_numpy() for name in SUSPECT_COLUMNS[2:])
    return _suspicious(scores, percentiles, mean, std, quantile)


def suspected_of_batch(batch: Batch, quantile: float) -> np.ndarray:
    """Return `suspected` of the positives of candidates that have no standings yet."""
    mean, std = batch.background_mean, batch.background_std
    return _suspicious(batch.positive_scores, positive_percentiles(batch), mean, std, quantile)


def _suspicious(scores: Ragged, percentiles: Ragged, mean: np.ndarray, std: np.ndarray, quantile: float) -> np.ndarray:
    low = at_background(scores.values, mean[scores.owners], std[scores.owners])
    return np.asarray(is_suspected(percentiles.values, quantile) & low)


def weights_of_positives(table: pa.Table, quantile: float) -> np.ndarray:
    """Return the weight of each positive of a filter table, float32: below 1 for suspected ones only."""
    percentiles = Ragged.from_arrow(table.column("positive_standing")).values
    return np.where(suspected(table, quantile), positive_weight(percentiles, quantile), np.float32(1))


def is_emitted(table: pa.Table, config: Config) -> np.ndarray:
    """Return whether each positive of a filter table gets training rows, bool: all that are not left out."""
    if config.emit.bad_positives != "leave_out":
        return np.ones(len(Ragged.from_arrow(table.column("positive_standing")).values), dtype=bool)
    return ~suspected(table, config.filter.bad_positive_quantile)


def needs_negatives(table: pa.Table, config: Config) -> np.ndarray:
    """Return whether each anchor of a filter table needs negatives, bool.

    The anchor of one positive needs them if that positive is emitted, the anchor of a whole query if any positive of
    the query is.
    """
    anchors, positives = (Ragged.from_arrow(table.column(name)) for name in ("anchor_scores", "positive_rows"))
    return anchors_needed(anchors, positives, is_emitted(table, config))


def anchors_needed(anchors: Ragged, positives: Ragged, emitted: np.ndarray) -> np.ndarray:
    """Return `needs_negatives`, given the anchors and the positives of each query and which positives are emitted."""
    any_emitted = np.bincount(positives.owners[emitted], minlength=len(positives)) > 0
    own = positive_of_anchor(anchors, positives)
    return np.asarray(np.where(own >= 0, emitted[own], any_emitted[anchors.owners]))


def count_treated(judged: Shards, config: Config) -> dict[str, int]:
    """Return how many positives emit left out or weighted down, and how many queries lost their last positive."""

    def of_shard(number: int) -> tuple[int, int, int]:
        table = judged.read(number, list(SUSPECT_COLUMNS))
        lists = Ragged.from_arrow(table.column("positive_standing"))
        emitted, down = is_emitted(table, config), config.emit.bad_positives == "down_weight"
        lost = int((np.bincount(lists.owners[emitted], minlength=len(lists)) == 0).sum())
        weighted = int(suspected(table, config.filter.bad_positive_quantile).sum()) if down else 0
        return int((~emitted).sum()), lost, weighted

    names = ("positives_left_out", "queries_left_out", "positives_down_weighted")
    found = in_threads(of_shard, range(len(judged)))
    return {name: sum(counts[place] for counts in found) for place, name in enumerate(names)}


def list_suspected(judged: Shards, corpus: Shards, quantile: float) -> pa.Table:
    """Return the suspected positives of all filter tables, in order of percentile, score, query and document."""
    columns = [*_COLUMNS, "background_mean", "background_std"]
    found = pa.concat_tables(in_threads(lambda n: _suspected(judged.read(n, columns), quantile), range(len(judged))))
    keys = [(name, "ascending") for name in ("standing", "score", "query_row", "doc_row")]
    found = found.take(pc.sort_indices(found, sort_keys=keys))
    names = corpus.take(found.column("doc_row").to_numpy(), ["doc_id"]).column("doc_id")
    return found.append_column("doc_id", names).select(BAD_POSITIVES.names).cast(BAD_POSITIVES)


def _suspected(table: pa.Table, quantile: float) -> pa.Table:
    lists = {name: Ragged.from_arrow(table.column(name)) for name in _COLUMNS[2:]}
    at = np.flatnonzero(suspected(table, quantile))
    owners = pa.array(lists["positive_rows"].owners[at])
    numbers = {
        name: pa.array(own.values[at])
        for name, own in zip(("doc_row", "score", "standing"), lists.values(), strict=True)
    }
    return pa.table({name: table.column(name).take(owners) for name in _COLUMNS[:2]} | numbers)
