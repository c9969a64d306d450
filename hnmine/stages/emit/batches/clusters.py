"""Clusters of queries that lie near one another."""

import numpy as np

from hnmine.arrays.dots import dots, unit
from hnmine.arrays.kmeans import nearest_centroid, spherical_kmeans
from hnmine.science.batch_packing import nearest_neighbour_tour

# More points than this for a centroid change it little and take longer.
POINTS = 64


def target_size(batch_size: int) -> int:
    """Return about how many queries a cluster shall hold: a few batches, but no more than pairs can be scored for."""
    return max(2 * batch_size, min(4 * batch_size, 512))


def clusters(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the cluster of each vector, numbered such that neighbouring numbers are neighbours in space.

    Spherical k-means (Dhillon and Modha 2001), by faiss, on one thread, so that the same vectors in the same order give
    the same clusters; the centroids are fitted on a sample where there are many vectors. Batches out of clusters are
    those of NGAME (Dahiya et al., WSDM 2023, arXiv 2207.04452) and of cluster-stratified batching (Merrick 2024, arXiv
    2407.18887); B3 (arXiv 2505.11293) makes them of communities in a graph of ranks instead.

    Args:
        vectors: float32, shape (n, dim); only their direction counts.
        count: clusters wanted; at most n are made.
        seed: of sample and start.

    Returns:
        int64, shape (n,), in [0, count).
    """
    count = min(count, len(vectors))
    if count <= 1:
        return np.zeros(len(vectors), dtype=np.int64)
    points = unit(vectors)
    centroids = spherical_kmeans(points, count, POINTS, seed % 2**31)
    place = np.empty(count, dtype=np.int64)
    place[nearest_neighbour_tour(dots(centroids, centroids))] = np.arange(count)
    return np.asarray(place[nearest_centroid(points, centroids)])
