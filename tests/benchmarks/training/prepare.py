"""Collections as a user would have them: one known label a training query. What is held back stands beside.

A prepared folder holds

- `user/`: the whole corpus, the training queries with one label each, and all their vectors, in Parquet;
- `test/`: queries.parquet and qrels.parquet of the test queries, with all their labels;
- `hidden/qrels.parquet`: all labels of the training queries, for counting false negatives and for oracles;
- `retrieved-K/`: a run on `user/` as far as retrieve, top K;
- `arms/NAME/`: what `tests.benchmarks.training.mine` mines for an arm.
"""

import json
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.pipeline.run import RunOptions, run
from hnmine.storage.schemas.ingest import ALIASES, CORPUS, QUERIES
from hnmine.storage.store import Shards, write_json
from hnmine.students.split import split_queries
from tests.benchmarks.collections import BEFORE_FILTER, Mined, all_vectors, config_of

SHARE = 0.7
TOP_K = 100


@dataclass(frozen=True)
class Prepared:
    """A prepared folder.

    Attributes:
        folder: where it is.
        name: the collection's name.
        seed: of the split, of the one label a query, and of everything mined from it.
    """

    folder: Path
    name: str
    seed: int

    @property
    def user(self) -> Path:
        return self.folder / "user"

    def config(self, out: Path, **tables: Any) -> Config:
        """Return the config of a run on the user's files."""
        return config_of(self.user, out, seed=self.seed, report={"html": False}, **tables)

    def retrieved(self, top_k: int = TOP_K) -> Mined:
        """Return the run with the training queries' candidates; it is made where it is missing."""
        config = self.config(self.folder / f"retrieved-{top_k}", retrieve={"top_k": top_k})
        run(config, BEFORE_FILTER, RunOptions(overwrite=True))
        return Mined(self.name, config)

    @cached_property
    def corpus(self) -> "Corpus":
        ingest = self.retrieved().context.folder("ingest")
        shards = Shards(ingest / "corpus", CORPUS)
        rows = {name: row for row, name in enumerate(shards.column("doc_id").to_pylist())}
        aliases = Shards(ingest / "aliases", ALIASES)
        copies = zip(aliases.column("doc_id").to_pylist(), aliases.column("doc_row").to_pylist(), strict=True)
        return Corpus(shards.column("text").to_pylist(), rows | dict(copies))

    @cached_property
    def training(self) -> "Queries":
        """The training queries in the order of the runs, with all their labels; `known` is the label a user has."""
        shards = Shards(self.retrieved().context.folder("ingest") / "queries", QUERIES)
        return self._queries(shards.column("query_id"), shards.column("text"), self.folder / "hidden")

    @cached_property
    def known(self) -> np.ndarray:
        """Corpus row of each training query's one label, int64."""
        shards = Shards(self.retrieved().context.folder("ingest") / "queries", QUERIES)
        return Ragged.from_arrow(shards.column("positive_rows")).values

    @cached_property
    def test(self) -> "Queries":
        """The test queries with all their labels."""
        table = pq.read_table(self.folder / "test" / "queries.parquet")
        return self._queries(table.column("query_id"), table.column("text"), self.folder / "test")

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the teacher's vectors of the training queries and of the corpus, float32."""
        one = self.retrieved()
        return all_vectors(one, "queries"), all_vectors(one, "corpus")

    def _queries(self, ids: pa.ChunkedArray, texts: pa.ChunkedArray, folder: Path) -> "Queries":
        qrels = pq.read_table(folder / "qrels.parquet")
        names = ids.to_pylist()
        labels: dict[str, set[int]] = {name: set() for name in names}
        for query, document in zip(
            qrels.column("query_id").to_pylist(), qrels.column("doc_id").to_pylist(), strict=True
        ):
            labels[query].add(self.corpus.rows[document])
        lists = [sorted(labels[name]) for name in names]
        values = np.array([row for rows in lists for row in rows], dtype=np.int64)
        relevant = Ragged.from_lengths(values, np.array([len(rows) for rows in lists], dtype=np.int64))
        return Queries(names, texts.to_pylist(), relevant)


