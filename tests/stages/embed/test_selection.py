"""`embed.documents = "candidates"` over the whole pipeline: the selection, what is found among it, refused settings."""

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.cli.run_stages import draw_report
from hnmine.commands.plan.plan import make_plan
from hnmine.config.tables import Config
from hnmine.errors import ConfigError
from hnmine.pipeline.run import RunOptions
from hnmine.pipeline.stages import STAGES
from hnmine.stages.embed.selection import read_selection
from hnmine.stages.report.limits import report_numbers
from hnmine.storage.vectors import VectorStore
from tests.pipeline.helpers import report, rows, table
from tests.support import ROOT, config_for, make_collection, tree

DOCUMENTS, QUERIES, DEPTH = 700, 280, 6
BM25 = {"kind": "bm25", "stem": False}
DENSE = {"kind": "dense"}
SHORT = {"kind": "dense", "name": "short", "teacher": {"model": "hash", "max_length": 8}}
SEARCH = ("ingest", "embed", "index", "retrieve")
LOOSE = {"rule": "none", "max_positive_similarity": None, "max_query_similarity": None}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("partial"), DOCUMENTS, QUERIES)


def config(base: Path, out: str = "out", source: Any = (DENSE, BM25), **tables: Any) -> Config:
    retrieve = {"top_k": DEPTH, "background": 16, "source": list(source), **tables.pop("retrieve", {})}
    embed = {"model": "hash", "documents": "candidates", "sample": 20, **tables.pop("embed", {})}
    return config_for(base, out, **{"embed": embed, "shard_rows": 256, "filter": LOOSE, "retrieve": retrieve, **tables})


def rows_of(out: Path) -> np.ndarray:
    return pq.read_table(out / "embed/selected.parquet").column("row").to_numpy()


@pytest.fixture(scope="module")
def mined(base: Path) -> Path:
    run(config(base, source=[DENSE, {**BM25, "top_k": 2}], shard_rows=256))
    return base / "out"


def test_embeds_what_was_found_what_is_labelled_and_a_sample(base: Path, mined: Path) -> None:
    chosen = read_selection(mined / "embed", DOCUMENTS)
    stored = table(mined / "embed/corpus").column("row").to_numpy()
    assert stored.tolist() == chosen.rows.tolist()
    assert len(stored) < DOCUMENTS
    labelled, found = set(), set()
    for row in rows(mined / "retrieve"):
        ranks = row["source_ranks"]
        found |= {d for place, d in enumerate(row["doc_rows"]) if ranks[2 * place + 1]}
        labelled |= set(row["positive_rows"])
    known = set(chosen.rows[~chosen.by_chance].tolist())
    assert found | labelled == known
    assert 0 < chosen.by_chance.sum() <= 36
    assert chosen.weight == pytest.approx((DOCUMENTS - len(known)) / chosen.by_chance.sum())


def test_its_own_search_finds_the_best_of_those_embedded(base: Path, mined: Path) -> None:
    store = VectorStore(mined / "embed/corpus")
    queries = VectorStore(mined / "embed/queries").gather(np.arange(QUERIES))
    scores = queries @ store.gather(rows_of(mined)).T
    for row in rows(mined / "retrieve")[:50]:
        own = scores[row["query_row"]]
        ranks = row["source_ranks"]
        listed = [d for place, d in enumerate(row["doc_rows"]) if ranks[2 * place]]
        worst = min(own[np.searchsorted(rows_of(mined), listed)])
        better = set(rows_of(mined)[own > worst + 1e-5].tolist())
        assert better <= set(listed)
        for place, d in enumerate(row["doc_rows"]):
            assert row["scores"][place] == pytest.approx(own[np.searchsorted(rows_of(mined), d)], abs=1e-5)


@pytest.mark.parametrize("source", [[BM25], [DENSE, BM25, SHORT]], ids=["words", "all"])
def test_equals_embedding_all_where_a_source_finds_everything(base: Path, source: Any) -> None:
    deep = [{**one, "top_k": DOCUMENTS} if one.get("name") == "short" or source == [BM25] else one for one in source]
    name, sample = f"deep-{len(source)}", {"sample": DOCUMENTS} if source == [BM25] else {}
    emits: list[Any] = [{}, {"choose": "diverse", "fallback": "random"}]
    for emit in emits:
        for documents in ("all", "candidates"):
            embed = {"documents": documents, **sample}
            settings = config(base, f"{name}-{documents}", deep, embed=embed, emit=emit)
            run(settings, (*SEARCH, "filter", "emit"), RunOptions(overwrite=True))
        assert len(rows_of(base / f"{name}-candidates")) == DOCUMENTS
        for stage in ("retrieve", "filter", "emit", "embed/corpus"):
            assert table(base / f"{name}-all" / stage).equals(table(base / f"{name}-candidates" / stage))


