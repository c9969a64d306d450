"""What questions to a judge buy who errs at a known rate: of all candidates, of the negatives, or at random.

    python -m tests.benchmarks.noisy_judge truth sample_data/hnmine.toml OUT WORK
    python -m tests.benchmarks.noisy_judge gain DATA WORK --collections NAME ... [--seeds 0 1 2]

"truth" takes the finished run OUT of a config whose folder has a truth.tsv with every relevant pair, and asks 100
questions. "gain" takes collections with one known label a query (see `tests.benchmarks.training`), asks as many
questions as there are training queries, and trains a static student on what is mined then; all labels are the judge's
truth. The judge turns every answer around with the probability of its noise, both ways. Questions at random are drawn
from the negatives that are retrieved. Intervals are of 95%, by a bootstrap over queries.
"""

import argparse
import csv
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from hnmine.commands.export_judgements import ExportOptions, distinct_negatives, judging_queue
from hnmine.config.file import load_config
from hnmine.config.tables import Config
from hnmine.pipeline.run import RunOptions, run
from hnmine.runtime.stage import RunContext
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards, read_json, write_json
from hnmine.students.student import load_student
from tests.benchmarks.collections import BEFORE_FILTER
from tests.benchmarks.measure import argument_parser
from tests.benchmarks.relabelling import TEACHER, positives_of, read_rows, task_of
from tests.benchmarks.training.mine import IDS, MinedSet, measure
from tests.benchmarks.training.prepare import Prepared, prepare
from tests.benchmarks.training.transfer import fitted_elsewhere, write_models

JUDGED = ("ingest", "filter", "emit")
QUESTIONS, DRAWS, RESAMPLES = 100, 5, 2000
PER_QUERY = 10
Truth = Callable[[str, str], bool]
"""Whether a document is relevant to a query."""


class Ways(NamedTuple):
    """Pairs to ask about, in order, by the way of choosing them."""

    worth: list[tuple[str, str]]
    negatives: list[tuple[str, str]]
    random: Callable[[int], list[tuple[str, str]]]

    def pairs(self, way: str, draw: int) -> list[tuple[str, str]]:
        found = getattr(self, way)
        return list(found(draw)) if way == "random" else list(found)


def ways_of(context: RunContext, number: int) -> Ways:
    """Return `number` pairs to ask about, by each way."""
    ingest = context.reading("ingest")
    documents = Shards(ingest / "corpus", CORPUS).column("doc_id").to_pylist()
    queries = Shards(ingest / "queries", QUERIES).column("query_id").to_pylist()

    def named(queue: np.ndarray) -> list[tuple[str, str]]:
        return [(queries[one["query"]], documents[one["document"]]) for one in queue]

    negatives = distinct_negatives(context)
    negatives = negatives[~np.isnan(negatives["value"])]

    def drawn(draw: int) -> list[tuple[str, str]]:
        return named(np.random.default_rng([draw, 0x6A756467]).permutation(negatives)[:number])

    options = ExportOptions(number, PER_QUERY)
    found = [judging_queue(context, options._replace(negatives=only)) for only in (False, True)]
    return Ways(named(found[0]), named(found[1]), drawn)


