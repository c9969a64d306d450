"""How long `hnmine sweep` takes over the stored candidates of many queries.

python -m tests.benchmarks.sweep_time [--queries 100000] [--documents 100000] [--repeats 3]
"""

import tempfile
from pathlib import Path

from hnmine.commands.sweep import sweep
from hnmine.config.file import check_config
from hnmine.pipeline.run import run
from tests.benchmarks.collections import BEFORE_FILTER
from tests.benchmarks.measure import median, sizes_parser, timed
from tests.benchmarks.synthetic import write_collection


def main() -> None:
    parser = sizes_parser(__doc__, documents=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        tables = write_collection(Path(work) / "data", options.documents, options.queries)
        config = check_config({"out": str(Path(work) / "out"), **tables}, "benchmark", Path(work))
        print(f"ingest to retrieve: {timed(lambda: run(config, BEFORE_FILTER))[1]:.0f} s")
        found = [timed(lambda: sweep(config)) for _ in range(options.repeats)]
        print(
            f"sweep of {len(found[0][0]['settings'])} settings over {options.queries:,} queries x "
            f"{config.retrieve.top_k} candidates: {median([wall for _, wall, _ in found])} s"
        )


if __name__ == "__main__":
    main()
