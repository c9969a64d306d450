"""Logistic regression for P(false negative), and the calibration of its probabilities."""

from dataclasses import dataclass

import numpy as np

from hnmine.arrays.single_thread import single_thread

STRENGTH = 1.0
"""Of the ridge penalty, STRENGTH / 2 |w|^2 beside the sum of log losses (C = 1 of scikit-learn)."""
# Newton's method ends where the loss can fall no more than this share of itself, or after as many steps: it takes ten.
_CLOSE, _STEPS = 1e-9, 100


@dataclass(frozen=True)
class Logistic:
    """A stack of one or more logistic regressions over standardised features.

    P = 1 / (1 + exp(-(b + w . (x - mean) / scale)))

    Attributes:
        mean: float64, shape (models, features).
        scale: float64, same shape, above 0.
        weights: w, float64, same shape.
        bias: b, float64, shape (models,).
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def predict(self, features: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Return P(false negative) of features (n, features) by the models `which` (int64); float64, shape (n,)."""
        slope, offset = self.lines
        return logistic(np.einsum("nf,nf->n", features.astype(np.float64), slope[which]) + offset[which])

    @property
    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        """Slope and offset of each model's logit over raw features, float64, (models, features) and (models,)."""
        slope = self.weights / self.scale
        return slope, self.bias - (slope * self.mean).sum(axis=1)


def logistic(logits: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), float64 in [0, 1], without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))


def fit(features: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Logistic:
    """Fit one logistic regression, a stack of one: ridge-penalised (`STRENGTH`) weights of standardised features.

    By Newton's method (iteratively reweighted least squares; McCullagh and Nelder, Generalized Linear Models, 1989,
    section 2.5), each step halved until the loss falls enough (Armijo). The constant is not penalised.

    Args:
        features: float, shape (n, features).
        labels: bool, shape (n,).
        weights: float, shape (n,), above 0; 1 by default.

    Raises:
        ValueError: all labels are the same.
    """
    if not labels.any() or labels.all():
        raise ValueError("both hidden positives and other candidates are needed to fit")
    total = np.ones(len(labels)) if weights is None else weights
    mean = np.average(features, axis=0, weights=total)
    scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=total))
    scale = np.where(scale > 1e-9, scale, 1.0)
    x = np.column_stack([(features - mean) / scale, np.ones(len(labels))])
    with single_thread():  # other orders of summing would change the last bits
        found = _newton(x, labels.astype(np.float64), total)
    return Logistic(mean[None], scale[None], found[None, :-1], found[-1:])


def _newton(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the coefficients of the columns of x (float64, (n, d)); the last, the constant, has no penalty."""
    ridge = np.full(x.shape[1], STRENGTH)
    ridge[-1] = 0.0
    beta = np.zeros(x.shape[1])

    def loss(tried: np.ndarray) -> float:
        logits = x @ tried
        return float(weights @ (np.logaddexp(0.0, logits) - y * logits) + ridge @ tried**2 / 2)

    reached = loss(beta)
    for _ in range(_STEPS):
        p = logistic(x @ beta)
        gradient = x.T @ (weights * (p - y)) + ridge * beta
        hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        fall = float(gradient @ step)  # twice what the loss can still fall
        if fall <= _CLOSE * max(1.0, reached):
            return beta - step
        length = 1.0
        while (tried := loss(beta - length * step)) > reached - 1e-4 * length * fall:
            length /= 2
        beta, reached = beta - length * step, tried
    return beta


def stack(models: list[Logistic]) -> Logistic:
    """Join stacks into one, in order."""
    return Logistic(
        *(np.concatenate([getattr(m, name) for m in models]) for name in ("mean", "scale", "weights", "bias"))
    )


def reliability(probability: np.ndarray, happened: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """Return count, mean prediction and observed share of each of `bins` equal intervals of [0, 1] that is not empty.

    Predictions (float in [0, 1]) and what happened (bool) are of shape (n,).
    """
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    intervals = [place == number for number in np.unique(place)]
    return [
        {"count": int(own.sum()), "predicted": float(probability[own].mean()), "observed": float(happened[own].mean())}
        for own in intervals
    ]


def calibration_error(probability: np.ndarray, happened: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error: the mean over predictions of their interval's |predicted - observed|.

    Naeini, Cooper and Hauskrecht, AAAI 2015. 0 for no predictions.
    """
    rows = reliability(probability, happened, bins)
    total = sum(row["count"] for row in rows)
    return sum(row["count"] * abs(row["predicted"] - row["observed"]) for row in rows) / total if total else 0.0
