"""Spherical k-means by faiss, with the same result whatever the number of threads."""

import numpy as np

from hnmine.arrays.single_thread import single_thread

ROUNDS = 10


def spherical_kmeans(points: np.ndarray, count: int, sample: int, seed: int) -> np.ndarray:
    """Return the normalised centroids of spherical k-means after `ROUNDS` rounds; float32, shape (count, dim).

    Dhillon and Modha, Machine Learning 42, 2001.

    Args:
        points: float32, shape (n, dim), normalised.
        count: number of centroids, in [1, n].
        sample: the most points per centroid to fit on; faiss samples from more points.
        seed: of the sample and the initial centroids, in [0, 2^31).
    """
    import faiss

    with single_thread():
        model = faiss.Kmeans(
            points.shape[1], count, niter=ROUNDS, seed=seed, spherical=True,
            min_points_per_centroid=1, max_points_per_centroid=sample,
        )  # fmt: skip
        model.train(points)
    return np.asarray(model.centroids, dtype=np.float32).reshape(count, -1)


def nearest_centroid(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the centroid with the largest inner product with each point (n, dim); int64, shape (n,)."""
    import faiss

    index = faiss.IndexFlatIP(centroids.shape[1])
    index.add(centroids)
    with single_thread():
        _, nearest = index.search(points, 1)
    return np.asarray(nearest[:, 0])
