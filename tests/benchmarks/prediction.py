"""Does a number of the report predict what students gain from a mined set?

    python -m tests.benchmarks.prediction WORK [--students static full]

WORK is the folder of `tests.benchmarks.training`. For each student and collection that tells mined sets apart, with
enough sets: Kendall's tau-b of every number of the report, and of simple functions of some, with the gain in nDCG@10
over training without mined negatives; 95 % percentile intervals over resampled sets. Then combinations of a few
numbers, fitted on all collections but one and tested on that one. The ceiling is tau between the gains of two seeds:
what the noise of training leaves to predict. Last, the mean gain of the sets beyond each limit of the report's verdict,
and of the others.

False negatives are counted by all labels of the collection, of which the report knows some.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.benchmarks.agreement import tau
from tests.benchmarks.measure import argument_parser
from tests.benchmarks.training.records import Records
from tests.benchmarks.training.tables import Block, blocks

FEWEST_SETS = 16
BASELINE = "in-batch"
LEFT_OUT = ("counts.", "timings.", "verdicts.", "shortage.", "suspected_bad_positives.", "near_copies.taken_out.")
"""Groups of numbers that say how a set was made, or are the same for all sets of a collection."""
RIDGE = 1.0
Columns = dict[str, np.ndarray]

FUNCTIONS: dict[str, Callable[[Columns], np.ndarray]] = {
    "hardness near .6": lambda c: -np.abs(c["hardness"] - 0.6),
    "hardness near .75": lambda c: -np.abs(c["hardness"] - 0.75),
    "1 - false negatives": lambda c: 1 - c["false negatives"],
    "fill x (1 - false negatives)": lambda c: c["fill"] * (1 - c["false negatives"]),
    "hardness x (1 - false negatives)": lambda c: c["hardness"] * (1 - c["false negatives"]),
    "capacity x (1 - false negatives)": lambda c: c["capacity"] * (1 - c["false negatives"]),
    "eci x (1 - false negatives)": lambda c: c["eci"] * (1 - c["false negatives"]),
    "fill x safety x (1 - false negatives)": lambda c: c["fill"] * c["safety"] * (1 - c["false negatives"]),
}
COMBINATIONS: dict[str, Callable[[Columns], list[np.ndarray]]] = {
    "hardness, its square": lambda c: [c["hardness"], c["hardness"] ** 2],
    "hardness, its square, false negatives": lambda c: [c["hardness"], c["hardness"] ** 2, c["false negatives"]],
    "hardness, its square, false negatives, fill": lambda c: [
        c["hardness"], c["hardness"] ** 2, c["false negatives"], c["fill"]
    ],
    "hardness, its square, false negatives, capacity": lambda c: [
        c["hardness"], c["hardness"] ** 2, c["false negatives"], c["capacity"]
    ],
    "hardness, its square, capacity": lambda c: [c["hardness"], c["hardness"] ** 2, c["capacity"]],
    "false negatives, capacity": lambda c: [c["false negatives"], c["capacity"]],
}  # fmt: skip


def seen(block: Block) -> bool:
    """Return whether the student tells sets apart on the collection, by safety or by hardness."""
    return bool(block.sees_safety()) or bool(block.sees_hardness())


def arms_of(block: Block) -> list[str]:
    """Return the arms that hnmine mined and reported on, and that share a seed with training without negatives."""
    return [arm for arm in block.arms if block.of(arm)[0].numbers and block.seeds(arm) & block.seeds(BASELINE)]


def gains_of(block: Block, arms: list[str]) -> np.ndarray:
    return np.array([block.difference(arm, BASELINE).mean for arm in arms])


def columns_of(block: Block, arms: list[str]) -> Columns:
    """Return the numbers that differ between the sets and that every report has, and the functions of them."""
    records = [block.of(arm)[0] for arm in arms]
    names = sorted(set.intersection(*(set(one.numbers) for one in records)))
    found = {name: np.array([one.numbers[name] for one in records]) for name in names if not name.startswith(LEFT_OUT)}
    found = {name: values for name, values in found.items() if np.isfinite(values).all() and np.ptp(values) > 0}
    found["false negatives"] = np.array([one.false_negatives for one in records], dtype=float)
    found |= {name: np.array([one.numbers[name] for one in records]) for name in ("hardness", "fill", "capacity")}
    return found | {name: function(found) for name, function in FUNCTIONS.items()}


def ceiling(block: Block, arms: list[str]) -> tuple[float, int] | None:
    """Return tau between the gains of two seeds, and the number of arms that both trained; None with one seed."""
    seeds = sorted(block.seeds(BASELINE))[:2]
    both = [arm for arm in arms if set(seeds) <= block.seeds(arm)]
    if len(seeds) < 2 or len(both) < 3:
        return None
    first, second = (np.array([float(block.by_query(arm, BASELINE, [seed]).mean()) for arm in both]) for seed in seeds)
    return tau(first, second)[0], len(both)


def left_out(parts: list[tuple[Columns, np.ndarray]], features: Callable[[Columns], list[np.ndarray]]) -> list[float]:
    """Return tau on each part, of the combination fitted on the others by ridge regression of standardised gains."""
    found = []
    for place in range(len(parts)):
        others = [part for number, part in enumerate(parts) if number != place]
        x = np.concatenate([np.stack(features(columns), axis=1) for columns, _ in others])
        y = np.concatenate([(gains - gains.mean()) / gains.std() for _, gains in others])
        mean, scale = x.mean(axis=0), x.std(axis=0)
        x = (x - mean) / scale
        weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
        columns, gains = parts[place]
        found.append(tau((np.stack(features(columns), axis=1) - mean) / scale @ weights, gains)[0])
    return found


def cell(found: tuple[float, float, float] | None) -> str:
    return "" if found is None else f"{found[0]:+.2f} ({found[1]:+.2f} to {found[2]:+.2f})"


def tables(own: list[Block]) -> list[str]:
    """Return the tables of one student: every number, and the combinations."""
    arms = [arms_of(block) for block in own]
    parts = [(columns_of(block, names), gains_of(block, names)) for block, names in zip(own, arms, strict=True)]
    heads = [f"{block.collection} {block.sample}".strip() for block in own]
    lines = [f"| {own[0].student} | " + " | ".join(heads) + " | mean |", "|---|" + "---|" * (len(heads) + 1)]
    lines.append("| sets | " + " | ".join(str(len(names)) for names in arms) + " | |")
    tops = [ceiling(block, names) for block, names in zip(own, arms, strict=True)]
    known = [top[0] for top in tops if top is not None]
    shown = " | ".join("" if top is None else f"{top[0]:+.2f} ({top[1]} sets)" for top in tops)
    lines.append(f"| ceiling: one seed's gains by another's | {shown} | {np.mean(known) if known else np.nan:+.2f} |")
    rows = []
    for name in dict.fromkeys(name for columns, _ in parts for name in columns):
        taus = [tau(columns[name], gains) if name in columns and np.ptp(columns[name]) > 0 else None
                for columns, gains in parts]  # fmt: skip
        values = [one[0] for one in taus if one is not None]
        if len(values) > len(parts) / 2:
            rows.append((float(np.mean(values)), name, taus))
    for mean, name, taus in sorted(rows, key=lambda row: -abs(row[0])):
        lines.append(f"| {name} | " + " | ".join(map(cell, taus)) + f" | {mean:+.2f} |")
    if len(parts) > 1:
        for name, features in COMBINATIONS.items():
            found = left_out(parts, features)
            shown = " | ".join(f"{one:+.2f}" for one in found)
            lines.append(f"| fitted on the others: {name} | {shown} | {np.mean(found):+.2f} |")
    return lines


LIMITS: dict[str, Callable[[Columns], np.ndarray]] = {
    "false negatives above .1": lambda c: c["false negatives"] > 0.1,
    "false negatives above .3": lambda c: c["false negatives"] > 0.3,
    "hardness of the retrieved above .96": lambda c: c["sources.retrieved.hardness"] > 0.96,
    "hardness below .6": lambda c: c["hardness"] < 0.6,
    "safety below .5": lambda c: c["safety"] < 0.5,
    "negatives at or above the positive above .5": lambda c: c["negatives_at_or_above_positive"] > 0.5,
    "coverage below .95": lambda c: c["coverage"] < 0.95,
    "fill below .9": lambda c: c["fill"] < 0.9,
}


def limits_table(own: list[Block]) -> list[str]:
    """Return the mean gain, in thousandths of nDCG@10, of sets beyond a limit and of the others, and their numbers."""
    lines = ["| beyond the limit / within it | " + " | ".join(block.collection for block in own) + " |"]
    lines.append("|---|" + "---|" * len(own))
    for name, is_beyond in LIMITS.items():
        cells = []
        for block in own:
            arms = arms_of(block)
            gains, beyond = 1000 * gains_of(block, arms), is_beyond(columns_of(block, arms))
            parts = [f"{gains[own_part].mean():+.1f} ({own_part.sum()})" if own_part.any() else "- (0)"
                     for own_part in (beyond, ~beyond)]  # fmt: skip
            cells.append(" / ".join(parts))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--students", nargs="*", default=["static", "full"])
    options = parser.parse_args()
    records = Records(options.work / "records.jsonl")
    for student in options.students:
        found = blocks(records, student, "main")
        own = [block for block in found if seen(block) and len(arms_of(block)) >= FEWEST_SETS]
        for block in found:
            if block not in own:
                why = "tells no sets apart" if not seen(block) else f"has {len(arms_of(block))} sets"
                print(f"left out: {student} on {block.collection} {block.sample}: {why}")
        print("\n".join([*tables(own), "", *limits_table(own)] if own else [f"{student}: no collection"]), flush=True)


if __name__ == "__main__":
    main()
