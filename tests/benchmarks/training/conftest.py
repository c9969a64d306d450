"""A small collection for the tests of the training benchmark."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

QUERIES, DOCUMENTS, WIDTH = 60, 240, 16


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A folder with one collection: every query has two positives, and every other one shares a third with the next."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data") / "made"
    folder.mkdir()
    corpus = rng.standard_normal((DOCUMENTS, WIDTH)).astype(np.float16)
    positives = rng.permutation(DOCUMENTS)[: QUERIES * 2].reshape(QUERIES, 2)
    asked, labels = np.empty((QUERIES, WIDTH), dtype=np.float16), []
    for query in range(QUERIES):
        own = {*positives[query].tolist()} | ({int(positives[query - 1, 0])} if query % 2 else set())
        near = corpus[positives[query, 0]] + 0.3 * rng.standard_normal(WIDTH).astype(np.float16)
        asked[query] = near
        labels += [(query, document) for document in sorted(own)]
    doc_ids, query_ids = [f"d{row}" for row in range(DOCUMENTS)], [f"q{row}" for row in range(QUERIES)]
    tables = {
        "corpus": {"doc_id": doc_ids, "title": [""] * DOCUMENTS, "text": [f"text {name}" for name in doc_ids]},
        "queries": {"query_id": query_ids, "text": [f"query {name}" for name in query_ids]},
        "qrels": {
            "query_id": [f"q{query}" for query, _ in labels], "doc_id": [f"d{row}" for _, row in labels],
            "relevance": [1] * len(labels),
        },
        "vectors-corpus": {"doc_id": doc_ids, "vector": _lists(corpus)},
        "vectors-queries": {"query_id": query_ids, "vector": _lists(asked)},
    }  # fmt: skip
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder.parent


def _lists(vectors: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
