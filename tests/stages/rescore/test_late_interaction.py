"""The stage rescore with a late-interaction model: scores, keys, bytes by shards, refused settings."""

from pathlib import Path

import pytest

from hnmine import run
from hnmine.commands.plan.plan import make_plan
from hnmine.config.models import RescoreConfig
from hnmine.config.tables import Config
from hnmine.errors import ConfigError
from hnmine.models.cross_encoders import make_cross_scorer
from tests.pipeline import tiny
from tests.pipeline.helpers import rows
from tests.support import config_for, make_collection, tree

pytestmark = pytest.mark.model
LATE = {"kind": "late_interaction", "model": "./late", "top_n": 4}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("late"), 60, 40)
    tiny.save_tiny_late_interaction(folder / "late")
    return folder


def config(base: Path, out: str = "out", **rescore) -> Config:
    emit = {"extra_columns": ["negative_score", "rescore_score"], "num_negatives": 2}
    return config_for(base, out, retrieve={"top_k": 8}, filter={"score": "rescored"}, rescore=LATE | rescore, emit=emit)


def test_each_querys_best_get_its_scores(base: Path) -> None:
    run(config(base))
    texts = {side: [row["text"] for row in rows(base / "out/ingest" / side)] for side in ("corpus", "queries")}
    scorer = make_cross_scorer(RescoreConfig(kind="late_interaction", model=str(base / "late")))
    for row in rows(base / "out/rescore")[:5]:
        scored = [(d, score) for d, score in zip(row["doc_rows"], row["scores"], strict=True) if score is not None]
        pairs = [(texts["queries"][row["query_row"]], texts["corpus"][d]) for d, _ in scored]
        assert [score for _, score in scored] == pytest.approx(scorer.score(pairs).tolist(), abs=1e-5)
    assert "with" in make_plan(config(base))["stages"][4]["work"]
    assert [stage["state"] for stage in make_plan(config(base, batch_size=3))["stages"]] == ["done"] * 8


def test_a_second_run_has_the_same_bytes(base: Path) -> None:
    run(config(base, "again"))
    for stage in ("rescore", "emit"):
        assert tree(base / "again" / stage) == tree(base / "out" / stage)


def test_the_key_of_a_cross_encoder_is_as_it_was() -> None:
    assert "kind" not in RescoreConfig(model="x").semantic()
    assert RescoreConfig(kind="late_interaction", model="x").semantic()["kind"] == "late_interaction"


@pytest.mark.parametrize(
    ("rescore", "said"),
    [
        ({"kind": "late_interaction"}, "rescore.model: needed with"),
        ({"kind": "late_interaction", "model": "hash"}, "'hash' gives no vectors of tokens"),
        ({"kind": "late_interaction", "model": "http://localhost:1/v1"}, "gives no vectors of tokens"),
    ],
)
def test_models_that_have_no_token_vectors(base: Path, rescore: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_for(base, "none", rescore=rescore)
