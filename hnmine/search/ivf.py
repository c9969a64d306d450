"""Approximate search by an inverted file: documents lie in lists, and a query looks at the lists nearest to it.

Each document is in the list of the centroid that it is nearest to (Sivic and Zisserman 2003; Jegou et al. 2011; faiss'
IVF). The queries of a batch are grouped by list, so that each list is multiplied once with all queries that look at it.

Exact pair scores decide which lists a query looks at and which of their documents are best. So the result does not
depend on other queries, batches or threads, and with all lists looked at it is that of exact search.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine.arrays.dots import dots, error_bound, indexed_dots, max_norm, unit
from hnmine.arrays.kmeans import spherical_kmeans
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.single_thread import single_thread
from hnmine.arrays.topk import NOTHING, BestBounds, keep_best, pack, rows_of
from hnmine.runtime.threads import in_threads
from hnmine.search.exact import ExactProposer, Proposer, all_of, query_parts, score_errors, search
from hnmine.storage.store import read_npy, write_atomic, write_npy
from hnmine.storage.vectors import VectorStore

NAME = "ivf"
# Documents that centroids are fitted on, for each centroid: more change the lists little and take longer.
POINTS, SEED = 32, 1234
# Documents that a thread assigns to lists at a time, and documents of a list that are multiplied at a time.
_ASSIGNED, PIECE_ROWS = 2048, 1024


@dataclass(frozen=True)
class InvertedLists:
    """The documents of a corpus in lists.

    Attributes:
        centroids: float32, shape (lists, dim).
        starts: int64, shape (lists + 1,): list i holds the documents `starts[i]` to `starts[i + 1]` - 1.
        places: int64, shape (n,): list by list, the place of each document in the corpus.
        vectors: float32 or float16, shape (n, dim), in the order of `places`, maybe on disk; empty in `build_lists`.
        longest: length of the longest of them.
    """

    centroids: np.ndarray
    starts: np.ndarray
    places: np.ndarray
    vectors: np.ndarray
    longest: float

    @property
    def count(self) -> int:
        """Number of lists."""
        return len(self.centroids)

    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """Return each query's nearest lists by exact inner product with the centroid, ties by list.

        A matrix product ranks most of them; exact scores rank those that its rounding could exchange. Returns int64,
        shape (q, min(count, lists)), none twice for a query, about nearest first.
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
    """Proposes the best documents of the `probe` lists nearest to a query; documents of other lists stay missed."""

    def __init__(self, lists: InvertedLists, probe: int) -> None:
        self.lists, self.probe = lists, probe

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[Ragged, np.ndarray]:
        """Return all documents that may be among the k best of the lists that each query looks at."""
        parts = [queries[part] for part in query_parts(len(queries))]
        with single_thread():  # a thread for each part is faster than one product in several threads
            found = all_of(in_threads(lambda part: search_lists(self.lists, part, self.probe, k), parts))
        rows = found.with_values(self.lists.places[found.values])
        return rows, np.full(len(queries), -np.inf, dtype=np.float32)


def search_lists(lists: InvertedLists, queries: np.ndarray, probe: int, k: int) -> BestBounds:
    """Return what may be among the k best of the `probe` lists nearest to each query (float32, (q, dim)).

    By bounds of float32 products; rows count documents list by list.
    """
    looked_at = lists.nearest(queries, probe)
    best, error = BestBounds(len(queries), k), score_errors(queries, lists.longest)
    # the same memory for every list: fresh pages would cost more than the small products themselves
    own_queries = np.empty(queries.shape, dtype=np.float32)
    numbers = np.empty(len(queries) * PIECE_ROWS, dtype=np.float32)
    flags = np.empty(len(numbers), dtype=bool)
    # the nearest lists first: later scores are then compared with high ones, and few of them are looked at twice
    near = int(np.searchsorted(np.cumsum(np.diff(lists.starts)[looked_at].mean(axis=0)), 2 * k)) + 1
    for some in (looked_at[:, :near], looked_at[:, near:]):
        for number, own in queries_by_list(some):
            asked = np.take(queries, own, axis=0, out=own_queries[: len(own)], mode="clip")
            last = int(lists.starts[number + 1])
            for first in range(int(lists.starts[number]), last, PIECE_ROWS):
                vectors = np.asarray(lists.vectors[first : min(first + PIECE_ROWS, last)], dtype=np.float32)
                shape = (len(own), len(vectors))
                size = shape[0] * shape[1]
                scores = np.matmul(asked, vectors.T, out=numbers[:size].reshape(shape))
                least = np.nextafter(best.least[own] - error[own], np.float32(-np.inf))
                hits = np.flatnonzero(np.greater(scores, least[:, None], out=flags[:size].reshape(shape)))
                query, column = np.divmod(hits, len(vectors))
                lower, upper = numbers[hits] - error[own[query]], numbers[hits] + error[own[query]]
                best.add(lower, upper, first + column, own[query])
        best.settle()
    return best


