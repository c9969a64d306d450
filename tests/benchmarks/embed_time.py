"""How long texts take to embed: ours against `SentenceTransformer.encode(batch_size=32)`, in turn, in one process.

python -m tests.benchmarks.embed_time [--data FOLDER] [--texts 500] [--rounds 5]

`--shared` compares with the same encoder whose threads share every batch, in place of `encode`.
`--int8` and `--bfloat16` compare the same model in these numbers in place of float32.
FOLDER is a collection (corpus.parquet with title and text), for abstracts; without it they are made up, as short
passages are. Memory is the growth of a fresh process's peak over the same process with the model loaded.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq

from hnmine.config.models import EmbedConfig
from hnmine.models.encoders import ModelEncoder, token_batches
from hnmine.models.quantised import quantise
from hnmine.stages.embed.int8 import EXAMPLE
from tests.benchmarks.measure import argument_parser, median, peak_bytes, timed

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
WORDS = [
    "the", "of", "model", "query", "search", "vector", "lake", "stone", "paper", "result", "method", "cell",
    "protein", "mouse", "income", "tax", "river",
]  # fmt: skip
CODE = [
    "def", "return", "self", "for", "in", "if", "x_i", "+=", "(n,", "k)", "[0]", "None:", "len(rows)",
    "np.asarray(values)", "raise", "ValueError",
]  # fmt: skip


def passages(count: int) -> list[str]:
    """Return prose and code in turn, of 5 to 250 words: characters a token differ, and so do lengths."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3.5, 0.7, count), 5, 250).astype(int)
    return [" ".join(rng.choice(CODE if row % 2 else WORDS, n)) for row, n in enumerate(lengths)]


def abstracts(count: int, data: Path | None) -> list[str]:
    """Return titles and abstracts of a collection, or prose of their length."""
    if data is None:
        rng = np.random.default_rng(1)
        return [" ".join(rng.choice(WORDS, n)) for n in rng.integers(120, 320, count)]
    table = pq.read_table(data / "corpus.parquet").slice(0, count).to_pydict()
    return [f"{title}. {text}" for title, text in zip(table["title"], table["text"], strict=True)]


def encoders(
    precision: Literal["float32", "bfloat16", "int8"] = "float32", *, shared: bool = False
) -> tuple[ModelEncoder, dict[str, Callable[[list[str]], np.ndarray]]]:
    """Return the encoder, and both ways of embedding with the one model."""
    plain = ours = ModelEncoder(EmbedConfig(model=MODEL, device="cpu"))
    if precision != "float32":
        is_int8 = precision == "int8"
        made = quantise(plain.model, next(plain.tensors(EXAMPLE, "document")), "embed") if is_int8 else None
        ours = ModelEncoder(EmbedConfig(model=MODEL, precision=precision), "embed", made)

    def by_cells(texts: list[str]) -> np.ndarray:
        step = ours.cell_rows
        return np.concatenate([ours.encode(texts[i : i + step], "document") for i in range(0, len(texts), step)])

    def by_shared_batches(texts: list[str]) -> np.ndarray:
        ours.side_by_side = False
        try:
            return by_cells(texts)
        finally:
            ours.side_by_side = True

    if shared:
        return ours, {"shared": by_shared_batches, "ours": by_cells}
    return ours, {"encode": lambda texts: plain.model.encode(texts, batch_size=32), "ours": by_cells}


def padding(ours: ModelEncoder, texts: list[str]) -> dict[str, float]:
    """Return padded over real tokens of both ways."""
    counts = np.array([int(ours.model.preprocess([text])["attention_mask"].sum()) for text in texts])
    order = np.argsort([-len(text) for text in texts], kind="stable")
    cells = [counts[i : i + ours.cell_rows] for i in range(0, len(counts), ours.cell_rows)]
    batches = {
        "encode": [counts[order[i : i + 32]] for i in range(0, len(order), 32)],
        "ours": [cell[rows] for cell in cells for rows in token_batches(cell, ours.batch_tokens)],
    }
    return {name: sum(len(b) * int(b.max()) for b in found) / counts.sum() for name, found in batches.items()}


def grown(way: str, texts: list[str]) -> float:
    """Return by how many MB a fresh process's peak grows while it embeds the texts one way."""
    command = [sys.executable, "-m", "tests.benchmarks.embed_time", "--memory", way]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def measure_memory(way: str) -> None:
    texts = json.load(sys.stdin)
    embed = encoders()[1][way]
    embed(texts[:4])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew, from what the loaded model takes
    before = peak_bytes()
    embed(texts)
    print((peak_bytes() - before) / 2**20)


def compare(kind: str, texts: list[str], options: argparse.Namespace) -> None:
    ours, ways = encoders(options.precision, shared=options.shared)
    other = next(iter(ways))
    walls: dict[str, list[float]] = {name: [] for name in ways}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    vectors = {}
    for name in [*ways] * options.rounds:
        vectors[name], wall, cpu = timed(lambda name=name: ways[name](texts))  # type: ignore[misc]
        walls[name].append(wall)
        seconds[name].append(cpu)  # of all threads
    print(f"{kind}, {len(texts):,} texts, {options.rounds} rounds: {other} over ours, median (least to most)")
    for what, found in {"CPU time": seconds, "time": walls}.items():
        ratios = median(np.array(found[other]) / np.array(found["ours"]), 2)
        print(f"  {what} {ratios}; seconds {np.median(found[other]):.1f} and {np.median(found['ours']):.1f}")
    lengths = np.prod([np.linalg.norm(found, axis=1) for found in vectors.values()], axis=0)
    cosines = (vectors[other] * vectors["ours"]).sum(axis=1) / lengths
    print(f"  cosine {cosines.mean():.7f}, at least {cosines.min():.7f}")
    if options.shared or options.precision != "float32":
        return
    padded = padding(ours, texts)
    print(f"  padded over real tokens: encode {padded['encode']:.3f}, ours {padded['ours']:.3f}")
    print(f"  memory: encode {grown('encode', texts):.0f} MB, ours {grown('ours', texts):.0f} MB", flush=True)


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves its own number")
    for name in ("int8", "bfloat16"):
        parser.add_argument(f"--{name}", dest="precision", action="store_const", const=name, default="float32")
    parser.add_argument("--shared", action="store_true", help="compare with batches that all threads share")
    parser.add_argument("--memory", choices=["encode", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        measure_memory(options.memory)
        return
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    compare("short passages", passages(options.texts), options)
    compare("abstracts", abstracts(options.texts, options.data), options)


if __name__ == "__main__":
    main()
