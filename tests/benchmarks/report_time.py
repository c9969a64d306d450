"""How long the report stage takes from stored stages, and how large the page is.

python -m tests.benchmarks.report_time [--queries 100000] [--documents 100000] [--repeats 3]
"""

import shutil
import tempfile
from pathlib import Path

from hnmine.config.file import check_config
from hnmine.pipeline.run import run
from tests.benchmarks.measure import median, sizes_parser, timed
from tests.benchmarks.synthetic import write_collection


def main() -> None:
    parser = sizes_parser(__doc__, documents=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        tables = write_collection(Path(work) / "data", options.documents, options.queries)
        config = check_config({"out": str(Path(work) / "out"), **tables}, "benchmark", Path(work))
        for result in run(config):
            print(f"{result.stage}: {result.seconds:.1f} s", flush=True)
        seconds = []
        for _ in range(options.repeats):
            shutil.rmtree(config.out_folder / "report")
            seconds.append(timed(lambda: run(config, ("report",)))[1])
        size = (config.out_folder / "report" / "report.html").stat().st_size
        print(f"report of {options.queries:,} queries: {median(seconds)} s, report.html {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
