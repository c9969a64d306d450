"""What rescoring spends and gains: the best of every query (`spend = "top"`), or those that would be chosen.

    python -m tests.benchmarks.training.rescoring DATA WORK [--collections perspectrum ...] [--queries 200]
        [--pairs 1500] [--seeds 0] [--longest 64] [--trainings 3] [--train-only]

A collection's training queries are split at random into halves. The first, with all its labels, trains a cross-encoder:
all-MiniLM-L6-v2's weights with a new head, half of the pairs labelled positives, half candidates that are none. Of the
other half --queries are mined, each with one known label; the labels held back say what is a false negative. A static
student is trained on each mined set and tested on the test queries. WORK keeps the cross-encoder, its scores and what
each arm gave on each seed: what is there is not done again, so take another WORK for other settings. Columns, over all
seeds:

- pairs: candidates scored of a query, in the mean, its positive among them where it is a candidate.
- false negatives: share of the negatives that a hidden label calls relevant, with a 95 % interval by bootstrap over
  queries; a query that several seeds mine is drawn once, with all of its negatives.
- cosine: mean score of the negatives by the teacher. fill: share of the wanted negatives that there are.
- student: nDCG@10 over the untrained student, in the mean of --trainings with a seed each; difference to the first arm
  with a 95 % interval by test query; the mean of several seeds counts as one.
"""

import json
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from hnmine.arrays.ragged import Ragged
from hnmine.config.models import RescoreConfig
from hnmine.models.cross_encoders import CrossScorer, make_cross_scorer
from hnmine.models.model_files import find_model
from hnmine.pipeline.run import RunOptions, run
from hnmine.storage.store import read_json, recorded, write_json
from tests.benchmarks.collections import BEFORE_FILTER, config_of, with_queries
from tests.benchmarks.measure import argument_parser
from tests.benchmarks.training.mine import IDS, MinedSet, measure
from tests.benchmarks.training.prepare import Prepared, prepare
from tests.benchmarks.training.students import load_student, settings
from tests.benchmarks.training.tables import by_query, with_interval
from tests.benchmarks.training.transfer import fitted_elsewhere, write_models

MINE = ("filter", "emit")
WANTED, DEPTH = 5, 60
HEAD = (
    "| arm | seeds | pairs | false negatives (95 % interval) | cosine | fill | student "
    "| over the first arm (95 % interval) |\n"
    "|---|---|---|---|---|---|---|---|"
)
FROZEN, BATCH, PASSES, RATE = 3, 32, 2, 2e-4
"""Layers of the cross-encoder that keep their weights, as do its token vectors; and how the others are trained."""


def _top(pairs: int) -> dict[str, Any]:
    return {"rescore": {"top_n": pairs}, "filter": {"rule": "percent", "score": "rescored", "easiest": 0.2}}


def _checked(pairs: int, rule: str = "percent", spend: str = "doubtful") -> dict[str, Any]:
    spent = {"spend": spend, "pairs": pairs} if spend == "doubtful" else {"top_n": pairs}
    return {"rescore": spent, "filter": {"rule": rule, "score": "checked", "easiest": 0.2}}


ARMS: dict[str, dict[str, Any]] = {
    "percent 0.95": {"filter": {"rule": "percent", "easiest": 0.2}},
    **{f"rescored, top {n}": _top(n) for n in (10, 30, 50)},
    **{f"checked, top {n}": _checked(n, spend="top") for n in (10, 30)},
    **{f"checked, doubtful {n}": _checked(n) for n in (5, 10, 20, 30)},
    "auto": {"filter": {"rule": "auto"}},
    "auto, checked, doubtful 10": _checked(10, "auto"),
}


class Remembered:
    """A cross-encoder that computes no pair twice, nor after it was stopped; scores are in a file."""

    def __init__(self, scorer: CrossScorer, path: Path) -> None:
        self.scorer, self.path = scorer, path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.known = {(query, text): score for query, text, score in map(json.loads, lines)}

    def score(self, pairs: Any) -> np.ndarray:
        new = list(dict.fromkeys(pair for pair in pairs if pair not in self.known))
        if new:
            found = dict(zip(new, self.scorer.score(new).tolist(), strict=True))
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps([*pair, score]) + "\n" for pair, score in found.items())
            self.known |= found
        return np.array([self.known[pair] for pair in pairs], dtype=np.float32)


