"""Training works on what was mined: from a model's folder to a trained model, with the libraries people use."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnmine import run
from hnmine.config.tables import Config
from hnmine.errors import ModelError, StaleOutput
from hnmine.models.model_files import fingerprint
from hnmine.storage.digest_cache import DigestCache
from tests.pipeline.helpers import emitted, table, vectors
from tests.pipeline.tiny import part_of_sentence_transformers, save_tiny_bert
from tests.support import config_for, make_collection, tree

pytest.importorskip("sentence_transformers")

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    save_tiny_bert(folder)
    return folder


@pytest.fixture
def base(tmp_path: Path, tiny: Path) -> Path:
    """Return a folder with a collection and a model of its own."""
    shutil.copytree(tiny, tmp_path / "model")
    return make_collection(tmp_path)


def config(base: Path, out: str = "out", **tables: Any) -> Config:
    embed = {"model": str(base / "model"), "device": "cpu", **tables.pop("embed", {})}
    loose = {"rule": "none", "max_positive_similarity": None}
    return config_for(base, out, embed=embed, filter=tables.pop("filter", loose), **tables)


def load(path: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(path), device="cpu")


def train(base: Path, name: str) -> tuple[float, Any]:
    """Train three steps on emitted rows as a user would, and return the loss and the model."""
    import datasets
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    losses = part_of_sentence_transformers("losses")
    files = str(base / name / "emit/part-*.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(base / "cache"))
    model = load(base / "model")
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(base / "trainer"), max_steps=3, per_device_train_batch_size=8, learning_rate=1e-2,
        report_to="none", save_strategy="no", use_cpu=True, disable_tqdm=True, logging_steps=1, seed=1,
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=rows, loss=losses.MultipleNegativesRankingLoss(model)
    )
    return trainer.train().training_loss, model


def weights(model: Any) -> dict[str, np.ndarray]:
    return {name: value.detach().cpu().numpy().copy() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("name", ["triplet", "n-tuple"])
def test_a_model_trains_on_what_was_mined_with_it(base: Path, name: str) -> None:
    run(config(base, name, emit={"format": name}))
    before = weights(load(base / "model"))
    loss, model = train(base, name)
    assert math.isfinite(loss)
    assert loss > 0
    after = weights(model)
    assert any(not np.array_equal(before[key], after[key]) for key in before)
    assert all(np.isfinite(value).all() for value in after.values())


def test_a_retrained_checkpoint_at_the_same_path_is_another_teacher(base: Path) -> None:
    run(config(base))
    before = fingerprint(config(base).embed, DigestCache())
    assert fingerprint(config(base).embed, DigestCache()) == before
    _, model = train(base, "out")
    model.save(str(base / "model"), create_model_card=False)
    assert fingerprint(config(base).embed, DigestCache()) != before
    with pytest.raises(StaleOutput, match=r"embed: teacher\.files_sha256 was .*, now "):
        run(config(base))


def test_the_same_checkpoint_at_another_path_is_the_same_teacher(base: Path) -> None:
    run(config(base))
    (base / "model").rename(base / "moved")
    (base / "moved/README.md").write_text("about this model")
    results = run(config(base, embed={"model": str(base / "moved")}))
    assert [result.ran for result in results] == [False] * 7


def test_vectors_are_the_models_own_with_prompts(base: Path) -> None:
    run(config(base, embed={"query_prompt": "amber ", "document_prompt": "basalt ", "max_length": 12}))
    model = load(base / "model")
    model.max_seq_length = 12
    for side, prompt in (("corpus", "basalt "), ("queries", "amber ")):
        texts = [prompt + text for text in table(base / "out/ingest" / side).column("text").to_pylist()]
        expected = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        np.testing.assert_allclose(vectors(base / "out", side), expected, atol=1e-5)


@pytest.mark.slow
def test_shards_and_workers_do_not_change_a_models_bytes(base: Path, two_threads: None) -> None:
    make_collection(base, 300, 8)
    run(config(base, "one", shard_rows=256))
    run(config(base, "other", shard_rows=512))
    for side in ("corpus", "queries"):
        assert table(base / "one/embed" / side).equals(table(base / "other/embed" / side))
    assert emitted(base / "one") == emitted(base / "other")
    before = tree(base / "one/embed")
    shutil.rmtree(base / "one/embed")
    run(config(base, "one", shard_rows=256, workers=2), ["embed"])
    assert tree(base / "one/embed") == before


def only_pickled(model: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


def no_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def damaged(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"\x00" * 64)


def not_there(model: Path) -> None:
    shutil.rmtree(model)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (only_pickled, r"pytorch_model\.bin: weights must be in safetensors"),
        (no_weights, "cannot be loaded"),
        (damaged, "cannot be loaded"),
        (not_there, "no folder"),
    ],
)
def test_a_model_that_cannot_be_used(base: Path, spoil: Any, message: str) -> None:
    spoil(base / "model")
    with pytest.raises(ModelError, match=message):
        run(config(base))


def test_exports_for_other_runtimes_do_not_get_in_the_way(base: Path) -> None:
    before = fingerprint(config(base).embed, DigestCache())
    for name in ("openvino/openvino_model.bin", "onnx/model.onnx", ".cache/pytorch_model.bin"):
        (base / "model" / name).parent.mkdir()
        (base / "model" / name).write_bytes(b"an export")
    assert fingerprint(config(base).embed, DigestCache()) == before
    run(config(base), ["ingest", "embed"])