def queries_by_list(looked_at: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each list that any query looks at, ascending, with the queries that do; `looked_at` is int64, (q, p)."""
    if not looked_at.size:
        return
    flat = looked_at.ravel()
    order = np.argsort(flat, kind="stable")
    numbers, starts = np.unique(flat[order], return_index=True)
    for number, queries in zip(numbers, np.split(order // looked_at.shape[1], starts[1:]), strict=True):
        yield int(number), queries


def default_list_count(rows: int) -> int:
    """Return the default number of lists: twice the square root of the number of documents."""
    return max(1, int(2 * rows**0.5))


def build_lists(corpus: VectorStore, count: int, tick: Callable[[int], None]) -> InvertedLists:
    """Return lists of the documents, by their nearest centroid, without the documents' vectors.

    The centroids are those of spherical k-means on a sample: the same corpus gives the same lists, whatever the threads
    and shards. At most one list a document is made. `tick` is called with the number of documents done since its last
    call.
    """
    count = min(count, corpus.rows)
    sample = np.unique(np.linspace(0, corpus.rows - 1, num=min(corpus.rows, POINTS * count)).astype(np.int64))
    centroids = spherical_kmeans(unit(corpus.gather(corpus.row_of(sample))), count, POINTS, SEED)
    lists = InvertedLists(centroids, np.zeros(count + 1, np.int64), np.zeros(0, np.int64), centroids[:0], 0.0)
    number, length = np.empty(corpus.rows, dtype=np.int64), 0.0
    with single_thread():  # a thread for each part
        for block in corpus.blocks():
            parts = [block.vectors[first : first + _ASSIGNED] for first in range(0, len(block.vectors), _ASSIGNED)]
            found = in_threads(lambda part: lists.nearest(part, 1)[:, 0], parts)
            number[block.first : block.first + len(block.vectors)] = np.concatenate(found)
            length = max(length, max_norm(block.vectors))
            tick(len(block.vectors))
    starts = np.concatenate([[0], np.cumsum(np.bincount(number, minlength=count))]).astype(np.int64)
    return InvertedLists(centroids, starts, np.argsort(number, kind="stable"), centroids[:0], length)


def write_lists(lists: InvertedLists, corpus: VectorStore, folder: Path) -> None:
    """Write lists and the documents' vectors, list by list, as five files; one block of vectors is in memory.

    Raises:
        OutputError: as `hnmine.storage.store.write_atomic`.
    """
    where = np.empty(corpus.rows, dtype=np.int64)
    where[lists.places] = np.arange(corpus.rows)

    def write_vectors(path: Path) -> None:
        stored = corpus.shards.schema.field("vector").type.value_type
        dtype = pa.array([], stored).to_numpy(zero_copy_only=False).dtype
        out = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(corpus.rows, corpus.dim))
        for block in corpus.blocks():
            mine = where[block.first : block.first + len(block.vectors)]
            order = np.argsort(mine)
            out[mine[order]] = block.vectors[order]
        out.flush()

    for name in ("centroids", "starts", "places", "longest"):
        write_npy(_file(folder, name), np.asarray(getattr(lists, name)))
    write_atomic(_file(folder, "vectors"), write_vectors)


def open_lists(folder: Path) -> InvertedLists:
    """Return lists that `write_lists` wrote; the vectors stay on disk and are read as they are searched."""
    centroids, starts, places, length = (
        read_npy(_file(folder, name)) for name in ("centroids", "starts", "places", "longest")
    )
    return InvertedLists(centroids, starts, places, read_npy(_file(folder, "vectors"), "r"), float(length))


def _file(folder: Path, name: str) -> Path:
    return folder / f"{NAME}.{name}.npy"


@dataclass(frozen=True)
class MeasuredRecall:
    """Recall and cost of a search that looks at p lists a query, for p = 1, 2, ..., measured on a number of queries.

    Attributes:
        recall: float64, shape (lists,): the share of exact search's best `depth` documents that is found.
        share: float64, shape (lists,): the share of all documents that a query looks at.
    """

    recall: np.ndarray
    share: np.ndarray
    depth: int
    queries: int


def measure_recall(lists: InvertedLists, corpus: VectorStore, queries: np.ndarray, depth: int) -> MeasuredRecall:
    """Return the recall of some queries' (float32, (q, dim)) best `depth` documents, from one exact search.

    The lists may lack vectors.
    """
    depth = min(depth, corpus.rows)
    keys = search(corpus, queries, depth, ExactProposer(corpus))
    sizes, ranks = np.diff(lists.starts), list_ranks(queries, lists.centroids)
    list_of = np.empty(corpus.rows, dtype=np.int64)
    list_of[lists.places] = np.repeat(np.arange(lists.count), sizes)
    # every key is real, as depth is at most the number of documents
    found = np.take_along_axis(ranks, list_of[rows_of(keys)], axis=1)
    looked_at = np.cumsum(sizes[np.argsort(ranks, axis=1)], axis=1, dtype=np.float64) / corpus.rows
    share = looked_at.mean(axis=0) if len(queries) else np.ones(lists.count)
    return MeasuredRecall(recall_by_lists(found, lists.count), share, depth, len(queries))


def list_ranks(queries: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return how many lists are nearer to each query than each list, int64, (q, lists); by exact score, then list."""
    scores = dots(queries, centroids)
    numbers = np.broadcast_to(np.arange(len(centroids)), scores.shape)
    return np.argsort(np.argsort(pack(scores, numbers), axis=1), axis=1)


def recall_by_lists(ranks: np.ndarray, lists: int) -> np.ndarray:
    """Return the mean recall at k of a search that looks at each query's p nearest lists, for p = 1 to `lists`.

        recall(p) = mean over queries of |{d in top_k(q): rank(list of d, q) < p}| / |top_k(q)|

    It is recall at k as Jegou et al. (Product Quantization for Nearest Neighbor Search, IEEE TPAMI 33, 2011) and
    ann-benchmarks (Aumueller et al. 2017) measure it. Search within the lists is exact, so one exact search gives the
    recall for every p.

    Args:
        ranks: int64, shape (q, k): for each of a query's k best documents, how many lists are nearer to the query
            than the document's; -1 where the corpus has fewer documents.
        lists: number of lists, at least 1 and above every rank.

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
    """Return the smallest number of lists whose `recall` (float64, shape (lists,)) is as wanted; all if none is."""
    enough = np.flatnonzero(recall >= wanted)
    return int(enough[0]) + 1 if len(enough) else len(recall)
