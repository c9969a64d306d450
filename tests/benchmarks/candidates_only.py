"""`embed.documents = "candidates"` against embedding all: documents embedded, recall true and estimated, negatives.

python -m tests.benchmarks.candidates_only DATA NAME [--queries 200] [--depths 50 100 200 300] [--sample 1000]

NAME is a collection below DATA with ready vectors of all documents. The reference is a plain run, in which the teacher
searches all documents. Each row of the table is a run that embeds candidates alone: "bm25" takes what BM25 finds,
"bm25, dense" lets the teacher search what is embedded besides. Recall is that of the teacher's top 100, positives
apart; negatives are those emitted with a 95% margin, and shared are those that the reference has too.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.pipeline.run import run
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.report.dense_recall import embedding
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards
from tests.benchmarks.collections import config_of, with_queries
from tests.benchmarks.measure import argument_parser

TOP_K = 100
STAGES = ("ingest", "embed", "index", "retrieve", "filter", "emit")
SOURCES = {"bm25": [], "bm25, dense": [{"kind": "dense", "top_k": TOP_K}]}
TEXTS = 512


def subset(folder: Path, queries: int, to: Path) -> Path:
    """Write a collection with some of the labelled queries, drawn with a fixed seed, and the whole corpus."""
    ids = pq.read_table(folder / "queries.parquet").column("query_id")
    labelled = pq.read_table(folder / "qrels.parquet").column("query_id")
    ids = ids.filter(pc.is_in(ids, value_set=labelled))
    return with_queries(folder, ids.take(np.random.default_rng(0).permutation(len(ids))[:queries]), to)


def candidates(config: Config) -> Ragged:
    """Return the candidates of each query that are no positives, best first."""
    shards = Shards(config.out_folder / "retrieve", CANDIDATES)
    rows, positives = (Ragged.from_arrow(shards.column(name)) for name in ("doc_rows", "positive_rows"))
    others = ~positives.contains(rows.owners, rows.values)
    return Ragged.from_lengths(rows.values[others], np.bincount(rows.owners[others], minlength=len(rows)))


def negatives(config: Config) -> set[tuple[int, int, int]]:
    """Return (query, anchor, document) of all negatives."""
    chosen = read_chosen(config.out_folder / "emit")
    lists = Ragged.from_arrow(chosen.column("doc_rows"))
    names = (chosen.column(name).to_numpy()[lists.owners].tolist() for name in ("query_row", "anchor"))
    return set(zip(*names, lists.values.tolist(), strict=True))


def passages_a_second(folder: Path) -> float:
    """Return how many documents all-MiniLM-L6-v2 embeds a second on this machine, loading left out."""
    from hnmine.config.models import EmbedConfig
    from hnmine.models.encoders import make_encoder

    texts = pq.read_table(folder / "corpus.parquet").column("text").to_pylist()[:TEXTS]
    encoder = make_encoder(EmbedConfig())
    encoder.encode(texts[:32], "document")
    start = time.perf_counter()
    encoder.encode(texts, "document")
    return len(texts) / (time.perf_counter() - start)


def compare(folder: Path, work: Path, depths: list[int], sample: int) -> None:
    """Print the table of one collection."""
    rule = {"rule": "percent"}
    whole = config_of(folder, work / "all", retrieve={"top_k": TOP_K}, filter=rule)
    run(whole, STAGES)
    best, reference = candidates(whole), negatives(whole)
    documents = pq.read_metadata(folder / "corpus.parquet").num_rows
    print(f"{documents:,} documents, {len(best):,} queries, {len(reference):,} negatives", flush=True)
    print(
        "| candidates | BM25 depth | embedded | true recall | estimated | how | negatives shared |\n" + "|---" * 7 + "|"
    )
    for name, more in SOURCES.items():
        for depth in depths:
            sources = [*more, {"kind": "bm25", "top_k": depth}]
            tables: dict[str, Any] = {"embed": config_of(folder, work).embed.model_dump(include=PRECOMPUTED)}
            tables["embed"] |= {"documents": "candidates", "sample": sample}
            out = work / f"{name[-5:]}-{depth}"
            config = config_of(folder, out, **tables, retrieve={"top_k": TOP_K, "source": sources}, filter=rule)
            run(config, STAGES)
            found = embedding(RunContext(config, config.out_folder))["embedding"]
            recall = found["recall"]
            true = candidates(config).contains(best.owners, best.values)
            # per query, as the estimate is
            each = np.bincount(best.owners, weights=true, minlength=len(best))[best.lengths > 0]
            true_mean = (each / best.lengths[best.lengths > 0]).mean()
            shared = len(negatives(config) & reference) / len(reference)
            low, high = recall["interval"]
            print(
                f"| {name} | {depth} | {found['embedded'] / found['documents']:.0%} | {true_mean:.3f} | "
                f"{recall['value']:.3f} ({low:.3f}-{high:.3f}) | {recall['how']} | {shared:.0%} |",
                flush=True,
            )


PRECOMPUTED = {"model", "corpus_vectors", "query_vectors"}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("name")
    parser.add_argument("--queries", type=int, help="a sample of so many queries (default: all)")
    parser.add_argument("--depths", type=int, nargs="+", default=[50, 100, 200, 300])
    parser.add_argument("--sample", type=int, default=1000, help="embed.sample")
    parser.add_argument("--embed", action="store_true", help="measure how fast a model embeds, and nothing else")
    options = parser.parse_args()
    folder = (options.data / options.name).resolve()
    if options.embed:
        print(f"{passages_a_second(folder):.0f} documents a second")
        return
    with tempfile.TemporaryDirectory() as work:
        if options.queries:
            folder = subset(folder, options.queries, Path(work) / "data")
        compare(folder, Path(work), options.depths, options.sample)


if __name__ == "__main__":
    main()
