"""Weights of negatives in the cluster of their positive."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.config.tables import Config
from hnmine.errors import ConfigError
from hnmine.stages.emit.clusters import CLUSTERS_PATH, Clusters
from tests import oracles
from tests.support import config_for, make_collection

COLUMNS = ["query_id", "positive_id", "negative_id", "p_false_negative", "cluster_weight"]


def config(base: Path, out: str, emit: dict[str, Any] | None = None, **more: Any) -> Config:
    given = {"format": ["labeled-list", "labeled-pair"], "extra_columns": COLUMNS, "clusters": 6, **(emit or {})}
    return config_for(base, out, filter={"rule": "none", "probabilities": True}, emit=given, **more)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("clusters"), 120, 300)
    run(config(folder, "out", shard_rows=256))
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return pa.concat_tables([pq.read_table(part) for part in sorted(folder.glob("part-*"))]).to_pylist()


def clusters_of(base: Path) -> dict[str, int]:
    ids = pa.concat_tables([pq.read_table(part) for part in sorted((base / "out/ingest/corpus").glob("part-*"))])
    names, table = ids.column("doc_id").to_pylist(), pq.read_table(base / "out/emit" / CLUSTERS_PATH)
    return {names[one["doc_row"]]: one["cluster"] for one in table.to_pylist()}


def test_weights_are_those_of_a_loop_over_the_set(base: Path) -> None:
    rows, cluster = rows_of(base / "out/emit/labeled-list"), clusters_of(base)
    own: dict[int, list[float]] = {}
    for row in rows:
        for name, p in zip(row["negative_id"], row["p_false_negative"], strict=True):
            if cluster[name] == cluster[row["positive_id"]]:
                own.setdefault(cluster[name], []).append(p)
    assert own
    for row in rows:
        expected = [
            1 - oracles.mean(own[cluster[name]]) if cluster[name] == cluster[row["positive_id"]] else 1.0
            for name in row["negative_id"]
        ]
        assert row["cluster_weight"] == pytest.approx(expected, rel=1e-5)
    share = sum(map(len, own.values())) / sum(len(row["negative_id"]) for row in rows)
    told = json.loads((base / "out/report/report.json").read_text())["weights"]["cluster"]
    assert told["own_share"] == pytest.approx(share)
    assert told["clusters"] == len(set(cluster.values()))


def test_a_positives_row_has_weight_1(base: Path) -> None:
    for row in rows_of(base / "out/emit/labeled-pair"):
        assert row["label"] == 0 or row["cluster_weight"] == 1


def test_documents_of_examples_without_rows_have_no_cluster() -> None:
    clusters = Clusters(np.array([2, 5]), np.array([0, 0]), np.array([0.25]))
    negatives, positives = np.array([5, 9, 1]), np.array([2, 7, 2])
    assert clusters.weights(negatives, positives, np.array([True, False, False])).tolist() == [0.75, 1, 1]


def test_shards_change_no_row(base: Path) -> None:
    stages = ("ingest", "embed", "index", "retrieve", "filter", "emit")
    run(config(base, "other", shard_rows=1024), stages)
    assert rows_of(base / "other/emit/labeled-list") == rows_of(base / "out/emit/labeled-list")


def test_without_probabilities_it_is_refused(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"emit\.extra_columns: cluster_weight: candidates have no P"):
        config_for(base, "no", emit={"extra_columns": ["cluster_weight"]})
