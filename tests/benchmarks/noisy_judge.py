"""What questions to judges buy who err at a known rate: of all candidates, of the negatives, or at random.

    python -m tests.benchmarks.noisy_judge truth sample_data/hnmine.toml OUT WORK
    python -m tests.benchmarks.noisy_judge gain DATA WORK --collections NAME ... [--seeds 0 1 2]

"truth" takes the finished run OUT of a config whose folder has a truth.tsv with every relevant pair, and asks 100
questions. "gain" takes collections with one known label a query (see `tests.benchmarks.training`), asks as many
questions as there are training queries, and trains a static student on what is mined then; all labels are the judge's
truth. A judge turns every answer around with the probability of its noise, both ways. A second judge, with a noise of
its own and errors that do not depend on the first one's, looks at what the first calls relevant; questions to both are
as many as to one judge alone. Questions at random are drawn from the negatives that are retrieved. Intervals are of
95%, by a bootstrap over queries; "gain" takes the mean of a query's values on several seeds.
"""

import argparse
import csv
import json
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import product
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
from tests.benchmarks.training.tables import by_query, with_interval
from tests.benchmarks.training.transfer import fitted_elsewhere, write_models

JUDGED = ("ingest", "filter", "emit")
QUESTIONS, DRAWS = 100, 5
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


class Said(NamedTuple):
    """How many pairs were judged, how many of them were called relevant, and how many of these are not."""

    judged: int
    relevant: int
    wrong: int


