"""The guide, over the whole pipeline: its vectors, scores and rule, and refused settings."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnmine import run
from hnmine.cli.command_tables import draw_explanation
from hnmine.commands.explain import explain_query
from hnmine.commands.plan.plan import make_plan
from hnmine.commands.sweep import GUIDED, sweep
from hnmine.config.tables import Config
from hnmine.errors import IncompleteStage, InputError, StaleOutput
from tests.pipeline.helpers import by_vectors, emitted, plane, report, table, vectors
from tests.support import config_for, make_collection, tree

GUIDE = {"model": "hash", "max_length": 8, "document_prompt": "amber tide: "}
LOOSE = {"max_positive_similarity": None, "max_query_similarity": None}
COLUMNS = ["query_id", "positive_id", "negative_id", "guide_score"]
DOCUMENTS, QUERIES = 600, 300


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("guide"), DOCUMENTS, QUERIES)


def config(base: Path, out: str = "out", rule: Any = "guide", **tables: Any) -> Config:
    filters = {"rule": rule, **LOOSE, **tables.pop("filter", {})}
    settings = {"guide": GUIDE, "shard_rows": 256, "emit": {"extra_columns": COLUMNS}, **tables}
    return config_for(base, out, filter=filters, **settings)


def mine(base: Path, out: str = "out", rule: Any = "guide", **tables: Any) -> Path:
    run(config(base, out, rule, **tables))
    return base / out


@pytest.fixture(scope="module")
def first(base: Path) -> Path:
    return mine(base)


def scores_of(out: Path) -> np.ndarray:
    """Return the guide's score of every (query, document), by an ordinary matrix product."""
    found: np.ndarray = vectors(out, "guide-queries") @ vectors(out, "guide-corpus").T
    return found


def test_every_candidate_and_every_positive_has_the_guides_score(first: Path) -> None:
    expected = scores_of(first)
    assert np.abs(expected - vectors(first, "queries") @ vectors(first, "corpus").T).max() > 0.1, "the two differ"
    for row in table(first / "retrieve").to_pylist():
        own = expected[row["query_row"]]
        assert row["guide_scores"] == pytest.approx(own[row["doc_rows"]], abs=1e-6)
        assert row["guide_positive_scores"] == pytest.approx(own[row["positive_rows"]], abs=1e-6)


def test_the_rule_keeps_what_the_guide_scores_no_higher_than_the_positive(first: Path) -> None:
    seen = set()
    for row in table(first / "filter").to_pylist():
        for anchor, verdicts in zip(row["guide_positive_scores"], row["verdicts"], strict=True):
            for score, verdict in zip(row["guide_scores"], verdicts, strict=True):
                assert verdict != ("keep" if score > anchor else "guide")
                seen.add(verdict)
    assert seen >= {"keep", "guide", "positive"}


def test_training_rows_carry_the_guides_score_and_none_is_above_its_positives(base: Path, first: Path) -> None:
    expected = scores_of(first)
    documents, queries = ({name: n for n, name in enumerate(ids)} for ids in (
        table(first / "ingest/corpus").column("doc_id").to_pylist(),
        table(first / "ingest/queries").column("query_id").to_pylist(),
    ))  # fmt: skip
    rows = emitted(first)
    assert len(rows) > 500
    for row in rows:
        own = expected[queries[row["query_id"]]]
        assert row["guide_score"] == pytest.approx(own[documents[row["negative_id"]]], abs=1e-6)
        assert row["guide_score"] <= own[documents[row["positive_id"]]] + 1e-6
    lists = mine(base, "lists", emit={"format": "labeled-list", "extra_columns": COLUMNS})
    flat = [score for row in emitted(lists) for score in row["guide_score"]]
    assert flat == [row["guide_score"] for row in rows]


@pytest.mark.parametrize("anchor", ["min", "mean", "max", "quantile"])
def test_under_one_anchor_the_guides_positives_are_reduced_alike(base: Path, first: Path, anchor: str) -> None:
    out = mine(base, anchor, filter={"anchor": anchor, "anchor_quantile": 0.5, "guide_margin": 0.05})
    reduce = {"min": np.min, "mean": np.mean, "max": np.max, "quantile": np.median}[anchor]
    for row in table(out / "filter").to_pylist():
        (verdicts,) = row["verdicts"]
        line = float(reduce(row["guide_positive_scores"])) - 0.05
        for score, verdict in zip(row["guide_scores"], verdicts, strict=True):
            if abs(score - line) > 1e-6:
                assert verdict != ("keep" if score > line else "guide")


