"""A mined set without a fault by the hash encoder's lights, and its faults, each planted by itself."""

import copy
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from hnmine.config.models import EmbedConfig
from hnmine.models.encoders import HashEncoder, check_vectors
from tests.support import WORDS, write_jsonl

Row = dict[str, Any]
QUERIES, NEGATIVES = 80, 4
_DRAW = random.Random(7)


def _own(i: int) -> list[str]:
    return [f"{WORDS[(7 * i + step) % len(WORDS)]}x{i:02d}" for step in range(4)]


def _fill(count: int) -> list[str]:
    return [f"{_DRAW.choice(WORDS)}y{_DRAW.randrange(100):02d}" for _ in range(count)]


def positive(i: int) -> str:
    """Return a document with the query's words three times: nearer than a negative, which has them once."""
    return " ".join([*_own(i) * 3, *_fill(3)])


def negative(i: int) -> str:
    """Return a document with the query's words once: no random document."""
    return " ".join([*_own(i), *_fill(11)])


CLEAN: list[Row] = [
    {"query": " ".join(_own(i)), "pos": [positive(i)], "neg": [negative(i) for _ in range(NEGATIVES)]}
    for i in range(QUERIES)
]


def clean() -> list[Row]:
    """Return rows that a test may break."""
    return copy.deepcopy(CLEAN)


def scored() -> list[Row]:
    """Return the same rows with the hash encoder's scores."""
    rows, encoder = clean(), HashEncoder(EmbedConfig(model="hash"))
    for row in rows:
        vectors = check_vectors(encoder.encode([row["query"], *row["pos"], *row["neg"]], "query"), "", "cosine")
        scores = [float(score) for score in vectors[1:] @ vectors[0]]
        row |= {"pos_scores": scores[:1], "neg_scores": scores[1:]}
    return rows


def as_bge(rows: Sequence[Row], path: Path) -> Path:
    """Write rows as FlagEmbedding does."""
    return write_jsonl(path.with_suffix(".jsonl"), rows)


def as_triplets(rows: Sequence[Row], path: Path) -> Path:
    """Write rows as triplets; an example without a negative has a null for it."""
    table: dict[str, list[Any]] = {"query": [], "answer": [], "negative": [], "scores": []}
    for row in rows:
        for place, text in enumerate(row["neg"] or [None]):
            table["query"].append(row["query"])
            table["answer"].append(row["pos"][0] if row["pos"] else None)
            table["negative"].append(text)
            if "neg_scores" in row:
                table["scores"].append([row["pos_scores"][0], row["neg_scores"][place]])
    if not table["scores"]:
        del table["scores"]
    pq.write_table(pa.table(table), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_tsv(rows: Sequence[Row], path: Path) -> Path:
    """Write rows as MS MARCO's triples: tab-separated texts, no header."""
    lines = [f"{row['query']}\t{row['pos'][0]}\t{text}" for row in rows for text in row["neg"]]
    path.with_suffix(".tsv").write_text("\n".join(lines) + "\n")
    return path.with_suffix(".tsv")


WRITERS: dict[str, Callable[[Sequence[Row], Path], Path]] = {"bge": as_bge, "triplet": as_triplets, "triples": as_tsv}


def positive_as_negative(rows: list[Row]) -> int:
    rows[3]["neg"][1] = rows[3]["pos"][0]
    return 1


def copy_of_positive(rows: list[Row]) -> int:
    rows[3]["neg"][1] = rows[3]["pos"][0].upper().replace(" ", ",  ") + "!"
    return 1


def sibling_positive(rows: list[Row]) -> int:
    again = {"query": rows[5]["query"], "pos": [positive(5)], "neg": [negative(5) for _ in range(NEGATIVES)]}
    again["neg"][2] = rows[5]["pos"][0]
    rows.append(again)
    return 1


def copy_of_query(rows: list[Row]) -> int:
    rows[8]["neg"][0] = rows[8]["query"].title() + "?"
    return 1


def near_copy_of_positive(rows: list[Row]) -> int:
    rows[9]["neg"][0] = rows[9]["pos"][0] + " a"
    return 1


def near_copy_of_query(rows: list[Row]) -> int:
    rows[9]["neg"][3] = f"{rows[9]['query']} {rows[9]['query']} a"
    return 1


def model_at_or_above_positive(rows: list[Row]) -> int:
    for i, row in enumerate(rows):
        row["pos"] = [negative(i)]
        row["neg"][:3] = (" ".join([*_own(i) * 2, *_fill(7)]) for _ in range(3))
    return 3 * len(rows)


def random_padding(rows: list[Row]) -> int:
    for i in range(20):
        rows[i]["neg"][:2] = [" ".join(_fill(15)) for _ in range(2)]
    return 40


def empty_text(rows: list[Row]) -> int:
    rows[4]["neg"][3] = "  "
    return 1


def without_negatives(rows: list[Row]) -> int:
    rows[4]["neg"] = []
    return 1


def without_positive(rows: list[Row]) -> int:
    rows[4]["pos"] = []
    return 1


def fewer_negatives(rows: list[Row]) -> int:
    for row in rows[:10]:
        del row["neg"][2:]
    return 10


def repeated_negative(rows: list[Row]) -> int:
    rows[6]["neg"][3] = rows[6]["neg"][0].upper()
    return 1


def hub(rows: list[Row]) -> int:
    for row in rows[:25]:
        row["neg"][0] = CLEAN[30]["neg"][1]
    return 1


def length_bias(rows: list[Row]) -> int:
    for row in rows:
        row["neg"] = [text + " " + " ".join(_fill(3)) for text in row["neg"]]
    return 0


def overlap_bias(rows: list[Row]) -> int:
    for row in rows:
        row["neg"] = [text.split(" ", 1)[1] + " kelpy33" for text in row["neg"]]
    return 0


PLANTED = {
    plant.__name__: plant
    for plant in (
        positive_as_negative, copy_of_positive, sibling_positive, copy_of_query, near_copy_of_positive,
        near_copy_of_query, model_at_or_above_positive, random_padding, empty_text, without_negatives,
        without_positive, fewer_negatives, repeated_negative, hub, length_bias, overlap_bias,
    )
}  # fmt: skip


def write_labels(folder: Path, relevant: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Write the clean rows' collection, judging some (query, document) texts relevant, for a request."""
    texts = [text for row in CLEAN for text in (*row["pos"], *row["neg"])]
    ids = {text: f"d{number}" for number, text in enumerate(texts)}
    asked = {row["query"]: f"q{number}" for number, row in enumerate(CLEAN)}
    write_jsonl(folder / "corpus.jsonl", ({"_id": name, "title": "", "text": text} for text, name in ids.items()))
    write_jsonl(folder / "queries.jsonl", ({"_id": name, "text": text} for text, name in asked.items()))
    lines = [f"{asked[query]} 0 {ids[text]} 1" for query, text in relevant]
    (folder / "qrels.txt").write_text("\n".join(lines) + "\n")
    files = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.txt"}
    return {role: [str(folder / name)] for role, name in files.items()}


def dump(data: Any) -> str:
    """Return the JSON of a report, which must hold no number that JSON has not."""
    return json.dumps(data, sort_keys=True, allow_nan=False)
