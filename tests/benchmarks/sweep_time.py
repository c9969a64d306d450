"""How long `hnmine sweep` takes over the stored candidates of many queries.

python -m tests.benchmarks.sweep_time [--queries 100000] [--documents 100000] [--repeats 3]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from hnmine.commands.sweep import sweep
from hnmine.config.file import check_config
from hnmine.pipeline.run import run
from tests.benchmarks.collections import BEFORE_FILTER
from tests.benchmarks.synthetic import write_collection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        tables = write_collection(Path(work) / "data", options.documents, options.queries)
        config = check_config({"out": str(Path(work) / "out"), **tables}, "benchmark", Path(work))
        start = time.perf_counter()
        run(config, BEFORE_FILTER)
        print(f"ingest to retrieve: {time.perf_counter() - start:.0f} s")
        seconds = []
        for _ in range(options.repeats):
            start = time.perf_counter()
            found = sweep(config)
            seconds.append(time.perf_counter() - start)
        print(
            f"sweep of {len(found['settings'])} settings over {options.queries:,} queries x "
            f"{config.retrieve.top_k} candidates: {np.median(seconds):.1f} s "
            f"({min(seconds):.1f} to {max(seconds):.1f})"
        )


if __name__ == "__main__":
    main()
