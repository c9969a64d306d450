"""Exact search by matrix products of bytes, where the CPU multiplies those several times as fast as floats.

Documents and queries are rounded to 8 bits, and the effect of rounding on a score is bounded. More documents are
proposed than by products of floats, including all that could be among the k best, and then ranked by exact scores: the
result is the same, bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.arrays.dots import error_bound, norms
from hnmine.arrays.quantisation import LIMIT, product_error, rounding_loss, step_for, to_bytes
from hnmine.arrays.topk import NOTHING, last_score, rows_of, unpack
from hnmine.config.tables import Config
from hnmine.errors import ConfigError
from hnmine.runtime.threads import in_threads
from hnmine.runtime.torch_settings import one_torch_thread
from hnmine.runtime.worker_slot import TORCH_BYTES, cache_bytes
from hnmine.search.exact import SLACK, TILE_ROWS, ExactProposer, MatrixProducts, Proposer, query_parts, scan_products
from hnmine.search.pair_scores import VectorBlocks
from hnmine.storage.vectors import Block

# CPU flags of instructions that add products of bytes in 32 bits; without them bytes are no faster, or not exact.
_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8")
# Up to this many dimensions, sums of products of bytes are below 2^31.
MOST_DIM = (1 << 31) // LIMIT**2 - 1
# Dimensions are padded with zeros to a multiple of this: torch 2.13 computes products of a single column wrongly.
_EVEN = 4
# Operations of a worker's search from which bytes pay for loading torch: about six seconds of products of floats.
_LEAST_WORK = 1e12
# Numbers of a corpus from which bytes pay: in smaller ones, products take a small part of the time.
_LEAST_NUMBERS = 2e7
# Rows rounded at a time: what fits into a core's cache.
_ROWS = 1024
# The first _TRIAL queries are proposed 1 + _MORE times the documents wanted. Afterwards it is the number that
# was enough for the share _SETTLED of these queries, times _SPARE.
_TRIAL, _MORE, _SETTLED, _SPARE = 64, 0.5, 0.95, 1.1
# Where more than this many times the documents wanted are needed, floats are faster.
_MOST = 8


def byte_products_are_fast(cpu: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether products of bytes are exact and fast on this machine; `cpu` is the system's description of it."""
    try:
        flags = set(cpu.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return not flags.isdisjoint(_FLAGS) and _are_exact()


def _are_exact() -> bool:
    """Return whether products of the largest bytes are exact: with intermediate sums of 16 bits they would not be."""
    import torch

    numbers = np.where(np.random.default_rng(0).random((64, 64)) < 0.8, LIMIT, -LIMIT).astype(np.int8)
    # no public function of torch multiplies bytes on a CPU into sums of 32 bits
    found = torch._int_mm(torch.from_numpy(numbers), torch.from_numpy(numbers).t())
    return bool((found.numpy() == numbers.astype(np.int64) @ numbers.astype(np.int64).T).all())


def byte_budget(config: Config, size: tuple[int, int, int], able: Callable[[], bool] | None = None) -> int | None:
    """Return the memory for rounded documents in a search by products of bytes; None where floats are to be used.

    `size` is (documents, queries, numbers of a vector); `able` returns whether bytes are fast, and is
    `byte_products_are_fast` by default.

    Raises:
        ConfigError: the config asks for bytes, and they are not fast here.
    """
    documents, queries, dim = size
    able = able or byte_products_are_fast
    asked, cache = config.index.product, cache_bytes(config) - TORCH_BYTES
    work = 2.0 * documents * dim * queries / config.workers
    if asked == "float32" or config.index.device is not None or dim > MOST_DIM or config.retrieve.where:
        return None
    if asked == "int8" and not able():
        raise ConfigError(
            'index.product = "int8": this CPU has no instructions that add up products of bytes (VNNI); leave it out, '
            "or set it to float32"
        )
    small = work < _LEAST_WORK or documents * dim < _LEAST_NUMBERS or cache < 0
    if asked == "auto" and (small or not able()):
        return None
    return min(documents * (dim + _EVEN + 8), max(0, cache) // 2)


@dataclass(frozen=True)
class ByteVectors:
    """Vectors rounded to bytes, in groups of vectors with similar largest numbers, each with one rounding step.

    Attributes:
        numbers: int8 tensor, shape (n, dim padded with zeros).
        order: int64, shape (n,): the vector at each place.
        steps: float32, shape (groups,).
        lengths: float32, shape (groups,): length of the longest vector of each.
        lost: float32, shape (groups,): length of the largest rounding error of each.
    """

    numbers: Any
    order: np.ndarray
    steps: np.ndarray
    lengths: np.ndarray
    lost: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, rows: int) -> "ByteVectors":
        """Round vectors in groups of `rows`; with groups of one they keep their order."""
        import torch

        parts = [slice(first, first + _ROWS) for first in range(0, len(vectors), _ROWS)]
        found = in_threads(lambda part: np.abs(vectors[part]).max(axis=1, initial=0), parts)
        largest = np.concatenate([np.zeros(0), *found])
        order = np.argsort(largest, kind="stable") if rows > 1 else np.arange(len(vectors))
        firsts = np.arange(0, len(vectors), rows)

        def most(values: np.ndarray) -> np.ndarray:
            return np.asarray(np.maximum.reduceat(values, firsts)) if len(firsts) else values

        steps = step_for(most(largest[order]))
        numbers = np.zeros((len(vectors), -(-vectors.shape[1] // _EVEN) * _EVEN), dtype=np.int8)
        length, less = np.empty(len(vectors), dtype=np.float32), np.empty(len(vectors), dtype=np.float32)

        def fill(part: slice) -> None:
            own = vectors[order[part]]
            step = steps[(part.start + np.arange(len(own))) // rows, None]
            small = to_bytes(own, step)
            numbers[part, : vectors.shape[1]] = small
            length[part], less[part] = norms(own), rounding_loss(own, small, step)

        in_threads(fill, parts)
        return cls(torch.from_numpy(numbers), order, steps, most(length), most(less))


class ByteProducts(MatrixProducts):
    """Upper bounds of scores by matrix products of bytes, a tile at a time.

    The documents of a block are in groups of `TILE_ROWS`, the queries of a search in groups of one; `part` are the
    queries to multiply, and `dim` the numbers of a vector.
    """

    def __init__(self, documents: ByteVectors, queries: ByteVectors, part: slice, dim: int) -> None:
        import torch

        self._documents, self._asked, self._dim = documents, queries.numbers[part], dim
        self._steps, self._lengths, self._lost = queries.steps[part], queries.lengths[part], queries.lost[part]
        self._sums = torch.empty(len(self._asked) * min(TILE_ROWS, len(documents.order)), dtype=torch.int32)
        self._flags = np.empty(len(self._sums), dtype=bool)
        self._products, self._scale, self._above = self._sums[:0].numpy(), np.ones(0), np.zeros(0)

    def multiply(self, part: slice) -> None:
        """Compute the products of a tile."""
        import torch

        group, documents = part.start // TILE_ROWS, self._documents
        length, less = float(documents.lengths[group]), float(documents.lost[group])
        self._scale = self._steps.astype(np.float64) * float(documents.steps[group])
        # the lengths, these scores and the exact scores that they are compared with are all rounded to float32
        error = product_error(self._lost, self._lengths, less, length).astype(np.float64)
        slip = error_bound(self._dim, 4.0, length) * self._lengths
        self._above = error * (1 + self._dim * 2.0**-22) + slip
        shape = (len(self._asked), part.stop - part.start)
        products = self._sums[: shape[0] * shape[1]].view(shape)
        self._products = torch._int_mm(self._asked, documents.numbers[part].t(), out=products).numpy()

    def kth(self, k: int) -> np.ndarray:
        """Return a score of each query that the bounds of at least k documents of the tile exceed."""
        kth = np.partition(self._products, -k, axis=1)[:, -k]
        return np.asarray(np.nextafter(self._bounds(np.arange(len(kth)), kth), np.float32(-np.inf)))

    def over(self, last: np.ndarray) -> np.ndarray:
        """Return which scores of the tile may exceed their query's `last`."""
        # one less, since the division rounds; documents let through needlessly are sorted out by their exact score
        least = np.clip(np.floor((last - self._above) / self._scale) - 1, -(2.0**31), 2.0**31 - 1).astype(np.int32)
        out = self._flags[: self._products.size].reshape(self._products.shape)
        return np.asarray(np.greater(self._products, least[:, None], out=out))

    def at(self, hits: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Return upper bounds of the scores at flat positions of the tile."""
        return self._bounds(query, self._products.ravel()[hits])

    def _bounds(self, query: np.ndarray, products: np.ndarray) -> np.ndarray:
        return np.asarray(products * self._scale[query] + self._above[query], dtype=np.float32)


class ByteProposer(Proposer):
    """Proposes by products of bytes over the whole corpus; nothing can be missed.

    Up to `room` bytes of rounded documents are kept in memory; others are rounded again for every search.
    """

    def __init__(self, corpus: VectorBlocks, room: int) -> None:
        self.corpus, self.room, self.trial = corpus, room, _TRIAL
        self._kept: dict[int, ByteVectors] = {}
        self._floats = ExactProposer(corpus)
        # documents to propose per document wanted; above _MOST floats are used
        self._share = 1.0 + _MORE
        self._wanted = 1
        # queries of the last proposal by bytes, and its keys
        self._last = (np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=np.uint64))

    def first(self, k: int) -> int:
        """Return how many documents to propose at first: as many as would have settled most queries so far."""
        self._wanted = k
        return max(super().first(k), int(self._share * k) if self._share <= _MOST else 0)

    def settled(self, part: np.ndarray, asked: np.ndarray, best: np.ndarray) -> None:
        """Set how many documents are proposed at first, from what this search needed."""
        which, proposed = self._last
        if len(part) and self._share <= _MOST:
            at, scores = np.searchsorted(part, which), unpack(proposed)[0]
            may = (scores >= last_score(best[at])[:, None]) & (proposed != NOTHING)
            needed = asked.copy()
            needed[at] = may.sum(axis=1) + 1
            # a quantile, so that a single unusual query does not decide
            enough = float(np.quantile(needed, _SETTLED, method="lower"))
            self._share = max(1.0, enough * _SPARE / best.shape[1])
            self.trial = 0

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k documents of the corpus that could score highest, and a bound on the score of the last.

        Where bytes would have to propose too many documents, products of floats are used.
        """
        if self._share > _MOST or k > _MOST * (self._wanted + SLACK):
            self._last = (which[:0], np.zeros((0, 1), dtype=np.uint64))
            return self._floats.propose(queries, which, k)
        rounded = ByteVectors.of(queries, 1)
        best = np.full((len(queries), k), NOTHING, dtype=np.uint64)

        def scan(block: Block, documents: ByteVectors, part: slice) -> None:
            products = ByteProducts(documents, rounded, part, queries.shape[1])
            best[part] = scan_products(products, block.first + documents.order, best[part])

        with one_torch_thread():  # there are as many threads as cores
            for block in self.corpus.blocks():
                documents = self._kept.get(block.first) or ByteVectors.of(block.vectors, TILE_ROWS)
                size = int(documents.numbers.numel()) + documents.order.nbytes
                if block.first not in self._kept and size <= self.room:
                    self._kept[block.first], self.room = documents, self.room - size
                in_threads(lambda part, b=block, d=documents: scan(b, d, part), query_parts(len(queries)))  # type: ignore[misc]
        self._last = (which, best)
        return np.where(best == NOTHING, -1, rows_of(best)), last_score(best)
