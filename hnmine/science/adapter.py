"""A residual linear adapter on frozen vectors and its training: InfoNCE loss and Adam."""

import numpy as np


def adapted(vectors: np.ndarray, adapter: np.ndarray) -> np.ndarray:
    """Return the normalised vectors (I + W) e, float32, shape (n, d); zero vectors stay zero.

    The adapter W is float32, shape (d, d); 0 changes no direction.
    """
    return _normalised(vectors + vectors @ adapter.T)[0]


def _normalised(moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    norms = np.linalg.norm(moved, axis=1, keepdims=True)
    norms = np.where(norms == 0, 1, norms)
    return np.asarray(moved / norms, dtype=np.float32), norms


def info_nce(
    queries: np.ndarray, documents: np.ndarray, allowed: np.ndarray, adapter: np.ndarray, temperature: float
) -> tuple[float, np.ndarray]:
    """Return the InfoNCE loss of a batch and its gradient with respect to the adapter (float32, shape (d, d)).

    L = -mean over i of log( exp(q_i d_i / t) / sum over allowed j of exp(q_i d_j / t) ), where q and d are the
    adapted, normalised vectors (van den Oord et al. 2018, arXiv 1807.03748; in-batch and mined negatives alike).

    Args:
        queries: float32, shape (b, d).
        documents: float32, shape (m, d), m >= b; document i is the positive of query i.
        allowed: bool, shape (b, m): documents in each query's sum, which include its positive.
        adapter: W, float32, shape (d, d).
        temperature: t, above 0.
    """
    q, q_norm = _normalised(queries + queries @ adapter.T)
    d, d_norm = _normalised(documents + documents @ adapter.T)
    logits = np.where(allowed, q @ d.T / temperature, -np.inf)
    logits -= logits.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    total = weights.sum(axis=1, keepdims=True)
    own = np.arange(len(queries))
    loss = float(np.mean(np.log(total[:, 0]) - logits[own, own]))
    slope = weights / total
    slope[own, own] -= 1
    slope = (slope / (len(queries) * temperature)).astype(np.float32)
    to_q, to_d = slope @ d, slope.T @ q
    # gradient of the normalisation: the component orthogonal to the vector
    to_q = (to_q - (to_q * q).sum(axis=1, keepdims=True) * q) / q_norm
    to_d = (to_d - (to_d * d).sum(axis=1, keepdims=True) * d) / d_norm
    return loss, np.asarray(to_q.T @ queries + to_d.T @ documents, dtype=np.float32)


class Adam:
    """The Adam optimiser (Kingma and Ba 2015, arXiv 1412.6980) of one array of the given shape."""

    def __init__(self, shape: tuple[int, ...], rate: float) -> None:
        self.rate, self.steps = rate, 0
        self.mean: np.ndarray = np.zeros(shape, np.float32)
        self.square: np.ndarray = np.zeros(shape, np.float32)

    def step(self, value: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return the value after one step down its gradient; both float32, of the optimiser's shape."""
        self.steps += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient**2
        mean = self.mean / (1 - 0.9**self.steps)
        square = self.square / (1 - 0.999**self.steps)
        return np.asarray(value - self.rate * mean / (np.sqrt(square) + 1e-8), dtype=np.float32)
