"""What students gain from mined sets: trains them with sentence-transformers' trainers and keeps a record of each.

    python -m tests.benchmarks.training DATA WORK [--collections NAME ...] [--student static] [--seeds 0 1 2]
        [--arms NAME ... | main | all] [--setting main] [--sample TRAINING TEST]

DATA holds one folder a collection (corpus, queries, qrels and vectors in Parquet). WORK gets prepared/ and
records.jsonl; what is there already is not done again. `python -m tests.benchmarks.training.tables WORK` prints tables.
"""

import time
from pathlib import Path

import numpy as np

from hnmine.arrays.ragged import Ragged
from tests.benchmarks.collections import folders
from tests.benchmarks.measure import argument_parser
from tests.benchmarks.training.arms import ARMS, MAIN
from tests.benchmarks.training.mine import measure, mine, read_set, report_numbers
from tests.benchmarks.training.prepare import Prepared, prepare
from tests.benchmarks.training.records import UNTRAINED, Record, Records, hash_of
from tests.benchmarks.training.students import CrossEncoder, Student, load_student, settings
from tests.benchmarks.training.transfer import write_models


class Bench:
    """A student on one prepared collection."""

    def __init__(self, prepared: Prepared, sample: str, student: str, setting: str, records: Records) -> None:
        self.prepared, self.sample, self.name, self.setting, self.records = prepared, sample, student, setting, records
        self._student: Student | None = None

    @property
    def student(self) -> Student:
        if self._student is None:
            chosen = settings(self.name, self.prepared.name)[self.setting]
            self._student = load_student(self.name, self.prepared, chosen)
        return self._student

    def train(self, arm: str) -> None:
        """Mine for an arm, train and record, unless the same set has been trained on."""
        folder = mine(self.prepared, arm)
        mined = read_set(self.prepared, folder)
        record = self._record(arm, hash_of(*mined))
        if record.key in self.records.all:
            return
        before = self._untrained()
        began = time.monotonic()
        ndcg = self.student.train(mined, self.prepared.seed)
        untrained = float(np.mean(list(before.values())))
        found = Record(
            **self._identity(arm, record.mined), gain=float(ndcg.mean()) - untrained, untrained=untrained,
            training=len(mined.positives), tested=len(ndcg), documents=self._documents(),
            seconds=time.monotonic() - began, numbers=report_numbers(folder),
            **measure(self.prepared, mined, ARMS[arm].wanted),
        )  # fmt: skip
        self.records.add(found, self.prepared.test.ids, ndcg)
        name = f"{found.collection} {self.sample} seed {found.seed} {self.name} {self.setting} | {arm} |"
        print(
            f"{name} {found.gain:+.4f} | {found.false_negatives or 0:.3f} | {found.cosine or 0:.3f} "
            f"| {found.fill:.2f} | {found.seconds:.0f} s",
            flush=True,
        )

    def _untrained(self) -> dict[str, float]:
        record = self._record(UNTRAINED, "")
        if record.key not in self.records.all:
            began = time.monotonic()
            ndcg = self.student.untrained()
            identity = self._identity(UNTRAINED, "")
            mean = float(ndcg.mean())
            count = len(self.prepared.known)
            seconds = time.monotonic() - began
            made = Record(**identity, gain=0.0, untrained=mean, training=count, tested=len(ndcg),
                          documents=self._documents(), seconds=seconds)  # fmt: skip
            self.records.add(made, self.prepared.test.ids, ndcg)
        return self.records.values(record)

    def _identity(self, arm: str, mined: str) -> dict[str, str | int]:
        return {
            "collection": self.prepared.name, "sample": self.sample, "student": self.name, "setting": self.setting,
            "arm": arm, "seed": self.prepared.seed, "mined": mined,
        }  # fmt: skip

    def _record(self, arm: str, mined: str) -> Record:
        return Record(**self._identity(arm, mined), gain=0, untrained=0, training=0, tested=0, documents=0, seconds=0)

    def _documents(self) -> int:
        return (
            self.student.first.shape[1] if isinstance(self.student, CrossEncoder) else len(self.student.pool.documents)
        )


def possible(arm: str, prepared: Prepared) -> bool:
    """Return whether a collection has the hidden positives that an arm plants."""
    if not arm.startswith("planted"):
        return True
    hidden: Ragged = prepared.training.relevant
    room = np.minimum(hidden.lengths - 1, ARMS[arm].wanted).sum()
    return bool(room >= float(arm.split()[1].rstrip("%")) / 100 * ARMS[arm].wanted * len(hidden))


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--collections", nargs="*")
    parser.add_argument("--student", default="static", choices=["static", "full", "cross-encoder"])
    parser.add_argument("--setting", default="main")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="*", default=["main"])
    parser.add_argument("--sample", type=int, nargs=2)
    options = parser.parse_args()
    arms = {"main": list(MAIN), "all": list(ARMS)}.get(options.arms[0], options.arms)
    records = Records(options.work / "records.jsonl")
    sample = "x".join(map(str, options.sample)) if options.sample else ""
    found = [folder.name for folder in folders(options.data)]
    write_models(options.data.resolve(), options.work)
    for seed in options.seeds:
        for name in options.collections or found:
            place = options.work / "prepared" / "-".join(filter(None, (name, sample, f"seed{seed}")))
            prepared = prepare(options.data, name, seed, place, tuple(options.sample) if options.sample else None)
            bench = Bench(prepared, sample, options.student, options.setting, records)
            for arm in arms:
                if possible(arm, prepared):
                    bench.train(arm)


if __name__ == "__main__":
    main()
