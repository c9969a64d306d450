"""`rescore.spend`: which candidates are scored, and `filter.score = "checked"`, which rejects what scores high."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine import run
from hnmine.cli.command_tables import draw_explanation
from hnmine.commands.explain import explain_query
from hnmine.commands.plan.plan import make_plan
from hnmine.config.filter import FilterConfig
from hnmine.config.models import RescoreConfig
from hnmine.config.tables import Config
from hnmine.errors import ConfigError
from hnmine.models.cross_encoders import HashCrossEncoder
from hnmine.runtime.stage import RunContext
from hnmine.stages.filter.hidden_positives import as_checked
from hnmine.stages.filter.inputs import FilterInputs
from hnmine.stages.rescore.spending import to_score
from tests import oracles
from tests.pipeline.helpers import emitted, report, table
from tests.strategies import filter_configs, worlds
from tests.support import config_for, make_collection

RESCORE = {"model": "hash", "spend": "doubtful", "pairs": 4}


def config(base: Path, out: str = "out", **tables: Any) -> Config:
    settings: dict[str, Any] = {"rescore": RESCORE, "shard_rows": 256, "retrieve": {"top_k": 20}, **tables}
    checked = {"score": "checked", "check_percentile": 0.315}
    settings["filter"] = {"rule": "percent", "percent": 0.9, **checked, **tables.get("filter", {})}
    settings["emit"] = {"num_negatives": 3, "extra_columns": ["query_id", "rescore_score"], **tables.get("emit", {})}
    return config_for(base, out, **settings)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("spending"), 400, 300)
    run(config(folder))
    return folder


@given(worlds(min_queries=1), filter_configs(), st.integers(1, 5), st.sampled_from(["top", "doubtful"]))
def test_candidates_are_those_of_the_double_loop(world: Any, filter_: FilterConfig, most: int, spend: Any) -> None:
    batch = world.batch()
    made = Config(rescore=RescoreConfig(model="hash", spend=spend, pairs=most, top_n=most), filter=filter_)
    scores = batch.candidates.with_values(batch.scores)
    found = to_score(scores, ~batch.is_positive, batch.positive_scores, batch.background_mean, made)
    expected = [oracles.to_score(query, filter_, spend, most) for query in world.queries]
    assert batch.candidates.with_values(found).to_arrow("bool").to_pylist() == expected


@given(worlds(min_queries=1), filter_configs(), st.integers(1, 5))
def test_more_pairs_score_the_same_and_more(world: Any, filter_: FilterConfig, most: int) -> None:
    batch = world.batch()
    found = [
        to_score(
            batch.candidates.with_values(batch.scores), ~batch.is_positive, batch.positive_scores,
            batch.background_mean, Config(rescore=RescoreConfig(spend="doubtful", pairs=pairs), filter=filter_),
        )
        for pairs in (most, most + 1)
    ]  # fmt: skip
    assert not (found[0] & ~found[1]).any()


def test_what_is_scored_and_what_it_rejects(base: Path) -> None:
    teacher = {"rescore": None, "filter": {"score": "teacher"}, "emit": {"extra_columns": []}}
    plain = config(base, "plain", retrieve={"top_k": 20, "max_top_k": 20}, **teacher)
    run(plain)
    scorer, raw = HashCrossEncoder(RescoreConfig(model="hash")), table(base / "out/rescore").to_pylist()
    corpus, queries = (table(base / "out/ingest" / side).column("text").to_pylist() for side in ("corpus", "queries"))
    reference = [score for row in raw for score in row["positive_scores"]]
    before = table(plain.out_folder / "filter").to_pylist()
    changed = 0
    for row, own, old in zip(table(base / "out/filter").to_pylist(), raw, before, strict=True):
        assert (row["doc_rows"], row["scores"]) == (old["doc_rows"], old["scores"])
        below: set[int] = set()
        for anchor in row["anchor_scores"]:
            kept = [
                document
                for document, score in zip(row["doc_rows"], row["scores"], strict=True)
                if document not in row["positive_rows"] and oracles.keeps_percent(score, anchor, 0.9)
            ]
            below |= set(kept[:4])
        for place, (document, score) in enumerate(zip(row["doc_rows"], own["scores"], strict=True)):
            assert (score is not None) == (document in below or document in row["positive_rows"])
            if score is not None:
                assert score == scorer.score([(queries[row["query_row"]], corpus[document])])[0]
            for verdicts, without in zip(row["verdicts"], old["verdicts"], strict=True):
                high = score is not None and oracles.ecdf(score, reference) > 0.315
                open_ = without[place] in ("keep", "copy_of_negative")
                assert (verdicts[place] == "rescored") == (high and open_)
                changed += high and open_
    assert changed > 20
    found = report(base / "out")
    assert found["verdicts"]["rescored"] == changed
    scored = found["counts"]["rescore"]["scored"]
    assert found["checked"]["pairs"] == scored
    assert found["checked"]["rejected"] == changed
    rows = emitted(base / "out")
    checked = [row for row in rows if row["rescore_score"] is not None]
    assert found["checked"]["negatives_scored"] == pytest.approx(len(checked) / len(rows))
    assert 0 < len(checked) < len(rows)
    assert "rescored" not in json.loads((plain.out_folder / "filter/_manifest.json").read_text())["counts"]["verdicts"]
    assert "checked" not in report(plain.out_folder)


def test_the_protocol_checks_only_what_would_be_scored(base: Path) -> None:
    made = config(base)
    inputs = FilterInputs.open(RunContext(made, made.out_folder))
    for batch, _ in inputs.batches():
        found = as_checked(batch, made)
        np.testing.assert_array_equal(np.isnan(found.cross_scores), np.isnan(batch.cross_scores) | batch.is_positive)


def test_shards_and_workers_show_in_no_row(base: Path) -> None:
    run(config(base, "wide", shard_rows=1024, workers=2))
    for folder in ("rescore", "filter", "emit"):
        assert table(base / "wide" / folder) == table(base / "out" / folder)


def test_keys_of_runs_that_score_the_best_stay_and_margins_count_where_they_decide() -> None:
    assert RescoreConfig(top_n=7).semantic() == {
        "model": "cross-encoder/ms-marco-MiniLM-L6-v2", "revision": None, "top_n": 7, "max_length": None,
        "trust_remote_code": False,
    }  # fmt: skip
    assert RescoreConfig(**RESCORE).semantic().keys() & {"spend", "pairs", "top_n"} == {"spend", "pairs"}
    assert "check_percentile" not in FilterConfig(score="rescored").semantic()
    assert FilterConfig(score="checked").semantic()["check_percentile"] == 0.1


def test_the_plan_and_explain_know_of_it(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(config(base))
    work = {stage["stage"]: stage["work"] for stage in plan["stages"]}
    assert work["rescore"].startswith("at most ")
    assert "4 for each positive" in work["rescore"]
    assert "decide nothing" not in " ".join(plan["warnings"])
    queries = table(base / "out/ingest/queries").column("query_id").to_pylist()
    explained = [explain_query(config(base), query, top=None) for query in queries[:12]]
    found = [one for data in explained for one in data["anchors"][0]["candidates"]]
    raw = [score for row in table(base / "out/rescore").to_pylist()[:12] for score in row["scores"]]
    assert sorted(map(str, raw)) == sorted(str(one["rescore_score"]) for one in found)
    assert all(one["rescore_score"] is not None for one in found if one["verdict"] == "rescored")
    draw_explanation(explained[0])
    assert "rescored" in capsys.readouterr().err


def test_scores_that_leave_the_best_out_cannot_take_the_teachers_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'set filter\.score = "checked", or rescore\.spend = "top"'):
        config(tmp_path, filter={"score": "rescored"})
    with pytest.raises(ConfigError, match=r'filter\.score: "checked" needs a cross-encoder'):
        config(tmp_path, rescore=None, emit={"extra_columns": []})
