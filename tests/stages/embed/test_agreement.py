"""Teachers that compute in bfloat16 on a CPU: the same vectors whatever the shards, and their distance from float32.

They run on any CPU here; a user's run is refused where the CPU has no instructions for it.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.cli.run_stages import draw_stages
from hnmine.config.models import EmbedConfig
from hnmine.errors import StaleOutput
from hnmine.models.encoders import ModelEncoder
from hnmine.storage.vectors import VectorStore
from tests.models.test_encoders import TEXTS, save
from tests.support import config_for, make_collection, tree

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch"),
]
STAGES = ("ingest", "embed")


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hnmine.models.encoders.multiplies_bfloat16", lambda: True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bfloat16")
    make_collection(folder, documents=300)
    save("dense", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hnmine.models.encoders.multiplies_bfloat16", lambda: True)
        run(config_for(folder, "done", embed=settings(folder)), STAGES)
    return folder


def settings(folder: Path, **more: object) -> dict[str, object]:
    return {"model": str(folder / "dense"), "precision": "bfloat16", "device": "cpu", **more}


def in_float32(base: Path) -> dict[str, np.ndarray]:
    """Return unit vectors of both sides by the same model in float32."""
    encoder = ModelEncoder(EmbedConfig(model=str(base / "dense"), device="cpu"))
    found = {}
    for side in ("corpus", "queries"):
        texts = pq.read_table(base / "done/ingest" / side).column("text").to_pylist()
        vectors = encoder.encode(texts, "document" if side == "corpus" else "query")
        found[side] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def made(base: Path, side: str) -> np.ndarray:
    store = VectorStore(base / "done/embed" / side)
    return store.gather(np.arange(store.rows))


def test_the_agreement_is_the_cosine_to_the_same_model_in_float32(base: Path) -> None:
    found = pq.read_table(base / "done/embed/corpus-agreement.parquet").to_pydict()
    assert len(found["row"]) == 256
    assert found["row"] == sorted(set(found["row"]))
    cosines = (in_float32(base)["corpus"] * made(base, "corpus")).sum(axis=1)[found["row"]]
    assert found["cosine"] == pytest.approx(cosines, abs=1e-5)
    assert 0.999 < cosines.min() < cosines.mean() < 0.999999


def test_the_ranking_is_nearly_that_of_float32(base: Path) -> None:
    exact = in_float32(base)
    best = [np.argsort(-scores, axis=1)[:, :10] for scores in (
        exact["queries"] @ exact["corpus"].T, made(base, "queries") @ made(base, "corpus").T,
    )]  # fmt: skip
    shared = [len(set(one) & set(other)) for one, other in zip(*best, strict=True)]
    assert np.mean(shared) > 9


def test_it_is_counted_and_said_on_the_terminal(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = run(config_for(base, "done", embed=settings(base)), STAGES)
    agreed = results[-1].counts["bfloat16_agreement"]["embed"]
    cosines = pq.read_table(base / "done/embed/corpus-agreement.parquet").column("cosine").to_numpy()
    assert agreed == {"documents": 256, "mean": pytest.approx(cosines.mean()), "least": float(cosines.min())}
    draw_stages(results)
    assert f"embed in bfloat16: cosine to float32 {agreed['mean']:.5f}" in "".join(capsys.readouterr())


def test_shards_change_no_vector(base: Path) -> None:
    run(config_for(base, "shards", embed=settings(base), shard_rows=256), STAGES)
    for side in ("corpus", "queries"):
        other = VectorStore(base / "shards/embed" / side)
        np.testing.assert_array_equal(other.gather(np.arange(other.rows)), made(base, side))


def test_threads_do_not_show_in_a_single_bit(base: Path) -> None:
    import torch

    encoder = ModelEncoder(EmbedConfig(model=str(base / "dense"), device="cpu", precision="bfloat16"))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(encoder.encode(TEXTS, "document"))
    finally:
        torch.set_num_threads(before)
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()


def test_a_run_that_was_stopped_ends_with_the_same_bytes(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_for(base, "stopped", embed=settings(base))

    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hnmine.stages.embed.agreement.make_encoder", stop)
        with pytest.raises(KeyboardInterrupt):
            run(config, STAGES)
    assert list((base / "stopped/embed/queries").glob("part-*"))
    assert not (base / "stopped/embed/corpus-agreement.parquet").exists()
    run(config, STAGES)
    assert tree(base / "stopped") == tree(base / "done")


def test_vectors_of_another_precision_are_refused(base: Path) -> None:
    with pytest.raises(StaleOutput, match=r'embed\.precision was "bfloat16", now "float32"'):
        run(config_for(base, "done", embed=settings(base, precision="float32")), STAGES)
