"""In-batch negatives: how hard they are, and how many are positives that the run does not know.

    python -m tests.benchmarks.batches DATA [--only NAME ...] [--size 32] [--rule percent]

Half of the positives of every query are taken out of the labels. Of the pairs of a query and another example's positive
in its batch: their mean score, and the share that are such hidden positives. Clusters with conflicts kept apart
(`batch_size`), clusters alone, random batches with conflicts kept apart (`batch_by = "random"`), random batches.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.arrays.groups import rank_in_group
from hnmine.arrays.ragged import Ragged
from hnmine.pipeline.run import run
from hnmine.pipeline.stages import STAGES
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.batches import step
from hnmine.stages.emit.batches.conflicts import ConflictFinder
from hnmine.stages.emit.batches.packing import pack, target_size
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards
from tests.benchmarks.collections import config_of, folders
from tests.benchmarks.measure import argument_parser, timed


def halved(folder: Path, out: Path) -> pa.Table:
    """Copy a collection with every second positive of each query left out; return what was left out."""
    out.mkdir(parents=True)
    for path in folder.glob("*.parquet"):
        if path.name != "qrels.parquet":
            shutil.copy(path, out / path.name)
    qrels = pq.read_table(folder / "qrels.parquet")
    _, query = np.unique(qrels.column("query_id").to_numpy(zero_copy_only=False), return_inverse=True)
    hidden = rank_in_group(query) % 2 == 1
    pq.write_table(qrels.filter(pa.array(~hidden)), out / "qrels.parquet")
    return qrels.filter(pa.array(hidden))


def hidden_pairs(context: RunContext, hidden: pa.Table) -> Ragged:
    """Return the rows of the documents hidden from each query."""
    rows = []
    for name, side, schema in (("query_id", "queries", QUERIES), ("doc_id", "corpus", CORPUS)):
        ids = Shards(context.folder("ingest") / side, schema).column(name).to_pylist()
        place = {one: row for row, one in enumerate(ids)}
        rows.append(np.array([place.get(one, -1) for one in hidden.column(name).to_pylist()]))
    known = (rows[0] >= 0) & (rows[1] >= 0)
    order = np.argsort(rows[0][known], kind="stable")
    lengths = np.bincount(
        rows[0][known], minlength=len(Shards(context.folder("ingest") / "queries", QUERIES).column("query_id"))
    )
    return Ragged.from_lengths(rows[1][known][order], lengths)


def measured(examples: Any, finder: Any, batch: np.ndarray, hidden: Ragged) -> dict[str, float]:
    """Return mean score and share of hidden positives of the pairs within batches."""
    score = step.mean_scores(batch, finder, examples)
    order = np.argsort(batch, kind="stable")
    pairs = found = 0
    for members in np.split(order, np.flatnonzero(np.diff(batch[order])) + 1):
        q, d = (a.ravel() for a in np.meshgrid(members, members, indexing="ij"))
        q, d = q[q != d], d[q != d]
        pairs += len(q)
        found += int(hidden.contains(examples.query_row[q], examples.positive_row[d]).sum())
    return {"score": float(np.nanmean(score)), "hidden": found / pairs}


def compare(name: str, context: RunContext, hidden: pa.Table, size: int) -> None:
    """Print a row for each way of making batches."""
    examples = step.read_examples(context)
    finder = ConflictFinder(context, np.unique(examples.query_row))
    out, config = hidden_pairs(context, hidden), context.config
    query, document = finder.queries.at(examples.query_row), finder.documents.at(examples.positive_row)
    order = step.example_order(finder, config.seed, query, document)
    ordered, most = examples.take(order), 2 * target_size(size)
    clustered = step.query_clusters(finder, config, size)[query][order]

    def kept_apart(members: np.ndarray) -> np.ndarray:
        return finder.conflicts(ordered.take(members))

    def nothing(members: np.ndarray) -> np.ndarray:
        return np.zeros((len(members), len(members)), dtype=bool)

    ways = {
        "clusters, conflicts apart": (clustered, kept_apart), "clusters alone": (clustered, nothing),
        "random, conflicts apart": (clustered * 0, kept_apart), "random": (clustered * 0, nothing),
    }  # fmt: skip
    for way, (cluster, judge) in ways.items():
        packed, _, seconds = timed(lambda cluster=cluster, judge=judge: pack(cluster, size, most, judge))  # type: ignore[misc]
        batch = np.empty_like(order)
        batch[order] = packed.batch
        m = measured(examples, finder, batch, out)
        full = len(order) / size / (batch.max() + 1)
        print(f"| {name} | {way} | {m['score']:.3f} | {m['hidden']:.5f} | {full:.2f} | {seconds:.1f} |", flush=True)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rule", default="percent")
    options = parser.parse_args()
    for folder in folders(options.data, options.only):
        with tempfile.TemporaryDirectory() as work:
            hidden = halved(folder, Path(work) / "data")
            tables = {"filter": {"rule": options.rule}, "emit": {"batch_size": options.size, "format": "labeled-list"}}
            config = config_of(Path(work) / "data", Path(work) / "out", **tables)
            run(config, tuple(STAGES)[: list(STAGES).index("emit") + 1])
            compare(folder.name, RunContext(config, config.out_folder), hidden, options.size)


if __name__ == "__main__":
    main()
