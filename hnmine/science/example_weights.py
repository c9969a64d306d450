"""Weights of training examples and of negatives, for losses that take a weight each."""

import numpy as np


def positive_probability(positive: np.ndarray, s: np.ndarray, owners: np.ndarray, temperature: float) -> np.ndarray:
    """Return p = exp(s+ / t) / (exp(s+ / t) + sum over the negatives exp(s / t)) of each example; float64, shape (n,).

    The softmax probability of the positive among its negatives, whose -log is the InfoNCE loss without in-batch
    negatives. An example without negatives has 1.

    Args:
        positive: s+, the positive's score, shape (n,).
        s: scores of the negatives, shape (m,).
        owners: int64, shape (m,), in [0, n): the example of each negative.
        temperature: t > 0, in units of the score.
    """
    lead = (np.asarray(s, dtype=np.float64) - np.asarray(positive, dtype=np.float64)[owners]) / temperature
    highest = np.zeros(len(positive))  # the positive's own term is exp(0)
    np.maximum.at(highest, owners, lead)
    others = np.bincount(owners, weights=np.exp(lead - highest[owners]), minlength=len(positive))
    own = np.exp(-highest)
    return np.asarray(own / (own + others))


def focal_weight(p: np.ndarray, gamma: float) -> np.ndarray:
    """Return (1 - p)^gamma, in [0, 1], of each example; float64, shape (n,).

    The modulating factor of the focal loss (Lin, Goyal, Girshick, He, Dollár 2017, arXiv 1708.02002, section 3.2), as
    KaLM-Embedding-V2 (arXiv 2506.20923) applies it to contrastive training. There p is the probability by the model in
    training, and changes with it; here it is the teacher's, and fixed.

    Args:
        p: probability of the right answer, in [0, 1]: see `positive_probability`.
        gamma: >= 0; at 0 all weights are 1.
    """
    return np.asarray((1.0 - np.asarray(p, dtype=np.float64)) ** gamma)


def cluster_rates(p: np.ndarray, cluster: np.ndarray, own: np.ndarray, count: int) -> np.ndarray:
    """Return the mean P(false negative) of each cluster's own negatives, in [0, 1]; float64, shape (count,).

    A negative is an own one if it is in the cluster of its example's positive. A cluster without own negatives that
    have a probability has 0.

    Args:
        p: P(false negative) of each negative, shape (m,); NaN for those without one, which do not count.
        cluster: int64, shape (m,), in [0, count): the cluster of each negative.
        own: bool, shape (m,): whether it is also the cluster of the positive.
        count: number of clusters.
    """
    counted = own & ~np.isnan(p)
    total = np.bincount(cluster[counted], weights=p[counted], minlength=count)
    return np.asarray(total / np.maximum(np.bincount(cluster[counted], minlength=count), 1))


def cluster_weight(cluster: np.ndarray, own: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Return 1 - r, r the rate of the cluster, for negatives in their positive's cluster, and 1 for all others.

    float64, shape (m,), in [0, 1]. ClusterNS (Deng et al. 2023, arXiv 2305.09892) takes a query's own cluster for false
    negatives. That a cluster counts by how likely its own negatives are false is this project's formula.

    Args:
        cluster: int64, shape (m,): the cluster of each negative.
        own: bool, shape (m,): whether it is also the cluster of the positive.
        rates: in [0, 1], shape (clusters,): see `cluster_rates`.
    """
    return np.where(own, 1.0 - rates[cluster], 1.0)
