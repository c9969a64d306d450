"""Search by lists against exact search: what both cost, and what the lists miss.

python -m tests.benchmarks.list_search [--data FOLDER] [--documents 60000] [--queries 4096] [--lists 512] [--rounds 3]

With `--data`, the vectors of all collections under the folder together (vectors-corpus.parquet and
vectors-queries.parquet in each), and copies of them with noise up to the sizes asked for; without, made vectors in
clusters. `faiss` is faiss' own search of its IVF-Flat index over the same lists and as many of them. CPU seconds of
one process. The recall that the run would measure on 512 queries stands beside that of all of them.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hnmine.arrays.topk import unpack
from hnmine.search.exact import ExactProposer, Proposer, search
from hnmine.search.ivf import (
    InvertedLists,
    IVFProposer,
    build_lists,
    default_list_count,
    fewest_lists,
    measure_recall,
    open_lists,
    write_lists,
)
from hnmine.storage.store import part_name, write_table
from hnmine.storage.vectors import VectorStore, to_arrow, to_numpy
from tests.benchmarks.measure import argument_parser, timed
from tests.benchmarks.synthetic import clustered_vectors, unit

K, QUERY_BLOCK, SHARD, SAMPLE = 100, 1024, 4096, 512


def real(folder: Path, documents: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the collections' vectors, mixed; beyond what there are, copies with noise of a third of their length."""
    generator, out = np.random.default_rng(0), []
    for side, rows in (("corpus", documents), ("queries", queries)):
        paths = sorted(folder.glob(f"*/vectors-{side}.parquet"))
        vectors = unit(np.concatenate([to_numpy(pq.read_table(path).column("vector")) for path in paths]))
        mixed = vectors[generator.permutation(len(vectors))]
        parts = [mixed[:rows]]
        while sum(map(len, parts)) < rows:
            noise = unit(generator.standard_normal(mixed.shape))
            parts.append(unit(mixed + noise / 3)[: rows - sum(map(len, parts))])
        out.append(np.concatenate(parts))
    return out[0], out[1]


def stored(vectors: np.ndarray, folder: Path) -> VectorStore:
    for number, first in enumerate(range(0, len(vectors), SHARD)):
        part = vectors[first : first + SHARD]
        table = to_arrow(part, np.arange(first, first + len(part)), "float32")
        write_table(table, folder / part_name(number), "", plain=True)
    return VectorStore(folder, vectors.nbytes)


def cpu_timed(function: Callable[[], Any]) -> tuple[Any, float]:
    result, _, cpu = timed(function)
    return result, cpu


def rows_by(store: VectorStore, queries: np.ndarray, proposer: Proposer) -> np.ndarray:
    parts = [queries[first : first + QUERY_BLOCK] for first in range(0, len(queries), QUERY_BLOCK)]
    return unpack(np.concatenate([search(store, part, K, proposer) for part in parts]))[1]


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, exact, strict=True)]))


def faiss_index(lists: InvertedLists, vectors: np.ndarray, probe: int) -> Any:
    import faiss

    quantiser = faiss.IndexFlatIP(vectors.shape[1])
    quantiser.add(lists.centroids)
    index = faiss.IndexIVFFlat(quantiser, vectors.shape[1], lists.count, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    index.nprobe = probe
    return index


def measure(corpus: np.ndarray, queries: np.ndarray, options: argparse.Namespace, folder: Path) -> None:
    store, count = stored(corpus, folder / "vectors"), options.lists or default_list_count(len(corpus))
    lists, making = cpu_timed(lambda: build_lists(store, count, lambda rows: None))
    chosen = np.sort(np.random.default_rng(0).choice(len(queries), min(SAMPLE, len(queries)), replace=False))
    sampled, checking = cpu_timed(lambda: measure_recall(lists, store, queries[chosen], K))
    _, writing = cpu_timed(lambda: write_lists(lists, store, folder / "lists"))
    lists = open_lists(folder / "lists")
    exact, _ = cpu_timed(lambda: rows_by(store, queries, ExactProposer(store)))
    print(f"{len(queries):,} queries x {len(corpus):,} documents x {corpus.shape[1]}, top {K}, {count:,} lists")
    print(f"CPU s: making lists {making:.1f}, measuring recall {checking:.1f}, writing {writing:.1f}")
    print("| lists | documents | recall, sampled | recall, all | exact, CPU s | by lists | times | in total | faiss |")
    print("|---|---|---|---|---|---|---|---|---|")
    for wanted in options.recall:
        probe = fewest_lists(sampled.recall, wanted)
        proposer, spent = IVFProposer(lists, probe), []
        for _ in range(options.rounds):
            _, base = cpu_timed(lambda: rows_by(store, queries, ExactProposer(store)))
            found, ours = cpu_timed(lambda proposer=proposer: rows_by(store, queries, proposer))  # type: ignore[misc]
            spent.append((base, ours))
        index = faiss_index(lists, corpus, probe)
        _, theirs = cpu_timed(lambda index=index: index.search(queries, K))  # type: ignore[misc]
        base, ours = np.median(np.array(spent), axis=0)
        times = np.array([a / b for a, b in spent])
        total = base / (ours + making + checking + writing)
        print(
            f"| {probe} | {sampled.share[probe - 1]:.1%} | {sampled.recall[probe - 1]:.4f} | "
            f"{recall(found, exact):.4f} | {base:.1f} | {ours:.1f} | {np.median(times):.2f} ({times.min():.2f}-"
            f"{times.max():.2f}) | {total:.2f} | {theirs:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--documents", type=int, default=60_000)
    parser.add_argument("--queries", type=int, default=4096)
    parser.add_argument("--dim", type=int, default=384, help="of made vectors")
    parser.add_argument("--lists", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recall", type=float, nargs="+", default=[0.95, 0.99])
    options = parser.parse_args()
    sizes = (options.documents, options.queries)
    corpus, queries = real(options.data, *sizes) if options.data else clustered_vectors(*sizes, options.dim)
    with tempfile.TemporaryDirectory() as folder:
        measure(corpus, queries, options, Path(folder))


if __name__ == "__main__":
    main()
