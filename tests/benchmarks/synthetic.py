"""A made collection of any size with ready vectors, for timing: topics, documents around them, queries around them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PER_TOPIC = 20


def clustered_vectors(documents: int, queries: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors of documents and queries around random centres, float32."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((max(1, documents // PER_TOPIC), dim)).astype(np.float32)

    def some(rows: int) -> np.ndarray:
        noise = generator.standard_normal((rows, dim)).astype(np.float32)
        return unit(centres[generator.integers(0, len(centres), rows)] + np.float32(0.9) * noise)

    return some(documents), some(queries)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors divided by their lengths, float32."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def write_collection(
    folder: Path,
    documents: int,
    queries: int,
    dim: int = 64,
    seed: int = 0,
    positives: int | None = None,
    unit: bool = False,
) -> dict[str, Any]:
    """Write corpus, queries, qrels and vectors in Parquet; return the input and embed tables of a config.

    Args:
        folder: to write to; made where it is not there.
        documents: of the corpus.
        queries: each with positives of its topic.
        dim: numbers a vector.
        seed: of everything.
        positives: of each query; two or three where nothing is said.
        unit: whether vectors have length 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    topics = max(1, documents // PER_TOPIC)
    centres = generator.normal(size=(topics, dim)).astype(np.float32)
    of_query = generator.integers(0, topics, queries)
    ids = {"corpus": [f"d{i}" for i in range(documents)], "queries": [f"q{i}" for i in range(queries)]}
    words = [f"word{i}" for i in range(5000)]
    drawn = generator.integers(0, len(words), size=(max(documents, queries), 12))
    for side, topic in (("corpus", np.arange(documents) % topics), ("queries", of_query)):
        texts = [f"topic {t} " + " ".join(words[w] for w in row) for t, row in zip(topic, drawn, strict=False)]
        name = "doc_id" if side == "corpus" else "query_id"
        pq.write_table(pa.table({name: ids[side], "text": texts}), folder / f"{side}.parquet")
        vectors = centres[topic] + 0.9 * generator.normal(size=(len(topic), dim)).astype(np.float32)
        if unit:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), dim)
        pq.write_table(pa.table({name: ids[side], "vector": flat}), folder / f"vectors-{side}.parquet")
    rows = []
    for query, topic in enumerate(of_query.tolist()):
        for k in range(positives or 2 + query % 2):
            rows.append((f"q{query}", f"d{(topic + topics * ((query + k) % PER_TOPIC)) % documents}"))
    table = pa.table({"query_id": [q for q, _ in rows], "doc_id": [d for _, d in rows], "relevance": [1] * len(rows)})
    pq.write_table(table, folder / "qrels.parquet")
    return {
        "input": {name: str(folder / f"{name}.parquet") for name in ("corpus", "queries", "qrels")},
        "embed": {
            "model": "precomputed",
            "corpus_vectors": str(folder / "vectors-corpus.parquet"),
            "query_vectors": str(folder / "vectors-queries.parquet"),
        },
    }