def test_a_guide_that_no_rule_asks_decides_nothing(base: Path, first: Path) -> None:
    silent, without = mine(base, "silent", "percent"), base / "without"
    run(config(base, "without", "percent", guide=None, emit={"extra_columns": COLUMNS[:3]}))
    assert not list((without / "embed").glob("guide-*"))
    names = [n for n in table(silent / "filter").column_names if not n.startswith("guide_")]
    assert table(silent / "filter").select(names).equals(table(without / "filter").select(names))
    assert table(silent / "retrieve").column("guide_scores").equals(table(first / "retrieve").column("guide_scores"))
    assert set(map(len, table(without / "retrieve").column("guide_scores").to_pylist())) == {0}
    rows = [{name: row[name] for name in COLUMNS[:3]} for row in emitted(silent)]
    assert rows == [{name: row[name] for name in COLUMNS[:3]} for row in emitted(without)]


@pytest.mark.parametrize("tables", [{"shard_rows": 512}, {"shard_rows": 4096, "memory": "0"}, {"memory": "700700kB"}])
def test_other_shards_and_caches_hold_the_same_content(base: Path, first: Path, tables: dict[str, Any]) -> None:
    other = mine(base, "-".join(map(str, tables.values())), **tables)
    for stage in ("embed/guide-corpus", "embed/guide-queries", "retrieve", "filter", "emit"):
        assert table(other / stage).equals(table(first / stage)), stage
    assert report(other) == report(first)


@pytest.mark.slow
def test_two_workers_write_the_same_bytes(base: Path, first: Path) -> None:
    assert tree(mine(base, "pooled", workers=2)) == tree(first)


def test_a_lost_shard_of_the_guide_is_made_again_alone(base: Path, first: Path) -> None:
    shutil.copytree(first, base / "lost")
    (base / "lost/embed/_manifest.json").unlink()
    (base / "lost/embed/guide-corpus/part-00001.parquet").unlink()
    kept = {p: p.stat().st_mtime_ns for p in (base / "lost/embed").rglob("part-*")}
    mine(base, "lost")
    assert tree(base / "lost") == tree(first)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


def test_another_guide_is_refused_and_named(base: Path, first: Path) -> None:
    with pytest.raises(StaleOutput, match=r"embed: guide\.max_length was 8, now 9"):
        mine(base, guide={**GUIDE, "max_length": 9})
    with pytest.raises(StaleOutput, match=r"filter\.guide_margin was 0\.0, now 0\.1"):
        mine(base, filter={"guide_margin": 0.1})


