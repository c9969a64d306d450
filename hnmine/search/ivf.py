"""Search of the documents in each query's nearest lists only, for batches of queries: one matrix product a list.

The lists are those of an inverted file (Sivic and Zisserman 2003; Jegou et al. 2011, as faiss' IVF has them): each
document lies in the list of the centroid that it is nearest to, and a query looks at some lists with the nearest
centroids. One query after another multiplies a vector with small matrices; here the queries of a batch are grouped by
list instead, so that each list is multiplied once with all queries that look at it.

Which lists a query looks at goes by exact pair scores, and so does which of their documents are best: what is found
depends on no other query, no batch and no thread, and with all lists looked at it is what exact search finds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from hnmine.arrays.dots import dots, error_bound, indexed_dots, max_norm, unit
from hnmine.arrays.topk import NOTHING, TopKBuffer, keep_best, pack, rows_of, unpack
from hnmine.runtime.threads import in_threads
from hnmine.search.exact import ExactProposer, Proposer, as_proposal, query_parts, search
from hnmine.storage.paths import local_copy
from hnmine.storage.store import write_atomic
from hnmine.storage.vectors import VectorStore

# A list is multiplied this many documents at a time.
PIECE_ROWS = 1024


@dataclass(frozen=True)
class InvertedLists:
    """The documents of a corpus in lists.

    Attributes:
        centroids: float32, shape (lists, dim).
        starts: int64, shape (lists + 1,): list i holds the documents `starts[i]` to `starts[i + 1]` - 1.
        places: int64, shape (n,): list by list, the place of each document in the corpus.
        vectors: float32 or float16, shape (n, dim): theirs, in the same order; may lie on disk.
        longest: the length of the longest of them.
    """

    centroids: np.ndarray
    starts: np.ndarray
    places: np.ndarray
    vectors: np.ndarray
    longest: float

    @property
    def count(self) -> int:
        """Return how many lists there are."""
        return len(self.centroids)

    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """Return each query's nearest lists by exact inner product with the centroid, ties by list.

        A matrix product tells most of them apart; exact scores do where its rounding might change which lists they are.

        Returns:
            int64, shape (q, min(count, lists)), none twice for a query, about nearest first.
        """
        count = min(count, self.count)
        scores = queries @ self.centroids.T
        last = np.partition(scores, self.count - count, axis=1)[:, self.count - count, None]
        room = np.float32(2 * error_bound(queries.shape[1], max_norm(queries), max_norm(self.centroids)))
        query, number = np.nonzero(scores >= last - room)
        found = scores[query, number]
        unsure = np.flatnonzero(found <= (last + room)[query, 0])
        found[unsure] = indexed_dots(self.centroids, number[unsure], queries, query[unsure])
        nothing = np.full((len(queries), count), NOTHING, dtype=np.uint64)
        return rows_of(np.sort(keep_best(nothing, pack(found, number), query, count), axis=1))


class IVFProposer(Proposer):
    """Proposes the best documents of each query's nearest lists; what lies in others stays missed.

    Args:
        lists: of all documents of the corpus.
        probe: how many lists a query looks at.
    """

    def __init__(self, lists: InvertedLists, probe: int) -> None:
        self.lists, self.probe = lists, probe

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best of the lists that each query looks at, and the score of the last with room for rounding."""
        parts = [queries[part] for part in query_parts(len(queries))]
        with threadpool_limits(1):  # a thread for each part is faster than one product in several threads
            found = in_threads(lambda part: search_lists(self.lists, part, self.probe, k), parts)
        rows, bound = as_proposal(np.concatenate(found), queries, self.lists.longest)
        return np.where(rows < 0, -1, self.lists.places[rows]), bound


def search_lists(lists: InvertedLists, queries: np.ndarray, probe: int, k: int) -> np.ndarray:
    """Return the k best documents of some lists for each query, by the matrix product's scores.

    Args:
        lists: of the corpus.
        queries: float32, shape (q, dim).
        probe: how many of its nearest lists each query looks at.
        k: how many.

    Returns:
        uint64 keys, shape (q, k), the worst of a query's last; their rows count documents list by list.
    """
    looked_at = lists.nearest(queries, probe)
    best = TopKBuffer(np.full((len(queries), k), NOTHING, dtype=np.uint64))
    memory = _Memory(len(queries), queries.shape[1])
    # the nearest lists first: the scores to beat are then high, and few of the others' have to be looked at
    near = int(np.searchsorted(np.cumsum(np.diff(lists.starts)[looked_at].mean(axis=0)), 2 * k)) + 1
    for some in (looked_at[:, :near], looked_at[:, near:]):
        for number, own in queries_by_list(some):
            asked = np.take(queries, own, axis=0, out=memory.queries[: len(own)], mode="clip")
            last = int(lists.starts[number + 1])
            for first in range(int(lists.starts[number]), last, PIECE_ROWS):
                piece = slice(first, min(first + PIECE_ROWS, last))
                vectors = np.asarray(lists.vectors[piece], dtype=np.float32)
                scores = np.matmul(asked, vectors.T, out=memory.scores(len(own), len(vectors)))
                hits = memory.above(scores, best.threshold[own])
                query, column = np.divmod(hits, len(vectors))
                best.add(scores.ravel()[hits], first + column, own[query])
        best.flush()
    return best.keys