class Bench:
    """A prepared collection with its halves."""

    def __init__(self, prepared: Prepared, queries: int, longest: int, seed: int) -> None:
        self.prepared, self.longest, self.seed = prepared, longest, seed
        order = np.random.default_rng(seed).permutation(len(prepared.known))
        self.first, others = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
        self.mined = np.sort(np.random.default_rng(seed + 1).permutation(others)[:queries])

    @property
    def cross(self) -> Path:
        return self.prepared.folder / "cross-encoder"

    def train(self, pairs: int) -> None:
        """Train the cross-encoder on the first half, unless it is there."""
        if self.cross.exists():
            return
        from sentence_transformers import CrossEncoder

        from hnmine.config.models import EmbedConfig

        rng, began = np.random.default_rng(self.seed), time.monotonic()
        examples = self._examples(pairs, rng)
        torch.manual_seed(self.seed)
        folder = find_model(EmbedConfig(model="all-MiniLM-L6-v2"))
        encoder = CrossEncoder(folder, num_labels=1, max_length=self.longest, device="cpu")
        model: Any = encoder.model
        for part in (model.bert.embeddings, *model.bert.encoder.layer[:FROZEN]):
            part.requires_grad_(False)
        batches = [examples[at : at + BATCH] for at in range(0, len(examples), BATCH)]
        optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], RATE, weight_decay=0.01)
        steps = PASSES * len(batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, anneal_strategy="linear")
        model.train()
        for step in range(steps):
            queries, texts, labels = zip(*batches[step % len(batches)], strict=True)
            features = encoder.tokenizer(
                list(queries), list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
            )
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(**features).logits[:, 0]
            loss: Any = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), torch.tensor(labels))
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
        model.eval()
        encoder.save_pretrained(str(self.cross))
        print(f"cross-encoder: {len(examples):,} pairs, {steps} steps, {time.monotonic() - began:.0f} s", flush=True)

    def _examples(self, pairs: int, rng: np.random.Generator) -> list[tuple[str, str, float]]:
        """Return (query, text, label) of the first half, drawn at random."""
        training, texts = self.prepared.training, self.prepared.corpus.texts
        batch = next(iter(self.prepared.retrieved().pieces()))[0]
        listed = batch.candidates
        own = [np.isin(lists.owners, self.first) for lists in (training.relevant, listed)]
        own[1] &= ~training.relevant.contains(listed.owners, listed.values) & (listed.positions < DEPTH)
        found: list[tuple[str, str, float]] = []
        for lists, allowed, label in ((training.relevant, own[0], 1.0), (listed, own[1], 0.0)):
            places = rng.permutation(np.flatnonzero(allowed))[: pairs // 2]
            found += [(training.texts[lists.owners[at]], texts[lists.values[at]], label) for at in places]
        return [found[at] for at in rng.permutation(len(found))]

    def scorer(self) -> Remembered:
        config = RescoreConfig(model=str(self.cross), max_length=self.longest, device="cpu")
        return Remembered(make_cross_scorer(config), self.prepared.folder / "scores.jsonl")

    def mine(self, arm: str, scorer: Remembered) -> tuple[MinedSet, float]:
        """Return an arm's set, and how many pairs it scored for a query."""
        prepared, tables = self.prepared, ARMS[arm]
        ids, user = [prepared.training.ids[at] for at in self.mined], prepared.folder / "mined"
        if not user.exists():
            with_queries(prepared.user, pa.array(ids), user)
        rest: dict[str, Any] = {
            "seed": prepared.seed, "report": {"html": False}, "filter": tables["filter"],
            "emit": {"format": "labeled-list", "extra_columns": IDS, "num_negatives": WANTED},
        }  # fmt: skip
        if "rescore" in tables:
            model = {"model": str(self.cross), "max_length": self.longest, "device": "cpu"}
            rest["rescore"] = model | tables["rescore"]
        base = config_of(user, prepared.folder / "base", **rest)
        run(base, BEFORE_FILTER)
        config = config_of(user, prepared.folder / "rescoring" / arm.replace(" ", "_").replace(",", ""), **rest)
        stages = ("rescore", *MINE) if "rescore" in tables else MINE
        with (
            patch("hnmine.stages.rescore.step.make_cross_scorer", lambda *given: scorer),
            fitted_elsewhere(prepared),
            torch.autocast("cpu", dtype=torch.bfloat16),
        ):
            run(config, stages, RunOptions(source=base.out_folder, overwrite=True))
        table = pq.read_table(sorted((config.out_folder / "emit").glob("part-*.parquet")), columns=[*IDS])
        rows, place = prepared.corpus.rows, {name: at for at, name in enumerate(ids)}
        lists: list[list[int]] = [[] for _ in ids]
        for query, negatives in zip(*(table.column(IDS[at]).to_pylist() for at in (0, 2)), strict=True):
            lists[place[query]] = [rows[name] for name in negatives]
        values = np.array([row for own in lists for row in own], dtype=np.int64)
        negatives_of = Ragged.from_lengths(values, np.array([len(own) for own in lists]))
        counts = (recorded(config.out_folder / "rescore") or {}).get("counts", {})
        return MinedSet(prepared.known[self.mined], negatives_of, self.mined), counts.get("scored", 0) / len(ids)


def store(bench: Bench, mined: MinedSet, pairs: float, gains: np.ndarray, path: Path) -> None:
    """Write what an arm gives on a seed: by query its false negatives, negatives and the student's gain."""
    found, owners = measure(bench.prepared, mined, WANTED), mined.negatives.owners
    false = bench.prepared.training.relevant.contains(mined.asked[owners], mined.negatives.values)
    hits = np.bincount(owners, false, len(mined.negatives))
    ids = [bench.prepared.training.ids[at] for at in mined.asked]
    made = {
        "pairs": pairs, "cosine": found["cosine"], "fill": found["fill"],
        "false": dict(zip(ids, hits.tolist(), strict=True)),
        "negatives": dict(zip(ids, mined.negatives.lengths.tolist(), strict=True)),
        "gains": dict(zip(bench.prepared.test.ids, gains.tolist(), strict=True)),
    }  # fmt: skip
    write_json(made, path)


def line(name: str, seeds: list[dict[str, Any]], first: list[dict[str, Any]]) -> str:
    """Return a row of the table from what an arm gave on some seeds, and what the first arm gave on the same."""
    pairs, cosine, fill = (np.mean([one[key] for one in seeds]) for key in ("pairs", "cosine", "fill"))
    false, negatives = (np.array(list(by_query(seeds, key, np.sum).values())) for key in ("false", "negatives"))
    rate = with_interval(false, negatives)
    gains, before = (by_query(own, "gains", np.mean) for own in (seeds, first))
    over = with_interval(np.array([gains[query] - before[query] for query in gains]))
    return (
        f"| {name} | {len(seeds)} | {pairs:.1f} | {rate.mean:.3f} ({rate.low:.3f} to {rate.high:.3f}) | {cosine:.3f} "
        f"| {fill:.2f} | {np.mean(list(gains.values())):+.4f} | {over} |"
    )


def compare(bench: Bench, arms: list[str], trainings: int) -> dict[str, dict[str, Any]]:
    """Mine and train for each arm, and return what each gave."""
    scorer, name = bench.scorer(), bench.prepared.name
    student = load_student("static", bench.prepared, settings("static", name)["main"])
    before, found = student.untrained(), {}
    for arm in arms:
        path = bench.prepared.folder / "rescoring" / "results" / f"{arm}.json"
        if not path.exists():
            mined, pairs = bench.mine(arm, scorer)
            quality = np.mean([student.train(mined, seed) for seed in range(trainings)], axis=0)
            store(bench, mined, pairs, quality - before, path)
        found[arm] = read_json(path)
        print(f"{name}, seed {bench.seed} {line(arm, [found[arm]], [found[arms[0]]])}", flush=True)
    return found


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--collections", nargs="*", default=["perspectrum", "bioasq_snippets"])
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=1500)
    parser.add_argument("--longest", type=int, default=64)
    parser.add_argument("--trainings", type=int, default=3)
    parser.add_argument("--train-only", action="store_true")
    options = parser.parse_args()
    if any(ARMS[arm]["filter"]["rule"] == "auto" for arm in options.arms):
        write_models(options.data.resolve(), options.work)
    for name in options.collections:
        seeds = []
        for seed in options.seeds:
            prepared = prepare(options.data, name, seed, options.work / "prepared" / f"{name}-seed{seed}")
            bench = Bench(prepared, options.queries, options.longest, seed)
            bench.train(options.pairs)
            if not options.train_only:
                seeds.append(compare(bench, options.arms, options.trainings))
        if seeds:
            print(f"{name}\n{HEAD}")
            for arm in options.arms:
                print(line(arm, [one[arm] for one in seeds], [one[options.arms[0]] for one in seeds]))


if __name__ == "__main__":
    main()
