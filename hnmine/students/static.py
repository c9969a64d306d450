"""The static student: a text's vector is the mean of its tokens' vectors, all of which are trained."""

from typing import Any

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.runtime.torch_settings import one_torch_thread
from hnmine.students.batches import batch_rows, make_batch, steps_of
from hnmine.students.evaluation import ranked_ndcg
from hnmine.students.loss import contrastive_loss
from hnmine.students.task import Examples, Task
from hnmine.students.token_table import TokenTable
from hnmine.students.training import Tick, Training, minimise


class StaticStudent:
    """A table of token vectors, trained whole; a training takes seconds.

    Args:
        task: what all mined sets share.
        table: tokens of the task's query texts and then of its document texts, with the vectors to begin with.
        training: how it is trained.
        tick: called with the number of examples as they are trained on.
    """

    name = "static"

    def __init__(self, task: Task, table: TokenTable, training: Training, tick: Tick) -> None:
        self.task, self.table, self.training, self.tick = task, table, training, tick

    def untrained(self) -> np.ndarray:
        """Return nDCG@10 of each test query before training, float64, shape (m,)."""
        with one_torch_thread():
            return self._evaluate(self.table.vectors)

    def train(self, examples: Examples, seed: int) -> np.ndarray:
        """Return nDCG@10 of each test query after training on the examples, float64, shape (m,).

        Tokens that no example holds have no gradient, so only the others are given to the optimiser.
        """
        import torch

        queries = len(self.task.query_texts)
        documents = np.concatenate([examples.positives, examples.negatives.values])
        texts = np.unique(np.concatenate([examples.queries, queries + documents])).astype(np.int64)
        tokens = self.table.tokens.take(texts)
        used, numbers = np.unique(tokens.values, return_inverse=True)
        tokens, how = tokens.with_values(numbers), self.training
        with one_torch_thread():
            table = torch.nn.Parameter(torch.from_numpy(self.table.vectors[used]))

            def loss(rows: np.ndarray) -> Any:
                batch = make_batch(examples, self.task.known, rows, how.loss)
                own, place = np.unique(np.concatenate([batch.queries, queries + batch.documents]), return_inverse=True)
                vectors = mean_of_tokens(tokens.take(np.searchsorted(texts, own)), table)[torch.from_numpy(place)]
                return contrastive_loss(
                    vectors[: len(rows)], vectors[len(rows) :], torch.from_numpy(batch.allowed), how.scale
                )

            order = batch_rows(examples, how.batch, how.epochs, seed)
            minimise([table], order, steps_of(examples, how.batch, how.epochs), how.rate, loss, self.tick)
            trained = self.table.vectors.copy()
            trained[used] = table.detach().numpy()
            return self._evaluate(trained)

    def _evaluate(self, vectors: np.ndarray) -> np.ndarray:
        import torch

        queries, test = len(self.task.query_texts), self.task.test
        texts = np.concatenate([test.queries, queries + np.arange(len(self.task.document_texts))])
        found = mean_of_tokens(self.table.tokens.take(texts), torch.from_numpy(vectors))
        return ranked_ndcg(found[: len(test.queries)], found[len(test.queries) :], test.relevant)


def mean_of_tokens(tokens: Ragged, table: Any) -> Any:
    """Return the mean of each text's token vectors, a float32 tensor of shape (texts, d); zeros for an empty text."""
    import torch

    values, starts = torch.from_numpy(tokens.values), torch.from_numpy(tokens.starts.copy())
    return torch.nn.functional.embedding_bag(values, table, starts, mode="mean")
