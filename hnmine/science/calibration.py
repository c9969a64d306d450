"""Logistic regression for P(false negative), and the calibration of its probabilities."""

from dataclasses import dataclass

import numpy as np

from hnmine.arrays.single_thread import single_thread


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
    """Fit one logistic regression, a stack of one (scikit-learn, L2 with C = 1, on standardised features).

    Args:
        features: float, shape (n, features).
        labels: bool, shape (n,).
        weights: float, shape (n,); equal by default.

    Raises:
        ValueError: all labels are the same.
    """
    from sklearn.linear_model import LogisticRegression

    if not labels.any() or labels.all():
        raise ValueError("both hidden positives and other candidates are needed to fit")
    total = np.ones(len(labels)) if weights is None else weights
    mean = np.average(features, axis=0, weights=total)
    scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=total))
    scale = np.where(scale > 1e-9, scale, 1.0)
    model = LogisticRegression(solver="newton-cholesky", C=1.0, max_iter=1000)
    with single_thread():  # other orders of summing would change the last bits
        model.fit((features - mean) / scale, labels, sample_weight=weights)
    return Logistic(mean[None], scale[None], model.coef_.astype(np.float64), model.intercept_.astype(np.float64))


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
