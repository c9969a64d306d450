"""How long filter, emit and report take over stored candidates, at a quarter, half and all of the queries.

python -m tests.benchmarks.refilter_time [--queries 100000] [--documents 20000] [--repeats 3] [--rule percent]
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from hnmine.arrays.ragged import Ragged
from hnmine.config.file import check_config
from hnmine.config.tables import Config
from hnmine.pipeline.run import run
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards
from tests.benchmarks.collections import BEFORE_FILTER
from tests.benchmarks.measure import median, sizes_parser, timed
from tests.benchmarks.synthetic import write_collection

AGAIN = ("filter", "emit", "report")
OF_QUERIES = ("ingest/queries", "embed/queries", "retrieve")


def first_shards(out: Path, count: int, to: Path) -> None:
    """Copy a run of the stages before filter with the first `count` shards of its queries alone."""
    for stage in BEFORE_FILTER:
        shutil.copytree(out / stage, to / stage)
    for folder in OF_QUERIES:
        for path in sorted((to / folder).glob("part-*.parquet"))[count:]:
            path.unlink()


def again(config: Config) -> dict[str, tuple[float, float]]:
    """Return (wall, CPU) seconds of each stage from filter on, made anew."""
    found = {}
    for stage in AGAIN:
        shutil.rmtree(config.out_folder / stage, ignore_errors=True)
        found[stage] = timed(lambda stage=stage: run(config, (stage,)))[1:]  # type: ignore[misc]
    return found


def say(name: str, values: list[float], million: float) -> str:
    return f"{name} {np.median(values):.1f} s, {median(np.array(values) / million, 2)} a million"


def main() -> None:
    parser = sizes_parser(__doc__, documents=20_000)
    parser.add_argument("--rule", default="percent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        tables = write_collection(Path(work) / "data", options.documents, options.queries, dim=32)
        tables["filter"] = {"rule": options.rule}
        tables["retrieve"] = {"max_top_k": 100}  # nothing is searched deeper: stored candidates alone
        whole = check_config({"out": f"{work}/out", **tables}, "benchmark", Path(work))
        run(whole, BEFORE_FILTER)
        shards = len(Shards(whole.out_folder / "retrieve", CANDIDATES))
        for part in sorted({max(1, round(shards * share)) for share in (0.25, 0.5, 1.0)}):
            config = check_config({"out": f"{work}/part{part}", **tables}, "benchmark", Path(work))
            first_shards(whole.out_folder, part, config.out_folder)
            rows = Shards(config.out_folder / "retrieve", CANDIDATES)
            million = sum(int(Ragged.from_arrow(t.column("doc_rows")).lengths.sum()) for t in rows) / 1e6
            timed = [again(config) for _ in range(options.repeats)]
            print(f"{rows.rows:,} queries, {million:.1f} million candidates", flush=True)
            for stage in (*AGAIN, "all three"):
                of = AGAIN if stage == "all three" else (stage,)
                both = [[sum(one[s][i] for s in of) for one in timed] for i in (0, 1)]
                print(f"  {stage}: {say('wall', both[0], million)}; {say('CPU', both[1], million)}", flush=True)
            shutil.rmtree(config.out_folder)


if __name__ == "__main__":
    main()
