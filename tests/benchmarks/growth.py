"""How the stages of a run grow: one command a stage on made collections, its start included.

python -m tests.benchmarks.growth [--documents 10000 100000 1000000] [--queries 10000] [--dim 384] [--positives 2]

Ready vectors and the defaults of every setting. Printed are wall seconds of each command, their sum, and the largest
peak of a command (ru_maxrss) with its stage.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from hnmine.pipeline.stages import STAGES
from tests.benchmarks.measure import argument_parser, config_text
from tests.benchmarks.synthetic import write_collection


def command(stage: str, config: Path) -> tuple[float, int]:
    """Return (wall seconds, peak bytes) of one command."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "hnmine", stage, str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"hnmine {stage} failed")
    return seconds, used.ru_maxrss * 1024


def measure(documents: int, queries: int, dim: int, positives: int | None, folder: Path) -> str:
    """Return the line of one size."""
    # in a process of its own: a command's peak begins with that of the process that starts it
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        tables = pool.submit(write_collection, folder / "data", documents, queries, dim, positives=positives).result()
    config = folder / "growth.toml"
    config.write_text(config_text({"out": str(folder / "out"), **tables}), encoding="utf-8")
    found = {stage: command(stage, config) for stage in STAGES if stage not in ("rescore", "hubs")}
    peak, stage = max((peak, stage) for stage, (_, peak) in found.items())
    cells = [f"{documents:,}", f"{queries:,}", *(f"{seconds:.1f}" for seconds, _ in found.values())]
    return " | ".join(
        [*cells, f"{sum(seconds for seconds, _ in found.values()):.0f} s", f"{peak / 1e9:.2f} GB ({stage})"]
    )


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, nargs="+", default=[10_000])
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--positives", type=int, default=None)
    options = parser.parse_args()
    print(
        " | ".join(
            [
                "documents",
                "queries",
                *(stage for stage in STAGES if stage not in ("rescore", "hubs")),
                "in all",
                "largest peak",
            ]
        )
    )
    for documents in options.documents:
        for queries in options.queries:
            with tempfile.TemporaryDirectory() as folder:
                print(measure(documents, queries, options.dim, options.positives, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
