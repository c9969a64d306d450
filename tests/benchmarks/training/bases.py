"""Further sources of candidates and rescoring for arms: tables of hnmine's config, and the models that they name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.config.models import EmbedConfig
from hnmine.models.model_files import find_model
from tests.benchmarks.training.prepare import TOP_K, Prepared

Base = Callable[[Prepared], dict[str, Any]]
"""Returns the tables of a config up to [rescore], after writing the models that they name."""
TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
EPOCHS, RATE, BATCH, SCALE = 10, 5e-3, 64, 0.2
TOP_N = 20


def dense_and_words(prepared: Prepared) -> dict[str, Any]:
    """The teacher and BM25, half of the candidates each."""
    return _beside({"kind": "bm25"})


def dense_and_idf(prepared: Prepared) -> dict[str, Any]:
    """The teacher and a sparse encoder of the corpus' IDF: no network, and nothing is trained."""
    return _beside({"kind": "sparse", "encoder": {"model": str(_idf_encoder(prepared))}})


def dense_and_trained(prepared: Prepared) -> dict[str, Any]:
    """The teacher and the same encoder after some epochs on the training queries and their one label."""
    return _beside({"kind": "sparse", "encoder": {"model": str(_trained_encoder(prepared))}})


def late_interaction(prepared: Prepared) -> dict[str, Any]:
    """The teacher's best candidates, rescored by the vectors of its tokens, which nothing was trained for."""
    model = find_model(EmbedConfig(model=TEACHER))
    rescore = {"kind": "late_interaction", "model": model, "top_n": TOP_N, "max_length": 128}
    return {"rescore": rescore, "shard_rows": 256}


def _beside(source: dict[str, Any]) -> dict[str, Any]:
    half = TOP_K // 2
    return {"retrieve": {"source": [{"kind": "dense", "top_k": half}, {**source, "top_k": half}]}}


def _idf_encoder(prepared: Prepared) -> Path:
    """Write a SparseStaticEmbedding whose weights are the roots of IDF, so that a product is the sum of IDF."""
    folder = prepared.folder / "models" / "idf"
    if folder.exists():
        return folder
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(find_model(EmbedConfig(model=TEACHER)))
    texts = prepared.corpus.texts
    counts = np.zeros(len(tokenizer.get_vocab()))
    for ids in tokenizer(texts, add_special_tokens=False, truncation=True)["input_ids"]:
        counts[np.unique(np.array(ids, dtype=np.int64))] += 1
    idf = np.log1p((len(texts) - counts + 0.5) / (counts + 0.5))
    weights = torch.tensor(np.sqrt(idf), dtype=torch.float32)
    SparseEncoder(modules=[SparseStaticEmbedding(tokenizer, weights)], device="cpu").save(str(folder))
    return folder


def _trained_encoder(prepared: Prepared) -> Path:
    """Write the encoder of `_idf_encoder`, trained on (query, its known label) with the batch's others as negatives."""
    folder = prepared.folder / "models" / "trained"
    if folder.exists():
        return folder
    import torch
    from sentence_transformers import SparseEncoder

    encoder = SparseEncoder(str(_idf_encoder(prepared)), device="cpu")
    rng = np.random.default_rng(prepared.seed)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=RATE)
    pairs = [
        (text, prepared.corpus.texts[own]) for text, own in zip(prepared.training.texts, prepared.known, strict=True)
    ]
    for _ in range(EPOCHS):
        order = rng.permutation(len(pairs))
        for first in range(0, len(order), BATCH):
            batch = [pairs[at] for at in order[first : first + BATCH]]
            queries, documents = (
                encoder(encoder.preprocess([pair[side] for pair in batch]))["sentence_embedding"] for side in (0, 1)
            )
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(SCALE * queries @ documents.T, torch.arange(len(batch))).backward()
            optimiser.step()
    encoder.save(str(folder))
    return folder