def judgements(pairs: list[tuple[str, str]], truth: Truth, noise: float, draw: int, path: Path) -> int:
    """Write what a judge says of some pairs, and return how many it calls relevant."""
    wrong = np.random.default_rng([draw, 0x6E6F6973]).random(len(pairs)) < noise
    said = [truth(*pair) != bool(one) for pair, one in zip(pairs, wrong, strict=True)]
    lines = (
        {"query_id": pair[0], "doc_id": pair[1], "judgement": "relevant" if one else "irrelevant"}
        for pair, one in zip(pairs, said, strict=True)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return sum(said)


def interval(values: np.ndarray, seed: int = 0) -> str:
    """Return the mean of some queries' values and its interval."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return f"{values.mean():+.4f} ({low:+.4f} to {high:+.4f})"


def false_negatives(folder: Path, truth: Truth, queries: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return each query's false negatives and negatives among the rows of a run, float64."""
    tables = [
        pq.read_table(path, columns=["query_id", "negative_id"]) for path in sorted((folder / "emit").glob("part-*"))
    ]
    false, every = (dict.fromkeys(queries, 0.0) for _ in range(2))
    for table in tables:
        for query, document in zip(
            *(table.column(name).to_pylist() for name in ("query_id", "negative_id")), strict=True
        ):
            every[query] += 1
            false[query] += truth(query, document)
    return np.array(list(false.values())), np.array(list(every.values()))


def on_truth(file: Path, out: Path, work: Path) -> None:
    config = load_config(file, (), out)
    context = RunContext(config, config.out_folder)
    relevant = defaultdict(set)
    with (file.parent / "truth.tsv").open() as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            relevant[row["query_id"]].add(row["doc_id"])

    def truth(query: str, document: str) -> bool:
        return document in relevant[query]

    queries = Shards(context.reading("ingest") / "queries", QUERIES).column("query_id").to_pylist()
    found = ways_of(context, QUESTIONS)
    before = false_negatives(out, truth, queries)
    print(
        f"before: {before[0].sum():.0f} of {before[1].sum():.0f} ({before[0].sum() / before[1].sum():.4f})", flush=True
    )
    for noise in (0.0, 0.1, 0.2):
        left: dict[str, np.ndarray] = {}
        for way in Ways._fields:
            draws = DRAWS if way == "random" or noise else 1
            called, parts = [], []
            for draw in range(draws):
                path = work / "judged.jsonl"
                called.append(judgements(found.pairs(way, draw), truth, noise, draw, path))
                own = config.model_copy(
                    update={
                        "out": str(work / "after"),
                        "input": config.input.model_copy(update={"judgements": str(path.resolve())}),
                    }
                )
                run(own, JUDGED, RunOptions(source=out.resolve(), overwrite=True))
                false, every = false_negatives(work / "after", truth, queries)
                parts.append(false / every.sum() * len(queries))
            left[way] = np.mean(parts, axis=0)
            change = left[way] - before[0] / before[1].sum() * len(queries)
            print(
                f"| {noise} | {way} | {np.mean(called):.1f} | {left[way].mean():.4f} | {interval(change)} | {draws} |",
                flush=True,
            )
        for way in ("worth", "negatives"):
            print(f"noise {noise}, {way} - random: {interval(left[way] - left['random'])}", flush=True)


ARMS: dict[str, tuple[str, float, dict[str, Any]]] = {
    "off": ("", 0.0, {}),
    **{
        f"{way}, {noise:.0%} wrong, {done}": (way, noise, {"relabel": "judgements"} if done == "relabelled" else {})
        for noise in (0.1, 0.2)
        for way in ("negatives", "random")
        for done in ("removed", "relabelled")
    },
}
"""The way of asking, the judge's noise, and settings of emit."""


def mine(prepared: Prepared, work: Path, arm: str) -> tuple[str, Config]:
    """Mine an arm and return what the judge said, and the config of the run."""
    tables: dict[str, Any] = {"retrieve": {"top_k": 100}, "filter": {"rule": "auto"}}
    emit = {"format": "labeled-list", "extra_columns": IDS}
    base = prepared.config(work / "off", **tables, emit=emit)
    hidden = prepared.training.relevant
    at = {name: row for row, name in enumerate(prepared.training.ids)}
    rows = prepared.corpus.rows

    def truth(query: str, document: str) -> bool:
        return bool(hidden.contains(np.array([at[query]]), np.array([rows[document]]))[0])

    way, noise, settings = ARMS[arm]
    with fitted_elsewhere(prepared):
        run(base, (*BEFORE_FILTER, "filter", "emit"), RunOptions(overwrite=True))
        if not way:
            return "", base
        found = ways_of(RunContext(base, base.out_folder), len(prepared.known))
        path = work / "judged" / f"{way}-{noise}.jsonl"
        called = judgements(found.pairs(way, prepared.seed), truth, noise, prepared.seed, path)
        files = base.input.model_dump(exclude_defaults=True) | {"judgements": str(path.resolve())}
        own = prepared.config(work / "arm", **tables, input=files, emit=emit | settings)
        run(own, JUDGED, RunOptions(source=base.out_folder, overwrite=True))
    return f"{called} of {len(prepared.known)} relevant", own


def gain(data: Path, work: Path, options: argparse.Namespace) -> None:
    write_models(data, work)
    began = time.monotonic()
    for name in options.collections:
        differences: dict[str, list[np.ndarray]] = defaultdict(list)
        numbers: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for seed in options.seeds:
            prepared = prepare(data, name, seed, work / "prepared" / f"{name}-seed{seed}")
            student: Any = None
            for arm in options.arms or ARMS:
                folder = prepared.folder / "noisy_judge"
                file = folder / "results" / f"{arm}.json"
                if not file.exists():
                    if time.monotonic() - began > options.seconds:
                        break
                    said, config = mine(prepared, folder, arm)
                    rows = read_rows(prepared, config.out_folder)
                    known = positives_of(rows, len(prepared.known))
                    if student is None:
                        student = load_student("static", TEACHER, task_of(prepared, known))
                        base = student.untrained()
                    student.task = task_of(prepared, known)
                    scores = student.train(rows, seed) - base
                    mined = MinedSet(rows.positives, rows.negatives, rows.queries)
                    found = measure(prepared, mined, config.emit.num_negatives)
                    print(f"{name} seed {seed} | {arm} | {said} | {found} | gain {scores.mean():+.4f}", flush=True)
                    write_json({"gains": scores.tolist(), **found}, file)
                stored = read_json(file)
                numbers[arm].append((stored["false_negatives"], stored["cosine"], stored["fill"]))
                differences[arm].append(np.array(stored["gains"]))
        _summary(name, differences, numbers)


def _summary(
    name: str, differences: dict[str, list[np.ndarray]], numbers: dict[str, list[tuple[float, float, float]]]
) -> None:
    """Print a line for each arm, over all seeds so far."""
    for arm, own in differences.items():
        off = np.concatenate(differences["off"][: len(own)])
        false, cosine, fill = np.mean(numbers[arm], axis=0)
        gained = np.concatenate(own)
        over = "" if arm == "off" else interval(gained - off)
        print(
            f"| {name} | {len(own)} seeds | {arm} | {false:.4f} | {cosine:.3f} | {fill:.3f} | {gained.mean():+.4f} "
            f"| {over} |",
            flush=True,
        )


def main() -> None:
    parser = argument_parser(__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    first, second = (what.add_parser(name) for name in ("truth", "gain"))
    for name in ("config", "out", "work"):
        first.add_argument(name, type=Path)
    for name in ("data", "work"):
        second.add_argument(name, type=Path)
    second.add_argument("--collections", nargs="+", required=True)
    second.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    second.add_argument("--arms", nargs="*", choices=[*ARMS])
    second.add_argument("--seconds", type=float, default=np.inf, help="begin no training after this time")
    options: argparse.Namespace = parser.parse_args()
    if options.what == "truth":
        on_truth(options.config, options.out, options.work)
    else:
        gain(options.data, options.work, options)


if __name__ == "__main__":
    main()
