"""Ingesting small collections, and looking at what came of it or at why it was refused."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.errors import InputError
from tests.support import config_for, write_collection

ONLY_PAIRS: dict[str, Any] = {"corpus": None, "queries": None, "qrels": None}
CORPUS = {"d0": "amber reef", "d1": "basalt cliff", "d2": "cobalt dune"}
QUERIES = {"q0": "which reef", "q1": "which cliff"}
QRELS = [("q0", "d0", 1), ("q1", "d1", 1), ("q1", "d2", 2)]


def small(folder: Path) -> Path:
    """Write three documents, two queries and three judgements, ready to be broken."""
    return write_collection(folder, CORPUS, QUERIES, QRELS)


@dataclass(frozen=True)
class Ingested:
    """The tables that ingest wrote, as rows."""

    corpus: list[dict[str, Any]]
    queries: list[dict[str, Any]]
    aliases: list[dict[str, Any]]
    left_out: list[dict[str, Any]]
    counts: dict[str, int]

    @property
    def texts(self) -> dict[str, str]:
        """Text of every document by id."""
        return {row["doc_id"]: row["text"] for row in self.corpus}

    @property
    def asked(self) -> dict[str, str]:
        """Text of every query by id."""
        return {row["query_id"]: row["text"] for row in self.queries}

    def documents(self, query_id: str, column: str = "positive_rows") -> list[str]:
        """Ids of a query's positives, negatives or siblings."""
        row = next(row for row in self.queries if row["query_id"] == query_id)
        return [self.corpus[number]["doc_id"] for number in row[column]]

    @property
    def positives(self) -> dict[str, list[str]]:
        """Ids of the positives of every query."""
        return {query: self.documents(query) for query in self.asked}

    @property
    def omitted(self) -> set[tuple[str, str, str]]:
        """What was left out: (kind, id, reason)."""
        return {(row["kind"], row["id"], row["reason"]) for row in self.left_out}


def rows(folder: Path) -> list[dict[str, Any]]:
    """Rows of a folder of shards, in order."""
    return [row for part in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def ingest(folder: Path, out: str = "out", **tables: Any) -> Ingested:
    """Ingest a collection and read back what was written."""
    run(config_for(folder, out, **tables), stages=("ingest",))
    stage = folder / out / "ingest"
    return Ingested(
        rows(stage / "corpus"),
        rows(stage / "queries"),
        rows(stage / "aliases"),
        pq.read_table(stage / "left_out.parquet").to_pylist(),
        json.loads((stage / "counts.json").read_text()),
    )


def refused(folder: Path, out: str = "out", **tables: Any) -> list[str]:
    """Ingest what must be refused; return the message's lines, and see that nothing was left behind."""
    with pytest.raises(InputError) as caught:
        run(config_for(folder, out, **tables), stages=("ingest",))
    left = {path.name for path in (folder / out).rglob("*") if path.is_file()}
    assert left <= {".lock", ".digests.json"}  # digests of inputs are kept once these are some seconds old
    return str(caught.value).splitlines()
