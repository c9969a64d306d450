"""Predicted memory against measured: `hnmine plan`, and the largest process of a whole run, on made collections.

python -m tests.benchmarks.memory [--cases 0 1 2]

The peak is the resident memory of the largest process of the run (ru_maxrss of the command and of its workers).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import argument_parser, config_text
from tests.benchmarks.synthetic import write_collection

Case = tuple[int, int, int, dict[str, Any]]
CASES: tuple[Case, ...] = (
    (20_000, 2_000, 384, {}),
    (20_000, 2_000, 384, {"embed": {"model": "hash"}}),
    (100_000, 2_000, 384, {}),
    (100_000, 2_000, 384, {"memory": "1GB"}),
    (100_000, 2_000, 384, {"workers": 2}),
    (100_000, 10_000, 64, {}),
    (100_000, 10_000, 64, {"memory": "1GB", "workers": 2}),
    (20_000, 2_000, 64, {"retrieve": {"top_k": 400}}),
    (20_000, 2_000, 64, {"filter": {"rule": "percent"}}),
    (20_000, 12_000, 64, {"filter": {"rule": "percent"}}),
    (200_000, 2_000, 384, {"memory": "1GB", "filter": {"rule": "percent"}}),
)


def compare(case: Case, folder: Path) -> tuple[int, int]:
    """Return (predicted, measured) bytes of one case."""
    documents, queries, dim, changed = case
    config = write_collection(folder / "data", documents, queries, dim) | {"out": str(folder / "out")}
    path = folder / "memory.toml"
    path.write_text(config_text(config | changed), encoding="utf-8")
    plan = subprocess.run([*_COMMAND, "plan", str(path), "--json"], capture_output=True, check=True, text=True)
    return json.loads(plan.stdout)["memory_bytes"], peak([*_COMMAND, "run", str(path)])


_COMMAND = (sys.executable, "-m", "hnmine")
# a process begins with the peak of the one that started it, so a small one has to start it
_MEASURE = (
    "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], capture_output=True, text=True); "
    "print(done.stderr if done.returncode else resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def peak(command: list[str]) -> int:
    """Return the bytes of the largest process among a command and those that it waits for."""
    done = subprocess.run([sys.executable, "-c", _MEASURE, *command], capture_output=True, check=True, text=True)
    return int(done.stdout) * 1024


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--cases", type=int, nargs="*", default=list(range(len(CASES))))
    print(
        "| documents | queries | dim | settings | predicted MB | measured MB | ratio |\n|---|---|---|---|---|---|---|"
    )
    for number in parser.parse_args().cases:
        documents, queries, dim, changed = case = CASES[number]
        with tempfile.TemporaryDirectory() as folder:
            predicted, measured = compare(case, Path(folder))
        said = ", ".join(f"{k} = {v}" for k, v in changed.items()) or "defaults"
        sizes = f"{predicted / 1e6:,.0f} | {measured / 1e6:,.0f} | {predicted / measured:.2f}"
        print(f"| {documents:,} | {queries:,} | {dim} | {said} | {sizes} |", flush=True)


if __name__ == "__main__":
    main()
