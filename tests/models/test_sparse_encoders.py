"""Sparse encoders: tiny models of the real classes, saved and loaded by path."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hnmine.config.models import SparseConfig
from hnmine.errors import ModelError
from hnmine.models.sparse_encoders import SparseModelEncoder
from tests.pipeline import tiny

pytestmark = pytest.mark.model
TEXTS = ["amber reef 7", "sand tide kelp", "opal", "amber amber sand reef tide 12 kelp opal"] * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("sparse")
    tiny.save_tiny_splade(found / "splade")
    tiny.save_tiny_static(found / "static", {"amber": 2.0, "sand": 0.5, "tide": 0.0})
    tiny.save_tiny_inference_free(found / "router", found / "splade", found / "static")
    return found


def encoded(encoder: SparseModelEncoder, texts, kind="document") -> np.ndarray:
    found = encoder.prepare(texts, kind)(lambda rows: None)
    assert found.has_sorted_indices
    assert (found.data != 0).all()
    return found.toarray()


def test_weights_are_those_of_the_library(folder):
    encoder = SparseModelEncoder(SparseConfig(model=str(folder / "splade"), batch_tokens=20), "t")
    expected = encoder.model.encode(TEXTS, convert_to_sparse_tensor=False).cpu().numpy()
    np.testing.assert_allclose(encoded(encoder, TEXTS), expected, atol=1e-5)


def test_only_the_largest_weights_stay(folder):
    every = encoded(SparseModelEncoder(SparseConfig(model=str(folder / "splade")), "t"), TEXTS)
    some = encoded(SparseModelEncoder(SparseConfig(model=str(folder / "splade"), max_active=3), "t"), TEXTS)
    assert ((some > 0).sum(axis=1) == 3).all()
    np.testing.assert_allclose(np.sort(some)[:, -3:], np.sort(every)[:, -3:], atol=1e-6)


def test_a_static_model_looks_weights_up_and_texts_are_cut_and_prompted(folder):
    path = str(folder / "static")
    encoder = SparseModelEncoder(SparseConfig(model=path, query_prompt="opal "), "t")
    number = encoder.model.tokenizer.convert_tokens_to_ids
    found = encoded(encoder, ["amber amber sand tide"])
    assert found[0, [number(word) for word in ("amber", "sand", "tide")]].tolist() == [2.0, 0.5, 0.0]
    assert (found != 0).sum() == 2
    assert encoded(encoder, ["amber"], "query")[0, number("opal")] == 1.0
    cut = encoded(SparseModelEncoder(SparseConfig(model=path, max_length=8), "t"), ["sand " * 8 + "amber"])
    assert (cut != 0).sum() == 1


def test_a_length_beyond_the_positions_of_a_model_is_refused(folder):
    SparseModelEncoder(SparseConfig(model=str(folder / "splade"), max_length=64), "t")
    with pytest.raises(
        ModelError, match=r"^t\.max_length: 65, and '.*splade' takes texts of 64 tokens at most; lower it"
    ):
        SparseModelEncoder(SparseConfig(model=str(folder / "splade"), max_length=65), "t")


def test_a_model_of_dense_vectors_is_refused(folder, tmp_path):
    tiny.save_tiny_bert(tmp_path / "dense")
    with pytest.raises(ModelError, match=r"^t\.model '.*dense' is no sparse encoder: "):
        SparseModelEncoder(SparseConfig(model=str(tmp_path / "dense")), "t")


def test_queries_without_inference_have_a_tower_of_their_own(folder):
    router = SparseModelEncoder(SparseConfig(model=str(folder / "router")), "t")
    for kind, name in (("query", "static"), ("document", "splade")):
        alone = SparseModelEncoder(SparseConfig(model=str(folder / name)), "t")
        np.testing.assert_allclose(encoded(router, TEXTS, kind), encoded(alone, TEXTS, kind), atol=1e-5)


def test_texts_that_cannot_be_cut_into_batches_go_through_the_models_own_encode(folder, monkeypatch):
    encoder = SparseModelEncoder(SparseConfig(model=str(folder / "splade"), batch_size=5), "t")
    expected = encoded(encoder, TEXTS)
    monkeypatch.setattr(encoder, "features", lambda texts, kind: None)
    np.testing.assert_allclose(encoded(encoder, TEXTS), expected, atol=1e-5)


def test_weights_that_are_not_finite_and_missing_folders_are_named(folder, monkeypatch):
    encoder = SparseModelEncoder(SparseConfig(model=str(folder / "static")), "retrieve.source.1.encoder")
    monkeypatch.setattr(encoder, "outputs", lambda *given: [(np.arange(1), torch.tensor([[1.0, float("nan")]]))])
    with pytest.raises(ModelError, match=r"retrieve\.source\.1\.encoder\.model .*weights that are not finite"):
        encoded(encoder, ["amber"])
    with pytest.raises(ModelError, match=r"source\.0\.encoder\.model: no folder /nowhere"):
        SparseModelEncoder(SparseConfig(model="/nowhere"), "retrieve.source.0.encoder")
