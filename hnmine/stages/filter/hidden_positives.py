"""The hidden-positive protocol: mine with one positive known and the others hidden, and see what is caught.

A query with two or more labelled positives carries its own test. One positive stays known, the others become
unlabelled candidates like any other. Whatever the filter then chooses from among them is a measured false negative.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.config import FilterConfig
from hnmine.science.hidden_positives import pick_known
from hnmine.search.candidate_pool import CandidateLimits, CandidatePool
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.verdicts import Judgement, Scorer, TextKeys, checked, judge


@dataclass(frozen=True)
class Hidden:
    """Candidates with all but one positive of each query hidden.

    Attributes:
        batch: one row a hiding; its only positive is the one that stays known.
        keys: the text keys of the same rows.
        query: which query of the original batch each row comes from, int64.
        is_hidden: whether each candidate of the batch is a hidden positive, bool.
    """

    batch: Batch
    keys: TextKeys
    query: np.ndarray
    is_hidden: np.ndarray
    _checks: dict[Any, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def judge(self, config: FilterConfig, scorer: Scorer | None) -> Judgement:
        """Return the verdicts; the checks that all settings of a sweep share are made once."""
        shared = (
            config.ranks, config.max_positive_similarity, config.max_query_similarity, config.judged_negatives,
        )  # fmt: skip
        if shared not in self._checks:
            self._checks[shared] = checked(self.batch, config, self.keys)
        return judge(self.batch, config, self.keys, scorer, self._checks[shared])


def hide(batch: Batch, keys: TextKeys, depth: CandidateLimits, hidings: int, seed: int, drawn: np.ndarray) -> Hidden:
    """Return a batch in which each query with several positives stands `hidings` times, each time with one known.

    Args:
        batch: candidates with their labels.
        keys: text keys of its queries.
        depth: candidates a hidden row keeps, its known positive not counted, as a real retrieval would.
        hidings: how often a query is used at most, each time with another positive.
        seed: of the choice of known positives, together with the query's row.
        drawn: bool, one a query: which may be used.
    """
    query, known = pick_known(batch.query_rows, np.where(drawn, batch.positives.lengths, 0), hidings, seed)
    at = batch.positives.offsets[:-1][query] + known
    candidates = batch.candidates.take(query)
    places = batch.candidates.places(query)
    known_rows = batch.positives.values[at]
    widths = batch.positives.lengths[batch.owners]
    starts = np.cumsum(widths) - widths
    if batch.permitted is not None:
        may = batch.permitted[starts[places] + known[candidates.owners]]
        may |= candidates.values == known_rows[candidates.owners]
        lengths = np.bincount(candidates.owners[may], minlength=len(query))
        candidates, places = Ragged.from_lengths(candidates.values[may], lengths), places[may]
    is_known = candidates.values == known_rows[candidates.owners]
    keep = _stay(batch, candidates, places, is_known, depth)
    lengths = np.bincount(candidates.owners[keep], minlength=len(query))
    candidates, places = Ragged.from_lengths(candidates.values[keep], lengths), places[keep]
    one = Ragged.from_lengths(known_rows, np.ones(len(query), dtype=np.int64))
    hidden = Batch(
        query_rows=batch.query_rows[query],
        positives=one,
        positive_scores=one.with_values(batch.positive_scores.values[at]),
        candidates=candidates,
        scores=_scored(batch, (candidates, places), candidates.values == known_rows[candidates.owners], depth),
        ranks=batch.ranks[places],
        similarities=batch.similarities[starts[places] + known[candidates.owners]],
        query_overlaps=batch.query_overlaps[places],
        positive_overlaps=batch.positive_overlaps[starts[places] + known[candidates.owners]],
        background_mean=batch.background_mean[query],
        background_std=batch.background_std[query],
        positive_background_mean=batch.positive_background_mean[at],
        positive_background_std=batch.positive_background_std[at],
        **_guide(batch, places, one, at),
        source_ranks=batch.source_ranks[places],
        teacher=batch.teacher.take(query, places, one, at) if batch.teacher is not None else None,
    )
    hidden_keys = keys.take(query)
    is_hidden = batch.is_positive[places] & (candidates.values != known_rows[candidates.owners])
    return Hidden(hidden, hidden_keys, query, is_hidden)


def _guide(batch: Batch, places: np.ndarray, positives: Ragged, at: np.ndarray) -> dict[str, Any]:
    """Return the guide's scores of some candidates and positives; empty ones where there is no guide.

    Args:
        batch: what they are taken from.
        places: int64, positions of the candidates.
        positives: lists of the lengths wanted.
        at: int64, positions of the positives in these lists.
    """
    scores = batch.guide_positive_scores.values
    if not batch.has_guide:
        none = Ragged(scores, np.zeros(len(positives) + 1, dtype=np.int64))
        return {"guide_scores": batch.guide_scores, "guide_positive_scores": none}
    return {"guide_scores": batch.guide_scores[places], "guide_positive_scores": positives.with_values(scores[at])}


def _stay(
    batch: Batch, candidates: Ragged, places: np.ndarray, is_known: np.ndarray, depth: CandidateLimits
) -> np.ndarray:
    """Return which candidates a retrieval would find that knows one positive a row; the others of them take places.

    Args:
        batch: what the candidates are taken from.
        candidates: documents of each hidden row.
        places: int64, one a candidate: its position in the batch.
        is_known: bool, likewise: the row's known positive.
        depth: how far down the lists go.
    """
    if not depth.depths or not len(places):
        return _others_before(batch, candidates, places, is_known) < depth.top_k
    ranks = batch.source_ranks[places]
    found = CandidatePool(candidates.owners, candidates.values, np.zeros(ranks.shape, dtype=np.float32), ranks)
    return depth.cut(found, is_known)[1]


def _scored(batch: Batch, found: tuple[Ragged, np.ndarray], is_known: np.ndarray, depth: CandidateLimits) -> np.ndarray:
    """Return the candidates' scores, NaN for those that would not be rescored where one positive a row is known.

    Positives are always rescored; a hidden one has a score where it is among the teacher's best, as any candidate.
    """
    candidates, places = found
    scores = batch.scores[places]
    if depth.scored is None:
        return np.asarray(scores)
    beyond = ~is_known & (_others_before(batch, candidates, places, is_known) >= depth.scored)
    return np.asarray(np.where(beyond, np.float32(np.nan), scores))


def _others_before(batch: Batch, candidates: Ragged, places: np.ndarray, is_known: np.ndarray) -> np.ndarray:
    """Return for each candidate how many that are not known stand before it in the teacher's order, int64."""
    if batch.teacher is None:  # candidates are in that order
        return np.asarray(_running_count(~is_known, candidates) - ~is_known)
    order = np.lexsort((batch.ranks[places], candidates.owners))
    counts = np.empty(len(places), dtype=np.int64)
    counts[order] = _running_count(~is_known[order], candidates) - ~is_known[order]
    return counts


