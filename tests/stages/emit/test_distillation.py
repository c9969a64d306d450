"""The format distillation: rows of ids and scores, beside tables that hold each text once."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.commands.audit.audit import Request, audit
from hnmine.commands.plan.cluster import ClusterConfig, CollectionTable
from hnmine.commands.plan.plan import make_plan
from hnmine.errors import ConfigError, InputError
from hnmine.pipeline.run import RunOptions
from tests.support import config_for, make_collection, tree

IDS = ["query_id", "positive_id", "negative_id"]
EMIT: dict[str, Any] = {"num_negatives": 3, "max_per_document": 3, "bad_positives": "leave_out"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection mined as labelled lists and for distillation, into `both`: two shards of queries."""
    folder = make_collection(tmp_path_factory.mktemp("distillation"), 120, 300)
    mine(folder, "both", {"format": ["labeled-list", "distillation"], "extra_columns": [*IDS, "positive_score"]})
    return folder


def mine(base: Path, out: str, emit: dict[str, Any], **more: Any) -> Path:
    source = base / "both" if out != "both" and "rescore" not in more else None
    tables: dict[str, Any] = {"shard_rows": 256, **more}
    run(
        config_for(base, out, emit={**EMIT, "format": "distillation", **emit}, **tables),
        options=RunOptions(source=source),
    )
    return base / out / "emit"


def read(folder: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(folder.glob("part-*")) for row in pq.read_table(part).to_pylist()]


def test_rows_are_those_of_labelled_lists_with_ids_in_place_of_texts(base: Path) -> None:
    emit = base / "both/emit"
    lists, rows = read(emit / "labeled-list"), read(emit / "distillation")
    texts = {row["document_id"]: row["text"] for row in read(emit / "distillation/documents")}
    queries = {row["query_id"]: row["text"] for row in read(emit / "distillation/queries")}
    assert list(rows[0])[:3] == ["query_id", "document_ids", "scores"]
    assert len({len(row["scores"]) for row in rows}) > 1, "some examples should be short"
    for row, own in zip(rows, lists, strict=True):
        assert (queries[row["query_id"]], [texts[name] for name in row["document_ids"]]) == (
            own["anchor"],
            own["documents"],
        )
        assert row["document_ids"] == [own["positive_id"], *own["negative_id"]]
        assert row["scores"][0] == own["positive_score"]
        assert len(row["scores"]) == len(row["document_ids"])
        assert row["scores"][1:] == sorted(row["scores"][1:], reverse=True)


def test_each_text_that_a_row_names_is_in_a_table_once_and_no_other(base: Path) -> None:
    emit = base / "both/emit"
    rows = read(emit / "distillation")
    found = {name: read(emit / "distillation" / name) for name in ("queries", "documents")}
    named = {"queries": {r["query_id"] for r in rows}, "documents": {d for r in rows for d in r["document_ids"]}}
    for name, column in (("queries", "query_id"), ("documents", "document_id")):
        ids = [row[column] for row in found[name]]
        assert len(ids) == len(set(ids))
        assert set(ids) == named[name]
        assert list(found[name][0]) == [column, "text"]
    counts = json.loads((emit / "_manifest.json").read_text())["counts"]
    assert counts["texts"] == {name: len(table) for name, table in found.items()}
    assert counts["texts"]["queries"] < 300, "queries without negatives have no row"


def test_alone_with_workers_and_after_a_stop_the_bytes_are_the_same(base: Path) -> None:
    alone = mine(base, "alone", {"extra_columns": [*IDS, "positive_score"]})
    several = base / "both/emit/distillation"
    for name in ("", "queries", "documents"):
        assert read(alone / name) == read(several / name)
    expected = tree(alone)
    pooled = mine(base, "pooled", {"extra_columns": [*IDS, "positive_score"]}, workers=2)
    assert tree(pooled) == expected
    for name in ("documents/part-00000.parquet", "queries/part-00001.parquet", "_manifest.json"):
        (pooled / name).unlink()
    kept = (pooled / "queries/part-00000.parquet").stat().st_ino
    mine(base, "pooled", {"extra_columns": [*IDS, "positive_score"]})
    assert tree(pooled) == expected
    assert (pooled / "queries/part-00000.parquet").stat().st_ino == kept