@dataclass(frozen=True)
class Corpus:
    """Texts of the documents, copies collapsed, and the row of each id, copies' ids too."""

    texts: list[str]
    rows: dict[str, int]


@dataclass(frozen=True)
class Queries:
    """Queries and the corpus rows of all their labels, ascending."""

    ids: list[str]
    texts: list[str]
    relevant: Ragged


def prepare(data: Path, name: str, seed: int, to: Path, queries: tuple[int, int] | None = None) -> Prepared:
    """Write a collection as a user would have it, and what is held back beside; return it at once where it is done.

    70 % of the queries train, with one of their labels, drawn at random. The others test.

    Args:
        data: folder with one folder a collection, its files in Parquet.
        name: the collection.
        seed: of the split and the labels.
        to: the folder to write.
        queries: highest numbers of training and of test queries, drawn at random; default: all.

    Raises:
        ValueError: the folder was prepared in another way.
    """
    made = {"collection": name, "seed": seed, "queries": list(queries) if queries else None}
    manifest = to / "prepared.json"
    if manifest.exists():
        if json.loads(manifest.read_text(encoding="utf-8")) != made:
            raise ValueError(f"{to}: prepared in another way: {manifest.read_text(encoding='utf-8')}")
        return Prepared(to, name, seed)
    source = data.resolve() / name
    qrels = pq.read_table(source / "qrels.parquet", columns=["query_id", "doc_id", "relevance"])
    qrels = qrels.filter(pc.greater(qrels.column("relevance"), 0))
    ids, positives = _labels(qrels)
    training = np.flatnonzero(split_queries(positives, SHARE, seed))
    testing = np.setdiff1d(np.arange(len(ids)), training)
    rng = np.random.default_rng([seed, 0x70726570])
    if queries is not None:
        training, testing = (
            np.sort(rng.permutation(rows)[:most]) for rows, most in zip((training, testing), queries, strict=True)
        )
    label = positives.starts[training] + (rng.random(len(training)) * positives.lengths[training]).astype(np.int64)
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent) as work:
        folder = Path(work) / "made"
        _write(source, folder / "user", ids.take(pa.array(training)), qrels.take(pa.array(_order(qrels, ids)[label])))
        (folder / "user" / "corpus.parquet").symlink_to(source / "corpus.parquet")
        (folder / "user" / "vectors-corpus.parquet").symlink_to(source / "vectors-corpus.parquet")
        _write(source, folder / "test", ids.take(pa.array(testing)), qrels)
        _write(source, folder / "hidden", ids.take(pa.array(training)), qrels)
        write_json(made, folder / "prepared.json")
        folder.rename(to)
    return Prepared(to, name, seed)


def _order(qrels: pa.Table, ids: pa.Array) -> np.ndarray:
    """Return the labels' rows, query after query in the order of the ids."""
    return np.argsort(pc.index_in(qrels.column("query_id"), value_set=ids).to_numpy(), kind="stable")


def _labels(qrels: pa.Table) -> tuple[pa.Array, Ragged]:
    """Return the ids of the queries that have a label, and the documents of each as numbers."""
    ids = pc.unique(qrels.column("query_id"))
    number = pc.index_in(qrels.column("query_id"), value_set=ids).to_numpy()
    _, documents = np.unique(qrels.column("doc_id").to_numpy(), return_inverse=True)
    order = _order(qrels, ids)
    return ids, Ragged.from_lengths(documents[order].astype(np.int64), np.bincount(number, minlength=len(ids)))


def _write(source: Path, to: Path, ids: pa.Array, qrels: pa.Table) -> None:
    """Write some of the queries with their vectors and labels."""
    to.mkdir(parents=True)
    for name in ("queries", "vectors-queries"):
        table = pq.read_table(source / f"{name}.parquet")
        pq.write_table(table.filter(pc.is_in(table.column("query_id"), value_set=ids)), to / f"{name}.parquet")
    pq.write_table(qrels.filter(pc.is_in(qrels.column("query_id"), value_set=ids)), to / "qrels.parquet")
