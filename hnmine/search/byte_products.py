"""Exact search whose matrix products are of bytes, where the CPU multiplies those several times as fast as floats.

Documents and queries are rounded to 8 bits, and what rounding can do to a score is bounded. So more documents are
proposed than by products of floats, among them all that could be among the k best, and their exact scores decide: the
same documents come out, bit for bit.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.arrays.dots import error_bound, norms
from hnmine.arrays.quantisation import LIMIT, product_error, rounding_loss, step_for, to_bytes
from hnmine.arrays.topk import NOTHING, last_score, rows_of, unpack
from hnmine.config import Config
from hnmine.errors import ConfigError
from hnmine.runtime.memory import TORCH_BYTES, cache_bytes
from hnmine.runtime.threads import in_threads
from hnmine.search.exact import SLACK, TILE_ROWS, ExactProposer, Proposer, query_parts, scan_products
from hnmine.search.pair_scores import VectorBlocks
from hnmine.storage.vectors import Block

# Instructions that add up products of bytes in 32 bits; without them bytes are no faster, or not exact.
_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8")
# Sums of products of bytes stay below 2^31 up to so many dimensions.
MOST_DIM = (1 << 31) // LIMIT**2 - 1
# Dimensions are filled up with zeros to a multiple of this: torch 2.13 gets products of a single column wrong.
_EVEN = 4
# Operations of a worker's search from which on loading torch for it pays: some six seconds of products of floats.
_WORTH = 1e12
# Numbers of a corpus from which on the products take so much of the time that faster ones pay.
_LARGE = 2e7
# Less than any sum of products.
_NONE = -(1 << 31)
# Rows are rounded this many at a time: what a core's cache holds.
_ROWS = 1024
# More documents than wanted that the first queries are asked for; from then on so many that they settle this share
# of the queries, and some to spare.
_MORE, _SETTLED, _SPARE = 0.5, 0.95, 1.1
_TRIAL = 64
# Where more are needed than so many times what is wanted, floats serve: bytes tell too little apart.
_MOST = 8


def byte_products_are_fast(cpu: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether products of bytes are exact and fast here: a CPU with such instructions, and torch at hand.

    Args:
        cpu: the system's file on its CPU.
    """
    import importlib.util

    try:
        flags = set(cpu.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return not flags.isdisjoint(_FLAGS) and importlib.util.find_spec("torch") is not None and _exact()


def _exact() -> bool:
    """Return whether torch's products of the largest bytes are exact: half-way sums of 16 bits would not be."""
    import torch

    bytes_ = np.where(np.random.default_rng(0).random((64, 64)) < 0.8, LIMIT, -LIMIT).astype(np.int8)
    found = torch._int_mm(torch.from_numpy(bytes_), torch.from_numpy(bytes_).t()).numpy()
    return bool((found == bytes_.astype(np.int64) @ bytes_.astype(np.int64).T).all())


def byte_budget(config: Config, size: tuple[int, int, int], able: Callable[[], bool] | None = None) -> int | None:
    """Return how many bytes rounded documents may take in a search by products of bytes; None where floats serve.

    Args:
        config: the whole config.
        size: documents, queries, and numbers in a vector.
        able: tells whether bytes pay; by default, whether they do here.

    Raises:
        ConfigError: bytes are asked for where they cannot serve.
    """
    documents, queries, dim = size
    able = able or byte_products_are_fast
    asked, cache = config.index.product, cache_bytes(config) - TORCH_BYTES
    work = 2.0 * documents * dim * queries / config.workers
    if asked == "float32" or config.index.device is not None or dim > MOST_DIM or config.retrieve.where:
        return None
    if asked == "int8" and not able():
        raise ConfigError(
            'index.product = "int8": this CPU has no instructions that add up products of bytes (VNNI), or torch is '
            "not installed; leave it out, or set it to float32"
        )
    small = work < _WORTH or documents * dim < _LARGE or cache < 0
    if asked == "auto" and (small or not able()):
        return None
    return min(documents * (dim + _EVEN + 8), max(0, cache) // 2)


@dataclass(frozen=True)
class ByteVectors:
    """Vectors as bytes, in an order that lets those of like size share a step.

    Attributes:
        numbers: int8 tensor, shape (n, dim), filled up with columns of zeros.
        order: int64, shape (n,): which vector each is.
        steps: float32, shape (groups,): a group is the next `rows` vectors.
        lengths: float32, shape (groups,): of the longest vector of each.
        lost: float32, shape (groups,): the most that rounding took from one of them.
        rows: vectors a group.
    """

    numbers: Any
    order: np.ndarray
    steps: np.ndarray
    lengths: np.ndarray
    lost: np.ndarray
    rows: int

    @classmethod
    def of(cls, vectors: np.ndarray, rows: int) -> "ByteVectors":
        """Round vectors, in groups of `rows` of like size; those of one row each stay in their order."""
        import torch

        largest = np.concatenate(
            [np.zeros(0), *in_threads(lambda part: np.abs(vectors[part]).max(axis=1, initial=0), _parts(len(vectors)))]
        )
        order = np.argsort(largest, kind="stable") if rows > 1 else np.arange(len(vectors))
        firsts = np.arange(0, len(vectors), rows)
        steps = step_for(np.maximum.reduceat(largest[order], firsts)) if len(firsts) else np.zeros(0, np.float32)
        numbers = np.zeros((len(vectors), -(-vectors.shape[1] // _EVEN) * _EVEN), dtype=np.int8)
        length, less = np.empty(len(vectors), dtype=np.float32), np.empty(len(vectors), dtype=np.float32)

        def fill(part: slice) -> None:
            found = vectors[order[part]]
            step = steps[(part.start + np.arange(len(found))) // rows, None]
            small = to_bytes(found, step)
            numbers[part, : vectors.shape[1]] = small
            length[part], less[part] = norms(found), rounding_loss(found, small, step)

        in_threads(fill, _parts(len(vectors)))
        most = [np.maximum.reduceat(values, firsts) if len(firsts) else values for values in (length, less)]
        return cls(torch.from_numpy(numbers), order, steps, most[0], most[1], rows)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def nbytes(self) -> int:
        """Return how much memory they take."""
        return int(self.numbers.numel()) + self.order.nbytes


def _parts(rows: int) -> list[slice]:
    return [slice(first, first + _ROWS) for first in range(0, rows, _ROWS)]


class ByteProducts:
    """What scores are at most, by matrix products of bytes.

    Args:
        documents: of a block, in groups of `TILE_ROWS`.
        queries: of a search, each a group of its own.
        part: which of the queries are meant.
        dim: numbers a vector.
    """

    def __init__(self, documents: ByteVectors, queries: ByteVectors, part: slice, dim: int) -> None:
        import torch

        self._documents, self._queries, self._dim = documents, queries.numbers[part], dim
        self._steps, self._lengths, self._lost = queries.steps[part], queries.lengths[part], queries.lost[part]
        self._numbers = torch.empty(len(self._queries) * min(TILE_ROWS, len(documents)), dtype=torch.int32)
        self._flags = np.empty(len(self._numbers), dtype=bool)
        self._products, self._scale, self._above = self._numbers[:0].numpy(), np.ones(0), np.zeros(0)

    def __len__(self) -> int:
        return len(self._documents)

    def multiply(self, part: slice) -> None:
        """Make the products of a tile."""
        import torch

        group, documents = part.start // TILE_ROWS, self._documents
        length, less = float(documents.lengths[group]), float(documents.lost[group])
        self._scale = self._steps.astype(np.float64) * float(documents.steps[group])
        # float32 rounds on the way: the lengths, these scores, and the exact scores that are held against them
        error = product_error(self._lost, self._lengths, less, length).astype(np.float64)
        slip = error_bound(self._dim, 4.0, length) * self._lengths
        self._above = error * (1 + self._dim * 2.0**-22) + slip
        shape = (len(self._queries), part.stop - part.start)
        products = self._numbers[: shape[0] * shape[1]].view(shape)
        torch._int_mm(self._queries, documents.numbers[part].t(), out=products)
        self._products = products.numpy()

    def kth(self, k: int, allowed: np.ndarray | None) -> np.ndarray:
        """Return a score of each query that at least k documents of the tile may be above."""
        products = self._products if allowed is None else np.where(allowed, self._products, _NONE)
        kth = np.partition(products, -k, axis=1)[:, -k]
        scores = np.nextafter(self._scores(np.arange(len(kth)), kth), np.float32(-np.inf))
        return np.where(kth == _NONE, np.float32(-np.inf), scores)

    def over(self, last: np.ndarray) -> np.ndarray:
        """Return which scores of the tile may be above a query's last."""
        # one less: dividing rounds, and what is let through in vain is sorted out by its score
        least = np.clip(np.floor((last - self._above) / self._scale) - 1, _NONE, 2.0**31 - 1).astype(np.int32)
        out = self._flags[: self._products.size].reshape(self._products.shape)
        return np.asarray(np.greater(self._products, least[:, None], out=out))

    def at(self, hits: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Return what the scores at flat places of the tile are at most."""
        return self._scores(query, self._products.ravel()[hits])

    def _scores(self, query: np.ndarray, products: np.ndarray) -> np.ndarray:
        return np.asarray(products * self._scale[query] + self._above[query], dtype=np.float32)


class ByteProposer(Proposer):
    """Proposes by products of bytes over the whole corpus; nothing can be missed.

    Args:
        corpus: vectors of all documents.
        room: bytes that rounded documents may take in memory; those beyond are rounded again for every search.
    """

    def __init__(self, corpus: VectorBlocks, room: int) -> None:
        self.corpus, self.room = corpus, room
        self._kept: dict[int, ByteVectors] = {}
        self._share = 1.0 + _MORE
        self.trial = _TRIAL
        self._floats, self._wanted = ExactProposer(corpus), 1
        self._last = (np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=np.uint64))

    def first(self, k: int) -> int:
        """Return how many documents to ask for at first: what would have settled most queries so far."""
        self._wanted = k
        return super().first(k) if self._share > _MOST else max(super().first(k), int(self._share * k))

    def settled(self, part: np.ndarray, asked: np.ndarray, best: np.ndarray) -> None:
        """Learn from a search how many documents to ask for."""
        which, proposed = self._last
        if len(part) and self._share <= _MOST:
            at, scores = np.searchsorted(part, which), unpack(proposed)[0]
            may = (scores >= last_score(best[at])[:, None]) & (proposed != NOTHING)
            needed = asked.copy()
            needed[at] = may.sum(axis=1) + 1
            # of the queries given, so that one of them that is unlike the others does not decide
            enough = float(np.quantile(needed, _SETTLED, method="lower"))
            self._share = max(1.0, enough * _SPARE / best.shape[1])
            self.trial = 0

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k documents of the corpus that could score highest, and what the last could score.

        Queries that bytes tell too few documents apart for are left to products of floats.
        """
        if self._share > _MOST or k > _MOST * (self._wanted + SLACK):
            self._last = (which[:0], np.zeros((0, 1), dtype=np.uint64))
            return self._floats.propose(queries, which, k)
        rounded = ByteVectors.of(queries, 1)
        best = np.full((len(queries), k), NOTHING, dtype=np.uint64)

        def look(block: Block, documents: ByteVectors, part: slice) -> None:
            products = ByteProducts(documents, rounded, part, queries.shape[1])
            best[part] = scan_products(products, block.first + documents.order, best[part])

        with _one_thread():
            for block in self.corpus.blocks():
                documents = self._rounded(block)
                in_threads(lambda part, b=block, d=documents: look(b, d, part), query_parts(len(queries)))  # type: ignore[misc]
        self._last = (which, best)
        return np.where(best == NOTHING, -1, rows_of(best)), last_score(best)

    def _rounded(self, block: Block) -> ByteVectors:
        if block.first in self._kept:
            return self._kept[block.first]
        documents = ByteVectors.of(block.vectors, TILE_ROWS)
        if sum(kept.nbytes for kept in self._kept.values()) + documents.nbytes <= self.room:
            self._kept[block.first] = documents
        return documents


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let each product stay in the thread that asks for it: there are as many of those as cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
