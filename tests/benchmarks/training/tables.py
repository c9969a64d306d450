"""Tables of stored records: gains of students by collection and arm, paired differences, self-test, regret.

    python -m tests.benchmarks.training.tables WORK [--student static] [--setting main] [--long]

Intervals are of 95 %, by bootstrap over the test queries. Differences are paired by query; of a query that several
seeds test, the mean difference counts once. Arms are compared on the seeds that both have.
"""

from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hnmine.science.statistics import bootstrap_ratios, percentile_interval
from tests.benchmarks.measure import argument_parser
from tests.benchmarks.training.arms import ARMS, CONTROLS, PLANTED
from tests.benchmarks.training.records import UNTRAINED, Record, Records

FEWEST_ARMS = 8
REFERENCES = ("mine_hard_negatives 0.05", "percent 0.95", "random", "in-batch")
NO_CHOICE = (*CONTROLS, *PLANTED)
"""Arms that a user cannot choose, or that mine nothing: they are no candidates for the best setting."""


class Difference(NamedTuple):
    """A mean with its 95 % interval, over so many queries."""

    mean: float
    low: float
    high: float
    queries: int

    @property
    def sure(self) -> bool:
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


class Block:
    """The records of one student and setting on one collection."""

    def __init__(self, records: Records, collection: str, sample: str, student: str, setting: str) -> None:
        self.collection, self.sample, self.student, self.setting = collection, sample, student, setting
        self._records = records
        self._found: dict[str, dict[int, Record]] = {}
        for one in records.latest(collection=collection, sample=sample, student=student, setting=setting):
            self._found.setdefault(one.arm, {})[one.seed] = one
        self._values: dict[tuple[str, int], dict[str, float]] = {}
        self.arms = [arm for arm in ARMS if arm in self._found]
        self.arms += [arm for arm in self._found if arm not in ARMS and arm != UNTRAINED]

    def of(self, arm: str) -> list[Record]:
        return [one for _, one in sorted(self._found[arm].items())]

    def seeds(self, arm: str) -> set[int]:
        return set(self._found.get(arm, {}))

    def values(self, arm: str, seed: int) -> dict[str, float]:
        if (arm, seed) not in self._values:
            self._values[arm, seed] = self._records.values(self._found[arm][seed])
        return self._values[arm, seed]

    def by_query(self, arm: str, other: str, seeds: Iterable[int] | None = None) -> np.ndarray:
        """Return each test query's mean difference of two arms over the seeds that both have, float64."""
        both = sorted(self.seeds(arm) & self.seeds(other)) if seeds is None else sorted(seeds)
        found: dict[str, list[float]] = {}
        for seed in both:
            theirs = self.values(other, seed)
            for query, value in self.values(arm, seed).items():
                found.setdefault(query, []).append(value - theirs[query])
        return np.array([np.mean(found[query]) for query in sorted(found)])

    def difference(self, arm: str, other: str) -> Difference:
        return with_interval(self.by_query(arm, other))

    def gain(self, arm: str) -> Difference:
        return self.difference(arm, UNTRAINED)

    def sees_safety(self) -> bool | None:
        """Return whether planted false negatives lower the gain, each share more than the one before; None: not tried.

        At least the ends of the range must differ by more than their interval.
        """
        planted = [arm for arm in PLANTED if arm in self._found]
        if len(planted) < 2:
            return None
        gains = [self.gain(arm).mean for arm in planted]
        return bool(np.all(np.diff(gains) < 0)) and self.difference(planted[0], planted[-1]).low > 0

    def sees_hardness(self) -> bool | None:
        """Return whether safe hard negatives and random documents differ; None: not tried."""
        if not {"planted 0%", "random"} <= self._found.keys():
            return None
        return self.difference("planted 0%", "random").sure

    def best(self, reference: str) -> str:
        """Return the arm that gains most over the reference, of those that a user can choose; the reference is one."""
        choices = [arm for arm in self.arms if arm not in NO_CHOICE and self.seeds(arm) & self.seeds(reference)]
        return max(choices, key=lambda arm: self.difference(arm, reference).mean)