def _running_count(flags: np.ndarray, lists: Ragged) -> np.ndarray:
    """Return for each value how many flags of its list are set up to and including it."""
    total = np.cumsum(flags)
    before = np.concatenate([[0], total])[lists.offsets[:-1]]
    return np.asarray(total - before[lists.owners])


def whole(batch: Batch, keys: TextKeys, drawn: np.ndarray) -> Hidden:
    """Return the drawn queries (bool, one a query) as they are, nothing hidden."""
    rows = np.flatnonzero(drawn)
    places, positive_places = batch.candidates.places(rows), batch.positives.places(rows)
    widths = batch.positives.lengths[batch.owners]
    pairs = Ragged.from_lengths(np.arange(int(widths.sum())), widths).places(places)
    positives = batch.positives.take(rows)
    chosen = Batch(
        query_rows=batch.query_rows[rows],
        positives=positives,
        positive_scores=batch.positive_scores.take(rows),
        candidates=batch.candidates.take(rows),
        scores=batch.scores[places],
        ranks=batch.ranks[places],
        similarities=batch.similarities[pairs],
        query_overlaps=batch.query_overlaps[places],
        positive_overlaps=batch.positive_overlaps[pairs],
        background_mean=batch.background_mean[rows],
        background_std=batch.background_std[rows],
        positive_background_mean=batch.positive_background_mean[positive_places],
        positive_background_std=batch.positive_background_std[positive_places],
        **_guide(batch, places, positives, positive_places),
        source_ranks=batch.source_ranks[places],
        teacher=batch.teacher.take(rows, places, positives, positive_places) if batch.teacher is not None else None,
    )
    return Hidden(chosen, keys.take(rows), rows, np.zeros(len(places), dtype=bool))
