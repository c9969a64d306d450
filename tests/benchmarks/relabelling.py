"""Relabelling: how many of the likely positives are relevant, and what a static student gains from them.

    python -m tests.benchmarks.relabelling precision DATA
    python -m tests.benchmarks.relabelling gain DATA WORK --collections NAME ... [--seeds 0 1 2]

DATA holds one folder a collection (corpus, queries, qrels and vectors in Parquet). "precision" takes the
hidden-positive protocol: models fitted on the collection (out of fold), and on the others. "gain" trains on collections
with one known label a query (see `tests.benchmarks.training`), whose model is fitted on the others; its rows are
compared with those without relabelling, and with as many rows in which labels repeat. WORK keeps what is mined.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hnmine.arrays.ragged import Ragged
from hnmine.pipeline.run import RunOptions, run
from hnmine.science.calibration import stack
from hnmine.stages.filter.calibration import FOLDS, OTHERS, Calibration, calibrate
from hnmine.stages.filter.hidden_positives import ProtocolRows
from hnmine.stages.report.relabelled import measure_precision
from hnmine.students.student import load_student
from hnmine.students.task import Examples, Task, TestQueries
from tests.benchmarks.collections import BEFORE_FILTER, mined
from tests.benchmarks.false_negatives import evidence, fit_on, with_rule
from tests.benchmarks.measure import argument_parser
from tests.benchmarks.training.prepare import Prepared, prepare
from tests.benchmarks.training.transfer import fitted_elsewhere, write_models

PROBABILITIES = (0.6, 0.7, 0.8, 0.9, 0.95)
ARMS: dict[str, dict[str, Any]] = {
    "off": {},
    **{f"relabel {p}": {"relabel": p} for p in PROBABILITIES[1:]},
    "relabel 0.9, at most 10": {"relabel": 0.9, "max_relabelled": 10},
}
TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
IDS = ["query_id", "positive_id", "negative_id"]


def precision(data: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        every = {one.name: (one, ProtocolRows.of(one.pieces, one.config)) for one in mined(data, Path(work))}
        found = {name: own for name, own in every.items() if own[1].measured}
        known = {name: evidence(protocol.rows) for name, (_, protocol) in found.items()}
        for name, (one, protocol) in found.items():
            config = with_rule(one, "none", probabilities=True)
            model = fit_on({other: part for other, part in known.items() if other != name})
            moved = Calibration(stack([model] * (FOLDS + 1)), np.inf, OTHERS, "", config.seed)
            for label, scorer in (("own", calibrate(protocol, config).out_of_fold()), ("others", moved)):
                for least in PROBABILITIES:
                    emit = config.emit.model_copy(update={"relabel": least})
                    m = measure_precision(protocol.rows, config.model_copy(update={"emit": emit}), scorer)
                    if m["candidates"]:
                        low, high = m["interval"]
                        print(
                            f"| {name} | {label} | {least} | {m['candidates']:,} | {m['precision']:.3f} "
                            f"({low:.3f}-{high:.3f}) | {m['expected']:.3f} |",
                            flush=True,
                        )


def task_of(prepared: Prepared, known: Ragged) -> Task:
    """Return the task of a prepared collection; `known` are the positives of its training queries."""
    queries, tests = len(prepared.training.ids), len(prepared.test.ids)
    none = Ragged(np.zeros(0, dtype=np.int64), np.zeros(tests + 1, dtype=np.int64))
    texts = [*prepared.training.texts, *prepared.test.texts]
    test = TestQueries(queries + np.arange(tests), prepared.test.relevant)
    return Task(texts, prepared.corpus.texts, Ragged.concatenate([known, none]), test)


def read_rows(prepared: Prepared, folder: Path) -> Examples:
    """Return the training rows of a run, a query without any with its label alone."""
    table = pq.read_table(sorted((folder / "emit").glob("part-*.parquet")), columns=IDS)
    at, rows = {name: row for row, name in enumerate(prepared.training.ids)}, prepared.corpus.rows
    queries = np.array([at[name] for name in table.column("query_id").to_pylist()])
    positives = np.array([rows[name] for name in table.column("positive_id").to_pylist()])
    lists = table.column("negative_id").to_pylist()
    missing = np.setdiff1d(np.arange(len(at)), queries[positives == prepared.known[queries]])
    negatives = Ragged.from_lengths(
        np.array([rows[name] for own in lists for name in own], dtype=np.int64),
        np.concatenate([[len(own) for own in lists], np.zeros(len(missing))]).astype(np.int64),
    )
    known = prepared.known[missing]
    return Examples(np.concatenate([queries, missing]), np.concatenate([positives, known]), negatives)


def positives_of(examples: Examples, queries: int) -> Ragged:
    """Return the positives of each query in some examples."""
    pairs = np.unique(np.stack([examples.queries, examples.positives], axis=1), axis=0)
    return Ragged.from_lengths(pairs[:, 1], np.bincount(pairs[:, 0], minlength=queries))


def repeated(plain: Examples, further: Examples, known: np.ndarray) -> Examples:
    """Return the rows of `plain` with those of a query repeated as often as `further` has positives more for it."""
    place = np.empty(len(known), dtype=np.int64)
    place[plain.queries] = np.arange(len(plain.queries))
    more = place[further.queries[further.positives != known[further.queries]]]
    rows = np.concatenate([np.arange(len(plain.queries)), more])
    return Examples(plain.queries[rows], plain.positives[rows], plain.negatives.take(rows))


def sets_of(prepared: Prepared) -> Iterator[tuple[str, Examples, Ragged]]:
    """Yield (arm, rows, known positives) of each arm."""
    tables = {"retrieve": {"top_k": 100}, "filter": {"rule": "auto"}}
    emit = {"format": "labeled-list", "extra_columns": IDS}
    base = prepared.folder / "relabelling" / "off"
    count = len(prepared.known)
    with fitted_elsewhere(prepared):
        run(prepared.config(base, **tables, emit=emit), (*BEFORE_FILTER, "filter", "emit"), RunOptions(overwrite=True))
        plain = read_rows(prepared, base)
        yield "off", plain, positives_of(plain, count)
        for arm, settings in ARMS.items():
            if not settings:
                continue
            folder = prepared.folder / "relabelling" / arm.replace(" ", "_")
            config = prepared.config(folder, **tables, emit=emit | settings)
            run(config, ("emit",), RunOptions(source=base, overwrite=True))
            rows = read_rows(prepared, folder)
            yield arm, rows, positives_of(rows, count)
            if arm == "relabel 0.9":
                yield f"{arm}, unknown in the batch", rows, positives_of(plain, count)
                yield "labels repeated", repeated(plain, rows, prepared.known), positives_of(plain, count)


def gain(data: Path, work: Path, collections: list[str], seeds: list[int]) -> None:
    write_models(data, work)
    for name in collections:
        for seed in seeds:
            prepared = prepare(data, name, seed, work / "prepared" / f"{name}-seed{seed}")
            student: Any = None
            for arm, rows, known in sets_of(prepared):
                if student is None:
                    student = load_student("static", TEACHER, task_of(prepared, known))
                    before = student.untrained()
                student.task = task_of(prepared, known)
                further = rows.positives != prepared.known[rows.queries]
                right = prepared.training.relevant.contains(rows.queries[further], rows.positives[further])
                made = f"{int(further.sum()):,} further, {right.mean():.3f} right" if further.any() else "none further"
                score = float((student.train(rows, seed) - before).mean())
                print(f"{name} seed {seed} | {arm} | {score:+.4f} | {made} | {len(rows.queries):,} rows", flush=True)


def main() -> None:
    parser = argument_parser(__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    first, second = (what.add_parser(name) for name in ("precision", "gain"))
    for one in (first, second):
        one.add_argument("data", type=Path)
    second.add_argument("work", type=Path)
    second.add_argument("--collections", nargs="+", required=True)
    second.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    options: argparse.Namespace = parser.parse_args()
    if options.what == "precision":
        precision(options.data)
    else:
        gain(options.data, options.work, options.collections, options.seeds)


if __name__ == "__main__":
    main()
