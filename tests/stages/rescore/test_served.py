"""Runs whose cross-encoder a server computes: the rows of the same model loaded, paid for once, whatever fails."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hnmine import run
from hnmine.commands.plan.plan import make_plan
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, ModelError, ServerError
from hnmine.models import http_client
from hnmine.stages.rescore import step
from tests.ctrl_c import ctrl_c_when
from tests.fake_server import LONG, FakeServer, Fault
from tests.pipeline.helpers import table
from tests.support import config_for, make_collection, tree

UP_TO_RESCORE = ("ingest", "embed", "index", "retrieve", "rescore")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files and short pauses."""
    monkeypatch.setattr(step, "SERVED_QUERIES", 32)
    monkeypatch.setattr(http_client, "FIRST_PAUSE", 0.002)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("served"), 200, 100)
    run(config(folder, "loaded", model="hash"))
    return folder


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as found:
        yield found


def config(base: Path, out: str, **rescore: Any) -> Config:
    return config_for(
        base, out, shard_rows=256, retrieve={"top_k": 12}, rescore={"top_n": 6, **rescore},
        filter={"rule": "percent", "score": "rescored"}, emit={"num_negatives": 2, "extra_columns": ["rescore_score"]},
    )  # fmt: skip


def served(base: Path, out: str, server: FakeServer, **more: Any) -> Config:
    return config(base, out, model=server.url, retries=0, request_texts=4, requests_in_flight=2, **more)


def test_rows_are_those_of_the_loaded_model_and_a_stopped_server_loses_nothing(base: Path, server: FakeServer) -> None:
    made = served(base, "served", server)
    server.faults = [None] * 200 + [Fault(500)]
    with pytest.raises(ServerError, match=r"rescore\.model .*gave 500: fault 500; what is finished is kept"):
        run(made)
    done = sorted((base / "served/rescore").glob("part-*.parquet"))
    kept = {path: path.stat().st_mtime_ns for path in done}
    assert 0 < len(done) < 4
    results = {result.stage: result for result in run(made)}
    assert {path: path.stat().st_mtime_ns for path in done} == kept
    for folder in ("rescore", "rescore/random", "emit"):
        assert table(base / "served" / folder) == table(base / "loaded" / folder), folder
    assert len(sorted((base / "served/rescore").glob("part-*.parquet"))) == 4
    counts = results["rescore"].counts
    pairs = counts["scored"] + counts["positives"]
    assert counts["served"]["rescore"]["tokens"] <= pairs + 256
    assert counts["served"]["rescore"]["requests"] < sum(server.pairs.values())
    whole = served(base, "whole", server)
    run(whole)
    one, other = tree(base / "served"), tree(base / "whole")
    assert [name for name in one if one[name] != other.get(name)] == []
    before = len(server.seen)
    assert not any(result.ran for result in run(made))
    assert len(server.seen) == before + 2, "the server is asked what it has, and for the scores of the probe"
    server.stop()
    assert not any(result.ran for result in run(made))
    server.__init__()  # type: ignore[misc]  # so that the fixture can stop it again
    server.__enter__()


def test_ctrl_c_ends_a_run_whose_server_does_not_answer_and_finished_files_are_kept(
    base: Path, server: FakeServer
) -> None:
    made = served(base, "stalled", server, timeout=LONG)
    server.faults = [None] * 200 + [Fault(never=True)] * 100
    with pytest.raises(KeyboardInterrupt), ctrl_c_when(lambda: len(server.posts("/rerank")) > 200):
        run(made)
    finished = {path: path.stat().st_mtime_ns for path in (base / "stalled/rescore").glob("part-*.parquet")}
    assert finished
    server.faults.clear()
    run(made)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def test_a_score_that_is_not_finite_ends_the_run_and_names_the_pair(base: Path, server: FakeServer) -> None:
    change = Fault(change=lambda a: a | {"results": [one | {"relevance_score": None} for one in a["results"]]})
    server.faults = [None, None, change]
    with pytest.raises(ModelError, match=r"rescore\.model .*not finite for \d pairs, the first query row \d, document"):
        run(served(base, "nan", server), UP_TO_RESCORE)


def test_the_plan_counts_requests_and_asks_no_server(base: Path, server: FakeServer) -> None:
    plan = make_plan(served(base, "planned", server))
    work = {stage["stage"]: stage["work"] for stage in plan["stages"]}["rescore"]
    assert work.startswith("600 pairs (6 a query), and the positives, with http://127")
    assert "about 456 requests" in work  # two for each query, and the random pairs
    assert plan["requests"]["rescore"]["requests"] == 456
    assert any("rescore.model" in one and "server was not asked" in one for one in plan["warnings"])
    assert not server.seen


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "late_interaction"}, "gives no vectors of tokens"),
        ({"max_length": 64}, "rescore.max_length: only for a model that is loaded"),
        ({"api_key_env": "sk-123"}, "rescore.api_key_env: is the name of an environment variable"),
    ],
)
def test_settings_of_loaded_models_do_not_fit_a_server(base: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(base, "refused", model="http://127.0.0.1:1/v1", **settings)
    assert message in str(caught.value)
