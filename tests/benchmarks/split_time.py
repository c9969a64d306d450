"""retrieve with the corpus searched in parts: CPU seconds, peak memory, and how often its vectors are read.

python -m tests.benchmarks.split_time WORK [--documents 200000] [--queries 2000] [--splits 1 2 4] [--memory 4GB 780MB]

Each run is a process of its own that finds ingest, embed and index done. It prints a table, and says whether the
candidates are the same bytes.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.measure import argument_parser, peak_bytes, timed
from tests.benchmarks.synthetic import write_collection

DIM = 384


def settings(made: dict[str, Any], out: str, splits: int, memory: str) -> dict[str, Any]:
    retrieval = {"retrieve": {"top_k": 100}, "index": {"kind": "flat", "splits": splits}, "shard_rows": 1024}
    return {**made, **retrieval, "out": out, "memory": memory}


def child(work: Path, out: str, raw: dict[str, Any]) -> None:
    """Run one retrieve and print its numbers."""
    from hnmine import run
    from hnmine.config.file import check_config
    from hnmine.pipeline.run import RunOptions
    from hnmine.storage.vectors import VectorStore

    read, plain = [0], VectorStore.shard

    def shard(self: VectorStore, number: int) -> np.ndarray:
        vectors = plain(self, number)
        read[0] += vectors.nbytes if self.shards.folder.name == "corpus" else 0
        return vectors

    VectorStore.shard = shard  # type: ignore[method-assign]
    config, options = check_config(raw, "benchmark", work), RunOptions(source=work / "base")
    _, wall, cpu = timed(lambda: run(config, ["retrieve"], options))
    print(json.dumps({"cpu": cpu, "wall": wall, "peak": peak_bytes() / 1e6, "read": read[0]}))


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a stage, but for the time it took."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--splits", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--memory", nargs="+", default=["4GB", "780MB"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.work, options.child[0], json.loads(options.child[1]))
        return
    from hnmine import run
    from hnmine.config.file import check_config

    work = options.work.resolve()
    made = write_collection(work / "data", options.documents, options.queries, DIM, unit=True)
    run(check_config(settings(made, "base", 1, "4GB"), "benchmark", work), ["ingest", "embed", "index"])
    size, first = 4 * DIM * options.documents, None
    print("| memory | splits | CPU s | wall s | peak MB | vectors read, times the corpus | bytes |")
    print("|---|---|---|---|---|---|---|")
    for memory in options.memory:
        for splits in options.splits:
            found = []
            for number in range(options.rounds):
                out = f"{memory}-{splits}-{number}"
                raw = json.dumps(settings(made, out, splits, memory))
                command = [sys.executable, "-m", "tests.benchmarks.split_time", str(work), "--child", out, raw]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found.append(json.loads(done.stdout))
                written = bytes_of(work / out / "retrieve")
                first = first or written
            same = "same" if written == first else "OTHER"
            cpu, wall, peak, read = (np.array([one[name] for one in found]) for name in ("cpu", "wall", "peak", "read"))
            print(
                f"| {memory} | {splits} | {cpu.min():.1f} to {cpu.max():.1f} | "
                f"{wall.min():.0f} to {wall.max():.0f} | {peak.max():.0f} | {np.median(read) / size:.1f} | {same} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
