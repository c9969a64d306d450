"""The hidden-positive protocol: candidates of queries with one positive known and their other positives hidden.

The protocol uses queries with two or more labelled positives. One positive stays known, the others become unlabelled
candidates like any other. Each of these that a filter keeps and that is chosen is a measured false negative.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hnmine.arrays.groups import count_before, rank_in_run
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.random_numbers import sample_share
from hnmine.config.filter import FilterConfig
from hnmine.config.tables import Config
from hnmine.science.hidden_positives import pick_known
from hnmine.science.near_queries import near_labels, one_label
from hnmine.search.candidate_pool import CandidateLimits, CandidatePool
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.verdicts import Scorer, TextKeys, Verdicts, check_codes, give_verdicts
from hnmine.stages.rescore.rescored import uses_rescored
from hnmine.stages.rescore.spending import to_score

HIDINGS = 3
"""How many times a query is used at most, each time with another positive known."""
ENOUGH_QUERIES, ENOUGH_HIDDEN = 50, 100
"""Minimum numbers of queries and of hidden positives for a meaningful fit and rate."""
MOST_QUERIES = 2000
"""Approximate maximum of sampled queries, to bound memory and time; more change neither fit nor rate."""

PART = 200_000
"""Candidates of hidden rows that are worked on at a time, where shards have fewer."""

QueryFilter = Callable[[np.ndarray], np.ndarray]
"""Query rows, int64 -> whether each is wanted, bool."""
CandidateReader = Callable[[QueryFilter | None, Sequence[str] | None], Iterator[tuple[Batch, TextKeys]]]
"""Yields the candidates of a run with their text keys, some queries at a time: see `FilterInputs.batches`."""


@dataclass(frozen=True)
class HiddenRows:
    """Candidates of some queries, each row with one positive known and the query's other positives hidden.

    Attributes:
        batch: one row for each (query, known positive).
        keys: the text keys of the same rows.
        query: the query of each row, a position in the original batch, int64.
        is_hidden: whether each candidate of the batch is a hidden positive, bool.
    """

    batch: Batch
    keys: TextKeys
    query: np.ndarray
    is_hidden: np.ndarray
    _checks: dict[Any, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def concatenate(cls, parts: "Sequence[HiddenRows]") -> "HiddenRows":
        """Return the rows of one or more parts, one part after another; `query` stays as it is in each part."""
        if len(parts) == 1:
            return parts[0]
        batch, keys = Batch.concatenate([p.batch for p in parts]), TextKeys.concatenate([p.keys for p in parts])
        query, is_hidden = (
            np.concatenate(found) for found in zip(*((p.query, p.is_hidden) for p in parts), strict=True)
        )
        return cls(batch, keys, query, is_hidden)

    def verdicts(self, config: FilterConfig, scorer: Scorer | None) -> Verdicts:
        """Return the verdicts; the checks before all rules are kept for other settings that share them."""
        shared = config.ranks, config.max_positive_similarity, config.max_query_similarity, config.judged_negatives
        if shared not in self._checks:
            self._checks[shared] = check_codes(self.batch, config, self.keys)
        return give_verdicts(self.batch, config, self.keys, scorer, self._checks[shared])


def hide(
    batch: Batch, keys: TextKeys, depth: CandidateLimits, hidings: int, seed: int, sampled: np.ndarray
) -> HiddenRows:
    """Return the hidden rows of a batch: each sampled query with several positives up to `hidings` times.

    Args:
        batch: candidates with their labels.
        keys: text keys of its queries.
        depth: candidates that a row keeps, its known positive not counted: as many as retrieval would have found.
        hidings: rows of a query at most, each with another known positive.
        seed: of the choice of known positives, together with the query's row.
        sampled: bool, shape (queries,): the queries that may be used.
    """
    query, known = pick_known(batch.query_rows, np.where(sampled, batch.positives.lengths, 0), hidings, seed)
    at = batch.positives.starts[query] + known
    known_rows = batch.positives.values[at]
    found = _positions(batch.candidates, query)
    is_known = batch.candidates.values[found.values] == known_rows[found.owners]
    if batch.permitted is not None:
        permitted = batch.permitted[batch.first_pairs(found.values) + known[found.owners]] | is_known
        found, is_known = found.filter(permitted), is_known[permitted]
    stays = _stays(batch, found, is_known, depth)
    found, is_known = found.filter(stays), is_known[stays]
    hidden = batch.select(query, Ragged.from_lengths(at, np.ones(len(at), dtype=np.int64)), found)
    if keys.labels is not None:
        hidden = _near_ones_with_one_label(hidden, rank_in_run(query), keys.labels, seed)
    if depth.scored is not None:
        beyond = ~is_known & (_others_before(batch, found, is_known) >= depth.scored)
        hidden = replace(hidden, scores=np.where(beyond, np.float32(np.nan), hidden.scores))
    return HiddenRows(hidden, keys.take(query), query, batch.is_positive[found.values] & ~is_known)


def _near_ones_with_one_label(batch: Batch, numbers: np.ndarray, labels: Ragged, seed: int) -> Batch:
    """Return hidden rows whose near queries know one label each, as the rows themselves do.

    If they knew all, a hidden positive that a near query shares would always be visible. An unlabelled one is not where
    labels of both are missing, and a model would learn to rely on it.

    Args:
        batch: the rows.
        numbers: int64, shape (rows,): how many earlier rows have the same query; each has other labels.
        labels: for every query of the run, rows of its positives.
        seed: of the choice.
    """
    near = batch.near_queries
    known = one_label(labels, near.values, numbers[near.owners], seed)
    nearest, share = near_labels(batch.candidates, near.with_values(np.arange(len(known))), batch.nearness, known)
    return replace(batch, near_labels=nearest.astype(np.float32), near_label_shares=share.astype(np.float32))


def unhidden(batch: Batch, keys: TextKeys, sampled: np.ndarray) -> HiddenRows:
    """Return the sampled queries (bool, shape (queries,)) unchanged, with no positive hidden."""
    rows = np.flatnonzero(sampled)
    chosen = batch.select(rows, _positions(batch.positives, rows), _positions(batch.candidates, rows))
    return HiddenRows(chosen, keys.take(rows), rows, np.zeros(len(chosen.scores), dtype=bool))


def _positions(lists: Ragged, rows: np.ndarray) -> Ragged:
    """Return the positions in `lists.values` of each row's values."""
    return Ragged.from_lengths(lists.places(rows), lists.lengths[rows])


