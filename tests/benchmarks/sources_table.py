"""Sources of candidates side by side: dense, BM25, both, and both with a cross-encoder's scores.

    python -m tests.benchmarks.sources_table DATA [--names perspectrum ...] [--rules percent auto] [--quick]

DATA holds one folder a collection, with ready vectors. A collection's queries are split at random into halves. The
first trains a cross-encoder: all-MiniLM-L6-v2's weights with a new head, trained for two passes over some pairs
(--pairs), half of them (query, labelled positive), half (query, candidate that is no labelled positive). So it has been
trained on the same collection, though on none of the queries measured: it knows the kind of text and of label, and
with many labels a query it has seen documents that are measured with other queries. A cross-encoder from elsewhere may
do better or worse.

Every row is measured on at most 300 queries of the other half, over the whole corpus, with 100 candidates a source
and five negatives; the cross-encoder scores a query's best 30. Columns:

- false negatives: share of hidden positives among the chosen, hidden-positive protocol, 95 % interval (Wilson).
- hardness, ECI: as in the report. With rescoring they are of percentiles, not of cosines, and do not compare with
  the other rows'.
- cosine: the teacher's mean score of the emitted negatives, which compares over all rows.
- fill: share of the wanted negatives that there are, under the same protocol.
- probe: nDCG@10 on held-out queries of a static student trained with the emitted negatives, minus that of one trained
  without any, p by randomisation (`hnmine probe`, --splits splits, none for 0). Measured queries are split once more.

The rule auto is fitted on the measured queries' own labels, out of fold. On a busy machine OMP_NUM_THREADS=1 is
faster than threads that wait for each other.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hnmine.arrays.ragged import Ragged
from hnmine.commands.probe.probe import Options, TooFewQueries, probe
from hnmine.config.tables import Config
from hnmine.models.model_files import find_model
from hnmine.pipeline.run import RunOptions, run
from hnmine.pipeline.stages import STAGES
from hnmine.stages.filter.calibration import calibrate
from hnmine.stages.filter.hidden_positives import ProtocolRows
from hnmine.stages.report.false_negatives import measure
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.emit import CHOSEN
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.rescore import RESCORES
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards
from tests.benchmarks.collections import BEFORE_FILTER, Mined, all_vectors, config_of, folders, with_queries
from tests.benchmarks.measure import argument_parser

TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
DENSE, BM25 = {"kind": "dense"}, {"kind": "bm25"}
SOURCES = {
    "dense": ([DENSE], "teacher"),
    "BM25": ([BM25], "teacher"),
    "dense and BM25": ([DENSE, BM25], "teacher"),
    "dense and BM25, rescored": ([DENSE, BM25], "rescored"),
}
HEAD = (
    "| collection | candidates | rule | false negatives (95 % interval) | hardness | ECI | cosine | fill | probe |\n"
    "|---|---|---|---|---|---|---|---|---|"
)
UP_TO_EMIT = tuple(STAGES)[: list(STAGES).index("emit") + 1]
PASSES, BATCH, RATE, LONGEST, TOP_N = 2, 32, 1e-4, 128, 30


@dataclass(frozen=True)
class Amount:
    """How much is done: rules, training pairs, splits of the probe, measured queries."""

    rules: tuple[str, ...]
    pairs: int
    splits: int
    queries: int = 300


def training_pairs(one: Mined, count: int) -> list[tuple[str, str, float]]:
    """Return up to `count` (query, text, label): as many positives as candidates that are none, drawn at random."""
    rng = np.random.default_rng(one.config.seed)
    ingest = one.context.folder("ingest")
    corpus = Shards(ingest / "corpus", CORPUS).column("text").to_pylist()
    queries = Shards(ingest / "queries", QUERIES).column("text").to_pylist()
    table = Shards(one.context.folder("retrieve"), CANDIDATES)
    candidates, positives = (Ragged.from_arrow(table.column(name)) for name in ("doc_rows", "positive_rows"))
    rows = table.column("query_row").to_numpy()
    others = np.flatnonzero(~positives.contains(candidates.owners, candidates.values))
    found: list[tuple[str, str, float]] = []
    for lists, places, label in ((positives, np.arange(len(positives.values)), 1.0), (candidates, others, 0.0)):
        drawn = rng.choice(places, min(count // 2, len(places)), replace=False)
        found += [(queries[rows[lists.owners[at]]], corpus[lists.values[at]], label) for at in drawn]
    return [found[at] for at in rng.permutation(len(found))]


def train_cross_encoder(pairs: list[tuple[str, str, float]], folder: Path) -> None:
    """Train on (query, text, label) with binary cross-entropy and write the model."""
    import torch
    from sentence_transformers import CrossEncoder

    from hnmine.config.models import EmbedConfig

    torch.manual_seed(0)
    encoder = CrossEncoder(find_model(EmbedConfig(model=TEACHER)), num_labels=1, max_length=LONGEST, device="cpu")
    model: Any = encoder.model
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    steps = PASSES * -(-len(pairs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, anneal_strategy="linear")
    model.train()
    began, losses = time.monotonic(), []
    for step in range(steps):
        first = step * BATCH % len(pairs)
        batch = pairs[first : first + BATCH]
        features = encoder.tokenizer(
            [query for query, _, _ in batch], [text for _, text, _ in batch],
            padding=True, truncation="longest_first", max_length=LONGEST, return_tensors="pt",
        )  # fmt: skip
        labels = torch.tensor([label for _, _, label in batch])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(**features).logits[:, 0], labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        losses.append(float(loss.detach()))
    model.eval()
    encoder.save_pretrained(str(folder))
    print(
        f"cross-encoder: {len(pairs):,} pairs, {steps} steps, loss {np.mean(losses[:10]):.3f} "
        f"to {np.mean(losses[-10:]):.3f}, {time.monotonic() - began:.0f} s",
        flush=True,
    )


def settings(source: str, rule: str, cross: Path) -> dict[str, Any]:
    """Return the tables of a row."""
    sources, score = SOURCES[source]
    tables: dict[str, Any] = {
        "retrieve": {"source": sources},
        "filter": {"rule": rule, "percent": 0.95, "score": score},
    }
    if score == "rescored":
        tables["rescore"] = {"model": str(cross), "top_n": TOP_N, "max_length": LONGEST, "device": "cpu"}
    return tables


def emitted_cosine(one: Mined) -> float:
    """Return the mean cosine of the emitted negatives with their queries."""
    path = one.context.folder("emit") / "chosen" / "chosen.parquet"
    chosen = conform(pq.read_table(path), CHOSEN, "emit/chosen")
    negatives = Ragged.from_arrow(chosen.column("doc_rows"))
    asked = chosen.column("query_row").to_numpy()[negatives.owners]
    queries, corpus = (all_vectors(one, side) for side in ("queries", "corpus"))
    return float(np.einsum("nd,nd->n", queries[asked], corpus[negatives.values]).mean())


def measured(config: Config, splits: int) -> dict[str, Any]:
    """Run a row as far as emit and return its numbers."""
    run(config, UP_TO_EMIT, RunOptions(overwrite=True))
    one = Mined("", config)
    scorer = None
    if config.filter.gives_probabilities:
        scorer = calibrate(ProtocolRows.of(one.pieces, config), config).out_of_fold()
    found = measure(ProtocolRows.of(one.pieces, config), config, scorer)
    try:
        gains = probe(config, options=Options(seeds=splits))["gains"] if splits else []
        found["probe"] = next((one for one in gains if (one["set"], one["over"]) == ("mined", "in_batch")), None)
    except TooFewQueries as error:
        print(f"no probe: {error}")
    return found | {"cosine": emitted_cosine(one)}


def ranking_quality(one: Mined) -> tuple[float, float]:
    """Return the share of (positive, other) pairs of a query's rescored candidates put in order: teacher, rescored."""
    own = Shards(one.context.folder("rescore"), RESCORES)
    before = Shards(one.context.folder("retrieve"), CANDIDATES)
    lists = [before.column(name).to_pylist() for name in ("scores", "doc_rows", "positive_rows")]
    shares: list[list[float]] = []
    for old, rows, own_positives, new in zip(*lists, own.column("scores").to_pylist(), strict=True):
        scored = np.array([score is not None for score in new])
        right = np.isin(rows, own_positives)
        if not (scored & right).any() or not (scored & ~right).any():
            continue
        both = [np.array(scores, dtype=np.float64) for scores in (old, new)]
        gaps = [scores[scored & right][:, None] - scores[scored & ~right] for scores in both]
        shares.append([float(((gap > 0) + 0.5 * (gap == 0)).mean()) for gap in gaps])
    teacher, cross = np.mean(shares, axis=0).tolist()
    return teacher, cross


