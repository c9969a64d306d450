"""The choice between exact and approximate search, by estimated cost and measured recall, with its reason."""

from typing import Any

from hnmine.arrays.kmeans import ROUNDS
from hnmine.config.retrieve import IndexConfig
from hnmine.config.tables import Config
from hnmine.search.ivf import POINTS, MeasuredRecall, default_list_count, fewest_lists

# Measured on two cores with 384 dimensions (docs/benchmarks.md): operations a second of a core's matrix products, the
# share of that speed that k-means reaches, and the share that the small products of lists reach.
FLOPS, MAKING, SMALL = 75e9, 0.5, 0.64
# Seconds a query besides products, in exact search and by lists.
DECIDING, LISTING = 1e-4, 4e-4
# Lists are built where exact search costs PAYS_FROM times as much, and kept where search is FASTER times as fast.
PAYS_FROM, FASTER = 5.0, 1.25


def cheaper_kind(documents: int, queries: int, dim: int, lists: int | None = None) -> tuple[str, str]:
    """Return (kind, reason) for `kind = "auto"`: "flat" unless exact search costs several times building lists.

    Exact search takes about 2 n q d operations for n documents, q queries and d dimensions. Building m lists takes
    2 n m d for the documents, and 2 d m times the points and rounds of k-means, at half the speed.
    """
    count = min(lists or default_list_count(documents), max(1, documents))
    exact = 2.0 * documents * queries * dim / FLOPS
    build = 2.0 * (documents + ROUNDS * min(documents, POINTS * count)) * count * dim / (FLOPS * MAKING)
    estimate = f"about {exact:,.0f} s of exact search against {build:,.0f} s to make lists"
    if exact > PAYS_FROM * build:
        return "ivf", f"auto: {estimate}; more than {PAYS_FROM:g} times as much, so approximate search may pay"
    return "flat", f"auto: {estimate}; exact search it is"


def choose_index(config: Config, documents: int, queries: int, dim: int) -> tuple[str, str]:
    """Return (kind, reason) for a config; with `[[retrieve.where]]` search is always exact."""
    if config.retrieve.where:
        asked = config.index.kind in ("hnsw", "ivf")
        return "flat", f"exact search{f', not {config.index.kind},' if asked else ''} because of retrieve.where"
    if config.index.kind == "auto":
        return cheaper_kind(documents, queries, dim, config.index.ivf_lists)
    return str(config.index.kind), "asked for"


def speedup(share: float, documents: int, dim: int) -> float:
    """Return the estimated speed of searching lists that hold a share of the documents, over that of exact search."""
    exact = 2.0 * documents * dim / FLOPS
    return (exact + DECIDING) / (exact * share / SMALL + LISTING)


def choose_lists(config: IndexConfig, reason: str, measured: MeasuredRecall, size: tuple[int, int]) -> dict[str, Any]:
    """Return the kind, the reason and the measurements of lists, as `index/choice.parquet` has them.

    A query looks at as many lists as `min_recall` needs. With `kind = "ivf"` the lists are used whatever was measured,
    and `ivf_probe` replaces that number; with "auto" `ivf_probe` is its minimum, and lists that hardly make search
    faster are dropped. `reason` says why lists were built; `size` is (documents, numbers of a vector).
    """
    lists, auto = len(measured.recall), config.kind == "auto"
    enough = fewest_lists(measured.recall, config.min_recall)
    probe = min(config.ivf_probe or enough, lists)
    probe = max(probe, enough) if auto else probe
    share, recall = float(measured.share[probe - 1]), float(measured.recall[probe - 1]) if measured.queries else None
    faster, kind = speedup(share, *size), "ivf"
    found = f"{recall:.4f} of" if recall is not None else "an unknown share of"
    reason += f"; {probe:,} of {lists:,} lists a query, {share:.1%} of the documents, hold {found} the exact top "
    reason += f"{measured.depth:,} of {measured.queries:,} queries"
    if auto:
        reason += f": about {faster:.1f} times as fast"
        if faster < FASTER:
            kind = "flat"
            reason += f", less than {FASTER:g}: exact search it is"
    elif recall is not None and recall < config.min_recall:
        reason += f", less than index.min_recall = {config.min_recall:g}"
    return {
        "kind": kind, "reason": reason, "lists": lists, "probe": probe, "share": share, "recall": recall,
        "recall_depth": measured.depth, "recall_sample": measured.queries,
    }  # fmt: skip