def with_interval(values: np.ndarray, counts: np.ndarray | None = None) -> Difference:
    """Return the mean of values, one a query, with its bootstrap interval; with counts, sum(values) / sum(counts)."""
    if not len(values):
        return Difference(np.nan, np.nan, np.nan, 0)
    counts = np.ones(len(values)) if counts is None else counts
    low, high = percentile_interval(bootstrap_ratios(values[:, None], counts[:, None], 0))
    return Difference(float(values.sum() / counts.sum()), float(low[0]), float(high[0]), len(values))


def by_query(seeds: list[dict[str, Any]], key: str, reduce: Callable[[list[float]], Any]) -> dict[str, float]:
    """Return one number for each query out of what several seeds have of it under a key."""
    found: dict[str, list[float]] = {}
    for one in seeds:
        for query, value in one[key].items():
            found.setdefault(query, []).append(value)
    return {query: float(reduce(values)) for query, values in found.items()}


def mean_over_blocks(parts: list[np.ndarray], seed: int = 0) -> Difference:
    """Return the mean over blocks of each block's mean difference; queries are drawn anew within their block."""
    drawn = [bootstrap_ratios(part[:, None], np.ones((len(part), 1)), seed + at) for at, part in enumerate(parts)]
    low, high = percentile_interval(np.mean(drawn, axis=0))
    mean = float(np.mean([part.mean() for part in parts]))
    return Difference(mean, float(low[0]), float(high[0]), sum(len(part) for part in parts))


def blocks(records: Records, student: str | None = None, setting: str | None = None) -> list[Block]:
    """Return the blocks of records, in the order in which they were made."""
    names = dict.fromkeys((one.collection, one.sample, one.student, one.setting) for one in records.all.values())
    wanted = [n for n in names if student in (None, n[2]) and setting in (None, n[3])]
    return [Block(records, *name) for name in wanted]


def block_table(block: Block) -> list[str]:
    """Return a block's table: for each arm its gain, differences to the references, and what the set is like."""
    one = next(iter(block.of(UNTRAINED)))
    name = " ".join(filter(None, (block.collection, block.sample)))
    answers = {True: "yes", False: "no", None: "not tried"}
    lines = [
        f"### {name}: {block.student}, {block.setting}",
        "",
        f"untrained {one.untrained:.4f}; {one.training} training queries, {one.tested} test queries a seed, "
        f"{one.documents:,} documents. Sees safety: {answers[block.sees_safety()]}. Sees hardness: "
        f"{answers[block.sees_hardness()]}.",
        "",
        "| arm | seeds | gain | " + " | ".join(f"against {arm}" for arm in REFERENCES)
        + " | false negatives | cosine | fill |",
        "|---" * (6 + len(REFERENCES)) + "|",
    ]  # fmt: skip
    for arm in block.arms:
        found = block.of(arm)
        against = [
            "" if arm == other or not block.seeds(arm) & block.seeds(other) else str(block.difference(arm, other))
            for other in REFERENCES
        ]
        lines.append(
            f"| {arm} | {len(found)} | {block.gain(arm)} | {' | '.join(against)} | {_mean(found, 'false_negatives')} "
            f"| {_mean(found, 'cosine')} | {_mean(found, 'fill')} |"
        )
    return [*lines, ""]


def _mean(records: list[Record], name: str, digits: int = 3) -> str:
    values = [getattr(one, name) for one in records if getattr(one, name) is not None]
    return f"{np.mean(values):.{digits}f}" if values else ""


def gains_table(found: list[Block], reference: str = REFERENCES[0]) -> list[str]:
    """Return a table of a student's collections by arm: the reference's gain, and for the others the difference."""
    answers = {True: "yes", False: "no", None: "not tried"}
    arms = [arm for arm in ARMS if any(arm in block.arms for block in found)]
    head = [f"{block.collection} {block.sample}".strip() for block in found]
    seeds = [str(len(block.seeds(reference))) for block in found]
    lines = [
        f"| {found[0].student}, {found[0].setting} | " + " | ".join(head) + " |",
        "|---" * (1 + len(found)) + "|",
        f"| seeds | {' | '.join(seeds)} |",
        "| sees safety, sees hardness | "
        + " | ".join(f"{answers[b.sees_safety()]}, {answers[b.sees_hardness()]}" for b in found) + " |",
        f"| {reference} itself | " + " | ".join(_short(block.gain(reference), sign=False) for block in found) + " |",
    ]  # fmt: skip
    for arm in arms:
        if arm != reference:
            cells = [
                _short(block.difference(arm, reference)) if arm in block.arms and reference in block.arms else ""
                for block in found
            ]
            lines.append(f"| {arm} | {' | '.join(cells)} |")
    return [*lines, ""]


