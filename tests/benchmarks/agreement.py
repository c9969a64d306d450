"""Does a cheap student order mined sets as the whole model does?

    python -m tests.benchmarks.agreement DATA WORK RECORDS [--students static top-layers-1 ...] [--table]

WORK is a folder of tests.benchmarks.training with records of the student full. Each of its mined sets is trained on by
the students of hnmine.students, with the same test queries; RECORDS (a file of JSON lines) keeps what was done, and
is not done again. Printed for each student and collection: the number of sets, Kendall's tau-b between the gains of the
two (means over seeds) with a 95 % interval over resampled sets, seconds of one core a training, the set that each
picks, and what is lost by the student's pick: the whole model's best gain minus its gain from that set. --table prints
what RECORDS holds.
"""

import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.students.student import DEFAULTS, GivenVectors, Student, load_student
from hnmine.students.task import Examples, Task, TestQueries
from hnmine.students.token_table import ragged_of
from tests.benchmarks.measure import argument_parser
from tests.benchmarks.training.mine import MinedSet, mine, read_set
from tests.benchmarks.training.prepare import Prepared, prepare
from tests.benchmarks.training.records import UNTRAINED, Record, Records, hash_of
from tests.benchmarks.training.students import TEACHER, Pool, vectors_of_test

STUDENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "static": ("static", {}),
    "static, vectors alone": ("static", {}),
    "top-layers-1": ("top-layers", {"layers": 1}),
    "top-layers-2": ("top-layers", {"layers": 2}),
    "full": ("full", {}),
}


def sets_of(data: Path, work: Path, records: list[Record]) -> tuple[Prepared, dict[str, MinedSet]]:
    """Return the prepared collection of some records of one collection, sample and seed, and their sets by arm."""
    one = records[0]
    place = work / "prepared" / "-".join(filter(None, (one.collection, one.sample, f"seed{one.seed}")))
    sizes = tuple(int(part) for part in one.sample.split("x")) if one.sample else None
    prepared = prepare(data, one.collection, one.seed, place, sizes)  # type: ignore[arg-type]
    found = {}
    for record in records:
        folder = place / "arms" / record.arm.replace(" ", "_")
        mined = read_set(prepared, folder if (folder / "emit").exists() else mine(prepared, record.arm))
        if mined.queries is None and hash_of(*mined) == record.mined:
            found[record.arm] = mined
        else:
            print(f"left out, mined anew since: {one.collection} {record.arm}")
    return prepared, found


def task_of(prepared: Prepared, sets: dict[str, MinedSet]) -> tuple[Task, dict[str, Examples], np.ndarray]:
    """Return the task with the benchmark's pool and the documents of all sets, the sets, and the documents' rows."""
    training, test = prepared.training, prepared.test
    used = [part for mined in sets.values() for part in (mined.positives, mined.negatives.values)]
    documents = np.unique(np.concatenate([Pool.part(prepared).documents, *used]))
    queries = np.arange(len(training.texts))
    relevant = test.relevant.with_values(np.searchsorted(documents, test.relevant.values))
    known = np.searchsorted(documents, prepared.known)
    task = Task(
        training.texts + test.texts,
        [prepared.corpus.texts[row] for row in documents],
        ragged_of([[int(row)] for row in known] + [[] for _ in test.texts]),
        TestQueries(len(queries) + np.arange(len(test.texts)), relevant),
    )
    examples = {
        arm: Examples(queries, known, mined.negatives.with_values(np.searchsorted(documents, mined.negatives.values)))
        for arm, mined in sets.items()
    }
    return task, examples, documents


