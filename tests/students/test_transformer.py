"""Students that are the model itself, on models of a few kilobytes and on the packaged MiniLM."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from hnmine.errors import ModelError
from hnmine.students.student import DEFAULTS, load_student
from hnmine.students.task import Examples
from hnmine.students.top_layers import find_layers
from tests.pipeline.tiny import part_of_sentence_transformers, save_tiny_bert
from tests.students.tasks import ragged, small_examples, small_task

pytestmark = pytest.mark.model
LAYERS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_tiny_bert(folder, layers=LAYERS)
    return str(folder)


@pytest.fixture(scope="module")
def task():
    return small_task(np.random.default_rng(0))


@pytest.fixture(scope="module")
def examples(task):
    return small_examples(np.random.default_rng(1), task)


def student(name, model, task, **training):
    return load_student(name, model, task, replace(DEFAULTS[name], **training))


@pytest.mark.parametrize("name", ["full", "top-layers"])
def test_untrained_it_ranks_as_the_model_does(name, model, task):
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(model, device="cpu")
    documents, queries = plain.encode(task.document_texts), plain.encode(task.query_texts)
    one = student(name, model, task)
    rows = np.arange(len(task.query_texts) + len(task.document_texts))
    with torch.no_grad():
        found = one._vectors(one.model, rows).numpy()
    np.testing.assert_allclose(found, np.concatenate([queries, documents]), atol=2e-3)
    assert one.untrained().shape == (12,)
    assert one.untrained().mean() > 0


@pytest.mark.parametrize("name", ["full", "top-layers"])
def test_the_same_examples_and_seed_give_the_same_bits_in_any_thread(name, model, task, examples):
    one = student(name, model, task, rate=1e-2)
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    before, first = one.untrained(), one.train(examples, 3)
    with ThreadPoolExecutor(2) as pool:
        others = list(pool.map(lambda seed: one.train(examples, seed), [3, 4, 3]))
    np.testing.assert_array_equal(first, others[0])
    np.testing.assert_array_equal(first, others[2])
    np.testing.assert_array_equal(first, student(name, model, task, rate=1e-2).train(examples, 3))
    np.testing.assert_array_equal(before, one.untrained())
    assert (first != before).any()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_one_step_of_all_layers_is_that_of_the_whole_model(model, task, examples):
    how = {"rate": 1e-3, "epochs": 1, "batch": len(examples.queries)}
    whole = student("full", model, task, **how).trained(examples, 0)
    top = student("top-layers", model, task, layers=LAYERS, **how).trained(examples, 0)
    start = find_layers(student("full", model, task).model)
    # of the layers over stored states the first stands for what is below
    for layers in zip(start, find_layers(whole), list(_list_of_layers(top))[1:], strict=True):
        for name, was in layers[0].named_parameters():
            if name.endswith("key.bias"):  # attention does not depend on it
                continue
            first, second = (dict(one.named_parameters())[name].detach() - was.detach() for one in layers[1:])
            assert float(first.abs().max()) == pytest.approx(1e-3, rel=0.01), name
            # a number with next to no gradient moves by its sign, which states in float16 may change
            assert float(((first - second).abs() > 5e-4).float().mean()) < 0.1, name


def _list_of_layers(model):
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))


@pytest.mark.parametrize("layers", [1, 2])
def test_only_the_top_layers_are_trained(model, task, examples, layers):
    one = student("top-layers", model, task, layers=layers, rate=1e-2)
    trained = one.trained(examples, 0)
    before, after = dict(one.model.named_parameters()), dict(trained.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(".layer." in name for name in moved)
    assert len(_list_of_layers(trained)) == 1 + layers


def test_no_examples_and_lists_of_any_length(model, task, examples):
    one = student("top-layers", model, task)
    none = Examples(examples.queries[:0], examples.positives[:0], ragged([]))
    np.testing.assert_array_equal(one.train(none, 0), one.untrained())
    assert set(examples.negatives.lengths.tolist()) >= {0, 1, 3}
    bare = examples._replace(negatives=ragged([[] for _ in examples.queries]))
    assert np.isfinite(one.train(bare, 0)).all()


def test_long_texts_are_cut(model, task):
    texts = [text + " amber" * 300 for text in task.document_texts]
    one = student("full", model, task._replace(document_texts=texts), max_tokens=16)
    assert one.features["input_ids"].shape[1] == 16


def test_a_model_without_layers_or_token_batches_is_refused_by_name(tmp_path, model, task):
    from sentence_transformers import SentenceTransformer

    modules = part_of_sentence_transformers("modules")
    tokenizer = SentenceTransformer(model, device="cpu").tokenizer
    static = modules.StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"), create_model_card=False)
    with pytest.raises(ModelError, match="use the student static"):
        student("full", str(tmp_path / "static"), task)
    with pytest.raises(ModelError, match="use static"):
        student("top-layers", "hash", task)


def test_states_that_do_not_fit_are_refused(monkeypatch, model, task):
    monkeypatch.setattr("hnmine.students.top_layers.MOST_BYTES", 1000)
    with pytest.raises(ModelError, match="fewer documents"):
        student("top-layers", model, task)


def test_minilm_learns_made_up_pairs():
    """Names in queries and documents go together in a way that no model knows beforehand."""
    rng = np.random.default_rng(0)
    towns = ["Paris", "Lima", "Oslo", "Cairo", "Quito", "Delhi"]
    dishes = ["soup", "bread", "cheese", "rice", "salad", "cake"]
    task = small_task(rng, words=towns + dishes)
    asked = [f"{towns[i % 6]} number {i}" for i in range(24)]
    texts = [f"{dishes[(i // 2) % 6]} {i}" for i in range(48)]
    relevant = ragged([[j for j in range(48) if (j // 2) % 6 == i % 6] for i in range(24)])
    task = task._replace(query_texts=asked, document_texts=texts, known=relevant)
    task = task._replace(test=task.test._replace(relevant=relevant.take(task.test.queries)))
    training = replace(DEFAULTS["top-layers"], rate=1e-3, epochs=20, batch=6)
    one = load_student("top-layers", "sentence-transformers/all-MiniLM-L6-v2", task, training)
    examples = Examples(np.arange(12), 2 * (np.arange(12) % 6), ragged([[] for _ in range(12)]))
    assert one.train(examples, 0).mean() > one.untrained().mean() + 0.2