def _short(one: Difference, *, sign: bool = True) -> str:
    """Return a difference in thousandths of nDCG@10; sure ones are bold."""
    mean, low, high = (f"{1000 * value:{'+' if sign else ''}.1f}" for value in one[:3])
    return f"**{mean}** ({low} to {high})" if sign and one.sure else f"{mean} ({low} to {high})"


def sets_table(found: list[Block]) -> list[str]:
    """Return what the mined sets are like: false negatives, mean cosine and fill by arm and collection."""
    arms = [arm for arm in ARMS if any(arm in block.arms for block in found)]
    lines = [
        "| arm | " + " | ".join(f"{block.collection} {block.sample}".strip() for block in found) + " |",
        "|---" * (1 + len(found)) + "|",
    ]
    for arm in arms:
        cells = [
            " / ".join(_mean(block.of(arm), name, 2) for name in ("false_negatives", "cosine", "fill"))
            if arm in block.arms and block.of(arm)[0].negatives
            else ""
            for block in found
        ]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return [*lines, ""]


def regret_table(found: list[Block], arm: str = "auto") -> list[str]:
    """Return the regret of an arm in each block: the share of the best arm's gain that it lacks."""
    lines = [
        f"| collection | student | gain of {arm} | best arm | its gain | regret | {arm} minus best |",
        "|---" * 7 + "|",
    ]
    for block in found:
        if arm not in block.arms:
            continue
        best = block.best(arm)
        both = block.seeds(arm) & block.seeds(best)
        own, its = (float(block.by_query(one, UNTRAINED, both).mean()) for one in (arm, best))
        lines.append(
            f"| {block.collection} {block.sample} | {block.student} {block.setting} | {own:+.4f} | {best} | {its:+.4f} "
            f"| {(its - own) / its:.0%} | {block.difference(arm, best)} |"
        )
    return [*lines, ""]


def summary_table(found: list[Block]) -> list[str]:
    """Return the mean over blocks of the differences to each reference, for the arms that all blocks have."""
    arms = [arm for arm in ARMS if all(arm in block.arms for block in found)]
    references = [arm for arm in REFERENCES if arm in arms]
    arms = [arm for arm in arms if all(b.seeds(arm) & b.seeds(other) for b in found for other in references)]
    lines = [
        f"Mean over {len(found)} blocks: {', '.join(f'{b.collection} {b.student}' for b in found)}",
        "",
        "| arm | " + " | ".join(f"against {arm}" for arm in references) + " |",
        "|---" * (1 + len(references)) + "|",
    ]
    for arm in arms:
        cells = [
            _short(mean_over_blocks([block.by_query(arm, other) for block in found])) if arm != other else ""
            for other in references
        ]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return [*lines, ""]


def agreement_table(found: list[Block]) -> list[str]:
    """Return Kendall's tau-b of the gains of each two students or settings over the arms that both trained on."""
    from scipy.stats import kendalltau

    lines = ["| collection | order of | and of | arms | tau |", "|---" * 5 + "|"]
    for one, other in combinations(found, 2):
        arms = [arm for arm in one.arms if arm in other.arms]
        if one.collection == other.collection and len(arms) >= FEWEST_ARMS:
            gains = [[block.gain(arm).mean for arm in arms] for block in (one, other)]
            names = [" ".join(filter(None, (b.student, b.setting, b.sample))) for b in (one, other)]
            lines.append(
                f"| {one.collection} | {names[0]} | {names[1]} | {len(arms)} | {kendalltau(*gains).statistic:+.2f} |"
            )
    return [*lines, ""]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--student")
    parser.add_argument("--setting")
    parser.add_argument("--long", action="store_true", help="a table for each block, too")
    options = parser.parse_args()
    found = blocks(Records(options.work / "records.jsonl"), options.student, options.setting)
    if options.long:
        for block in found:
            print("\n".join(block_table(block)))
    for student, setting in dict.fromkeys((block.student, block.setting) for block in found):
        own = [block for block in found if (block.student, block.setting) == (student, setting)]
        print("\n".join([*gains_table(own), *sets_table(own), *summary_table(own)]))
    print("\n".join([*regret_table(found), *agreement_table(found)]))


if __name__ == "__main__":
    main()
