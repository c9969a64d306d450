"""The whole job from ready vectors, against sentence-transformers' `mine_hard_negatives`: time, peak memory, rows.

python -m tests.benchmarks.whole_job [--queries 10000] [--documents 100000] [--rounds 5] [--format triplet]

Every run is a process of its own, and the programs take turns. Both read the same Parquet files (texts, one positive a
query, vectors) and write their rows to Parquet; imports are not counted, as they differ in what they bring. Top 100,
five negatives, relative margin .05, top. How many rows the programs have in common is printed first. "process" is the
whole process with its imports. "changed" is what another margin takes: `hnmine filter` and `hnmine emit` as two
commands, against the peer's process once more.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.measure import argument_parser, config_text, median

TOP_K, NEGATIVES, MARGIN = 100, 5, 0.05
PROGRAMS = ("hnmine", "default", "use_faiss")


def settings(data: Path, work: Path, shape: str, product: str, margin: float) -> dict[str, Any]:
    """Return the config of hnmine."""
    tables = json.loads((data / "tables.json").read_text())
    return {
        "out": str(work / "out"), **tables, "retrieve": {"top_k": TOP_K}, "index": {"product": product},
        "filter": {
            "rule": "percent", "percent": 1 - margin, "max_positive_similarity": 1.0, "max_query_similarity": 1.0,
        },
        "emit": {"num_negatives": NEGATIVES, "format": shape},
    }  # fmt: skip


def changed(data: Path, work: Path, shape: str, product: str) -> float:
    """Return the seconds of `hnmine filter` and `hnmine emit` with another margin, for a run that is there."""
    # Python's bytecode is kept, as it is of installed programs: the first round makes it
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = kept | {"PYTHONPYCACHEPREFIX": str(data / "bytecode")}
    path, seconds = data / "changed.toml", 0.0
    for margin in (3 * MARGIN, 2 * MARGIN):
        path.write_text(config_text(settings(data, work, shape, product, margin)))
        start = time.perf_counter()
        for stage in ("filter", "emit"):
            command = [sys.executable, "-m", "hnmine", stage, str(path), "--overwrite"]
            subprocess.run(command, capture_output=True, env=environment, check=True)
        seconds = time.perf_counter() - start
    return seconds


def ours(data: Path, work: Path, shape: str, product: str) -> dict[str, float]:
    """Run hnmine on the collection; return seconds in all, of the search, and of what comes after it."""
    from hnmine.config.file import check_config
    from hnmine.pipeline.run import run
    from hnmine.pipeline.stages import STAGES

    config = check_config(settings(data, work, shape, product, MARGIN), "benchmark", data)
    start = time.perf_counter()
    seconds = {result.stage: result.seconds for result in run(config, tuple(STAGES)[: list(STAGES).index("emit") + 1])}
    total = time.perf_counter() - start
    report = run(config)[-1].seconds
    after = seconds["filter"] + seconds["emit"]
    return {"total": total, "search": seconds["retrieve"], "after": after, "report": report, **seconds}


def peers(data: Path, work: Path, shape: str, use_faiss: bool) -> dict[str, float]:
    """Run `mine_hard_negatives` on the collection; return the same."""
    import faiss
    import torch
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    from tests.benchmarks.peer import ReadyVectors

    spent = {"search": 0.0}
    start = time.perf_counter()
    corpus, queries = (pq.read_table(data / f"{side}.parquet") for side in ("corpus", "queries"))
    vectors = {side: _vectors(data / f"vectors-{side}.parquet") for side in ("corpus", "queries")}
    qrels = pq.read_table(data / "qrels.parquet")
    documents, texts = corpus.column("text").to_pylist(), queries.column("text").to_pylist()
    row = {id_: number for number, id_ in enumerate(corpus.column("doc_id").to_pylist())}
    of_query = dict(zip(qrels.column("query_id").to_pylist(), qrels.column("doc_id").to_pylist(), strict=True))
    positives = [documents[row[of_query[id_]]] for id_ in queries.column("query_id").to_pylist()]
    model = ReadyVectors(documents, vectors["corpus"], texts, vectors["queries"])
    with _timed(torch, "topk", spent), _timed(model, "similarity", spent):
        with _timed(faiss.IndexFlatIP, "search", spent), _timed(faiss.IndexFlatIP, "add", spent):
            mined = mine_hard_negatives(
                Dataset.from_dict({"anchor": texts, "positive": positives}), model, corpus=documents,
                range_max=TOP_K, num_negatives=NEGATIVES, relative_margin=MARGIN, output_format=shape,
                use_faiss=use_faiss, verbose=False,
            )  # fmt: skip
        mined.to_parquet(str(work / "rows.parquet"))
    total = time.perf_counter() - start
    return {"total": total, "search": spent["search"], "after": total - spent["search"]}


@contextmanager
def _timed(owner: Any, name: str, spent: dict[str, float]) -> Iterator[None]:
    plain: Callable[..., Any] = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return plain(*args, **kwargs)
        finally:
            spent["search"] += time.perf_counter() - start

    setattr(owner, name, counted)
    try:
        yield
    finally:
        setattr(owner, name, plain)


def _vectors(path: Path) -> np.ndarray:
    column = pq.read_table(path).column("vector").combine_chunks()
    return column.flatten().to_numpy().reshape(-1, column.type.list_size)


def rows_of(program: str, work: Path) -> set[tuple[str, ...]]:
    """Return the training rows that a program wrote."""
    paths = [work / "rows.parquet"] if program != "hnmine" else sorted((work / "out" / "emit").glob("part-*.parquet"))
    table = pa.concat_tables([pq.read_table(path) for path in paths])
    return set(zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True))


def child(program: str, data: Path, work: Path, shape: str, product: str) -> None:
    """Run one program and print its numbers."""
    if program == "hnmine":
        import faiss  # noqa: F401 - imports are not counted
        import pandas  # noqa: F401 - likewise: the peer has it from datasets

        found = ours(data, work, shape, product)
    else:
        found = peers(data, work, shape, program == "use_faiss")
    print(json.dumps(found | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def _run(program: str, data: Path, work: Path, shape: str, product: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.whole_job", "--child", program, str(data), str(work)]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--format", shape, "--product", product], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - start
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found | {"process": seconds}


def _compare(all_rows: dict[str, set[tuple[str, ...]]]) -> None:
    own = all_rows["hnmine"]
    for program, rows in all_rows.items():
        if program != "hnmine":
            print(f"rows of {program}: {len(rows):,}; of hnmine: {len(own):,}; in both: {len(rows & own):,}")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--format", default="triplet", choices=("triplet", "n-tuple"))
    parser.add_argument("--product", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--child", nargs=3, metavar=("PROGRAM", "DATA", "WORK"))
    options = parser.parse_args()
    if options.child:
        program, data, work = options.child
        child(program, Path(data), Path(work), options.format, options.product)
        return
    from tests.benchmarks.synthetic import write_collection

    found: dict[str, list[dict[str, float]]] = {program: [] for program in PROGRAMS}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        tables = write_collection(data, options.documents, options.queries, options.dim, positives=1, unit=True)
        (data / "tables.json").write_text(json.dumps(tables))
        for number in range(options.rounds):
            rows = {}
            for program in PROGRAMS:
                with tempfile.TemporaryDirectory() as work:
                    found[program].append(_run(program, data, Path(work), options.format, options.product))
                    rows[program] = rows_of(program, Path(work)) if not number else set()
                    again = found[program][-1]["process"]
                    if program == "hnmine":
                        again = changed(data, Path(work), options.format, options.product)
                    found[program][-1]["changed"] = again
            if not number:
                _compare(rows)
    for program, runs in found.items():
        for name in runs[0]:
            values = [one[name] for one in runs]
            line = f"{program:10} {name:8} {median(values, 2)}"
            if program != "hnmine" and name in ("total", "after", "process", "changed", "peak_mb"):
                ratios = [one[name] / own[name] for one, own in zip(runs, found["hnmine"], strict=True)]
                line += f"   {median(ratios, 2)} times hnmine's"
            print(line)


if __name__ == "__main__":
    main()
