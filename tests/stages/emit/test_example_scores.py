"""The order of the training rows by hardness, and focal weights: in every shape, whatever the shards and workers."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.config.emit import EmitConfig
from hnmine.config.tables import Config
from hnmine.pipeline.run import RunOptions
from hnmine.stages.emit import training_rows
from hnmine.stages.emit.example_scores import read_order
from tests import oracles
from tests.pipeline.tiny import part_of_sentence_transformers, save_tiny_bert
from tests.support import ROOT, config_for, make_collection, tree

SHAPES = ["n-tuple", "labeled-list", "triplet", "labeled-pair", "bge", "n-tuple-scores"]
COLUMNS = ["query_id", "positive_id", "positive_score", "anchor_score", "negative_score", "focal_weight"]
EMIT: dict[str, Any] = {"num_negatives": 3, "max_per_document": 8, "extra_columns": COLUMNS}


def config(base: Path, out: str, emit: dict[str, Any], **more: Any) -> Config:
    return config_for(base, out, emit={**EMIT, **emit}, **{"shard_rows": 256, **more})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection, mined in the order of its queries into `plain`."""
    folder = make_collection(tmp_path_factory.mktemp("order"), 120, 300)
    run(config(folder, "plain", {"format": SHAPES}))
    return folder


def mine(base: Path, out: str, stages: tuple[str, ...] = ("emit",), **emit: Any) -> Path:
    more = emit.pop("more", {})
    run(config(base, out, emit, **more), stages, RunOptions(source=base / "plain"))
    return base / out / "emit"