def student_of(name: str, prepared: Prepared, task: Task, documents: np.ndarray) -> Student:
    kind, settings = STUDENTS[name]
    if name == "static, vectors alone":
        queries, corpus = prepared.vectors()
        asked = np.concatenate([queries, vectors_of_test(prepared)])
        return load_student(kind, None, task, vectors=GivenVectors(asked, corpus[documents]))
    return load_student(kind, TEACHER, task, replace(DEFAULTS[kind], **settings))


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def train(data: Path, work: Path, path: Path, names: list[str], setting: str) -> None:
    """Train the students on the sets that lack a record."""
    done = {(one["student"], one["of"]) for one in map(json.loads, lines_of(path))}
    groups: dict[tuple[str, str, int], list[Record]] = defaultdict(list)
    for one in Records(work / "records.jsonl").latest(student="full", setting=setting):
        if one.arm != UNTRAINED:
            groups[one.collection, one.sample, one.seed].append(one)
    for records in groups.values():
        missing = {name: [one for one in records if (name, one.key) not in done] for name in names}
        if not any(missing.values()):
            continue
        prepared, sets = sets_of(data, work, records)
        task, examples, documents = task_of(prepared, sets)
        for name, wanted in missing.items():
            if not wanted:
                continue
            student = student_of(name, prepared, task, documents)
            before = float(student.untrained().mean())
            for one in wanted:
                if one.arm not in examples:
                    continue
                began = time.process_time()
                gain = float(student.train(examples[one.arm], one.seed).mean()) - before
                row = {"student": name, "of": one.key, "gain": gain, "seconds": time.process_time() - began}
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{one.collection} {one.sample} {one.seed} {name} | {one.arm} | {gain:+.4f} | {one.gain:+.4f} | "
                      f"{row['seconds']:.1f} s", flush=True)  # fmt: skip


def tau(scores: np.ndarray, gains: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Return Kendall's tau-b and the ends of its 95 % percentile interval over resampled mined sets."""
    from scipy.stats import kendalltau

    generator = np.random.default_rng(seed)
    drawn = [generator.integers(0, len(scores), len(scores)) for _ in range(500)]
    values = [kendalltau(scores[rows], gains[rows]).statistic for rows in drawn]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(kendalltau(scores, gains).statistic), float(low), float(high)


def table(work: Path, path: Path, setting: str) -> None:
    """Print how students agree with the whole model.

    The rows "static, all queries" are of tests.benchmarks.training itself: trained on all queries of a collection,
    where the whole model has a sample, so their sets are those of the same arms and not the same files.
    """
    records = Records(work / "records.jsonl")
    full = {one.key: one for one in records.latest(student="full", setting=setting) if one.arm != UNTRAINED}
    gains: dict[tuple[str, str], dict[str, list[tuple[float, float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in map(json.loads, lines_of(path)):
        if row["of"] in full:
            one = full[row["of"]]
            gains[one.collection, row["student"]][one.arm].append((row["gain"], one.gain, row["seconds"]))
    static: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in records.latest(student="static", setting="main", sample=""):
        static[one.collection, one.arm].append(one.gain)
    for one in full.values():
        if own := static[one.collection, one.arm]:
            gains[one.collection, "static, all queries"][one.arm].append((float(np.mean(own)), one.gain, np.nan))
    print("| collection | student | sets | tau (95 % interval) | seconds | its pick | the model's pick | lost |")
    print("|---|---|---|---|---|---|---|---|")
    for (collection, name), arms in sorted(gains.items()):
        means = np.array([np.mean(found, axis=0) for found in arms.values()])
        own_gains, model = means[:, 0], means[:, 1]
        value, low, high = tau(own_gains, model)
        pick, best = int(own_gains.argmax()), int(model.argmax())
        labels = list(arms)
        print(
            f"| {collection} | {name} | {len(labels)} | {value:+.2f} ({low:+.2f} to {high:+.2f}) "
            f"| {means[:, 2].mean():.1f} | {labels[pick]} | {labels[best]} | {model[best] - model[pick]:.4f} |"
        )


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("records", type=Path)
    parser.add_argument("--students", nargs="*", default=["static", "top-layers-1", "top-layers-2"], choices=STUDENTS)
    parser.add_argument("--setting", default="main", help="of the whole model")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        train(options.data, options.work, options.records, options.students, options.setting)
    table(options.work, options.records, options.setting)


if __name__ == "__main__":
    main()