def test_batches_leave_out_the_texts_of_examples_that_they_drop(base: Path) -> None:
    emit = mine(base, "batched", {"batch_size": 8, "batch_leftover": "drop"})
    rows = read(emit)
    assert {row["query_id"] for row in rows} == {row["query_id"] for row in read(emit / "queries")}
    assert {d for row in rows for d in row["document_ids"]} == {row["document_id"] for row in read(emit / "documents")}
    assert {row["batch_id"] is None for row in rows} == {False}


def test_a_cross_encoder_gives_its_own_scores_to_relabelled_positives_too(base: Path) -> None:
    more: dict[str, Any] = {
        "rescore": {"model": "hash", "top_n": 10},
        "filter": {"rule": "percent", "score": "rescored", "probabilities": True},
    }
    emit = mine(base, "rescored", {"relabel": 0.6, "extra_columns": ["rescore_score", "positive_source"]}, **more)
    rows = read(emit)
    raw: dict[tuple[str, str], float] = {}
    ingest = base / "rescored/ingest"
    documents = [row["doc_id"] for row in read(ingest / "corpus")]
    positives = {row["query_id"]: row["positive_rows"] for row in read(ingest / "queries")}
    for row in read(base / "rescored/rescore"):
        pairs = [*zip(row["doc_rows"], row["scores"], strict=True)]
        pairs += zip(positives[row["query_id"]], row["positive_scores"], strict=True)
        raw |= {(row["query_id"], documents[at]): score for at, score in pairs if score is not None}
    assert {row["positive_source"] for row in rows} == {"label", "relabelled"}
    for row in rows:
        assert row["scores"] == [raw[row["query_id"], name] for name in row["document_ids"]]
        assert row["scores"][1:] == row["rescore_score"]


@pytest.mark.parametrize(
    ("emit", "named"), [({"fallback": "random"}, "set emit.fallback to"), ({"choose": "mixed"}, "set emit.choose to")]
)
def test_random_documents_have_no_score_by_a_cross_encoder(base: Path, emit: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=f'emit.format: "distillation" writes the cross-encoder.*{named}'):
        config_for(
            base, emit={"format": "distillation", **emit}, rescore={"model": "hash"}, filter={"score": "rescored"}
        )


def test_an_audit_reads_the_rows_with_the_texts_beside_them(base: Path, tmp_path: Path) -> None:
    lists = audit(Request((str(base / "both/emit/labeled-list"),)))
    found = audit(Request((str(base / "both/emit/distillation"),)))
    assert found["shape"] == "distillation"
    assert found["findings"].keys() == lists["findings"].keys()
    assert found["counts"] == lists["counts"]
    part = base / "both/emit/distillation/part-00000.parquet"
    (tmp_path / part.name).write_bytes(part.read_bytes())
    with pytest.raises(InputError, match="holds ids; name the texts for them with --corpus and --queries"):
        audit(Request((str(tmp_path / part.name),)))


def test_a_plan_counts_each_text_once(base: Path) -> None:
    """Of a collection whose texts do not fit into the dictionary of a Parquet column, where each is stored once too."""
    sizes, cluster = [], ClusterConfig(collection=CollectionTable(documents=100_000, queries=20_000))
    for name in ("labeled-list", "distillation"):
        found = make_plan(config_for(base, "planned", emit={"format": name, "num_negatives": 9}), cluster=cluster)
        sizes.append(found["disk_of_stages"]["emit"])
    assert sizes[1] < sizes[0]


def test_the_card_loads_rows_and_texts(base: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    emit = base / "both/emit"
    card = (emit / "README.md").read_text()
    assert "DistillKLDivLoss, MarginMSELoss" in card
    for name in ("queries", "documents"):
        loaded = datasets.load_dataset(str(emit), f"distillation-{name}", split="train", cache_dir=str(tmp_path))
        assert loaded.to_list() == read(emit / "distillation" / name)
        assert f'{name} = load_dataset("FOLDER", "distillation-{name}", split="train")' in card