def rows_of(folder: Path) -> list[dict[str, Any]]:
    parts = sorted(folder.glob("part-*"))
    if parts[0].suffix == ".jsonl":
        return [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    return pa.concat_tables([pq.read_table(part) for part in parts]).to_pylist()


def name_of(row: dict[str, Any]) -> tuple[str, str]:
    return row["query_id"], row["positive_id"]


def hardness_of(base: Path) -> dict[tuple[str, str], float]:
    """Return the mean hardness of each example by a loop over the rows of another shape."""
    judged = pa.concat_tables([pq.read_table(path) for path in sorted((base / "plain/filter").glob("part-*"))])
    background = dict(zip(*(judged.column(name).to_pylist() for name in ("query_id", "background_mean")), strict=True))
    return {
        name_of(row): oracles.mean(
            [oracles.hardness(s, row["anchor_score"], background[row["query_id"]]) for s in row["negative_score"]]
        )
        for row in rows_of(base / "plain/emit/labeled-list")
    }


def stored_hardness(base: Path, emit: Path) -> dict[tuple[str, str], float]:
    """Return the hardness of each example that `emit/order` has."""
    ids = {
        name: pa.concat_tables([pq.read_table(path) for path in sorted((base / "plain/ingest" / name).glob("part-*"))])
        for name in ("queries", "corpus")
    }
    queries, documents = ids["queries"].column("query_id").to_pylist(), ids["corpus"].column("doc_id").to_pylist()
    found = read_order(emit).to_pylist()
    return {(queries[row["query_row"]], documents[row["positive_row"]]): row["hardness"] for row in found}


@pytest.mark.parametrize("order", ["easy_to_hard", "hard_to_easy"])
def test_rows_of_every_shape_are_in_order_and_otherwise_the_same(base: Path, order: str) -> None:
    emit = mine(base, order, ("emit", "report"), order=order, format=SHAPES)
    by_loop, sign = hardness_of(base), 1 if order == "easy_to_hard" else -1
    stored = stored_hardness(base, emit)
    assert stored == pytest.approx({name: by_loop[name] for name in stored}, abs=1e-9)
    for shape in SHAPES:
        plain, found = rows_of(base / "plain/emit" / shape), rows_of(emit / shape)
        places = {name: place for place, name in enumerate(dict.fromkeys(map(name_of, plain)))}
        # by the numbers as they are stored: a loop may round equal ones apart
        expected = sorted(plain, key=lambda row: (sign * stored[name_of(row)], places[name_of(row)]))
        assert found == expected
        assert found != plain
    report = json.loads((base / order / "report/report.json").read_text())["order"]
    assert sign * report["first_tenth_hardness"] < sign * report["last_tenth_hardness"]
    assert "must not shuffle" in (emit / "README.md").read_text()


def test_the_order_is_that_of_the_whole_set_whatever_the_shards_and_workers(base: Path) -> None:
    one = mine(base, "one", order="easy_to_hard", format="labeled-list")
    same = mine(base, "two", order="easy_to_hard", format="labeled-list", more={"workers": 2})
    assert tree(one) == tree(same)
    other = mine(base, "other", order="easy_to_hard", format="labeled-list", more={"shard_rows": 1024})
    assert len(list(one.glob("part-*"))) > 1 == len(list(other.glob("part-*")))
    assert rows_of(one) == rows_of(other)
    hardness = read_order(one).column("hardness").to_numpy()
    assert (np.diff(hardness) >= 0).all()


def test_a_killed_run_ends_with_the_same_bytes(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"order": "easy_to_hard", "format": "labeled-list"}
    whole, write, written = mine(base, "whole", **settings), training_rows.write_table, []

    def stop(table: pa.Table, output: Path, key: str) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(output)
        write(table, output, key)

    monkeypatch.setattr(training_rows, "write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        mine(base, "killed", **settings)
    monkeypatch.undo()
    assert tree(mine(base, "killed", **settings)) == tree(whole)


def test_batches_are_ordered_by_their_mean_hardness_and_stay_together(base: Path) -> None:
    emit = mine(base, "batches", ("emit",), order="easy_to_hard", format="labeled-list", batch_size=4)
    hardness, batches = hardness_of(base), [row["batch_id"] for row in rows_of(emit)]
    assert len(list(dict.fromkeys(batches))) == 1 + sum(a != b for a, b in itertools.pairwise(batches))
    means = [
        np.mean([hardness[name_of(row)] for row in rows_of(emit) if row["batch_id"] == number])
        for number in dict.fromkeys(batches)
    ]
    assert (np.diff(means) >= -1e-9).all()


def test_focal_weights_are_those_of_a_loop(base: Path) -> None:
    for row in rows_of(base / "plain/emit/labeled-list"):
        p = oracles.positive_probability(row["positive_score"], row["negative_score"], 0.05)
        assert row["focal_weight"] == pytest.approx((1 - p) ** 0.5, rel=1e-4, abs=1e-6)
    weights = json.loads((base / "plain/report/report.json").read_text())["weights"]["focal"]
    assert 0 <= weights["min"] <= weights["mean"] <= weights["max"] <= 1


def test_settings_are_in_the_key_only_where_they_are_used() -> None:
    plain = EmitConfig().semantic()
    assert EmitConfig(focal_gamma=2.0, focal_temperature=1.0, clusters=3).semantic() == plain
    assert {"focal_gamma", "focal_temperature", "clusters", "order"}.isdisjoint(plain)
    used = EmitConfig(order="hard_to_easy", extra_columns=["focal_weight", "cluster_weight"]).semantic()
    assert {"focal_gamma", "focal_temperature", "clusters", "order"} <= used.keys()


@pytest.mark.model
def test_a_trainer_reads_the_rows_in_order_and_takes_the_weights(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sentence_transformers", reason="trains with it")
    import datasets
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    section = (ROOT / "docs/training-rows.md").read_text().split("\n## Order\n")[1]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert block is not None
    exec(block[1], names)
    loss: dict[str, Any] = {}
    exec((ROOT / "docs/examples/weighted_loss.py").read_text(), loss)
    save_tiny_bert(tmp_path / "model")
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    rows = datasets.Dataset.from_list(
        [row | {"weight": [0.9, 0.5, 0.1]} for row in rows_of(base / "plain/emit/n-tuple")[:20]]
    )
    texts = ["anchor", "positive", "negative_1", "negative_2", "negative_3"]
    arguments = names["arguments"]
    arguments.report_to, arguments.max_steps, arguments.save_strategy = [], 1, "no"
    arguments.disable_tqdm = True
    for name in ("focal_weight", "weight"):  # one an example, one a negative
        labelled = rows.select_columns([*texts, name]).rename_column(name, "label")
        trainer = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=labelled, loss=loss["WeightedRankingLoss"](model)
        )
        batches = [list(batch) for batch in trainer.get_train_dataloader().batch_sampler]
        assert batches == [list(range(8)), list(range(8, 16)), list(range(16, 20))]
        assert np.isfinite(trainer.train().training_loss)

    import torch

    plain = part_of_sentence_transformers("losses").MultipleNegativesRankingLoss(model)
    features = [model.tokenize(rows[name][:4]) for name in texts]
    model.eval()
    with torch.no_grad():
        expected = float(plain(features, None))
        weighted = loss["WeightedRankingLoss"](model)
        assert float(weighted(features, torch.ones(4))) == pytest.approx(expected, rel=1e-4)
        assert float(weighted(features, torch.ones(4, 3))) == pytest.approx(expected, rel=1e-4)
        assert float(weighted(features, torch.full((4, 3), 0.1))) < expected
        assert float(weighted(features, torch.full((4,), 0.5))) == pytest.approx(expected / 2, rel=1e-4)
