"""Late interaction: tiny models of the real classes, saved and loaded by path."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from hnmine.config.models import RescoreConfig
from hnmine.errors import MissingExtra, ModelError
from hnmine.models import late_interaction
from hnmine.models.cross_encoders import make_cross_scorer
from hnmine.models.late_interaction import LateInteraction
from hnmine.science.late_interaction import max_sim
from tests import oracles
from tests.pipeline import tiny

pytestmark = pytest.mark.model
QUERIES, DOCUMENTS = ["amber reef 7", "sand", "opal kelp tide 12"], ["sand tide 7 kelp", "opal", "reef " * 30, "7 7"]
PAIRS = [(query, document) for document in DOCUMENTS for query in QUERIES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("late")
    tiny.save_tiny_late_interaction(found / "late")
    tiny.save_as_pylate(found / "pylate", found / "late")
    tiny.save_tiny_bert(found / "plain")
    return found


def scorer(folder: Path, name: str = "late", **settings) -> LateInteraction:
    found = make_cross_scorer(RescoreConfig(kind="late_interaction", model=str(folder / name), **settings))
    assert isinstance(found, LateInteraction)
    return found


def test_scores_are_those_of_the_library_over_the_tokens_of_the_query(folder):
    own = scorer(folder, batch_size=2)
    queries, documents = own.model.encode_query(QUERIES), own.model.encode_document(DOCUMENTS)
    expected = own.model.similarity(queries, documents).numpy().T / np.array([len(query) for query in queries])
    found = own.score(PAIRS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-5)
    assert found[0] == pytest.approx(
        oracles.max_sim(queries[0].numpy(), documents[0].numpy()) / len(queries[0]), abs=1e-5
    )
    assert not len(own.score([]))


def test_a_folder_by_pylate_is_the_same_model(folder):
    np.testing.assert_allclose(scorer(folder, "pylate").score(PAIRS), scorer(folder).score(PAIRS), atol=1e-6)


def test_a_text_is_encoded_once_and_few_are_in_memory(folder, monkeypatch):
    own, expected, asked = scorer(folder), scorer(folder).score(PAIRS), []
    encode = own.model.encode_document
    monkeypatch.setattr(
        own.model, "encode_document", lambda texts, **more: asked.append(texts) or encode(texts, **more)
    )
    monkeypatch.setattr(own, "block_rows", 3)
    np.testing.assert_allclose(own.score(PAIRS), expected, atol=1e-5)
    assert sorted(text for part in asked for text in part) == sorted(DOCUMENTS)
    assert max(map(len, asked)) == 3


def test_products_are_computed_on_one_thread_as_their_bits_depend_on_it(folder, monkeypatch):
    own, threads = scorer(folder), set()

    def watched(query, document):
        threads.update(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return max_sim(query, document)

    monkeypatch.setattr(late_interaction, "max_sim", watched)
    with threadpool_limits(2, user_api="blas"):
        own.score(PAIRS)
        assert 2 in {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
    assert threads == {1}


def test_documents_are_cut_to_max_length(folder):
    whole, cut = (scorer(folder, max_length=length).model.encode_document(["reef " * 30]) for length in (None, 8))
    assert (len(whole[0]), len(cut[0])) == (24, 8)


def test_a_model_of_single_vectors_is_used_by_those_of_its_tokens(folder):
    from sentence_transformers import SentenceTransformer

    found = scorer(folder, "plain").score([("amber reef", "sand tide kelp")])
    plain = SentenceTransformer(str(folder / "plain"), device="cpu")
    of_tokens = [
        plain.encode(text, output_value="token_embeddings").numpy() for text in ("amber reef", "sand tide kelp")
    ]
    query, document = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in of_tokens)
    assert found[0] == pytest.approx(oracles.max_sim(query, document) / len(query), abs=1e-5)


def test_what_has_no_token_vectors_is_refused(folder, monkeypatch):
    bare = folder / "bare"
    shutil.copytree(folder / "plain-plain", bare)
    with pytest.raises(ModelError, match=r"rescore.model .*bare' has no token vectors"):
        scorer(folder, "bare")
    monkeypatch.delattr("sentence_transformers.MultiVectorEncoder")
    with pytest.raises(MissingExtra, match=r"needs sentence-transformers 6.2 or later"):
        scorer(folder)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_description_of_a_model_is_named(folder, tmp_path, text):
    shutil.copytree(folder / "plain", tmp_path / "damaged")
    (tmp_path / "damaged" / "config_sentence_transformers.json").write_text(text)
    with pytest.raises(ModelError, match=r"config_sentence_transformers\.json: cannot be read: .*save the model again"):
        make_cross_scorer(RescoreConfig(kind="late_interaction", model=str(tmp_path / "damaged")))
