"""Every shape of training file opens with `datasets` as a user would open it, and all say the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from hnmine import run
from hnmine.config.emit import FormatName
from tests.pipeline.helpers import ALL_EXTRA
from tests.support import config_for, make_collection

FORMATS = get_args(FormatName)
PER_NEGATIVE = ("negative_id", "negative_score", "rank", "rule", "source")
QUERIES, SHARDS, WANTED = 400, 2, 3

Load = Callable[..., Any]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a collection mined as triplets, into `triplet`."""
    folder = make_collection(tmp_path_factory.mktemp("formats"), 120, QUERIES)
    mine(folder, "triplet")
    return folder


@pytest.fixture
def load(tmp_path: Path) -> Load:
    datasets = pytest.importorskip("datasets")

    def read(*args: Any, **kwargs: Any) -> Any:
        return datasets.load_dataset(*args, split="train", cache_dir=str(tmp_path / "cache"), **kwargs)

    return read


def mine(base: Path, name: str, extra: list[str] | None = None, **tables: Any) -> Path:
    """Mine in a format into a folder of its own, retrieval being that of the triplets."""
    from hnmine.pipeline.run import RunOptions

    emit = {
        "format": name.partition("-bare")[0].partition("-empty")[0],
        "extra_columns": ALL_EXTRA if extra is None else extra,
        "num_negatives": WANTED,
    }
    config = config_for(base, name, shard_rows=256, emit=emit, **tables)
    run(config, options=RunOptions(source=base / "triplet") if (base / "triplet").exists() else None)
    folder = base / name / "emit"
    assert len(list(folder.glob("part-*"))) == SHARDS
    return folder


def triplets(folder: Path, load: Load) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the triplets of each (query, positive)."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in load("parquet", data_files=str(folder / "part-*.parquet")):
        found.setdefault((row["query_id"], row["positive_id"]), []).append(row)
    return found


def negatives_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in PER_NEGATIVE}


def check_row(row: dict[str, Any], own: list[dict[str, Any]], texts: list[str]) -> None:
    """Hold a row with one example to the triplets of that example."""
    assert texts == [own[0]["positive"], *(t["negative"] for t in own)]
    for name in ("positive_score", "anchor_score"):
        assert row[name] == pytest.approx(own[0][name])
    assert {name: row[name] for name in PER_NEGATIVE} == negatives_of(own)


def test_triplets(base: Path, load: Load) -> None:
    rows = load("parquet", data_files=str(base / "triplet/emit/part-*.parquet"))
    assert rows.column_names == ["anchor", "positive", "negative", *ALL_EXTRA]
    assert len({row["query_id"] for row in rows}) > 256  # both shards are there
    lengths = {len(own) for own in triplets(base / "triplet/emit", load).values()}
    assert max(lengths) == WANTED
    assert min(lengths) < WANTED, "the collection should have an example with too few negatives"


@pytest.mark.parametrize("name", ["n-tuple", "n-tuple-scores"])
def test_n_tuples_hold_the_full_examples(base: Path, load: Load, name: str) -> None:
    folder = mine(base, name)
    rows = load("parquet", data_files=str(folder / "part-*.parquet"))
    names = [f"negative_{n + 1}" for n in range(WANTED)]
    scores = ["scores"] if name.endswith("scores") else []
    assert rows.column_names == ["anchor", "positive", *names, *ALL_EXTRA, *scores]
    full = {key: own for key, own in triplets(base / "triplet/emit", load).items() if len(own) == WANTED}
    assert [(row["query_id"], row["positive_id"]) for row in rows] == list(full)
    for row in rows:
        own = full[row["query_id"], row["positive_id"]]
        assert row["anchor"] == own[0]["anchor"]
        check_row(row, own, [row["positive"], *(row[n] for n in names)])
        if scores:
            assert row["scores"] == [own[0]["positive_score"], *(t["negative_score"] for t in own)]


def test_labeled_pairs(base: Path, load: Load) -> None:
    rows = load("parquet", data_files=str(mine(base, "labeled-pair") / "part-*.parquet"))
    assert rows.column_names == ["anchor", "document", "label", *ALL_EXTRA]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["query_id"], row["positive_id"]), []).append(row)
    expected = triplets(base / "triplet/emit", load)
    assert list(groups) == list(expected)
    for key, own in expected.items():
        positive, *negatives = groups[key]
        assert (positive["label"], positive["document"]) == (1, own[0]["positive"])
        assert {positive[name] for name in PER_NEGATIVE} == {None}
        assert [row["label"] for row in negatives] == [0] * len(own)
        assert [row["document"] for row in negatives] == [t["negative"] for t in own]
        assert negatives_of(negatives) == negatives_of(own)


def test_labeled_lists(base: Path, load: Load) -> None:
    rows = load("parquet", data_files=str(mine(base, "labeled-list") / "part-*.parquet"))
    assert rows.column_names == ["anchor", "documents", "labels", *ALL_EXTRA]
    expected = triplets(base / "triplet/emit", load)
    assert [(row["query_id"], row["positive_id"]) for row in rows] == list(expected)
    for row, own in zip(rows, expected.values(), strict=True):
        assert row["labels"] == [1, *[0] * len(own)]
        check_row(row, own, row["documents"])


def test_bge_lines(base: Path, load: Load) -> None:
    folder = mine(base, "bge")
    lines = [json.loads(line) for path in sorted(folder.glob("part-*")) for line in path.read_text().splitlines()]
    expected = triplets(base / "triplet/emit", load)
    assert [(row["query_id"], row["positive_id"]) for row in lines] == list(expected)
    for row, own in zip(lines, expected.values(), strict=True):
        assert list(row)[:5] == ["query", "pos", "neg", "pos_scores", "neg_scores"]
        assert row["query"] == own[0]["anchor"]
        assert row["pos_scores"] == pytest.approx([own[0]["positive_score"]])
        assert row["neg_scores"] == pytest.approx([t["negative_score"] for t in own])
        row["negative_score"] = [float(t["negative_score"]) for t in own]  # compared above, as neg_scores
        check_row(row, own, [*row["pos"], *row["neg"]])
    loaded = load("json", data_files=str(folder / "part-*.jsonl"))
    assert set(loaded.column_names) == {"query", "pos", "neg", "pos_scores", "neg_scores", *ALL_EXTRA}
    assert loaded["query"][:] == [row["query"] for row in lines]
    assert loaded["neg"][:] == [row["neg"] for row in lines]


@pytest.mark.parametrize("name", FORMATS)
def test_the_folder_loads_by_its_card(base: Path, load: Load, name: str) -> None:
    folder = mine(base, f"{name}-bare", extra=[])
    ending, builder = ("jsonl", "json") if name == "bge" else ("parquet", "parquet")
    by_card = load(str(folder))
    by_files = load(builder, data_files=str(folder / f"part-*.{ending}"))
    assert len(by_card) == len(by_files) > 0
    assert by_card.column_names == by_files.column_names
    assert by_card.to_list() == by_files.to_list()
    assert not set(by_card.column_names) & set(ALL_EXTRA) - {"query_id" if name == "distillation" else ""}
    counts = json.loads((folder / "_manifest.json").read_text())["counts"]
    assert counts["rows"] == len(by_card)


@pytest.mark.parametrize("name", FORMATS)
def test_no_negatives_at_all(base: Path, name: str) -> None:
    folder = mine(base, f"{name}-empty", filter={"rule": "absolute", "max_score": -5.0})
    counts = json.loads((folder / "_manifest.json").read_text())["counts"]
    assert (counts["rows"], counts["negatives"]) == (0, 0)
