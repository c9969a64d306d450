"""Exact search: hnmine's against faiss' flat index, torch's matmul and topk, and the matrix product alone.

python -m tests.benchmarks.search_time [--documents 100000] [--queries 2048] [--dim 384] [--rounds 7]

All in one process, in turn; vectors are in memory. hnmine's time holds the exact scoring of every hit, pair by pair,
and ties by row; "bfloat16" is `index.product = "bfloat16"`, rounding included, which `auto` takes where it is faster.
"of the product" is the time of the bare matrix product over the program's. CPU seconds are printed as well: on a
machine with other work they say more than wall time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hnmine.search.bfloat16_products import RoundedProposer, bfloat16_is_fast
from hnmine.search.exact import ExactProposer, search
from hnmine.storage.vectors import BLOCK_ROWS, Block
from tests.benchmarks.measure import argument_parser, median, timed
from tests.benchmarks.synthetic import clustered_vectors

K, QUERY_BLOCK, TILE = 100, 1024, 16_384


@dataclass(frozen=True)
class InMemory:
    """Vectors in memory, in blocks as a stored corpus gives them."""

    vectors: np.ndarray

    def blocks(self) -> Iterator[Block]:
        for first in range(0, len(self.vectors), BLOCK_ROWS):
            yield Block(first, self.vectors[first : first + BLOCK_ROWS])


def product(corpus: np.ndarray, queries: np.ndarray) -> None:
    out = np.empty((QUERY_BLOCK, TILE), dtype=np.float32)
    for first in range(0, len(queries), QUERY_BLOCK):
        part = queries[first : first + QUERY_BLOCK]
        for start in range(0, len(corpus), TILE):
            tile = corpus[start : start + TILE]
            np.matmul(part, tile.T, out=out[: len(part), : len(tile)])


def ours(corpus: np.ndarray, queries: np.ndarray) -> np.ndarray:
    stored = InMemory(corpus)
    proposer = ExactProposer(stored)
    parts = [
        search(stored, queries[first : first + QUERY_BLOCK], K, proposer)
        for first in range(0, len(queries), QUERY_BLOCK)
    ]
    return np.concatenate(parts)


def by_bfloat16(corpus: np.ndarray, queries: np.ndarray) -> np.ndarray:
    stored = InMemory(corpus)
    proposer = RoundedProposer(stored, 4 * corpus.size)
    parts = [
        search(stored, queries[first : first + QUERY_BLOCK], K, proposer)
        for first in range(0, len(queries), QUERY_BLOCK)
    ]
    return np.concatenate(parts)


def flat(corpus: np.ndarray, queries: np.ndarray) -> np.ndarray:
    import faiss

    index = faiss.IndexFlatIP(corpus.shape[1])
    index.add(corpus)
    parts = [index.search(queries[first : first + QUERY_BLOCK], K)[1] for first in range(0, len(queries), QUERY_BLOCK)]
    return np.concatenate(parts)


def torch_topk(corpus: np.ndarray, queries: np.ndarray) -> np.ndarray:
    import torch

    documents, found = torch.from_numpy(corpus), []
    for first in range(0, len(queries), QUERY_BLOCK):
        scores = torch.from_numpy(queries[first : first + QUERY_BLOCK]) @ documents.T
        found.append(torch.topk(scores, K, dim=1).indices.numpy())
    return np.concatenate(found)


PROGRAMS: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
    "matrix product": product, "hnmine": ours, **({"hnmine, bfloat16": by_bfloat16} if bfloat16_is_fast() else {}),
    "faiss flat": flat, "torch topk": torch_topk,
}  # fmt: skip


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=2048)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    corpus, queries = clustered_vectors(options.documents, options.queries, options.dim)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for _ in range(options.rounds + 1):  # the first is a warm-up
        for name, program in PROGRAMS.items():
            spent[name].append(timed(lambda program=program: program(corpus, queries))[1:])  # type: ignore[misc]
    flops = 2.0 * options.documents * options.queries * options.dim
    base = spent["matrix product"][1:]
    print(f"{options.queries:,} queries x {options.documents:,} documents x {options.dim}, top {K}")
    print("| program | wall s (median, range) | CPU s | of the product, wall | of the product, CPU | GFLOP/s |")
    print("|---|---|---|---|---|---|")
    for name, times in spent.items():
        walls, cpus = (np.array(column) for column in zip(*times[1:], strict=True))
        shares = [np.array([b[i] for b in base]) / column for i, column in enumerate((walls, cpus))]
        cells = [median(walls, 2, "-"), f"{np.median(cpus):.2f}", *(median(share, 2, "-") for share in shares)]
        print(f"| {name} | {' | '.join(cells)} | {flops / np.median(walls) / 1e9:.0f} |")


if __name__ == "__main__":
    main()
