"""Tokens of texts and their vectors."""

import math

import numpy as np
import pytest

from hnmine.students.token_table import SIZE, model_table, word_tokens, word_vectors
from tests.pipeline.tiny import part_of_sentence_transformers, save_tiny_bert

TEXTS = ["amber basalt amber", "Basalt", "", "cobalt amber"]


def test_words_are_numbered_as_they_occur_and_cut():
    tokens, count = word_tokens(TEXTS, 2)
    assert count == 3
    assert tokens.values.tolist() == [0, 1, 1, 2, 0]
    assert tokens.lengths.tolist() == [2, 1, 0, 2]


def test_word_vectors_equal_the_double_loop():
    rng = np.random.default_rng(0)
    given = rng.normal(size=(4, 3)) + 5
    tokens, count = word_tokens(TEXTS, 9)
    centred = given - given.mean(axis=0)
    expected = []
    for word in ("amber", "basalt", "cobalt"):
        held = [i for i, text in enumerate(TEXTS) for each in text.lower().split() if each == word]
        expected.append(math.log(4 / len(set(held))) * centred[held].mean(axis=0))
    found = word_vectors(tokens, count, given)
    assert np.sqrt((found**2).mean()) == pytest.approx(SIZE, rel=1e-5)
    assert found == pytest.approx(np.array(expected) * SIZE / np.sqrt(np.mean(np.square(expected))), rel=1e-5)


def test_texts_without_a_word_have_no_word_vector():
    tokens, count = word_tokens(["", "!"], 9)
    assert word_vectors(tokens, count, np.ones((2, 3))).shape == (0, 3)


@pytest.mark.model
def test_a_models_table_is_its_input_embeddings_without_special_tokens(tmp_path):
    from sentence_transformers import SentenceTransformer

    save_tiny_bert(tmp_path / "tiny")
    model = SentenceTransformer(str(tmp_path / "tiny"), device="cpu")
    found = model_table(model, TEXTS, 2)
    assert found.tokens.lengths.tolist() == [2, 1, 0, 2]
    ids = [model.tokenizer.convert_tokens_to_ids(word) for word in ("amber", "basalt", "basalt", "cobalt", "amber")]
    weights = model[0].auto_model.get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(found.vectors[found.tokens.values], weights[ids])


@pytest.mark.model
def test_a_static_models_table_is_its_own(tmp_path):
    from sentence_transformers import SentenceTransformer

    save_tiny_bert(tmp_path / "tiny")
    tokenizer = SentenceTransformer(str(tmp_path / "tiny"), device="cpu").tokenizer
    static = part_of_sentence_transformers("modules").StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)
    model = SentenceTransformer(modules=[static], device="cpu")
    found = model_table(model, TEXTS, 128)
    means = [found.vectors[found.tokens.values[a:b]].mean(axis=0) for a, b in ((0, 3), (3, 4), (4, 6))]
    np.testing.assert_allclose(means, model.encode([TEXTS[0], TEXTS[1], TEXTS[3]]), atol=1e-6)
