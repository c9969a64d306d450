"""Spans of rows that a corpus is searched in, and the tree in which the results of the spans are merged.

The k best of a corpus are among the k best of its parts (see `hnmine.arrays.topk`), so every partition and every tree
give the same result. These keep the parts equally large, and the tree as low as its fan-in allows.
"""

from itertools import pairwise

Span = tuple[int, int]
"""Rows [first, last) of the corpus."""


def even_spans(rows: int, parts: int) -> list[Span]:
    """Cut rows into n consecutive spans whose sizes differ by at most one; span i begins at floor(i rows / n).

    Args:
        rows: of the corpus, at least 0.
        parts: n, at least 1. Fewer rows than parts give one span a row; no rows give one empty span.

    Raises:
        ValueError: `parts` is below 1.
    """
    if parts < 1:
        raise ValueError(f"{parts} parts")
    count = max(1, min(parts, rows))
    ends = [number * rows // count for number in range(count + 1)]
    return list(pairwise(ends))


def tree_levels(leaves: list[Span], fan_in: int) -> list[list[Span]]:
    """Return the spans of each level of a merge tree, from the leaves to the root.

    The n spans of a level are joined to ceil(n / fan_in) spans of about equally many neighbours. With a fan-in of 3 or
    more, every node but a leaf has at least two children, so no span occurs twice.

    Args:
        leaves: consecutive spans, at least one.
        fan_in: the most children of a node, at least 2.

    Raises:
        ValueError: there is no leaf, or the fan-in is below 2.
    """
    if not leaves or fan_in < 2:
        raise ValueError(f"{len(leaves)} leaves, fan-in {fan_in}")
    levels = [leaves]
    while len(below := levels[-1]) > 1:
        groups = even_spans(len(below), -(-len(below) // fan_in))
        levels.append([(below[first][0], below[last - 1][1]) for first, last in groups])
    return levels


def children(parent: Span, below: list[Span]) -> list[Span]:
    """Return the spans of the level below that a span is joined from, in their order."""
    return [span for span in below if parent[0] <= span[0] and span[1] <= parent[1]]
