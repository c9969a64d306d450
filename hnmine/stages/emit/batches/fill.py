"""How full batches are, and what keeps them from being full."""

import numpy as np

FULL_ENOUGH = 0.8
"""Mean share of the places filled below which batches are warned of."""
MOSTLY = 0.9
"""Share of the examples in full batches that a proposed batch size reaches."""


def fitting_size(sizes: np.ndarray) -> int | None:
    """Return the largest batch size that would have at least `MOSTLY` of the examples in full batches; None below 2.

    The batches themselves (int64 numbers of examples) are cut into pieces of that size, so the result is a lower bound:
    packing anew may do better.
    """
    wanted = MOSTLY * sizes.sum()
    fitting = (size for size in range(int(sizes.max(initial=0)), 1, -1) if (sizes // size * size).sum() >= wanted)
    return next(fitting, None)


def short_batches(sizes: np.ndarray, of_queries: np.ndarray, size: int) -> str | None:
    """Return a warning where many batches are short or many examples are left out; None otherwise.

    The warning says how full batches are, why, and what would help.

    Args:
        sizes: int64: number of examples of each batch.
        of_queries: int64: number of examples of each query, with those that are left out.
        size: emit.batch_size.
    """
    batches, placed, examples = len(sizes), int(sizes.sum()), int(of_queries.sum())
    left_out, full = examples - placed, int((sizes == size).sum()) * size
    alternatives = []
    if left_out > (1 - MOSTLY) * examples:
        found = (
            f'emit.batch_leftover: "drop" left out {left_out:,} of {examples:,} examples, for which there was no full '
            f"batch of {size}"
        )
        alternatives.append('emit.batch_leftover = "keep" (short batches)')
    elif placed < FULL_ENOUGH * batches * size:
        found = (
            f"emit.batch_size: {full // size:,} of {batches:,} batches are full, with {full / placed:.0%} of the "
            f"examples; on average a batch has {placed / batches:.1f} of {size}"
        )
        if full < MOSTLY * placed and (smaller := fitting_size(sizes)) is not None:
            alternatives.append(f"emit.batch_size = {smaller} (at least {MOSTLY:.0%} of the examples in full batches)")
        if full:
            alternatives.append(f'emit.batch_leftover = "drop" ({placed - full:,} examples get no rows)')
    else:
        return None
    if examples < size:
        return f"{found}. There are only {examples:,} examples; lower emit.batch_size"
    alternatives.append('emit.batch_leftover = "merge" (full batches, with some possible false negatives)')
    return f"{found}. {_reason(of_queries, size)}. Alternatives: {'; '.join(alternatives)}"


def _reason(of_queries: np.ndarray, size: int) -> str:
    """Return what keeps batches from being full, as a sentence."""
    queries, most, least = len(of_queries), int(of_queries.max()), -(-int(of_queries.sum()) // size)
    if queries < size:
        return (
            f"Two examples of a query never share a batch, and only {queries:,} queries have examples, so no batch has "
            f"more than {queries:,}"
        )
    if most > least:
        return (
            f"Two examples of a query never share a batch, and one query has {most:,} of them, which need as many "
            f"batches; {least:,} full ones would hold all examples"
        )
    return "The examples left over may be false negatives of one another, and are kept apart"