def _stays(batch: Batch, found: Ragged, is_known: np.ndarray, depth: CandidateLimits) -> np.ndarray:
    """Return whether retrieval would find each candidate if it knew one positive a row, bool.

    `found` are positions in the original batch, one list a row; `is_known` marks each row's known positive, which takes
    no place.
    """
    if not depth.depths or not len(found.values):
        return _others_before(batch, found, is_known) < depth.top_k
    ranks = batch.source_ranks[found.values]
    documents = batch.candidates.values[found.values]
    pooled = CandidatePool(found.owners, documents, np.zeros(ranks.shape, dtype=np.float32), ranks)
    return depth.cut(pooled, is_known)[1]


def _others_before(batch: Batch, found: Ragged, is_known: np.ndarray) -> np.ndarray:
    """Return how many candidates other than the known positive precede each one in the teacher's order, int64."""
    if batch.teacher is None:  # candidates are in that order
        return count_before(~is_known, found.owners)
    order = np.lexsort((batch.ranks[found.values], found.owners))
    counts = np.empty(len(order), dtype=np.int64)
    counts[order] = count_before(~is_known[order], found.owners)
    return counts


def hidden_rows(read: CandidateReader, config: Config, share: float) -> Iterator[HiddenRows]:
    """Yield the hidden rows of a random share of the queries that have several positives."""
    depth = CandidateLimits.of(config.retrieve)
    if config.rescore is not None and uses_rescored(config):
        depth = replace(depth, scored=config.rescore.top_n)
    sampled = _sampled(share, config)
    for batch, keys in read(sampled, None):
        found = hide(batch, keys, depth, HIDINGS, config.seed, sampled(batch.query_rows))
        yield found if config.rescore is None else replace(found, batch=as_checked(found.batch, config))


