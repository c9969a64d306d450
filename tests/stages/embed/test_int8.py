"""8-bit teachers: the output of embed, with any number of workers, and its distance from float32."""

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.cli.run_stages import draw_stages
from hnmine.config.models import EmbedConfig
from hnmine.errors import ConfigError, MissingExtra, ModelError, StaleOutput
from hnmine.models import quantised
from hnmine.models.encoders import ModelEncoder
from hnmine.storage.vectors import VectorStore
from tests.models.test_encoders import save
from tests.pipeline.tiny import part_of_sentence_transformers
from tests.support import config_for, make_collection, tree

LACKING = [name for name in ("torch", "openvino", "nncf") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(bool(LACKING), reason=f"needs the extra openvino: no {', '.join(LACKING)}"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8")
    make_collection(folder, documents=300)
    save("dense", folder)
    run(config_for(folder, "done", embed=settings(folder)), ("ingest", "embed"))
    return folder


def settings(folder: Path, **more: object) -> dict[str, object]:
    return {"model": str(folder / "dense"), "precision": "int8", **more}


def test_the_agreement_is_the_cosine_to_the_same_model_in_float32(base: Path) -> None:
    found = pq.read_table(base / "done/embed/corpus-agreement.parquet").to_pydict()
    assert len(found["row"]) == 256
    assert found["row"] == sorted(set(found["row"]))
    texts = pq.read_table(base / "done/ingest/corpus").column("text").to_pylist()
    exact = ModelEncoder(EmbedConfig(model=str(base / "dense"), device="cpu")).encode(texts, "document")
    made = VectorStore(base / "done/embed/corpus").gather(np.arange(len(texts)))
    cosines = [
        float(exact[row] @ made[row] / np.linalg.norm(exact[row]) / np.linalg.norm(made[row])) for row in found["row"]
    ]
    assert found["cosine"] == pytest.approx(cosines, abs=1e-5)
    # 8-bit numbers are near float32, and not it
    assert 0.99 < min(cosines) < np.mean(cosines) < 0.999999


def test_it_is_counted_and_said_on_the_terminal(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = run(config_for(base, "done", embed=settings(base)), ("ingest", "embed"))
    agreed = results[-1].counts["int8_agreement"]["embed"]
    cosines = pq.read_table(base / "done/embed/corpus-agreement.parquet").column("cosine").to_numpy()
    assert agreed == {"documents": 256, "mean": pytest.approx(cosines.mean()), "least": float(cosines.min())}
    draw_stages(results)
    assert f"cosine to float32 {agreed['mean']:.5f}" in "".join(capsys.readouterr())


@pytest.mark.parametrize("how", [{"workers": 2}, {"shard_rows": 256}])
def test_workers_change_no_byte_and_shards_no_vector(base: Path, how: dict[str, int]) -> None:
    name = "-".join(how)
    run(config_for(base, name, embed=settings(base), **how), ("ingest", "embed"))
    if "workers" in how:
        assert tree(base / name) == tree(base / "done")
    for side in ("corpus", "queries"):
        one, other = (VectorStore(base / out / "embed" / side) for out in (name, "done"))
        rows = np.arange(one.rows)
        np.testing.assert_array_equal(one.gather(rows), other.gather(rows))


def test_a_run_that_was_stopped_takes_the_model_that_it_has(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_for(base, "stopped", embed=settings(base))
    with monkeypatch.context() as patch:
        patch.setattr("hnmine.models.encoders.ModelEncoder.prepare", stop)
        with pytest.raises(KeyboardInterrupt):
            run(config, ("ingest", "embed"))
    assert (base / "stopped/embed/corpus-int8.parquet").exists()
    monkeypatch.setattr("hnmine.stages.embed.int8.quantise", stop)  # it is not made again
    run(config, ("ingest", "embed"))
    assert tree(base / "stopped") == tree(base / "done")


def stop(*given: object) -> None:
    raise KeyboardInterrupt


def test_sources_and_guides_may_have_it_too(base: Path) -> None:
    config = config_for(
        base, "guided", embed={"model": "hash"}, guide=settings(base),
        retrieve={"source": [{"kind": "dense"}, {"kind": "dense", "name": "second", "teacher": settings(base)}]},
    )  # fmt: skip
    results = run(config, ("ingest", "embed"))
    agreed = results[-1].counts["int8_agreement"]
    assert len(agreed) == 2
    assert all(one == agreed["guide"] for one in agreed.values())
    vectors = VectorStore(base / "guided/embed/guide-corpus")
    np.testing.assert_array_equal(
        vectors.gather(np.arange(vectors.rows)), VectorStore(base / "done/embed/corpus").gather(np.arange(vectors.rows))
    )


@pytest.mark.parametrize("kind", ["router", "static"])
def test_a_model_that_cannot_be_quantised_is_named(tmp_path: Path, kind: str) -> None:
    make_collection(tmp_path)
    if kind == "static":
        from sentence_transformers import SentenceTransformer

        save("mean", tmp_path)
        tokenizer = SentenceTransformer(str(tmp_path / "mean"), device="cpu").tokenizer
        static = part_of_sentence_transformers("modules").StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)
        SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"), create_model_card=False)
    else:
        save(kind, tmp_path)
    config = config_for(tmp_path, embed={"model": str(tmp_path / kind), "precision": "int8"})
    with pytest.raises(ModelError, match=r'embed\.precision = "int8": .*set it to "float32"'):
        run(config, ("ingest", "embed"))
    assert not list((tmp_path / "out" / "embed").glob("corpus*"))


def test_without_openvino_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_collection(tmp_path)
    plain = importlib.util.find_spec
    monkeypatch.setattr(quantised.importlib.util, "find_spec", lambda name: None if name == "nncf" else plain(name))
    with pytest.raises(MissingExtra, match=r'guide\.precision = "int8" needs nncf: pip install "hnmine\[openvino\]"'):
        run(config_for(tmp_path, guide={"model": str(save("mean", tmp_path)), "precision": "int8"}))


def test_a_device_that_it_does_not_run_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'embed\.precision: "int8" is computed on the CPU'):
        config_for(tmp_path, embed={"model": "any", "precision": "int8", "device": "cuda"})
    with pytest.raises(ConfigError, match=r"embed\.precision: 'int8' applies to models"):
        config_for(tmp_path, embed={"model": "hash", "precision": "int8"})


@pytest.mark.parametrize(("precision", "kept"), [("int8", False), ("float32", True)])
def test_only_int8_vectors_of_another_way_of_computing_are_refused(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, kept: bool
) -> None:
    config = config_for(base, tmp_path / "out", embed=settings(base, precision=precision))
    run(config, ("ingest", "embed"))
    monkeypatch.setattr("hnmine.stages.embed.step.VERSION", 1)
    if kept:
        assert not run(config, ("ingest", "embed"))[-1].ran
    else:
        with pytest.raises(StaleOutput, match=r"embed\.int8_version was 2, now 1"):
            run(config, ("ingest", "embed"))
