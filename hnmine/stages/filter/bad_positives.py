"""Suspected bad positives: labelled positives that score below most of their query's other candidates."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.runtime.threads import in_threads
from hnmine.science.anchors import positive_of_anchor
from hnmine.science.percentiles import is_suspected, positive_percentile
from hnmine.stages.filter.candidates import Batch
from hnmine.storage.schemas.report import BAD_POSITIVES
from hnmine.storage.store import Shards

BAD_POSITIVES_FILE = "bad_positives.parquet"
_COLUMNS = ["query_id", "query_row", "positive_rows", "positive_scores", "positive_standing"]


def positive_percentiles(batch: Batch) -> Ragged:
    """Return the percentile of each positive among its query's candidates that are no positives, float32 in [0, 1]."""
    others = batch.counted
    own = batch.positive_scores
    return own.with_values(positive_percentile(own.values, own.owners, batch.scores[others], batch.owners[others]))


def is_emitted(table: pa.Table, config: Config) -> np.ndarray:
    """Return whether each positive of a filter table gets training rows, bool: all that are not left out."""
    percentiles = Ragged.from_arrow(table.column("positive_standing")).values
    if config.emit.bad_positives != "leave_out":
        return np.ones(len(percentiles), dtype=bool)
    return ~is_suspected(percentiles, config.filter.bad_positive_quantile)


def needs_negatives(table: pa.Table, config: Config) -> np.ndarray:
    """Return whether each anchor of a filter table needs negatives, bool.

    The anchor of one positive needs them if that positive is emitted, the anchor of a whole query if any positive of
    the query is.
    """
    anchors = Ragged.from_arrow(table.column("anchor_scores"))
    positives = Ragged.from_arrow(table.column("positive_rows"))
    emitted = is_emitted(table, config)
    any_emitted = np.bincount(positives.owners[emitted], minlength=len(positives)) > 0
    own = positive_of_anchor(anchors, positives)
    return np.asarray(np.where(own >= 0, emitted[own], any_emitted[anchors.owners]))


def count_treated(judged: Shards, config: Config) -> dict[str, int]:
    """Return how many positives emit left out or weighted down, and how many queries lost their last positive."""

    def of_shard(number: int) -> tuple[int, int, int]:
        table = judged.read(number, ["positive_standing"])
        lists = Ragged.from_arrow(table.column("positive_standing"))
        emitted, down = is_emitted(table, config), config.emit.bad_positives == "down_weight"
        lost = int((np.bincount(lists.owners[emitted], minlength=len(lists)) == 0).sum())
        weighted = int(is_suspected(lists.values, config.filter.bad_positive_quantile).sum()) if down else 0
        return int((~emitted).sum()), lost, weighted

    names = ("positives_left_out", "queries_left_out", "positives_down_weighted")
    found = in_threads(of_shard, range(len(judged)))
    return {name: sum(counts[place] for counts in found) for place, name in enumerate(names)}


def list_suspected(judged: Shards, corpus: Shards, quantile: float) -> pa.Table:
    """Return the suspected positives of all filter tables, in order of percentile, score, query and document."""
    found = pa.concat_tables(in_threads(lambda n: _suspected(judged.read(n, _COLUMNS), quantile), range(len(judged))))
    keys = [(name, "ascending") for name in ("standing", "score", "query_row", "doc_row")]
    found = found.take(pc.sort_indices(found, sort_keys=keys))
    names = corpus.take(found.column("doc_row").to_numpy(), ["doc_id"]).column("doc_id")
    return found.append_column("doc_id", names).select(BAD_POSITIVES.names).cast(BAD_POSITIVES)


def _suspected(table: pa.Table, quantile: float) -> pa.Table:
    lists = {name: Ragged.from_arrow(table.column(name)) for name in _COLUMNS[2:]}
    at = np.flatnonzero(is_suspected(lists["positive_standing"].values, quantile))
    owners = pa.array(lists["positive_rows"].owners[at])
    numbers = {
        name: pa.array(own.values[at])
        for name, own in zip(("doc_row", "score", "standing"), lists.values(), strict=True)
    }
    return pa.table({name: table.column(name).take(owners) for name in _COLUMNS[:2]} | numbers)
