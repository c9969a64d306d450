"""Collections with ready vectors, run as far as retrieve, for benchmarks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.config.file import check_config
from hnmine.config.tables import Config
from hnmine.pipeline.run import run
from hnmine.runtime.stage import RunContext
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.inputs import FilterInputs
from hnmine.stages.filter.verdicts import TextKeys
from hnmine.storage.vectors import VectorStore

BEFORE_FILTER = ("ingest", "embed", "index", "retrieve")


@dataclass(frozen=True)
class Mined:
    """A collection with its candidates."""

    name: str
    config: Config

    @property
    def context(self) -> RunContext:
        return RunContext(self.config, self.config.out_folder)

    def pieces(self, drawn: Any = None, columns: Any = None) -> Iterator[tuple[Batch, TextKeys]]:
        yield from FilterInputs.open(self.context).batches(drawn, columns)


def all_vectors(one: Mined, side: str) -> np.ndarray:
    """Return all vectors of a side, "corpus" or "queries": float32, shape (rows, d)."""
    store = VectorStore(one.context.folder("embed") / side)
    return store.gather(np.arange(store.rows))


def config_of(folder: Path, out: Path, **tables: Any) -> Config:
    """Return the config of a collection folder: corpus, queries, qrels and both vector files in Parquet."""
    raw: dict[str, Any] = {
        "out": str(out),
        "input": {name: str(folder / f"{name}.parquet") for name in ("corpus", "queries", "qrels")},
        "embed": {
            "model": "precomputed",
            "corpus_vectors": str(folder / "vectors-corpus.parquet"),
            "query_vectors": str(folder / "vectors-queries.parquet"),
        },
        **tables,
    }
    return check_config(raw, folder.name, folder)


def folders(data: Path, names: list[str] | None = None) -> list[Path]:
    """Return the collection folders below `data`: all, or those named."""
    found = sorted(path.parent for path in data.resolve().glob("*/vectors-corpus.parquet"))
    return [folder for folder in found if not names or folder.name in names]


def with_queries(folder: Path, ids: pa.Array | pa.ChunkedArray, to: Path) -> Path:
    """Write a collection folder with some of the queries; the corpus is linked."""
    to.mkdir(parents=True)
    for name in ("corpus", "vectors-corpus"):
        (to / f"{name}.parquet").symlink_to(folder / f"{name}.parquet")
    for name in ("queries", "qrels", "vectors-queries"):
        table = pq.read_table(folder / f"{name}.parquet")
        pq.write_table(table.filter(pc.is_in(table.column("query_id"), value_set=ids)), to / f"{name}.parquet")
    return to


def mined(data: Path, work: Path, names: list[str] | None = None) -> list[Mined]:
    """Return the collections below `data`, their candidates retrieved into `work`."""
    found = []
    for folder in folders(data, names):
        # rules are compared by the same number of retrieved negatives
        config = config_of(folder, work / folder.name, emit={"choose": "top"})
        run(config, BEFORE_FILTER)
        found.append(Mined(folder.name, config))
    return found
