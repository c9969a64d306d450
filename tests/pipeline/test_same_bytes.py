"""Same inputs, config and seed: the same bytes, whatever the workers; the same content, whatever the shards."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from hnmine import run
from tests.pipeline.helpers import emitted, report, table
from tests.support import config_for, make_collection, tree

DOCUMENTS, QUERIES = 1100, 600
RETRIEVE = {"top_k": 10, "max_top_k": 20}  # short lists are searched deeper once
EMIT = {"choose": "random", "max_per_document": 5, "extra_columns": ["query_id", "positive_id", "negative_id", "rank"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("same"), DOCUMENTS, QUERIES)


@pytest.fixture(scope="module")
def first(base: Path) -> Path:
    return mine(base, "first")


def mine(base: Path, out: str, **tables: Any) -> Path:
    run(config_for(base, out, **{"shard_rows": 256, "retrieve": RETRIEVE, "emit": EMIT, **tables}))
    return base / out


def assert_same_content(one: Path, other: Path) -> None:
    for stage in ("ingest/corpus", "ingest/queries", "embed/corpus", "embed/queries", "retrieve", "filter", "emit"):
        assert table(one / stage).equals(table(other / stage)), stage
    assert report(one) == report(other)


def test_a_second_run_writes_the_same_bytes(base: Path, first: Path) -> None:
    assert tree(mine(base, "second")) == tree(first)


@pytest.mark.slow
@pytest.mark.spawn
def test_one_and_two_workers_write_the_same_bytes(base: Path, first: Path) -> None:
    assert tree(mine(base, "pooled", workers=2)) == tree(first)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_approximate_index_writes_the_same_bytes_again(base: Path, kind: str) -> None:
    settings = {"index": {"kind": kind, "ivf_probe": 2}}
    one, other = mine(base, f"{kind}-1", **settings), mine(base, f"{kind}-2", **settings)
    assert tree(one) == tree(other)
    assert_same_content(one, mine(base, f"{kind}-3", shard_rows=512, **settings))


@pytest.mark.parametrize("product", ["float32", "bfloat16"])
def test_any_product_writes_the_same_bytes(base: Path, first: Path, product: str) -> None:
    assert tree(mine(base, product, index={"product": product})) == tree(first)


def test_a_small_cache_writes_the_same_bytes(base: Path, first: Path) -> None:
    assert tree(mine(base, "uncached", memory="0")) == tree(first)


@pytest.mark.parametrize("choose", ["random", "top"])
def test_other_shards_hold_the_same_content(base: Path, first: Path, choose: str) -> None:
    one = first if choose == "random" else mine(base, "top-256", emit={**EMIT, "choose": choose})
    for shard_rows in (512, 4096):
        other = mine(base, f"{choose}-{shard_rows}", shard_rows=shard_rows, emit={**EMIT, "choose": choose})
        assert_same_content(one, other)


@pytest.mark.parametrize("rule", ["two_sided", "calibrated", ["percent", "calibrated"]])
def test_rules_that_learn_from_all_queries_hold_over_other_shards(base: Path, rule: str | list[str]) -> None:
    filters = {"rule": rule, "max_positive_similarity": None}
    name = "+".join([rule] if isinstance(rule, str) else rule)
    one, other = (mine(base, f"{name}-{n}", shard_rows=n, filter=filters) for n in (256, 4096))
    assert_same_content(one, other)


def test_stages_read_from_shards_of_another_size(base: Path, first: Path) -> None:
    """Ingest written anew in other shards, its bytes being the same to every later stage's key."""
    for stage in ("ingest", "embed", "retrieve"):
        mixed = Path(shutil.copytree(first, base / f"mixed-{stage}"))
        shutil.rmtree(mixed / stage)
        shutil.rmtree(mixed / "filter")
        mine(base, mixed.name, shard_rows=512)
        assert_same_content(mixed, first)


def test_embed_kept_but_retrieve_done_anew_over_other_query_shards(base: Path, first: Path) -> None:
    mixed = Path(shutil.copytree(first, base / "mixed-queries"))
    for stage in ("ingest", "retrieve", "filter", "emit", "report"):
        shutil.rmtree(mixed / stage)
    mine(base, mixed.name, shard_rows=512)
    assert_same_content(mixed, first)


@pytest.mark.parametrize("cap", [None, 3])
def test_seeds(base: Path, cap: int | None) -> None:
    emit = {"choose": "random", "max_per_document": cap, "extra_columns": ["query_id", "negative_id"]}
    outs = [mine(base, f"seed-{cap}-{number}", seed=seed, emit=emit) for number, seed in enumerate((5, 5, 6))]
    assert tree(outs[0]) == tree(outs[1])
    same, again, other = ([(row["query_id"], row["negative_id"]) for row in emitted(out)] for out in outs)
    assert same == again
    assert same != other
    kept = ("doc_rows", "scores", "positive_scores")
    assert table(outs[0] / "retrieve").select(kept).equals(table(outs[2] / "retrieve").select(kept))


def test_a_folder_made_anew_in_one_process_takes_the_new_shard_size(tmp_path: Path) -> None:
    make_collection(tmp_path, 600, 10)
    run(config_for(tmp_path, shard_rows=256), ["ingest"])
    shutil.rmtree(tmp_path / "out")
    run(config_for(tmp_path, shard_rows=512), ["ingest"])
    assert len(list((tmp_path / "out/ingest/corpus").glob("part-*"))) == 2
