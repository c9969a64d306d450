"""What `hnmine plan` says of disk space, held against what real runs leave."""

from pathlib import Path
from typing import Any

import pytest

from hnmine.commands.plan.plan import make_plan
from hnmine.config.file import check_config
from hnmine.pipeline.run import run
from tests.support import ROOT

SAMPLE = {
    "input": {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"},
    "embed": {"model": "hash"},
}
WORDS = {"retrieve": {"source": [{"kind": "dense"}, {"kind": "bm25"}]}}
CASES = [
    {"index": {"kind": "flat"}},
    {"index": {"kind": "hnsw"}, **WORDS},
    {"index": {"kind": "ivf"}, "emit": {"batch_size": 16, "format": ["triplet", "n-tuple"]}},
]
SHAPES: dict[str, dict[str, Any]] = {
    "triplet": {}, "bge": {}, "labeled-pair": {"order": "easy_to_hard"}, "distillation": {},
    "n-tuple": {"mixing": 20, "extra_columns": ["cluster_weight"]},
}  # fmt: skip


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def planned_and_left(tables: dict[str, Any], base: Path, out: Path) -> tuple[dict[str, Any], int]:
    config = check_config(tables | {"out": str(out)}, "test", base)
    planned = make_plan(config)
    assert sum(planned["disk_of_stages"].values()) == pytest.approx(planned["disk_bytes"], abs=10)
    run(config)
    return planned, size(out)


@pytest.mark.parametrize("case", CASES, ids=["exact", "hnsw and words", "lists and batches"])
def test_disk_is_planned_within_a_factor_of_two_on_the_sample(case: dict[str, Any], tmp_path: Path) -> None:
    planned, left = planned_and_left(SAMPLE | case, ROOT / "sample_data", tmp_path)
    assert left / 2 < planned["disk_bytes"] < left * 2
    index = size(tmp_path / "index")
    assert index / 2 < planned["disk_of_stages"]["index"] < index * 2


@pytest.mark.parametrize("shape", SHAPES)
def test_training_rows_are_planned_within_a_factor_of_two(shape: str, tmp_path: Path) -> None:
    tables = SAMPLE | {"out": str(tmp_path), "emit": {"format": shape, **SHAPES[shape]}, "report": {"html": False}}
    config = check_config(tables, "test", ROOT / "sample_data")
    run(config, ["ingest"])  # which counts copies and positives
    planned = make_plan(config)["disk_of_stages"]["emit"]
    run(config, ["embed", "index", "retrieve", "filter", "emit"])
    left = size(tmp_path / "emit")
    assert left / 2 < planned < left * 2
