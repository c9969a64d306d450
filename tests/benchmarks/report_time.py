"""How long the report stage takes from stored stages, and how large the page is.

python -m tests.benchmarks.report_time [--queries 100000] [--documents 100000] [--repeats 3]
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from hnmine.config.file import check_config
from hnmine.pipeline.run import run
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
        for result in run(config):
            print(f"{result.stage}: {result.seconds:.1f} s", flush=True)
        seconds = []
        for _ in range(options.repeats):
            shutil.rmtree(config.out_folder / "report")
            start = time.perf_counter()
            run(config, ("report",))
            seconds.append(time.perf_counter() - start)
        size = (config.out_folder / "report" / "report.html").stat().st_size
        print(
            f"report of {options.queries:,} queries: {np.median(seconds):.1f} s ({min(seconds):.1f} to "
            f"{max(seconds):.1f}), report.html {size / 1e6:.2f} MB"
        )


if __name__ == "__main__":
    main()
