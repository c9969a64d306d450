"""The arms: ways of mining that are compared, as settings of hnmine or as functions for what is not hnmine's."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.stages.filter.verdicts import give_verdicts
from tests.benchmarks.peer import mine_with_sentence_transformers
from tests.benchmarks.training.bases import Base, dense_and_idf, dense_and_trained, dense_and_words, late_interaction
from tests.benchmarks.training.prepare import TOP_K, Prepared

WANTED = 5
SAFE_FROM = 31
"""First rank of the safe hard negatives that false negatives are planted among."""
Making = Callable[[Prepared], Ragged]


@dataclass(frozen=True)
class Arm:
    """A way of mining.

    Attributes:
        filter, emit: tables of hnmine's config, where they differ from the benchmark's.
        top_k: candidates retrieved for a query.
        make: returns the corpus rows of each training query's negatives; None: hnmine mines them.
        wanted: negatives wanted for a query.
        base: sources of candidates or rescoring, where not the teacher alone finds and scores them.
    """

    filter: dict[str, Any] = field(default_factory=dict)
    emit: dict[str, Any] = field(default_factory=dict)
    top_k: int = TOP_K
    make: Making | None = None
    wanted: int = WANTED
    base: Base | None = None


def none(prepared: Prepared) -> Ragged:
    """No negatives: a query is told from the batch's other positives alone."""
    return Ragged.from_lengths(np.zeros(0, dtype=np.int64), np.zeros(len(prepared.known), dtype=np.int64))


def random_documents(prepared: Prepared) -> Ragged:
    """Documents drawn uniformly, any but the known positive, no document twice for a query."""
    rng, size = np.random.default_rng([prepared.seed, 0x72616E64]), len(prepared.corpus.texts)
    rows = [rng.choice(size - 1, WANTED, replace=False) for _ in prepared.known]
    drawn = np.array([own + (own >= known) for own, known in zip(rows, prepared.known, strict=True)], dtype=np.int64)
    return Ragged.from_lengths(drawn.ravel(), np.full(len(prepared.known), WANTED))


def true_negatives(prepared: Prepared, first: int = 1) -> Ragged:
    """The best candidates from a rank on that no label calls relevant, hidden ones included: what an oracle mines."""
    config = prepared.retrieved().config
    config = config.model_copy(
        update={"filter": config.filter.model_copy(update={"rule": "none", "ranks": (first, 10**6)})}
    )
    parts = []
    for batch, keys in prepared.retrieved().pieces():
        keep = give_verdicts(batch, config.filter, keys, None).keep
        relevant = prepared.training.relevant.contains(
            batch.query_rows[batch.candidates.owners], batch.candidates.values
        )
        parts.append(batch.candidates.filter(keep & ~relevant))
    kept = Ragged.concatenate(parts)
    return kept.filter(kept.positions < WANTED)


def planted(share: float) -> Making:
    """Return an arm's function: safe hard negatives, of which a share gives way to hidden positives of the query.

    The negatives are true ones from rank 31 on. Which give way, and to which of the query's hidden positives, is drawn
    at random.
    """

    def make(prepared: Prepared) -> Ragged:
        base, relevant = true_negatives(prepared, SAFE_FROM), prepared.training.relevant
        hidden = relevant.filter(relevant.values != prepared.known[relevant.owners])
        rng = np.random.default_rng([prepared.seed, 0x706C616E])
        shuffled = hidden.values[np.lexsort((rng.random(len(hidden.values)), hidden.owners))]
        order = rng.random(len(base.values))
        rank = np.empty(len(order), dtype=np.int64)  # a query's negatives in random order, the first can give way
        rank[np.lexsort((order, base.owners))] = base.positions
        able = np.flatnonzero(rank < hidden.lengths[base.owners])
        chosen = rng.permutation(able)[: round(share * len(base.values))]
        values = base.values.copy()
        values[chosen] = shuffled[hidden.starts[base.owners[chosen]] + rank[chosen]]
        return base.with_values(values)

    return make


def peer(n: int, relative_margin: float | None) -> Making:
    """Return an arm's function: sentence-transformers' `mine_hard_negatives` on the same vectors."""

    def make(prepared: Prepared) -> Ragged:
        queries, corpus = prepared.vectors()
        return mine_with_sentence_transformers(queries, corpus, prepared.known, TOP_K, n, relative_margin)

    return make


def _rule(rule: str | list[str], **settings: Any) -> Arm:
    return Arm(filter={"rule": rule, **settings})


def _window(first: int, last: int, top_k: int = TOP_K) -> Arm:
    return Arm(filter={"rule": "none", "ranks": (first, last)}, top_k=top_k)


