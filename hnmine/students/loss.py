"""The contrastive loss of a batch."""

from typing import Any


def contrastive_loss(queries: Any, documents: Any, allowed: Any, scale: float) -> Any:
    """Return the mean loss of a batch's queries, a torch scalar.

    L = -mean over i of log( exp(t cos(q_i, d_i)) / sum over allowed j of exp(t cos(q_i, d_j)) )

    This is InfoNCE (van den Oord et al. 2018, arXiv 1807.03748), and with all documents allowed
    MultipleNegativesRankingLoss of sentence-transformers. The cosine of a zero vector is 0. A query with no allowed
    document but its positive has a loss of 0.

    Args:
        queries: float tensor, shape (b, d), not normalised.
        documents: float tensor, shape (m, d), m >= b; document i is the positive of query i.
        allowed: bool tensor, shape (b, m), true for each query's positive.
        scale: t, above 0.
    """
    import torch
    from torch.nn.functional import cross_entropy, normalize

    cosines = normalize(queries, dim=1) @ normalize(documents, dim=1).T
    logits = (scale * cosines).masked_fill(~allowed, -torch.inf)
    return cross_entropy(logits, torch.arange(len(queries), device=logits.device))
