"""Trains a SentenceTransformer with synthetic negatives, mixed by the table of `emit.mixing`.

Usage: python docs/examples/train_mixing.py EMIT_FOLDER MODEL OUT
The folder is of a run with emit.format = "n-tuple" and emit.extra_columns = ["query_id", "positive_id"].
"""

import sys
from typing import Any

import torch
from datasets import load_dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch.nn.functional import cross_entropy, normalize


class MixingLoss(torch.nn.Module):
    """MultipleNegativesRankingLoss whose queries have mixtures of their own negatives as further negatives."""

    def __init__(self, model: SentenceTransformer, scale: float = 20.0) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, sentence_features: list[dict[str, Any]], labels: torch.Tensor) -> torch.Tensor:
        """Return the loss. A label is a row of the table: all first, then all second, then all alpha."""
        vectors = [normalize(self.model(features)["sentence_embedding"], dim=1) for features in sentence_features]
        query, positive, negatives = vectors[0], vectors[1], torch.stack(vectors[2:], dim=1)
        own = torch.arange(len(query), device=query.device)[:, None]
        first, second, alpha = labels.view(len(query), 3, -1).unbind(1)
        mixable = torch.cat([negatives, query.detach()[:, None]], dim=1)  # place -1 is the query
        first, second = (mixable[own, places.long()] for places in (first, second))
        mixed = normalize(alpha[..., None] * first + (1 - alpha[..., None]) * second, dim=2)
        scores = query @ torch.cat([positive, negatives.flatten(0, 1)]).T
        scores = torch.cat([scores, torch.einsum("bd,bmd->bm", query, mixed)], dim=1)
        return cross_entropy(self.scale * scores, own.flatten())


if __name__ == "__main__":
    folder, name, out = sys.argv[1:]
    rows, mixing = (
        load_dataset("parquet", data_files=f"{folder}/{part}part-*.parquet", split="train") for part in ("", "mixing/")
    )
    labels = {(one["query_id"], one["positive_id"]): one["first"] + one["second"] + one["alpha"] for one in mixing}
    model = SentenceTransformer(name)
    SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(output_dir=out, num_train_epochs=1, report_to="none"),
        train_dataset=rows.map(
            lambda row: {"label": labels[row["query_id"], row["positive_id"]]},
            remove_columns=["query_id", "positive_id"],
        ),
        loss=MixingLoss(model),
    ).train()
    model.save(out)
