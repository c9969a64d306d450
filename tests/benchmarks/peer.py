"""sentence-transformers' `mine_hard_negatives`, run on ready vectors: no model is loaded."""

import numpy as np

from hnmine.arrays.ragged import Ragged


class ReadyVectors:
    """Stands in for a SentenceTransformer: looks texts up instead of embedding them."""

    device = "cpu"

    def __init__(self, documents: list[str], corpus: np.ndarray, queries: list[str], asked: np.ndarray) -> None:
        self.corpus, self.asked = corpus, asked
        self.rows = {text: row for row, text in enumerate(documents)}
        self.numbers = {text: row for row, text in enumerate(queries)}

    def encode_document(self, texts: list[str], **_: object) -> np.ndarray:
        return self.corpus[[self.rows[text] for text in texts]]

    def encode_query(self, texts: list[str], **_: object) -> np.ndarray:
        return self.asked[[self.numbers[text] for text in texts]]

    def get_embedding_dimension(self) -> int:
        return int(self.corpus.shape[1])

    def similarity(self, left: object, right: object) -> object:
        import torch

        return torch.as_tensor(left) @ torch.as_tensor(right).T

    def similarity_pairwise(self, left: object, right: object) -> object:
        import torch

        return (torch.as_tensor(left) * torch.as_tensor(right)).sum(dim=1)


def mine_with_sentence_transformers(
    queries: np.ndarray, corpus: np.ndarray, positives: np.ndarray, top_k: int, n: int, relative_margin: float | None
) -> Ragged:
    """Return the rows of the negatives that `mine_hard_negatives` chooses for each query, best first.

    Args:
        queries: float32, shape (queries, d).
        corpus: float32, shape (documents, d); texts are told apart by their row.
        positives: int64, shape (queries,): the one labelled positive of each.
        top_k: its range_max.
        n: its num_negatives.
        relative_margin: its relative_margin.
    """
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    documents = [f"d{row}" for row in range(len(corpus))]
    names = [f"q{row}" for row in range(len(queries))]
    model = ReadyVectors(documents, corpus, names, queries)
    data = Dataset.from_dict({"anchor": names, "positive": [f"d{row}" for row in positives.tolist()]})
    mined = mine_hard_negatives(
        data, model, corpus=documents, range_max=top_k, num_negatives=n, relative_margin=relative_margin,
        output_format="triplet", verbose=False,
    )  # fmt: skip
    owner = np.array([int(name[1:]) for name in mined["anchor"]], dtype=np.int64)
    rows = np.array([int(name[1:]) for name in mined["negative"]], dtype=np.int64)
    order = np.argsort(owner, kind="stable")
    return Ragged.from_lengths(rows[order], np.bincount(owner, minlength=len(queries)))