def judgements(pairs: list[tuple[str, str]], truth: Truth, noises: tuple[float, ...], draw: int, path: Path) -> Said:
    """Write what one judge says of some pairs, or two of the first of them: in all a question for each pair."""
    rng = np.random.default_rng([draw, 0x6E6F6973])
    true = np.array([truth(*pair) for pair in pairs])
    said, judged = true != (rng.random(len(pairs)) < noises[0]), np.ones(len(pairs), dtype=bool)
    for noise in noises[1:]:
        judged = np.cumsum(1 + said) <= len(pairs)
        said &= true != (rng.random(len(pairs)) < noise)
    lines = (
        {"query_id": pair[0], "doc_id": pair[1], "judgement": "relevant" if one else "irrelevant"}
        for pair, one, asked in zip(pairs, said, judged, strict=True)
        if asked
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return Said(int(judged.sum()), int(said[judged].sum()), int((said & ~true)[judged].sum()))


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
    for noises in NOISES:
        left: dict[str, np.ndarray] = {}
        for way in Ways._fields if len(noises) == 1 else ("negatives",):
            said, parts = [], []
            for draw in range(DRAWS if way == "random" or any(noises) else 1):
                path = work / "judged.jsonl"
                said.append(judgements(found.pairs(way, draw), truth, noises, draw, path))
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
            counts = " | ".join(f"{count:.1f}" for count in np.mean(said, axis=0))
            print(
                f"| {_name(noises)} | {way} | {counts} | {left[way].mean():.4f} | {with_interval(change)} "
                f"| {len(parts)} |",
                flush=True,
            )
        for way in left.keys() - {"random"} if "random" in left else ():
            print(f"{_name(noises)}, {way} - random: {with_interval(left[way] - left['random'])}", flush=True)


NOISES = ((0.0,), (0.05,), (0.1,), (0.2,), (0.2, 0.05), (0.2, 0.2))
"""Shares of wrong answers of a judge, or of a first and a second one."""


def _name(noises: tuple[float, ...]) -> str:
    return ", then ".join(f"{noise:.0%}" for noise in noises) + " wrong"


ARMS: dict[str, tuple[str, tuple[float, ...], dict[str, Any]]] = {
    "off": ("", (), {}),
    **{
        f"{way}, {_name(noises)}, {done}": (way, noises, {"relabel": "judgements"} if done == "relabelled" else {})
        for way, noises in (*product(["negatives"], NOISES[1:]), *product(["random"], NOISES[2:4]))
        for done in ("removed", "relabelled")
    },
}
"""The way of asking, the noise of the judge or of both, and settings of emit."""


def mine(prepared: Prepared, work: Path, arm: str) -> tuple[Said, Config]:
    """Mine an arm and return what the judges said, and the config of the run."""
    tables: dict[str, Any] = {"retrieve": {"top_k": 100}, "filter": {"rule": "auto"}}
    emit = {"format": "labeled-list", "extra_columns": IDS}
    base = prepared.config(work / "off", **tables, emit=emit)
    hidden = prepared.training.relevant
    at = {name: row for row, name in enumerate(prepared.training.ids)}
    rows = prepared.corpus.rows

    def truth(query: str, document: str) -> bool:
        return bool(hidden.contains(np.array([at[query]]), np.array([rows[document]]))[0])

    way, noises, settings = ARMS[arm]
    with fitted_elsewhere(prepared):
        run(base, (*BEFORE_FILTER, "filter", "emit"), RunOptions(overwrite=True))
        if not way:
            return Said(0, 0, 0), base
        found = ways_of(RunContext(base, base.out_folder), len(prepared.known))
        path = work / "judged" / f"{way}-{_name(noises)}.jsonl"
        said = judgements(found.pairs(way, prepared.seed), truth, noises, prepared.seed, path)
        files = base.input.model_dump(exclude_defaults=True) | {"judgements": str(path.resolve())}
        own = prepared.config(work / "arm", **tables, input=files, emit=emit | settings)
        run(own, JUDGED, RunOptions(source=base.out_folder, overwrite=True))
    return said, own


def gain(data: Path, work: Path, options: argparse.Namespace) -> None:
    write_models(data, work)
    began = time.monotonic()
    for name in options.collections:
        stored: dict[str, list[dict[str, Any]]] = defaultdict(list)
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
                    gains = dict(zip(prepared.test.ids, (student.train(rows, seed) - base).tolist(), strict=True))
                    mined = MinedSet(rows.positives, rows.negatives, rows.queries)
                    write_json({"gains": gains, **said._asdict(), **_measured(prepared, mined, config)}, file)
                stored[arm].append(read_json(file))
                print(f"{name} seed {seed} {_line(arm, stored[arm][-1:], stored['off'][-1:])}", flush=True)
        for arm, found in stored.items():
            print(f"{name} {_line(arm, found, stored['off'][: len(found)])}", flush=True)


def _measured(prepared: Prepared, mined: MinedSet, config: Config) -> dict[str, Any]:
    """Return what a set is like; `false` has each query's false negatives as its part of the set's rate."""
    found, owners = measure(prepared, mined, config.emit.num_negatives), mined.asked[mined.negatives.owners]
    hits = np.bincount(owners, prepared.training.relevant.contains(owners, mined.negatives.values), len(prepared.known))
    shares = hits / len(owners) * len(prepared.known)
    return {
        "cosine": found["cosine"], "fill": found["fill"],
        "false": dict(zip(prepared.training.ids, shares.tolist(), strict=True)),
    }  # fmt: skip


def _line(arm: str, seeds: list[dict[str, Any]], off: list[dict[str, Any]]) -> str:
    """Return what an arm gave on some seeds: answers, the set, and differences to mining without a judge."""
    numbers = {key: np.mean([one[key] for one in seeds]) for key in (*Said._fields, "cosine", "fill")}
    cells = []
    for key in ("false", "gains"):
        own, theirs = (by_query(one, key, np.mean) for one in (seeds, off))
        change = with_interval(np.array([own[query] - theirs[query] for query in own]))
        cells += [f"{np.mean(list(own.values())):+.4f}", "" if arm == "off" else str(change)]
    judged = " | ".join(f"{numbers[key]:.1f}" for key in Said._fields)
    return (
        f"| {len(seeds)} seeds | {arm} | {judged} | {' | '.join(cells[:2])} | {numbers['cosine']:.3f} "
        f"| {numbers['fill']:.3f} | {' | '.join(cells[2:])} |"
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