def line(name: str, source: str, rule: str, found: dict[str, Any]) -> str:
    """Return a row of the table."""
    if found["rate"] is None:
        return f"| {name} | {source} | {rule} | {found['reason']} |"
    gain = found.get("probe")
    probed = f"{gain['ndcg_at_10']:+.4f} (p {gain['p']:.2f})" if gain else "-"
    low, high = found["interval"]
    return (
        f"| {name} | {source} | {rule} | {found['rate']:.3f} ({low:.3f}-{high:.3f}) | {found['hardness']:.3f} "
        f"| {found['eci']:.3f} | {found['cosine']:.3f} | {found['fill']:.2f} | {probed} |"
    )


def run_collection(folder: Path, work: Path, amount: Amount) -> list[str]:
    """Train a collection's cross-encoder, measure every source under every rule, and return the rows."""
    ids = pq.read_table(folder / "queries.parquet").column("query_id")
    order = np.random.default_rng(0).permutation(len(ids))
    half = len(ids) // 2
    training = with_queries(folder, ids.take(order[:half]), work / "training")
    testing = with_queries(folder, ids.take(order[half:][: amount.queries]), work / "testing")
    config = config_of(training, work / "train-out", retrieve={"source": [DENSE, BM25], "top_k": TOP_N})
    run(config, BEFORE_FILTER)
    train_cross_encoder(training_pairs(Mined(folder.name, config), amount.pairs), work / "cross")
    rows = []
    for rule in amount.rules:
        for number, source in enumerate(SOURCES):
            made = config_of(testing, work / f"out-{number}", **settings(source, rule, work / "cross"))
            rows.append(line(folder.name, source, rule, measured(made, amount.splits)))
            print(rows[-1], flush=True)
            if made.rescore is not None and rule == amount.rules[0]:
                teacher, cross = ranking_quality(Mined("", made))
                print(f"{folder.name}: pairs in order {teacher:.3f} by the teacher, {cross:.3f} rescored", flush=True)
    return rows


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--names", nargs="*")
    parser.add_argument("--rules", nargs="*", default=["percent", "auto"])
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few queries and pairs: to see that it works")
    options = parser.parse_args()
    amount = Amount(tuple(options.rules), options.pairs, options.splits)
    if options.quick:
        amount = Amount(("percent",), pairs=64, splits=1, queries=120)
    rows = []
    for folder in folders(options.data, options.names):
        with tempfile.TemporaryDirectory() as work:
            rows += run_collection(folder, Path(work), amount)
    print(HEAD)
    print("\n".join(rows))


if __name__ == "__main__":
    main()
