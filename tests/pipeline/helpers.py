"""Looking into what a run left behind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.config.file import check_config
from hnmine.config.tables import Config
from tests.support import write_collection

SCORES = ("positive_score", "negative_score", "anchor_score")
ALL_EXTRA = [
    "query_id", "positive_id", "negative_id", "positive_score", "negative_score", "rank", "rule", "anchor_score",
    "source",
]  # fmt: skip


def table(folder: Path) -> pa.Table:
    """Return all shards of a folder as one table of one chunk, without the keys in its footer."""
    paths = sorted(folder.glob("part-*.parquet"))
    assert paths, f"no shards in {folder}"
    parts = [pq.read_table(path, partitioning=None) for path in paths]
    return pa.concat_tables([part.replace_schema_metadata(None) for part in parts]).combine_chunks()


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of all shards of a folder."""
    found: list[dict[str, Any]] = table(folder).to_pylist()
    return found


def emitted(out: Path) -> list[dict[str, Any]]:
    """Return the emitted rows, holding every score in them to being finite."""
    found = rows(out / "emit")
    for row in found:
        for name in SCORES:
            if name in row:
                assert np.isfinite(row[name]).all(), row
    return found


def report(out: Path) -> dict[str, Any]:
    """Return the report without its wall-clock times."""
    found: dict[str, Any] = json.loads((out / "report" / "report.json").read_text())
    del found["timings"]
    return found


def vectors(out: Path, side: str) -> np.ndarray:
    """Return stored vectors as float32, shape (rows, dim)."""
    column = table(out / "embed" / side).column("vector").combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size).astype(np.float32)


def doc_ids(out: Path) -> list[str]:
    """Return the ids of the canonical corpus, by row."""
    found: list[str] = table(out / "ingest" / "corpus").column("doc_id").to_pylist()
    return found


def by_vectors(
    folder: Path,
    documents: np.ndarray,
    queries: np.ndarray,
    positives: list[list[int]],
    **tables: Any,
) -> Config:
    """Return a config for a collection given by its vectors: text i of either side is distinct, ids are d0, q0, ..."""
    write_collection(
        folder,
        {f"d{i}": f"document number {i}" for i in range(len(documents))},
        {f"q{i}": f"question number {i}" for i in range(len(queries))},
        [(f"q{i}", f"d{d}", 1) for i, own in enumerate(positives) for d in own],
    )
    np.save(folder / "documents.npy", documents)
    np.save(folder / "queries.npy", queries)
    raw: dict[str, Any] = {
        "out": "out",
        "input": {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"},
        "embed": {"model": "precomputed", "corpus_vectors": "documents.npy", "query_vectors": "queries.npy"},
        "retrieve": {"top_k": 10},
        "filter": {"rule": "percent"},
        "emit": {"num_negatives": 3, "extra_columns": ALL_EXTRA},
    }
    for name, value in tables.items():
        raw[name] = {**raw.get(name, {}), **value} if isinstance(value, dict) else value
    return check_config(raw, "test config", folder)


def plane(*degrees: float) -> np.ndarray:
    """Return unit vectors in the plane at the given angles: the cosine of two is that of their difference."""
    angles = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