def queries_by_list(looked_at: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each list that any query looks at, ascending, with the queries that do, ascending.

    Args:
        looked_at: int64, shape (q, p).
    """
    if not looked_at.size:
        return
    flat = looked_at.ravel()
    order = np.argsort(flat, kind="stable")
    numbers, starts = np.unique(flat[order], return_index=True)
    for number, queries in zip(numbers, np.split(order // looked_at.shape[1], starts[1:]), strict=True):
        yield int(number), queries


class _Memory:
    """Arrays that serve again for every list: fresh pages would cost more than the small products themselves."""

    def __init__(self, queries: int, dim: int) -> None:
        self.queries = np.empty((queries, dim), dtype=np.float32)
        self._scores = np.empty(queries * PIECE_ROWS, dtype=np.float32)
        self._above = np.empty(len(self._scores), dtype=bool)

    def scores(self, rows: int, columns: int) -> np.ndarray:
        """Return an array of scores, of any content."""
        return self._scores[: rows * columns].reshape(rows, columns)

    def above(self, scores: np.ndarray, limits: np.ndarray) -> np.ndarray:
        """Return where scores (of `scores`) are above their row's limit, as flat positions."""
        out = self._above[: scores.size].reshape(scores.shape)
        return np.flatnonzero(np.greater(scores, limits[:, None], out=out))


def recall_by_lists(ranks: np.ndarray, lists: int) -> np.ndarray:
    """Return the mean recall at k of a search that looks at each query's p nearest lists, for p = 1 to `lists`.

        recall(p) = mean over queries of |{d in top_k(q): rank(list of d, q) < p}| / |top_k(q)|

    It is recall at k as Jegou et al. (Product Quantization for Nearest Neighbor Search, IEEE TPAMI 33, 2011) and
    ann-benchmarks (Aumueller et al. 2017) measure it. Within the lists that it looks at the search is exact: what lies
    in them of the k best is found, and so one exact search says the recall for every p.

    Args:
        ranks: int64, shape (q, k): for each of a query's k best documents, how many lists are nearer to the query
            than the document's; -1 where the corpus has fewer documents.
        lists: how many there are, at least 1 and above every rank.

    Returns:
        float64, shape (lists,), never falling, 1 at the last. NaN where no query has a document.
    """
    counts = (ranks >= 0).sum(axis=1)
    query, place = np.nonzero(ranks >= 0)
    cells = np.bincount(query * lists + ranks[query, place], minlength=len(ranks) * lists)
    within = np.cumsum(cells.reshape(len(ranks), lists), axis=1)[counts > 0]
    if not len(within):
        return np.full(lists, np.nan)
    return np.asarray((within / counts[counts > 0, None]).mean(axis=0))


def fewest_lists(recall: np.ndarray, wanted: float) -> int:
    """Return the smallest number of lists whose recall is at least what is wanted; all of them where none is.

    Args:
        recall: float64, shape (lists,), as `recall_by_lists` gives it.
        wanted: in [0, 1].
    """
    enough = np.flatnonzero(recall >= wanted)
    return int(enough[0]) + 1 if len(enough) else len(recall)


NAME = "ivf"
# More points for a centroid and more rounds change the lists little and take longer.
POINTS, ROUNDS, SEED = 32, 10, 1234
# Documents are put into lists this many at a time in each thread.
_ASSIGNED = 2048


def default_list_count(rows: int) -> int:
    """Return how many lists a corpus gets by default: twice the root of its documents."""
    return max(1, int(2 * rows**0.5))


def build_lists(corpus: VectorStore, count: int, tick: Callable[[int], None]) -> InvertedLists:
    """Return lists of the documents by the nearest of some centroids, without the documents' vectors.

    Spherical k-means (Dhillon and Modha 2001) on a sample, by faiss on one thread: the same corpus gives the same
    lists, whatever the threads and shards.

    Args:
        corpus: vectors of the documents.
        count: lists wanted; at most one a document is made.
        tick: counts documents done.
    """
    from threadpoolctl import threadpool_limits

    centroids = _centroids(corpus, min(count, corpus.rows))
    lists = InvertedLists(centroids, np.zeros(len(centroids) + 1, np.int64), np.zeros(0, np.int64), centroids[:0], 0.0)
    number, length = np.empty(corpus.rows, dtype=np.int64), 0.0

    with threadpool_limits(1):
        for block in corpus.blocks():
            parts = [block.vectors[first : first + _ASSIGNED] for first in range(0, len(block.vectors), _ASSIGNED)]
            found = in_threads(lambda part: lists.nearest(part, 1)[:, 0], parts)
            number[block.first : block.first + len(block.vectors)] = np.concatenate(found)
            length = max(length, max_norm(block.vectors))
            tick(len(block.vectors))
    starts = np.concatenate([[0], np.cumsum(np.bincount(number, minlength=len(centroids)))]).astype(np.int64)
    return InvertedLists(centroids, starts, np.argsort(number, kind="stable"), centroids[:0], length)


def _centroids(corpus: VectorStore, count: int) -> np.ndarray:
    import faiss
    from threadpoolctl import threadpool_limits

    places = np.unique(np.linspace(0, corpus.rows - 1, num=min(corpus.rows, POINTS * count)).astype(np.int64))
    points = unit(corpus.gather(corpus.row_of(places)))
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        with threadpool_limits(1):  # sums in another order would change the last bits
            model = faiss.Kmeans(
                points.shape[1], count, niter=ROUNDS, seed=SEED, spherical=True,
                min_points_per_centroid=1, max_points_per_centroid=POINTS,
            )  # fmt: skip
            model.train(points)
    finally:
        faiss.omp_set_num_threads(threads)
    return np.asarray(model.centroids, dtype=np.float32).reshape(count, -1)


def write_lists(lists: InvertedLists, corpus: VectorStore, folder: Path) -> None:
    """Write lists with the documents' vectors, list by list, as five files; the vectors pass by in blocks.

    Raises:
        OutputError: as `hnmine.storage.store.write_atomic`.
    """
    where = np.empty(corpus.rows, dtype=np.int64)
    where[lists.places] = np.arange(corpus.rows)

    def fill(path: Path) -> None:
        dtype = corpus.shards.schema.field("vector").type.value_type.to_pandas_dtype()
        out = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(corpus.rows, corpus.dim))
        for block in corpus.blocks():
            mine = where[block.first : block.first + len(block.vectors)]
            order = np.argsort(mine)
            out[mine[order]] = block.vectors[order]
        out.flush()

    small = {"centroids": lists.centroids, "starts": lists.starts, "places": lists.places}
    for name, array in (small | {"longest": np.array(lists.longest)}).items():
        write_atomic(_file(folder, name), lambda path, array=array: _save(path, array))  # type: ignore[misc]  # this one
    write_atomic(_file(folder, "vectors"), fill)


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:  # by name, numpy would add an ending of its own
        np.save(file, array)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{NAME}.{name}.npy"


