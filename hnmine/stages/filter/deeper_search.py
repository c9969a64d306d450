"""Deeper search: more candidates for queries that keep too few because theirs are likely positives."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.verdicts import CODES, rule_names
from hnmine.stages.hubs.normalised import normalises_hubs
from hnmine.stages.rescore.rescored import reads_rescored
from hnmine.stages.retrieve.candidate_search import CandidateSearch
from hnmine.storage.schemas.filter import KEEP

_RULES = ("margin", "percent", "adaptive", "two_sided", "calibrated", "guide")
"""The rules that reject a candidate for being a likely positive."""
_LIKELY = [CODES[name] for name in ("copy_of_positive", "near_copy_of_positive", *_RULES)]
_LISTS = ["query_row", "positive_rows", "doc_rows"]
_QUERY_COLUMNS = ["query_id", "text", "text_key", "positive_rows", "terms"]

Judge = Callable[[pa.Table], tuple[pa.Table, np.ndarray]]
"""Returns candidates with their verdicts, and which queries are short (bool, shape (queries,))."""


def searches_deeper(config: Config) -> bool:
    """Return whether a filter may search deeper: the teacher alone finds candidates and gives the scores of a rule."""
    return (
        max_depth(config) > config.retrieve.top_k
        and not config.retrieve.source
        and not reads_rescored(config)
        and not normalises_hubs(config)
        and not set(_RULES).isdisjoint(rule_names(config.filter))
    )


def max_depth(config: Config) -> int:
    """Return how many candidates a query gets at most, positives not counted; none beyond the rank window."""
    most = config.retrieve.max_top_k
    return most if config.filter.ranks is None else min(most, config.filter.ranks[1])


def short_anchors(counts: np.ndarray, wanted: int) -> np.ndarray:
    """Return which anchors keep fewer candidates than wanted and lost some as likely positives, bool, (anchors,).

    An anchor with a candidate that is too easy for the rule multi_similarity is not among them: all further down would
    be too easy as well.

    Args:
        counts: int64, shape (anchors, verdicts): how many cells of each anchor have each verdict, by `CODES`.
        wanted: kept candidates that each needs.
    """
    too_easy = counts[:, CODES["multi_similarity"]] > 0
    return np.asarray((counts[:, CODES[KEEP]] < wanted) & (counts[:, _LIKELY].sum(axis=1) > 0) & ~too_easy)


@dataclass(frozen=True)
class DeeperSearch:
    """Searches again, twice as deep each time, for queries that are short; the search is opened at the first of them.

    What a query gets depends on its own candidates alone.
    """

    context: RunContext
    documents: int

    @cached_property
    def _search(self) -> CandidateSearch:
        return CandidateSearch.open(self.context, self.context.reading("retrieve"))

    def extend(self, table: pa.Table, short: np.ndarray, judge: Judge) -> pa.Table:
        """Return judged candidates, with a deeper list in the place of a short one where there is more to be found.

        Args:
            table: judged candidates of some queries; its columns are those that `judge` returns.
            short: bool, shape (queries,).
            judge: gives verdicts.
        """
        config = self.context.config
        depth, most, places = config.retrieve.top_k, max_depth(config), np.flatnonzero(short)
        latest = _rows(table.select(_LISTS), short)
        found_of = _Latest(table)
        while len(places) and depth < most:
            batch = Batch.from_table(latest)
            counted = np.bincount(batch.owners[~batch.is_positive], minlength=len(batch))
            # a list that is not full, or that has all documents, has nothing below it
            more = (counted >= depth) & (counted < self.documents - batch.positives.lengths)
            if not more.any():
                break
            depth = min(2 * depth, most)
            found = self._find(batch.query_rows[more], depth)
            longer = Batch.from_table(found).candidates.lengths > batch.candidates.lengths[more]
            judged, still_short = judge(_rows(found, longer))
            places = places[more][longer]
            found_of.replace(places, judged)
            places, latest = places[still_short], _rows(judged.select(_LISTS), still_short)
        return found_of.table()

    def _find(self, rows: np.ndarray, depth: int) -> pa.Table:
        return self._search.find(self._search.queries.take(rows, _QUERY_COLUMNS), rows, depth)


def _rows(table: pa.Table, which: np.ndarray) -> pa.Table:
    """Return the rows where `which` (bool) is true; all of them are not copied."""
    return table if which.all() else table.filter(pa.array(which))


class _Latest:
    """The rows of a table, some of them replaced by later ones; rows that were replaced are not kept in memory."""

    def __init__(self, table: pa.Table) -> None:
        self._parts = [table]
        self._part = np.zeros(table.num_rows, dtype=np.int64)
        self._row = np.arange(table.num_rows)

    def replace(self, places: np.ndarray, rows: pa.Table) -> None:
        """Put `rows` at some places of the table (int64)."""
        self._part[places], self._row[places] = len(self._parts), np.arange(len(places))
        self._parts.append(rows)
        for number in range(1, len(self._parts) - 1):
            own = np.flatnonzero(self._part == number)
            kept = np.zeros(self._parts[number].num_rows, dtype=bool)
            kept[self._row[own]] = True
            self._parts[number], self._row[own] = (
                _rows(self._parts[number], kept),
                (np.cumsum(kept) - 1)[self._row[own]],
            )

    def table(self) -> pa.Table:
        """Return the rows in their order, none of them copied."""
        cuts = np.flatnonzero((np.diff(self._part) != 0) | (np.diff(self._row) != 1)) + 1
        spans = zip([0, *cuts.tolist()], [*cuts.tolist(), len(self._row)], strict=True)
        return pa.concat_tables(
            [self._parts[self._part[first]].slice(int(self._row[first]), last - first) for first, last in spans]
        )
