"""Making lists of documents for `hnmine.search.ivf`, keeping them on disk, and measuring what they miss."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hnmine.arrays.dots import dots, longest, unit
from hnmine.arrays.topk import NOTHING, pack, unpack
from hnmine.runtime.threads import in_threads
from hnmine.search.exact import ExactProposer, search
from hnmine.search.ivf import Lists
from hnmine.search.ivf_recall import recall_by_lists
from hnmine.storage.paths import local_copy
from hnmine.storage.store import write_atomic
from hnmine.storage.vectors import VectorStore

NAME = "ivf"
# More points for a centroid and more rounds change the lists little and take longer.
POINTS, ROUNDS, SEED = 32, 10, 1234
# Documents are put into lists this many at a time in each thread.
_ASSIGNED = 2048


def list_count(rows: int) -> int:
    """Return how many lists a corpus gets by default: twice the root of its documents."""
    return max(1, int(2 * rows**0.5))


def make_lists(corpus: VectorStore, count: int, tick: Callable[[int], None]) -> Lists:
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
    lists = Lists(centroids, np.zeros(len(centroids) + 1, np.int64), np.zeros(0, np.int64), centroids[:0], 0.0)
    number, length = np.empty(corpus.rows, dtype=np.int64), 0.0

    with threadpool_limits(1):
        for block in corpus.blocks():
            parts = [block.vectors[first : first + _ASSIGNED] for first in range(0, len(block.vectors), _ASSIGNED)]
            found = in_threads(lambda part: lists.nearest(part, 1)[:, 0], parts)
            number[block.first : block.first + len(block.vectors)] = np.concatenate(found)
            length = max(length, longest(block.vectors))
            tick(len(block.vectors))
    starts = np.concatenate([[0], np.cumsum(np.bincount(number, minlength=len(centroids)))]).astype(np.int64)
    return Lists(centroids, starts, np.argsort(number, kind="stable"), centroids[:0], length)


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


def write_lists(lists: Lists, corpus: VectorStore, folder: Path) -> None:
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


def open_lists(folder: Path) -> Lists:
    """Return lists that `write_lists` wrote; the vectors stay on disk and are read as they are searched."""
    arrays = {name: _load(folder, name) for name in ("centroids", "starts", "places", "longest")}
    vectors = _load(folder, "vectors", "r")
    return Lists(arrays["centroids"], arrays["starts"], arrays["places"], vectors, float(arrays["longest"]))


@dataclass(frozen=True)
class Checked:
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


def check(lists: Lists, corpus: VectorStore, queries: np.ndarray, depth: int) -> Checked:
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
    return Checked(recall_by_lists(found, lists.count), share, depth, len(queries))


def list_ranks(queries: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return how many lists are nearer to each query than each list, int64, (q, lists); by exact score, then list."""
    scores = dots(queries, centroids)
    keys = pack(scores, np.broadcast_to(np.arange(len(centroids)), scores.shape))
    order, ranks = np.argsort(keys, axis=1), np.empty(scores.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(len(centroids)), scores.shape), axis=1)
    return ranks