def as_checked(batch: Batch, config: Config) -> Batch:
    """Return hidden rows without the cross-encoder's scores of candidates that it would not score if it knew no more.

    All labelled positives of a query have a score, hidden ones too.
    """
    if not batch.is_checked:
        return batch
    scores = batch.candidates.with_values(batch.scores)
    scored = to_score(scores, ~batch.is_positive, batch.positive_scores, batch.background_mean, config)
    return replace(batch, cross_scores=np.where(scored, batch.cross_scores, np.float32(np.nan)))


def in_large_parts(rows: Iterable[HiddenRows]) -> list[HiddenRows]:
    """Return the same rows in parts of at least `PART` candidates, as every setting takes some time for each part."""
    parts: list[HiddenRows] = []
    waiting: list[HiddenRows] = []
    for part in rows:
        if len(part.batch):
            waiting.append(part)
        if sum(len(one.batch.scores) for one in waiting) >= PART:
            parts.append(HiddenRows.concatenate(waiting))
            waiting = []
    return [*parts, HiddenRows.concatenate(waiting)] if waiting else parts


def _sampled(share: float, config: Config) -> QueryFilter:
    return lambda rows: sample_share(rows, share, config.seed)


def count_usable(read: CandidateReader) -> tuple[int, int, int]:
    """Return (queries, queries with several positives, how many of their positives are among the candidates)."""
    queries = several = hidden = 0
    for batch, _ in read(None, ("query_row", "positive_rows", "doc_rows")):
        queries += len(batch)
        several += int((batch.positives.lengths > 1).sum())
        hidden += int(hidden_counts(batch).sum())
    return queries, several, hidden


def hidden_counts(batch: Batch) -> np.ndarray:
    """Return how many positives among each query's candidates could be hidden, int64; 0 for one positive in all."""
    found = np.bincount(batch.owners[batch.hideable], minlength=len(batch))
    return np.asarray(np.where(batch.positives.lengths > 1, found, 0))


@dataclass(frozen=True)
class ProtocolRows:
    """The rows that a collection's filter is calibrated and measured on.

    Attributes:
        rows: rows of the hidden-positive protocol; unhidden queries where there are too few labels for it.
        measured: whether the rows have hidden positives.
        several: queries of the collection that have several positives.
        hidden: how many of these positives are among the candidates.
        why: how many labels the collection has, as text for the report.
    """

    rows: list[HiddenRows]
    measured: bool
    several: int
    hidden: int
    why: str

    @classmethod
    def of(cls, read: CandidateReader, config: Config, usable: tuple[int, int, int] | None = None) -> "ProtocolRows":
        """Return the rows of a collection, of a random sample of about `MOST_QUERIES` where it has more queries.

        `usable` is the result of `count_usable`, if it is known already: see `hnmine.stages.filter.shard_counts`.
        """
        queries, several, hidden = count_usable(read) if usable is None else usable
        why = f"{several:,} queries have several positives, {hidden:,} of which are among the candidates"
        if several >= ENOUGH_QUERIES and hidden >= ENOUGH_HIDDEN:
            rows = in_large_parts(hidden_rows(read, config, MOST_QUERIES / several))
            return cls(rows, True, several, hidden, why)
        sampled = _sampled(MOST_QUERIES / max(1, queries), config)
        rows = in_large_parts(unhidden(batch, keys, sampled(batch.query_rows)) for batch, keys in read(sampled, None))
        why = f"only {why} ({ENOUGH_QUERIES} and {ENOUGH_HIDDEN} needed to fit on them)"
        return cls(rows, False, several, hidden, why)
