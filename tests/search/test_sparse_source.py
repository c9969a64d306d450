"""Sources of kind sparse over the whole pipeline, by tiny models: what they find, keys, resume, refused settings."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.commands.explain import explain_query
from hnmine.commands.plan.plan import make_plan
from hnmine.config.models import SparseConfig
from hnmine.config.retrieve import SourceConfig
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, ModelError, StaleOutput
from hnmine.models import encoders
from hnmine.models.sparse_encoders import SparseModelEncoder
from hnmine.pipeline.run import RunOptions
from hnmine.pipeline.stages import STAGES
from hnmine.runtime.stage import RunContext
from hnmine.search import sparse_source
from hnmine.storage.schemas.base import FLOATS, INTS
from hnmine.storage.schemas.index import SPARSE
from hnmine.storage.store import part_name, write_table
from tests.pipeline import tiny
from tests.pipeline.helpers import report, rows
from tests.support import WORDS, config_for, make_collection, tree, write_jsonl

pytestmark = pytest.mark.model
DOCUMENTS, QUERIES, DEPTH = 600, 40, 5
SPLADE = {"kind": "sparse", "name": "splade", "encoder": {"model": "./splade", "max_active": 6}}
STATIC = {"kind": "sparse", "encoder": {"model": "./static"}}
LOOSE = {"rule": "none", "max_positive_similarity": None, "max_query_similarity": None}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("sparse"), DOCUMENTS, QUERIES)
    for name in ("corpus", "queries"):
        lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        write_jsonl(folder / f"{name}.jsonl", ({**line, "lang": "ab"[n % 2]} for n, line in enumerate(lines)))
    tiny.save_tiny_splade(folder / "splade")
    tiny.save_tiny_static(folder / "static", {word: 1 + number % 4 for number, word in enumerate(WORDS)})
    return folder


@pytest.fixture(autouse=True)
def small_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "CELL_ROWS", 256)
    monkeypatch.setattr(sparse_source, "SPARSE_CELL_ROWS", 256)


def config(base: Path, out: str = "out", source: Any = (SPLADE, STATIC), **tables: Any) -> Config:
    retrieve = {"top_k": DEPTH, "background": 16, "source": list(source), **tables.pop("retrieve", {})}
    emit = {"num_negatives": 3, "choose": "random", "extra_columns": ["source"]}
    return config_for(base, out, **{"filter": LOOSE, "emit": emit, "retrieve": retrieve, "shard_rows": 256, **tables})


@pytest.fixture(scope="module")
def mined(base: Path) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(encoders, "CELL_ROWS", 256)
        patched.setattr(sparse_source, "SPARSE_CELL_ROWS", 256)
        run(config(base))
    return base / "out"


def products(base: Path, out: Path, name: str, **settings: Any) -> np.ndarray:
    """Return the dot product of every query and document, by vectors that are not sparse."""
    encoder = SparseModelEncoder(SparseConfig(model=str(base / name), **settings), "test")
    texts = {side: [row["text"] for row in rows(out / "ingest" / side)] for side in ("queries", "corpus")}
    kinds = {"queries": "query", "corpus": "document"}
    found = {side: encoder.prepare(texts[side], kinds[side])(lambda n: None).toarray() for side in texts}
    return found["queries"].astype(np.float64) @ found["corpus"].T.astype(np.float64)


def test_the_best_documents_by_dot_product_are_found(base: Path, mined: Path) -> None:
    of_source = [products(base, mined, "splade", max_active=6), products(base, mined, "static")]
    for row in rows(mined / "retrieve"):
        ranks = np.array([rank or 0 for rank in row["source_ranks"]]).reshape(-1, 2)
        given = np.array(row["source_scores"], dtype=float).reshape(-1, 2)
        for source, scores in enumerate(of_source):
            own, places = scores[row["query_row"]], np.flatnonzero(ranks[:, source])
            places = places[np.argsort(ranks[places, source])]
            listed = np.array(row["doc_rows"])[places]
            assert given[places, source] == pytest.approx(own[listed], rel=1e-5)
            assert sorted(zip(-given[places, source], listed, strict=True)) == list(
                zip(-given[places, source], listed, strict=True)
            )
            others = np.setdiff1d(np.arange(DOCUMENTS), [*listed, *row["positive_rows"]])
            assert own[others].max() <= own[listed].min() * (1 + 1e-5)
            assert np.setdiff1d(listed, row["positive_rows"]).size == min(DEPTH, (own > 0).sum())


def test_the_report_explain_and_manifest_know_the_source(base: Path, mined: Path) -> None:
    found = report(mined)["sources"]
    assert found["splade"]["alone"] > 0
    assert found["sparse"]["alone"] > 0
    explained = explain_query(config(base), "q3")["anchors"][0]["candidates"]
    assert explained[0]["source_ranks"].keys() == {"splade", "sparse"}
    terms = json.loads((mined / "index/_manifest.json").read_text())["counts"]["mean_terms"]
    assert terms["splade"] == {"corpus": 6.0, "queries": 6.0}
    plan = make_plan(config(base))
    assert [stage["state"] for stage in plan["stages"]] == ["done"] * 7
    assert f"{DOCUMENTS + QUERIES} texts with {base / 'splade'} for splade" in plan["stages"][2]["work"]
    assert plan["disk_of_stages"]["index"] > make_plan(config(base, source=[STATIC]))["disk_of_stages"]["index"]


def test_the_same_bytes_whatever_the_shards_and_the_order_of_the_work(base: Path, mined: Path) -> None:
    run(config(base, "wide", shard_rows=512))
    for stage in ("retrieve", "filter", "emit"):
        assert rows(mined / stage) == rows(base / "wide" / stage)
    for path in sorted((mined / "index").rglob("*.npy")):
        assert path.read_bytes() == (base / "wide/index" / path.relative_to(mined / "index")).read_bytes()
    for side in ("corpus", "queries"):
        assert rows(mined / "index/sparse/splade" / side) == rows(base / "wide/index/sparse/splade" / side)
    step, context = next(s for s in STAGES["index"].steps if s.name == "sparse-1"), RunContext(config(base), mined)
    for item in reversed(step.plan(context, "")):  # as another worker may do them
        assert (
            step.process(step.setup(context), item, lambda n: None)
            == pq.read_table(item.output).replace_schema_metadata()
        )
    assert len(list((mined / "index/sparse/splade/corpus").iterdir())) == 3
    assert len(list((base / "wide/index/sparse/splade/corpus").iterdir())) == 2


def test_a_run_that_is_killed_goes_on_where_it_was(base: Path, mined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, calls = STAGES["index"], []
    process = sparse_source._process

    def dies(state: Any, item: Any, tick: Any) -> Any:
        calls.append(item.output.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return process(state, item, tick)

    steps = tuple(dataclasses.replace(s, process=dies) if s.name == "sparse-1" else s for s in stage.steps)
    with monkeypatch.context() as patched:
        patched.setitem(STAGES, "index", dataclasses.replace(stage, steps=steps))
        with pytest.raises(KeyboardInterrupt):
            run(config(base, "killed"))
        run(config(base, "killed"))
    assert calls == [f"part-0000{number}.parquet" for number in (0, 1, 1, 2, 0)], "what was encoded was kept"
    assert tree(base / "killed") == tree(mined)


def test_keys_cover_the_encoder_and_weights_stay_where_they_fit(
    base: Path, mined: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = [{**SPLADE, "encoder": {**SPLADE["encoder"], "max_active": 5}}, STATIC]
    with pytest.raises(StaleOutput, match=r"index: sources.splade.max_active was 6, now 5"):
        run(config(base, source=fewer))
    same = [{**SPLADE, "encoder": {**SPLADE["encoder"], "batch_tokens": 64, "device": "cpu"}}, STATIC]
    assert make_plan(config(base, source=same))["stages"][2]["state"] == "done"
    before = tree(mined / "index/sparse")
    monkeypatch.setattr(sparse_source, "SparseModelEncoder", None)  # no text is encoded again
    run(config(base, index={"min_recall": 0.9}), ("index",), RunOptions(overwrite=True))
    after = tree(mined / "index/sparse")
    assert {name for name in after if name.endswith(".npy") or "part-" in name} == {
        name
        for name in before
        if after[name] == before[name] and not name.endswith(("splade.parquet", "sparse.parquet"))
    }
    run(config(base), ("index",), RunOptions(overwrite=True))
    assert tree(mined / "index/sparse") == before


def test_conditions_apply_and_candidates_alone_may_be_embedded(base: Path) -> None:
    retrieve = {"where": [{"field": "lang"}]}
    run(config(base, "some", [STATIC], retrieve=retrieve, embed={"documents": "candidates", "sample": 20}))
    for row in rows(base / "some/retrieve"):
        other = np.setdiff1d(row["doc_rows"], row["positive_rows"])
        assert (other % 2 == row["query_row"] % 2).all()
        assert len(other) == DEPTH
    counts = json.loads((base / "some/embed/_manifest.json").read_text())["counts"]
    assert counts["documents"] < counts["documents_in_all"] == DOCUMENTS
    assert counts["mean_terms"].keys() == {"sparse"}
    assert not (base / "some/index/sparse").exists()


def test_texts_without_terms_find_nothing_and_are_not_found(tmp_path: Path) -> None:
    for side, lists in (("corpus", [[], [], []]), ("queries", [[3, 99], []])):
        terms, weights = pa.array(lists, INTS), pa.array([[1.0] * len(one) for one in lists], FLOATS)
        table = pa.Table.from_arrays([terms, weights], schema=SPARSE)
        write_table(table, tmp_path / "none" / side / part_name(0), "key", lists=True)
    path = tmp_path / "none.parquet"
    write_table(sparse_source.build_sparse_index(tmp_path / "none/corpus", path, lambda n: None), path, "key")
    source = SourceConfig(kind="sparse", name="none", encoder=SparseConfig(model="x"))
    found = sparse_source.SparseSource(path, source, 3).search(np.arange(2), np.full(2, 2))
    assert found.rows.lengths.tolist() == [0, 0]


def test_settings_of_other_kinds_have_the_keys_that_they_had() -> None:
    assert SourceConfig(kind="bm25").part().keys() == {"kind", "name", "top_k", "language", "stem", "k1", "b"}
    assert SourceConfig(kind="dense").part().keys() == {"kind", "name", "top_k"}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([{"kind": "sparse"}], r'retrieve.source.0.encoder: needed with kind = "sparse"; .* encoder = { model'),
        ([{"kind": "bm25", "encoder": {"model": "x"}}], "source.0.encoder: only a source of kind 'sparse'"),
        ([STATIC, {**STATIC, "name": "b"}], r"source.1.encoder: the same model and settings as retrieve.source.0"),
        ([{**STATIC, "name": ".."}], "cannot name a folder"),
        ([{"kind": "sparse", "encoder": {}}], "retrieve.source.0.encoder.model"),
    ],
)
def test_sources_that_make_no_sense(base: Path, source: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(base, source=source)


def test_a_model_that_is_not_there_is_named_before_anything_is_run(base: Path) -> None:
    with pytest.raises(ModelError, match=r"retrieve.source.0.encoder.model: no folder"):
        run(config(base, "none", [{"kind": "sparse", "encoder": {"model": "./nowhere"}}]))