def test_explain_shows_both_teachers_scores(base: Path, first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = explain_query(config(base), "q1", top=None)
    (row,) = [row for row in table(first / "filter").to_pylist() if row["query_id"] == "q1"]
    assert [p["guide_score"] for p in found["positives"]] == row["guide_positive_scores"]
    for anchor in found["anchors"]:
        assert [c["guide_score"] for c in anchor["candidates"]] == row["guide_scores"]
    draw_explanation(found)
    drawn = capsys.readouterr().err
    assert f"{row['guide_positive_scores'][0]:.3f}" in drawn
    assert drawn.count(" guide ") >= 3  # beside the positives, and for each of two anchors
    without = {**found, "positives": [{**p, "guide_score": None} for p in found["positives"]], "anchors": []}
    draw_explanation(without)
    assert " guide " not in capsys.readouterr().err


def test_sweep_tries_the_guide_where_its_scores_are(base: Path, first: Path) -> None:
    found = {repr(one["settings"]): one for one in sweep(config(base))["settings"]}
    assert {repr(settings) for settings in GUIDED} <= set(found)
    fill = [found[repr({"rule": "guide", "guide_margin": m})]["fill"] for m in (0.0, 0.02, 0.05, 0.1)]
    assert fill == sorted(fill, reverse=True)
    assert found["{'rule': 'none'}"]["fill"] > fill[-1]
    plain = {"guide": None, "emit": {"extra_columns": []}}
    run(config(base, "plain", "percent", **plain))
    tried = sweep(config(base, "plain", "percent", **plain))["settings"]
    assert not any("guide" in one["settings"]["rule"] for one in tried)
    with pytest.raises(IncompleteStage, match=r"retrieve was made without \[guide\]; run `hnmine retrieve` again"):
        sweep(config(base, "plain"))


def test_plan_counts_the_guide(base: Path, tmp_path: Path) -> None:
    one, both = (make_plan(config(base, str(tmp_path), rule, **t)) for rule, t in (
        ("percent", {"guide": None, "emit": {"extra_columns": []}}), ("guide", {}),
    ))  # fmt: skip
    assert both["disk_bytes"] - one["disk_bytes"] >= (DOCUMENTS + QUERIES) * 256 * 4
    assert both["memory_of_stages"]["retrieve"] > one["memory_of_stages"]["retrieve"]
    assert "900 texts with hash and with hash" in [stage["work"] for stage in both["stages"]]
    silent = make_plan(config(base, str(tmp_path), "percent", filter={"guide_margin": 0.1}))["warnings"]
    assert any(w.startswith("[guide] is given, but filter.rule does not name guide") for w in silent)
    assert any(w.startswith("filter.guide_margin is set, but filter.rule is 'percent'") for w in silent)


def by_two(folder: Path, guide: dict[str, np.ndarray], **settings: Any) -> Config:
    """Return a config whose teacher puts documents at 0, 10, 20, 30, 40 degrees from the one query, and a guide."""
    for name, array in guide.items():
        np.save(folder / f"guide-{name}.npy", array)
    table = {"model": "precomputed", "corpus_vectors": "guide-corpus.npy", "query_vectors": "guide-queries.npy"}
    tables: dict[str, Any] = {
        "guide": {**table, **settings}, "filter": {"rule": "guide", **LOOSE},
        "emit": {"num_negatives": 4, "extra_columns": ["negative_id", "negative_score", "guide_score"]},
    }  # fmt: skip
    return by_vectors(folder, plane(0, 10, 20, 30, 40), plane(0), [[2]], **tables)


def test_own_vectors_of_another_dimension_and_similarity(tmp_path: Path) -> None:
    lengths = np.array([7.0, 1.0, 3.0, -2.0, 3.0], dtype=np.float32)
    guide = {"corpus": lengths[:, None] * np.array([[1, 0, 0]], dtype=np.float32), "queries": np.array([[2.0, 5, 5]])}
    run(by_two(tmp_path, guide, similarity="dot"))
    (row,) = table(tmp_path / "out/filter").to_pylist()
    assert row["doc_rows"] == [0, 1, 2, 3, 4]
    assert row["guide_scores"] == [14.0, 2.0, 6.0, -4.0, 6.0]
    assert row["guide_positive_scores"] == [6.0]
    assert row["verdicts"] == [["guide", "keep", "positive", "keep", "keep"]]
    assert [(r["negative_id"], r["guide_score"]) for r in emitted(tmp_path / "out")] == [
        ("d1", 2.0), ("d3", -4.0), ("d4", 6.0),
    ]  # fmt: skip


RNG = np.random.default_rng(3)
GOOD = {"corpus": RNG.normal(size=(5, 3)), "queries": RNG.normal(size=(1, 3))}
WRONG: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "missing": (
        {"corpus": GOOD["corpus"][:4]},
        "guide-corpus.npy (guide.corpus_vectors): 4 vectors for 5 corpus rows read from the input",
    ),
    "other side": (
        {"queries": RNG.normal(size=(1, 4))},
        "guide-corpus.npy (guide.corpus_vectors): vectors of 3 numbers, "
        "but guide-queries.npy (guide.query_vectors) has vectors of 4",
    ),
    "zeros": (
        {"queries": np.zeros((1, 3))},
        "guide-queries.npy (guide.query_vectors): 1 vectors are all zeros (query_id 'q0')",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_wrong_vectors_are_the_guides_and_found_before_anything_is_embedded(
    tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        run(by_two(tmp_path, {**GOOD, **change}))
    assert str(caught.value) == message
    assert not list((tmp_path / "out/embed").rglob("part-*"))
    run(by_two(tmp_path, GOOD))


def test_missing_files_and_numbers_too_large_name_the_guides_keys(tmp_path: Path) -> None:
    made = by_two(tmp_path, GOOD)
    (tmp_path / "guide-queries.npy").unlink()
    with pytest.raises(InputError, match=r"^guide\.query_vectors: guide-queries\.npy: no such file$"):
        run(made)
    huge = {**GOOD, "corpus": GOOD["corpus"] * 1e6}
    with pytest.raises(InputError, match=r'^guide corpus shard 0: .* set guide\.dtype = "float32", or scale them$'):
        run(by_two(tmp_path, huge, similarity="dot", dtype="float16"))


@pytest.mark.model
def test_a_model_may_guide_another_teacher(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from tests.pipeline.tiny import save_tiny_bert

    save_tiny_bert(tmp_path / "model")
    make_collection(tmp_path)
    run(config_for(tmp_path, guide={"model": "./model", "device": "cpu"}, filter={"rule": ["percent", "guide"]}))
    out = tmp_path / "out"
    assert vectors(out, "corpus").shape == (60, 256)
    assert vectors(out, "guide-corpus").shape == (60, 32)
    expected = scores_of(out)
    for row in table(out / "retrieve").to_pylist():
        assert row["guide_scores"] == pytest.approx(expected[row["query_row"]][row["doc_rows"]], abs=1e-6)
