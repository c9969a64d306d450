"""A loss for sentence-transformers that uses a column of weights of rows of shape n-tuple.

The column is weight, cluster_weight (both a number for each negative) or focal_weight (a number for each example).
Rename it to `label`, which the trainer passes to the loss: rows.rename_column("weight", "label").
"""

from collections.abc import Iterable

import torch
from torch.nn.functional import cross_entropy, normalize


class WeightedRankingLoss(torch.nn.Module):
    """MultipleNegativesRankingLoss with a weight for each example, or for each of its own negatives."""

    def __init__(self, model: torch.nn.Module, scale: float = 20.0) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, features: Iterable[dict[str, torch.Tensor]], labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch of b examples; `labels` has shape (b,), or (b, n) for n negatives each."""
        queries, *documents = (normalize(self.model(texts)["sentence_embedding"], dim=1) for texts in features)
        logits = self.scale * queries @ torch.cat(documents).T  # the positives first, then a column a negative
        own = torch.arange(len(queries), device=logits.device)
        if labels.dim() == 1:
            return (labels * cross_entropy(logits, own, reduction="none")).mean()
        bias = torch.zeros_like(logits)
        for place, weights in enumerate(labels.T, start=1):
            bias[own, place * len(queries) + own] = weights.log()  # weight times exp(logit)
        return cross_entropy(logits + bias, own)