def _load(folder: Path, name: str, mode: Literal["r"] | None = None) -> np.ndarray:
    with local_copy(_file(folder, name)) as file:
        return np.asanyarray(np.load(file, mmap_mode=mode))


def open_lists(folder: Path) -> InvertedLists:
    """Return lists that `write_lists` wrote; the vectors stay on disk and are read as they are searched."""
    arrays = {name: _load(folder, name) for name in ("centroids", "starts", "places", "longest")}
    vectors = _load(folder, "vectors", "r")
    return InvertedLists(arrays["centroids"], arrays["starts"], arrays["places"], vectors, float(arrays["longest"]))


@dataclass(frozen=True)
class MeasuredRecall:
    """What a search finds that looks at p lists, for p = 1, 2, ...: measured on some queries.

    Attributes:
        recall: float64, shape (lists,): of the exact search's best `depth` documents.
        share: float64, shape (lists,): of all documents, how many it looks at.
        depth: how many documents a query the recall is about.
        queries: how many it was measured on.
    """

    recall: np.ndarray
    share: np.ndarray
    depth: int
    queries: int


def measure_recall(lists: InvertedLists, corpus: VectorStore, queries: np.ndarray, depth: int) -> MeasuredRecall:
    """Return what the lists miss of the best documents of some queries.

    Args:
        lists: of the corpus, with or without vectors.
        corpus: all vectors.
        queries: float32, shape (q, dim).
        depth: how many of the best documents are wanted.
    """
    depth = min(depth, corpus.rows)
    keys = search(corpus, queries, depth, ExactProposer(corpus))
    sizes, ranks = np.diff(lists.starts), list_ranks(queries, lists.centroids)
    list_of = np.empty(corpus.rows, dtype=np.int64)
    list_of[lists.places] = np.repeat(np.arange(lists.count), sizes)
    real = keys != NOTHING
    best = np.where(real, unpack(keys)[1], 0)
    found = np.where(real, np.take_along_axis(ranks, list_of[best], axis=1), -1)
    looked_at = np.cumsum(sizes[np.argsort(ranks, axis=1)], axis=1, dtype=np.float64) / corpus.rows
    share = looked_at.mean(axis=0) if len(queries) else np.ones(lists.count)
    return MeasuredRecall(recall_by_lists(found, lists.count), share, depth, len(queries))


def list_ranks(queries: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return how many lists are nearer to each query than each list, int64, (q, lists); by exact score, then list."""
    scores = dots(queries, centroids)
    keys = pack(scores, np.broadcast_to(np.arange(len(centroids)), scores.shape))
    order, ranks = np.argsort(keys, axis=1), np.empty(scores.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(len(centroids)), scores.shape), axis=1)
    return ranks
