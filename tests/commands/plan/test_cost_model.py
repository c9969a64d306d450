"""The formulas of a plan: against obvious loops, and against what the code does."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.commands.plan import cost_model as model
from hnmine.commands.plan.cluster import ClusterConfig, CollectionTable
from hnmine.commands.plan.cost_model import Step, TaskSlots, estimate, steps
from hnmine.commands.plan.memory import peaks, streamed
from hnmine.commands.plan.workload import Workload, shard_count, touched
from hnmine.config.file import check_config
from hnmine.pipeline.run import run
from hnmine.storage.vectors import VectorStore
from tests.benchmarks.synthetic import write_collection
from tests.support import config_for


def workload(tmp_path: Path, **tables: Any) -> Workload:
    collection = CollectionTable(documents=100_000_000, queries=1_000_000, dim=384)
    return Workload.of(config_for(tmp_path, **tables), collection)


def rows(stage: str, work: Workload) -> list[Step]:
    return [step for step in steps(work, "flat") if step.stage == stage]


def step(**settings: Any) -> Step:
    return Step("stage", "step", **settings)


def test_a_search_goes_through_all_vectors_as_often_as_the_plan_says(tmp_path: Path, monkeypatch: Any) -> None:
    tables = write_collection(tmp_path / "data", 600, 40, dim=16)
    config = check_config(tables | {"out": str(tmp_path / "out")}, "test", tmp_path)
    run(config, ["ingest", "embed", "index"])
    passes, blocks = [], VectorStore.blocks

    def counted(self: VectorStore) -> Any:
        passes.append(self.shards.folder.name)
        return blocks(self)

    monkeypatch.setattr(VectorStore, "blocks", counted)
    run(config, ["retrieve"])
    before = 1  # the vectors of the random documents, once a process
    assert passes.count("corpus") == before + model.PASSES


def test_what_memory_does_not_keep_is_read_again_for_every_block_of_queries(tmp_path: Path) -> None:
    small, large = (workload(tmp_path, memory=memory, retrieve={"top_k": 100}) for memory in ("1GB", "400GB"))
    vectors = small.stored_vectors()
    blocks = 245 * 4  # 245 shards of 4,096 queries, four blocks of 1,024 in each
    [again], [kept] = (rows("retrieve", work) for work in (small, large))
    share = 1 - (1e9 - 7e8) / small.held_vectors()
    assert again.tasks == 245
    assert again.read == pytest.approx(blocks * model.PASSES * share * vectors + blocks * 0.2 * 5e10)
    assert kept.read == 0
    assert kept.once_read > vectors
    assert again.flops == 2 * 1e8 * 1e6 * 384


def test_parts_of_the_corpus_make_more_tasks_and_take_the_passes_of_the_search_alone(tmp_path: Path) -> None:
    [whole], [parts, merge, rest] = (
        rows("retrieve", workload(tmp_path, memory="50GB", index={"kind": "flat", "splits": splits}))
        for splits in (1, 8)
    )
    assert (parts.tasks, merge.tasks, rest.tasks) == (8 * whole.tasks, whole.tasks, whole.tasks)
    words = 245 * 4 * 0.2 * 5e10  # read again by each block of the step that comes after
    assert parts.read == 0  # each part is kept
    assert rest.read - words == pytest.approx((whole.read - words) * (model.PASSES - model.IN_PARTS) / model.PASSES)
    assert (parts.flops, rest.flops) == (whole.flops, 0)


@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 2**32))
def test_shards_touched_by_random_rows(shards: int, rows: int, seed: int) -> None:
    drawn = np.random.default_rng(seed).integers(0, shards, size=(4000, max(rows, 1)))
    seen = [len(set(some.tolist())) for some in drawn] if rows else [0]
    assert touched(shards, rows) == pytest.approx(np.mean(seen), abs=0.35)


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_streamed_vectors_take_what_is_kept_and_two_blocks_at_most(vectors: float, cache: float) -> None:
    found = streamed(vectors, cache)
    assert min(vectors, cache) <= found <= min(vectors, cache) + 2.2 * min(vectors, 1e8)


@given(st.integers(1, 500), st.integers(1, 20), st.integers(1, 8), st.floats(0, 1e4))
def test_hours_are_those_of_the_rounds(tasks: int, nodes: int, per_node: int, single: float) -> None:
    found = estimate(step(tasks=tasks, single=single), TaskSlots(nodes, per_node, 1, 1), ClusterConfig(file_seconds=0))
    places = [0.0] * (nodes * per_node)
    for _ in range(tasks):  # each task goes to the place that is free first
        places[places.index(min(places))] += single / tasks
    assert 3600 * found.hours == pytest.approx(max(places), rel=1e-6, abs=1e-9)
    assert found.at_once == min(tasks, nodes * per_node)


def test_storage_is_shared_by_the_tasks_of_a_node_and_by_all_nodes() -> None:
    cluster = ClusterConfig(nodes=4, storage=100.0, file_seconds=0.0)
    one = estimate(step(read=1e9), TaskSlots(4, 2, 1, 1), cluster)
    eight = estimate(step(tasks=8, read=8e9), TaskSlots(4, 2, 1, 1), cluster)
    narrow = estimate(
        step(tasks=8, read=8e9), TaskSlots(4, 2, 1, 1), cluster.model_copy(update={"storage_in_all": 200.0})
    )
    assert [3600 * found.hours for found in (one, eight, narrow)] == pytest.approx([10.0, 20.0, 40.0])


def test_gpus_and_not_cores_embed() -> None:
    cluster = ClusterConfig(nodes=2, cores=8, gpus=2, passages_per_second=50.0, file_seconds=0.0)
    found = estimate(step(tasks=100, passages=1000.0), TaskSlots(2, 8, 1, 2), cluster)
    assert found.at_once == 4
    assert 3600 * found.hours == pytest.approx(1000 / (4 * 50))


def test_a_step_of_one_process_is_no_shorter_on_more_nodes(tmp_path: Path) -> None:
    work = workload(tmp_path)
    read = rows("ingest", work)[1]
    hours = {n: estimate(read, TaskSlots(n, 4, 1, 1), ClusterConfig(nodes=n)).hours for n in (1, 16)}
    assert hours[1] == hours[16] > work.text_bytes * model.INGEST_SECONDS_A_BYTE / 3600


def test_shards_are_counted_as_they_are_cut() -> None:
    assert [shard_count(rows, 256) for rows in (0, 1, 256, 257)] == [1, 1, 1, 2]
    assert math.isclose(touched(1, 5), 1.0)


def test_words_cost_hours_when_their_index_is_built_and_searched(tmp_path: Path) -> None:
    source = [{"kind": "dense"}, {"kind": "bm25", "name": "words"}]
    plain, with_words = (workload(tmp_path, **tables) for tables in ({}, {"retrieve": {"source": source}}))
    assert not rows("index", plain)
    [built] = rows("index", with_words)
    assert built.single == model.WORDS_SECONDS_A_BYTE * with_words.text_bytes > 0
    searched = [one for one in rows("retrieve", with_words) if one.name == "words of words"]
    assert [one.single for one in searched] == [
        1e6 * (model.QUERY_SECONDS + model.QUERY_SECONDS_A_DOCUMENT * 1e8)  # each query looks at every document
    ]
    assert searched[0].tasks == with_words.query_shards


def test_a_sparse_encoder_costs_passages_and_its_index_hours(tmp_path: Path) -> None:
    source = [{"kind": "sparse", "encoder": {"model": "splade", "max_active": 100}}]
    for documents, stage in (("all", "index"), ("candidates", "embed")):
        work = workload(tmp_path, retrieve={"source": source}, embed={"documents": documents})
        encoded, built = (one for one in rows(stage, work) if one.name.endswith("of sparse"))
        assert encoded.passages > work.documents
        assert built.single == pytest.approx(model.POSTING_SECONDS * 100 * (work.documents + encoded.passages) / 2)
        assert [one.once_read for one in rows("retrieve", work) if one.name == "search of sparse"] == [built.written]


def test_clusters_order_mixtures_and_texts_have_rows_of_their_own(tmp_path: Path) -> None:
    emit: dict[str, Any] = {"num_negatives": 3, "format": ["n-tuple", "distillation"]}
    more = {"extra_columns": ["cluster_weight"], "order": "easy_to_hard", "mixing": 4}
    filter_ = {"probabilities": True}
    plain = workload(tmp_path, emit=emit | {"format": "n-tuple"}, filter=filter_)
    whole = workload(tmp_path, emit=emit | more, filter=filter_)
    found = {one.name: one for one in rows("emit", whole)}
    added = found.keys() - {one.name for one in rows("emit", plain)}
    assert added == {"clusters by k-means", "order", "synthetic negatives", "texts"}
    count, points = 10_000, 640_000  # the square root of the documents, and 64 documents for each cluster
    examples = 3 * 10**6 + 10**6
    products = 2.0 * 384 * (10 * points + examples) * count
    assert found["clusters by k-means"].flops == pytest.approx(products / model.MAKING)
    assert found["clusters by k-means"].tasks == found["order"].tasks == 1
    assert found["synthetic negatives"].tasks == whole.query_shards
    fewer = workload(tmp_path, emit=emit | more | {"clusters": 100}, filter=filter_)
    assert {one.name: one for one in rows("emit", fewer)}["clusters by k-means"].flops < products / 100
    memory = [peaks(work, "flat", 1)["emit"] for work in (plain, fewer, whole)]
    assert memory == sorted(memory)
    assert memory[-1] - memory[0] >= 2 * 4 * 384 * points
