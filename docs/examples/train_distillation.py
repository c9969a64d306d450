"""Trains a SentenceTransformer on a teacher's scores: rows of `emit.format = "distillation"`.

Usage: python docs/examples/train_distillation.py EMIT_FOLDER MODEL OUT
"""

import sys
from typing import Any

from datasets import load_dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss

folder, name, out = sys.argv[1:]
rows, queries, documents = (
    load_dataset("parquet", data_files=f"{folder}/{part}part-*.parquet", split="train")
    for part in ("", "queries/", "documents/")
)
query_texts = dict(zip(queries["query_id"], queries["text"], strict=True))
document_texts = dict(zip(documents["document_id"], documents["text"], strict=True))
most = max(len(ids) for ids in rows["document_ids"])


def with_texts(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row's texts, the positive's as document_0, with the scores as its label."""
    texts = {f"document_{place}": document_texts[name] for place, name in enumerate(row["document_ids"])}
    return {"query": query_texts[row["query_id"]], **texts, "label": row["scores"]}


full = rows.filter(lambda row: len(row["document_ids"]) == most)  # the loss needs as many documents in every row
model = SentenceTransformer(name)
SentenceTransformerTrainer(
    model=model,
    args=SentenceTransformerTrainingArguments(output_dir=out, num_train_epochs=1, report_to="none"),
    train_dataset=full.map(with_texts, remove_columns=rows.column_names),
    loss=DistillKLDivLoss(model, similarity_fct=model.similarity_pairwise, temperature=0.05),
).train()
model.save(out)
