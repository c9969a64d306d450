"""Spherical k-means by faiss, with the same result whatever the number of threads."""

import numpy as np

from hnmine.arrays.single_thread import single_thread

ROUNDS = 10


def spherical_kmeans(points: np.ndarray, count: int, sample: int, seed: int) -> np.ndarray:
    """Return the centroids of spherical k-means (Dhillon and Modha, 2001) after `ROUNDS` rounds.

    Args:
        points: float32, shape (n, dim), of length 1.
        count: centroids, in [1, n].
        sample: the most points a centroid that it is fitted on; of more points faiss draws a sample.
        seed: of the sample and the initial centroids, in [0, 2^31).

    Returns:
        float32, shape (count, dim), of length 1.
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
    """Return each point's centroid with the largest inner product, int64, shape (n,).

    Args:
        points: float32, shape (n, dim).
        centroids: float32, shape (count, dim).
    """
    import faiss

    index = faiss.IndexFlatIP(centroids.shape[1])
    index.add(centroids)
    with single_thread():
        _, nearest = index.search(points, 1)
    return np.asarray(nearest[:, 0])
