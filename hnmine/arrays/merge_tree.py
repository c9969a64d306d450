"""Searching a corpus in parts: how it is cut, and the tree in which what the parts found is merged.

The k best of a corpus are among the k best of its parts (see `hnmine.arrays.topk`), so any cut and any tree give the
same result; these keep parts equally large and the tree as low as its fan-in allows.
"""

from itertools import pairwise

Span = tuple[int, int]
"""Rows [first, last) of the corpus."""


def even_spans(rows: int, parts: int) -> list[Span]:
    """Return consecutive spans over all rows, span i from floor(i rows / n) on: their sizes differ by one at most.

    Args:
        rows: of the corpus, at least 0.
        parts: how many are wanted (n), at least 1; of fewer rows each is a part, and of none there is one empty span.

    Raises:
        ValueError: fewer than one part is wanted.
    """
    if parts < 1:
        raise ValueError(f"{parts} parts")
    count = max(1, min(parts, rows))
    ends = [number * rows // count for number in range(count + 1)]
    return list(pairwise(ends))


def tree_levels(leaves: list[Span], fan_in: int) -> list[list[Span]]:
    """Return the spans of each level of a merge tree, the leaves first, the whole alone last.

    A level of n spans is joined to ceil(n / fan_in) spans of about as many neighbours each; so every node but a leaf
    has two children at least where the fan-in is 3 or more, and no span stands in the tree twice.

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
    """Return the spans of the level below that make up a span, in their order."""
    return [span for span in below if parent[0] <= span[0] and span[1] <= parent[1]]