def test_the_same_bytes_whatever_the_shards_and_workers(base: Path, mined: Path) -> None:
    source = [DENSE, {**BM25, "top_k": 2}]
    run(config(base, "shards", source, shard_rows=512))
    run(config(base, "workers", source, workers=2))
    for stage in ("embed/corpus", "retrieve", "filter", "emit"):
        assert table(base / "shards" / stage).equals(table(mined / stage))
    assert tree(base / "workers") == tree(mined)
    assert report(base / "shards") == report(mined)


@pytest.mark.parametrize("step", ["sources", "found", "select", "corpus"])
def test_a_run_that_is_killed_goes_on_where_it_was(
    base: Path, mined: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(base, f"killed-{step}", [DENSE, {**BM25, "top_k": 2}])
    stage, calls = STAGES["embed"], []
    own = next(one for one in stage.steps if one.name == step)

    def dies(state: Any, item: Any, tick: Any) -> pa.Table:
        calls.append(item.number)
        if len(calls) == (2 if step in ("found", "corpus") else 1):
            raise KeyboardInterrupt
        return own.process(state, item, tick)

    steps = tuple(dataclasses.replace(one, process=dies) if one.name == step else one for one in stage.steps)
    with monkeypatch.context() as patched:
        patched.setitem(STAGES, "embed", dataclasses.replace(stage, steps=steps))
        with pytest.raises(KeyboardInterrupt):
            run(settings)
    run(settings)
    assert tree(base / f"killed-{step}") == tree(mined)


def test_a_filled_up_random_document_is_one_that_was_embedded(base: Path) -> None:
    emit = {"choose": "mixed", "random_share": 0.5, "num_negatives": 4, "max_per_document": 9, "fallback": "random"}
    run(config(base, "mixed", [BM25], emit=emit))
    chosen = pq.read_table(base / "mixed/emit/chosen/chosen.parquet")
    random = np.concatenate([d for d in chosen.column("doc_rows").to_pylist()]).astype(np.int64)
    assert len(random) > 500
    assert np.isin(random, rows_of(base / "mixed")).all()


def test_conditions_hold_for_what_is_embedded_too(base: Path) -> None:
    lines = [json.loads(line) for line in (base / "corpus.jsonl").read_text().splitlines()]
    (base / "grouped.jsonl").write_text(
        "".join(json.dumps({**line, "group": str(n % 3)}) + "\n" for n, line in enumerate(lines))
    )
    where = {"where": [{"field": "group", "must": "differ", "with": "positive"}]}
    tables: dict[str, Any] = {"input": {"corpus": "grouped.jsonl"}, "retrieve": where}
    deep = [DENSE, {**SHORT, "top_k": DOCUMENTS}]
    run(config(base, "where", [DENSE, BM25], **tables), SEARCH)
    held = rows_of(base / "where")
    assert len(held) < DOCUMENTS
    for row in rows(base / "where/retrieve"):
        groups = {d % 3 for d in row["positive_rows"]}
        assert not {d % 3 for d in set(row["doc_rows"]) - set(row["positive_rows"])} & groups
    for documents in ("all", "candidates"):
        settings = config(base, f"where-{documents}", deep, embed={"documents": documents}, **tables)
        run(settings, SEARCH)
    assert table(base / "where-all/retrieve").equals(table(base / "where-candidates/retrieve"))


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_index_over_those_embedded_gives_their_rows(base: Path, kind: str) -> None:
    index = {"kind": kind, "hnsw_search": 900, "ivf_probe": 900}
    source = [DENSE, {**BM25, "top_k": 2}]
    for one in ("flat", kind):
        run(config(base, f"index-{kind}-{one}", source, index={**index, "kind": one}), SEARCH)
    approximate, exact = (rows(base / f"index-{kind}-{one}/retrieve") for one in (kind, "flat"))
    shared = 0
    for got, wanted in zip(approximate, exact, strict=True):
        known = dict(zip(wanted["doc_rows"], wanted["scores"], strict=True))
        both = dict(zip(got["doc_rows"], got["scores"], strict=True)).items() & known.items()
        assert {d for d, _ in both} == set(got["doc_rows"]) & set(known), "a document has one score"
        shared += len(both)
    assert shared > 0.8 * sum(len(row["doc_rows"]) for row in exact)


def test_the_report_estimates_the_recall_of_a_search_of_everything(
    base: Path, mined: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(config(base, "whole", [DENSE], embed={"documents": "all"}), SEARCH)
    shares = []
    for full, own in zip(rows(base / "whole/retrieve"), rows(mined / "retrieve"), strict=True):
        wanted = set(full["doc_rows"]) - set(full["positive_rows"])
        shares.append(len(wanted & set(own["doc_rows"])) / len(wanted))
    found = report(mined)["embedding"]
    chosen = read_selection(mined / "embed", DOCUMENTS)
    assert (found["documents"], found["embedded"]) == (DOCUMENTS, len(chosen.rows))
    assert (found["by_chance"], found["weight"]) == (int(chosen.by_chance.sum()), pytest.approx(chosen.weight))
    recall = found["recall"]
    assert (recall["top_k"], recall["queries"]) == (DEPTH, QUERIES)
    assert recall["interval"][0] <= recall["value"] <= recall["interval"][1]
    assert recall["value"] == pytest.approx(np.mean(shares), abs=0.12)
    draw_report(json.loads((mined / "report/report.json").read_text()), mined / "report/report.json")
    said = "".join(capsys.readouterr())
    assert f"embedded {len(chosen.rows)} of {DOCUMENTS} documents" in said
    assert f"recall of the dense top {DEPTH}: {recall['value']:.2f}" in said


def test_without_a_sample_the_recall_is_unknown_and_with_all_embedded_it_is_exact(base: Path) -> None:
    for name, sample in (("none", 0), ("every", DOCUMENTS)):
        run(config(base, name, [DENSE, {**BM25, "top_k": 2}], embed={"sample": sample}, retrieve={"background": 8}))
    every = report(base / "every")["embedding"]
    assert (every["embedded"], every["by_chance"], every["weight"]) == (DOCUMENTS, every["by_chance"], 1.0)
    assert every["recall"]["value"] == 1.0
    nothing = report(base / "none")["embedding"]["recall"]
    assert (nothing["value"] is None) == (not report(base / "none")["embedding"]["by_chance"])


def test_by_default_all_are_embedded_and_nothing_says_otherwise(base: Path) -> None:
    settings = config(base, "default", [BM25], embed={"documents": "all", "sample": 1000})
    run(settings)
    assert "embedding" not in report(base / "default")
    assert not (base / "default/embed/selected.parquet").exists()
    assert table(base / "default/embed/corpus").num_rows == DOCUMENTS
    keys = json.loads((base / "default/embed/_manifest.json").read_text())["parts"]
    assert not {"documents", "sample"} & {*keys, *keys["embed"]}


def test_the_plan_says_how_many_would_be_embedded_at_most(base: Path) -> None:
    work = {
        one["stage"]: one["work"] for one in make_plan(config(base, "planned", [DENSE, {**BM25, "top_k": 1}]))["stages"]
    }
    assert work["embed"].startswith(f"at most {QUERIES + 20 + 16:,} of {DOCUMENTS:,} documents")
    bare = config(base, "planned", [BM25], embed={"documents": "all", "sample": 5})
    assert any("embed.sample is set" in warning for warning in make_plan(bare)["warnings"])


@pytest.mark.parametrize(
    ("source", "tables", "said"),
    [
        ([DENSE], {}, "embeds the documents of other sources, and there are none"),
        ([], {}, r"add for example \[\[retrieve.source\]\]"),
        ([BM25], {"guide": {"model": "hash", "max_length": 9, "documents": "candidates"}}, "guide.documents: only"),
        (
            [{**SHORT, "teacher": {"model": "hash", "max_length": 9, "sample": 3}}],
            {},
            r"teacher.sample: only \[embed\]",
        ),
        ([BM25], {"embed": {"documents": "some"}}, "embed.documents"),
        ([BM25], {"previous": {"run": "first"}}, r"no vectors of the negatives that \[previous\] scores again"),
        ([BM25], {"embed": {"sample": -1}}, "embed.sample"),
    ],
)
def test_settings_that_make_no_sense(base: Path, source: Any, tables: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(base, "wrong", source, **tables)


def test_the_example_of_the_docs_runs(base: Path) -> None:
    page = (ROOT / "docs/embedding-candidates.md").read_text()
    raw = tomllib.loads(page.split("```toml\n")[1].split("```")[0])
    raw["embed"]["model"] = "hash"
    settings = config_for(base, "docs", **raw)
    run(settings)
    found = report(base / "docs")
    assert found["embedding"]["recall"]["top_k"] == 100
    assert settings.report.fail_under.keys() <= report_numbers(found).keys()