CONTROLS: dict[str, Arm] = {
    "in-batch": Arm(make=none),
    "random": Arm(make=random_documents),
    "unfiltered": _rule("none"),
    "oracle": Arm(make=true_negatives),
}
PLANTED: dict[str, Arm] = {f"planted {share}%": Arm(make=planted(share / 100)) for share in (0, 10, 30, 50)}
PEERS: dict[str, Arm] = {
    "mine_hard_negatives": Arm(make=peer(3, None), wanted=3),
    "mine_hard_negatives 0.05": Arm(make=peer(WANTED, 0.05)),
}
WINDOWS: dict[str, Arm] = {
    "ranks 11-": _window(11, 10**6),
    "ranks 31-": _window(31, 10**6),
    "ranks 96-100": _window(96, 100),
    "ranks 251-300": _window(251, 300, 1000),
    "ranks 901-1000": _window(901, 1000, 1000),
}
RULES: dict[str, Arm] = {
    **{f"percent {p}": _rule("percent", percent=p) for p in (0.8, 0.9, 0.95)},
    **{f"margin {m}": _rule("margin", margin=m) for m in (0.05, 0.1, 0.2)},
    **{f"adaptive {m}": _rule("adaptive", adaptive=m) for m in (0.05, 0.2, 0.4)},
    **{f"two_sided {z}": _rule("two_sided", two_sided=float(z)) for z in (-1, 0, 1)},
    **{f"calibrated {r}": _rule("calibrated", max_false_negative_rate=r) for r in (0.01, 0.02, 0.05)},
    "calibrated": _rule("calibrated"),
    "calibrated and percent 0.95": _rule(["calibrated", "percent"], percent=0.95),
    "auto": _rule("auto"),
}
CHOICES: dict[str, Arm] = {
    "auto, choose top": Arm({"rule": "auto"}, {"choose": "top"}),
    "auto, choose random": Arm({"rule": "auto"}, {"choose": "random"}),
    "auto, choose mixed": Arm({"rule": "auto"}, {"choose": "mixed"}),
    "percent 0.95, choose random": Arm({"rule": "percent"}, {"choose": "random"}),
    "auto, relabelled 0.9": Arm({"rule": "auto"}, {"relabel": 0.9}),
    "auto, 1 negative": Arm({"rule": "auto"}, {"num_negatives": 1}, wanted=1),
    "auto, 10 negatives": Arm({"rule": "auto"}, {"num_negatives": 10}, wanted=10),
    "percent 0.95, 10 negatives": Arm({"rule": "percent"}, {"num_negatives": 10}, wanted=10),
    "percent 0.95, filled up": Arm({"rule": "percent"}, {"fallback": "random"}),
}
_INTRA = {"ensemble": "intra", "choose": "top"}
SOURCES: dict[str, Arm] = {
    "dense and bm25, intra": Arm({"rule": "percent"}, _INTRA, base=dense_and_words),
    "dense and sparse idf, intra": Arm({"rule": "percent"}, _INTRA, base=dense_and_idf),
    "dense and sparse trained, intra": Arm({"rule": "percent"}, _INTRA, base=dense_and_trained),
}
LATE: dict[str, Arm] = {
    "percent 0.95, checked by late interaction": Arm({"rule": "percent", "score": "checked"}, base=late_interaction),
    "auto, rescored by late interaction": Arm({"rule": "auto", "score": "rescored"}, base=late_interaction),
}
_EIGHT: dict[str, Any] = {"num_negatives": 8}
WAYS: dict[str, Arm] = {
    "8 random documents": Arm({"rule": "percent"}, {"choose": "mixed", "random_share": 1.0, **_EIGHT}, wanted=8),
    **{
        f"percent 0.95, 8 by {way}": Arm({"rule": "percent"}, {"choose": way, **_EIGHT, **more}, wanted=8)
        for way, more in (("top", {}), ("random", {}), ("mixed", {"random_share": 0.4}), ("stratified", {}))
    },
    "none, 8 by top": Arm({"rule": "none"}, {"choose": "top", **_EIGHT}, wanted=8),
    "none, 8 by stratified": Arm({"rule": "none"}, {"choose": "stratified", **_EIGHT}, wanted=8),
    "percent 0.95, 8 by stratified of 1000": Arm(
        {"rule": "percent"}, {"choose": "stratified", **_EIGHT}, top_k=1000, wanted=8
    ),
}
"""Ways of choosing, for losses on the teacher's scores, which need as many negatives in every row."""
INFORMATIVE: dict[str, Arm] = {
    "multi_similarity 0.1": _rule("multi_similarity"),
    **{
        f"percent 0.95 and multi_similarity {e}": _rule(["percent", "multi_similarity"], multi_similarity=e)
        for e in (0.05, 0.1, 0.2)
    },
}
HUBS: dict[str, Arm] = {
    "percent 0.95, hub-normalised": _rule("percent", score="hub_normalised"),
    "margin 0.05, hub-normalised": _rule("margin", score="hub_normalised"),
    "auto, hub-normalised": _rule("auto", score="hub_normalised"),
}
_WEIGHTS: dict[str, Any] = {
    "order": "easy_to_hard",
    "extra_columns": ["query_id", "positive_id", "negative_id", "weight", "focal_weight", "cluster_weight"],
}
WEIGHTED: dict[str, Arm] = {
    "percent 0.95, weighted": Arm({"rule": "percent", "probabilities": True}, _WEIGHTS),
    "auto, weighted": Arm({"rule": "auto"}, _WEIGHTS),
    "none, weighted": Arm({"rule": "none", "probabilities": True}, _WEIGHTS),
}
"""Rows from easy to hard with their weights, for trainings that use them: see `tests.benchmarks.order_and_weights`."""
ARMS = CONTROLS | PLANTED | PEERS | WINDOWS | RULES | CHOICES | SOURCES | LATE | WAYS | INFORMATIVE | HUBS | WEIGHTED
MAIN = (
    *CONTROLS, *PLANTED, "mine_hard_negatives 0.05", "percent 0.95", "auto", "two_sided -1", "two_sided 0",
    "two_sided 1", "calibrated", "calibrated 0.02", *list(WINDOWS)[1:4], "auto, choose top",
)  # fmt: skip
"""The arms that are tried with more seeds and students."""
