"""The table of mixtures beside the training rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.commands.audit.reader import mined_sources
from hnmine.commands.plan.plan import make_plan
from hnmine.errors import ConfigError
from hnmine.pipeline.run import RunOptions
from hnmine.science.mixing import draw_mixtures
from hnmine.stages.emit.chosen import text_seeds
from tests.support import config_for, make_collection, tree

EMIT: dict[str, Any] = {
    "format": "labeled-list", "extra_columns": ["query_id", "positive_id"], "max_per_document": 3, "mixing": 3,
    "mixing_query": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection mined with mixtures, into `lists`: two shards, and examples with too few negatives."""
    folder = make_collection(tmp_path_factory.mktemp("mixing"), 120, 300)
    run(config_for(folder, "source", shard_rows=256), ["ingest", "embed", "index", "retrieve", "filter"])
    mine(folder, "lists")
    return folder


def mine(base: Path, out: str, emit: dict[str, Any] | None = None, **more: Any) -> Path:
    config = config_for(base, out, emit={**EMIT, **(emit or {})}, shard_rows=256, **more)
    run(config, ["emit"], RunOptions(source=base / "source"))
    return base / out / "emit"


def read(folder: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(folder.glob("part-*")) for row in pq.read_table(part).to_pylist()]


def test_every_example_has_its_own_draw_in_the_order_of_the_rows(base: Path) -> None:
    rows, mixtures = read(base / "lists/emit"), read(base / "lists/emit/mixing")
    counts = [len(row["documents"]) - 1 for row in rows]
    assert {1, 3} <= set(counts)
    for row, own, count in zip(rows, mixtures, counts, strict=True):
        assert (own["query_id"], own["positive_id"]) == (row["query_id"], row["positive_id"])
        seed = text_seeds([f"0 mixing {own['query_id']} {own['positive_id']}"])
        expected = draw_mixtures(seed, np.array([count]), 3, 1)
        assert (own["first"], own["second"]) == (expected.first.tolist(), expected.second.tolist())
        assert own["alpha"] == expected.alpha.tolist()
    emitted = json.loads((base / "lists/emit/_manifest.json").read_text())["counts"]
    assert emitted["mixtures"] == sum(len(own["alpha"]) for own in mixtures)
    card = (base / "lists/emit/README.md").read_text()
    assert "synthetic negatives (`mixing/part-*.parquet`" in card
    assert "config_name: mixing\n  data_files:" in card


def test_n_tuples_and_batches_have_mixtures_of_the_examples_they_keep(base: Path) -> None:
    emit = mine(base, "tuples", {"format": "n-tuple", "batch_size": 8, "batch_leftover": "drop"})
    rows, mixtures = read(emit), read(emit / "mixing")
    assert [(row["query_id"], row["positive_id"]) for row in rows] == [
        (own["query_id"], own["positive_id"]) for own in mixtures
    ]
    assert {len(own["alpha"]) for own in mixtures} == {4}


def test_workers_and_a_lost_shard_change_no_byte_and_the_rows_are_those_without_mixing(base: Path) -> None:
    expected = tree(base / "lists/emit")
    pooled = mine(base, "pooled", workers=2)
    assert tree(pooled) == expected
    for name in ("mixing/part-00001.parquet", "_manifest.json"):
        (pooled / name).unlink()
    mine(base, "pooled")
    assert tree(pooled) == expected
    plain = mine(base, "plain", {"mixing": 0, "mixing_query": 0})
    assert not (plain / "mixing").exists()
    assert read(plain) == read(base / "lists/emit")


def test_an_audit_of_the_run_takes_no_mixtures_for_rows(base: Path) -> None:
    assert not [source for source in mined_sources([str(base / "lists/emit")], base) if "/mixing/" in source.path]


def test_a_plan_knows_of_the_table(base: Path) -> None:
    few, many = (make_plan(config_for(base, "planned", emit={**EMIT, "mixing": pairs})) for pairs in (1, 100))
    assert few["disk_of_stages"]["emit"] < many["disk_of_stages"]["emit"]
    assert {one["stage"]: one["work"] for one in few["stages"]}["emit"].endswith(
        "2 synthetic negatives of each example"
    )


def test_one_negative_makes_no_pair() -> None:
    with pytest.raises(ConfigError, match=r"emit.mixing: mixes two negatives .* set emit.mixing_query instead"):
        config_for(Path(), emit={"mixing": 2, "num_negatives": 1})
    assert config_for(Path(), emit={"mixing_query": 2, "num_negatives": 1}).emit.mixes
