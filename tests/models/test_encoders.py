"""The hash encoder; models: texts tokenised once and batched by token count, with the vectors of plain `encode`."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine import run
from hnmine.config.models import EmbedConfig
from hnmine.errors import ConfigError, ModelError
from hnmine.models.encoders import (
    BATCH_OF_A_THREAD,
    CELL_ROWS,
    HashEncoder,
    ModelEncoder,
    cell_rows,
    check_precision,
    token_batches,
)  # fmt: skip
from tests.pipeline.helpers import table
from tests.pipeline.tiny import part_of_sentence_transformers, save_tiny_bert
from tests.support import WORDS, config_for, make_collection

pytestmark = pytest.mark.model

RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, size)) for size in RNG.integers(1, 70, 90)] + [""]
KINDS = ["mean", "cls", "dense", "no-prompt", "default-prompt", "left", "short", "truncated", "router"]


def save(kind: str, folder: Path) -> Path:
    """Save a tiny model of a kind."""
    from sentence_transformers import SentenceTransformer

    modules = part_of_sentence_transformers("modules")
    save_tiny_bert(folder / "tiny")
    model = SentenceTransformer(str(folder / "tiny"), device="cpu")
    if kind == "dense":
        model = SentenceTransformer(modules=[*model, modules.Dense(32, 8), modules.Normalize()], device="cpu")
    elif kind == "cls":
        model = SentenceTransformer(modules=[model[0], modules.Pooling(32, pooling_mode="cls")], device="cpu")
    elif kind == "no-prompt":
        model = SentenceTransformer(modules=[model[0], modules.Pooling(32, include_prompt=False)], device="cpu")
    elif kind == "default-prompt":
        model.prompts = {"any": "amber basalt "}
        model.default_prompt_name = "any"
    elif kind == "left":
        model.tokenizer.padding_side = "left"
    elif kind == "truncated":
        model.truncate_dim = 12
    elif kind == "router":
        other = SentenceTransformer(str(folder / "tiny"), device="cpu")
        routes = modules.Router.for_query_document([model[0], model[1]], [other[0], other[1], modules.Dense(32, 32)])
        model = SentenceTransformer(modules=[routes], device="cpu")
    model.save(str(folder / kind), create_model_card=False)
    return folder / kind


def plain(encoder: ModelEncoder, texts: Sequence[str], prompt: str, **how: Any) -> np.ndarray:
    found = encoder.model.encode(
        list(texts), prompt=prompt or None, convert_to_numpy=True, show_progress_bar=False, **how
    )
    return np.asarray(found, dtype=np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", ["", "delta ember "])
def test_vectors_are_those_of_plain_encode(tmp_path: Path, kind: str, prompt: str, monkeypatch) -> None:
    settings = {"max_length": 16} if kind == "short" else {}
    folder = save(kind, tmp_path)
    config = EmbedConfig(model=str(folder), device="cpu", query_prompt=prompt, batch_tokens=200, **settings)
    encoder = ModelEncoder(config)
    how = {"task": "query"} if kind == "router" else {}
    expected = plain(encoder, TEXTS, prompt, **how)
    by_tokens = hasattr(encoder.model, "preprocess")  # sentence-transformers before 5.4 lacks it
    if by_tokens:
        monkeypatch.setattr(encoder, "encode_plain", None)  # these all go by tokens
    done: list[int] = []
    found = encoder.prepare(TEXTS, "query")(done.append)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert sum(done) == len(TEXTS)
    assert len(done) > 5 or not by_tokens
    assert found.dtype == np.float32


def test_a_model_without_token_masks_is_left_to_itself(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    modules = part_of_sentence_transformers("modules")
    save_tiny_bert(tmp_path / "tiny")
    tokenizer = SentenceTransformer(str(tmp_path / "tiny"), device="cpu").tokenizer
    static = modules.StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"), create_model_card=False)
    encoder = ModelEncoder(EmbedConfig(model=str(tmp_path / "static"), device="cpu", query_prompt="opal "))
    assert encoder.features(TEXTS, "query") is None
    np.testing.assert_allclose(encoder.encode(TEXTS, "query"), plain(encoder, TEXTS, "opal "), atol=1e-6)


def test_padding_to_a_fixed_width_is_left_to_the_model(tmp_path: Path) -> None:
    encoder = ModelEncoder(EmbedConfig(model=str(save("mean", tmp_path)), device="cpu"))
    if not hasattr(encoder.model, "preprocess"):
        pytest.skip("this sentence-transformers has no preprocess")
    whole = encoder.model.preprocess(["opal", "reef sand"])
    encoder.model.preprocess = lambda texts, **how: {  # type: ignore[method-assign]
        name: np_pad(value) if name in ("input_ids", "attention_mask", "token_type_ids") else value
        for name, value in whole.items()
    }
    assert encoder.features(["opal", "reef sand"], "query") is None


def np_pad(value: Any) -> Any:
    import torch

    return torch.nn.functional.pad(value, (0, 3))


def test_threads_do_not_show_in_a_single_bit(tmp_path: Path) -> None:
    import torch

    encoder = ModelEncoder(EmbedConfig(model=str(save("dense", tmp_path)), device="cpu"))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(encoder.encode(TEXTS, "document"))
    finally:
        torch.set_num_threads(before)
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()


SMALL, LARGE = BATCH_OF_A_THREAD, 2 * BATCH_OF_A_THREAD
OF_THREE_BATCHES = [" ".join([word] * 46) for word in WORDS[:4] * 15]  # 48 tokens each, so 21 in 1,024


def by_tokens(folder: Path, **settings: Any) -> ModelEncoder:
    encoder = ModelEncoder(EmbedConfig(model=str(save("mean", folder)), device="cpu", **settings))
    if encoder.features(["text"], "document") is None:
        pytest.skip("this sentence-transformers has no preprocess")
    return encoder


@pytest.mark.parametrize(("most", "side_by_side"), [(SMALL, True), (SMALL, False), (LARGE, True), (LARGE, False)])
def test_small_batches_have_a_thread_each_and_larger_ones_all(
    tmp_path: Path, most: int, side_by_side: bool, two_threads: None
) -> None:
    import torch

    encoder, found = by_tokens(tmp_path, batch_tokens=most), []
    encoder.side_by_side = side_by_side
    encoder.model.register_forward_pre_hook(
        lambda model, given: found.append((given[0]["input_ids"].numel() <= SMALL, torch.get_num_threads()))
    )
    encoder.encode(OF_THREE_BATCHES, "document")
    assert sorted(small for small, _ in found) == ([False, True] if most == LARGE else [True] * 3)
    assert all(threads == (1 if small and side_by_side else 2) for small, threads in found)
    assert torch.get_num_threads() == 2


def test_batches_are_computed_at_the_same_time_once_one_of_the_longest_text_was(
    tmp_path: Path, two_threads: None
) -> None:
    encoder = by_tokens(tmp_path)
    here, found, both = threading.get_ident(), [], threading.Barrier(2)

    def meet(model: Any, given: Any) -> None:
        found.append(threading.get_ident() == here)
        if not found[-1]:
            both.wait(60)

    encoder.model.register_forward_pre_hook(meet)
    encoder.encode(OF_THREE_BATCHES[:50], "document")
    assert found == [True, False, False]
    encoder.encode(OF_THREE_BATCHES[:40], "document")
    assert found[3:] == [False, False]
    encoder.encode(OF_THREE_BATCHES[:50], "query")  # which may have a tower of their own
    assert found[5:] == [True, False, False]


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_short_numbers_are_refused_on_a_cpu_without_them(precision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hnmine.models.encoders.multiplies_bfloat16", lambda: False)
    config = EmbedConfig(model="any", precision=precision)
    with pytest.raises(ModelError, match=rf"guide\.precision: {precision} needs a GPU.*\"float32\""):
        check_precision(config, "cpu", "guide")
    check_precision(config, "cuda", "guide")
    check_precision(EmbedConfig(model="any"), "cpu", "embed")


def test_bfloat16_is_taken_on_a_cpu_that_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hnmine.models.encoders.multiplies_bfloat16", lambda: True)
    check_precision(EmbedConfig(model="any", precision="bfloat16"), "cpu", "embed")
    with pytest.raises(ModelError, match="float16 needs a GPU, and none was found"):
        check_precision(EmbedConfig(model="any", precision="float16"), "cpu", "embed")


@pytest.mark.parametrize(
    "embed",
    [{"model": "hash", "precision": "bfloat16"}, {"model": "some/model", "device": "cpu", "precision": "float16"}],
)
def test_short_numbers_that_cannot_be_had_are_refused_in_the_config(tmp_path: Path, embed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"embed\.precision: '{embed['precision']}'"):
        config_for(tmp_path, embed=embed)


def test_cells_shrink_for_models_of_long_texts() -> None:
    assert [cell_rows(longest) for longest in (48, 512, 513, 1024, 8192, 10**9, None)] == [
        2048, 2048, 1024, 1024, 256, 256, 256,
    ]  # fmt: skip
    assert all(CELL_ROWS % cell_rows(longest) == 0 for longest in range(1, 9000, 97))


@pytest.mark.slow
def test_shards_and_workers_do_not_change_a_bit_across_cells(tmp_path: Path, two_threads: None) -> None:
    """More rows than a cell, so that files and cells differ from ingest's shards."""
    save_tiny_bert(tmp_path / "tiny")
    make_collection(tmp_path, CELL_ROWS + 700, 300)
    embed = {"model": str(tmp_path / "tiny"), "device": "cpu"}
    for out, tables in {"a": {"shard_rows": 256}, "b": {"shard_rows": 4096}, "c": {"workers": 2}}.items():
        run(config_for(tmp_path, out, embed=embed, **({"shard_rows": 512} | tables)), ["ingest", "embed"])
    for side in ("corpus", "queries"):
        first = table(tmp_path / "a/embed" / side)
        assert first.equals(table(tmp_path / "b/embed" / side))
        assert first.equals(table(tmp_path / "c/embed" / side))
    assert len(list((tmp_path / "a/ingest/corpus").glob("part-*"))) > 2
    assert len(list((tmp_path / "a/embed/corpus").glob("part-*"))) == 2


def test_equal_texts_are_embedded_once(tmp_path: Path, monkeypatch) -> None:
    from tests.support import write_collection

    seen: list[str] = []
    encode = HashEncoder.encode
    monkeypatch.setattr(
        HashEncoder, "encode", lambda self, texts, kind: seen.extend(texts) or encode(self, texts, kind)
    )
    queries = {f"q{i}": WORDS[i % 3] for i in range(9)}
    write_collection(tmp_path, {"d0": "opal", "d1": "reef"}, queries, [("q0", "d0", 1), ("q8", "d1", 1)])
    run(config_for(tmp_path), ["ingest", "embed"])
    assert len(seen) == len(set(seen))
    found = table(tmp_path / "out/ingest/queries").column("text").to_pylist()
    vectors = np.stack(table(tmp_path / "out/embed/queries").column("vector").to_numpy(zero_copy_only=False))
    expected = encode(HashEncoder(EmbedConfig(model="hash")), found, "query")
    np.testing.assert_allclose(vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


def hashed(text, kind, **settings):
    return HashEncoder(EmbedConfig(model="hash", **settings)).encode([text], kind)[0].tolist()


def test_the_hash_encoder_puts_prompts_before_texts_and_cuts_what_is_too_long():
    prompts = {"query_prompt": "ask: ", "document_prompt": "read: "}
    assert hashed("amber reef", "query", **prompts) == hashed("ask amber reef", "query")
    assert hashed("amber reef", "document", **prompts) == hashed("read amber reef", "document")
    long = "a b c d e f g h i j"
    assert hashed(long, "query", max_length=8) == hashed("a b c d e f g h", "query") != hashed(long, "query")
    assert hashed(long, "query", max_length=8, query_prompt="x ") == hashed("x a b c d e f g", "query")
    assert hashed("...", "query", max_length=8) != hashed("!!!", "query")


def batches_by_loop(counts: list[int], most: int) -> list[list[int]]:
    """Longest first, a text joins the open batch while all its rows at the first one's length stay within `most`."""
    found: list[list[int]] = []
    for row in sorted(range(len(counts)), key=lambda r: (-counts[r], r)):
        if found and (len(found[-1]) + 1) * max(1, counts[found[-1][0]]) <= most:
            found[-1].append(row)
        else:
            found.append([row])
    return found


COUNTS = st.lists(st.integers(0, 40), max_size=60)


@given(COUNTS, st.integers(1, 200))
def test_batches_are_those_of_a_loop(counts, most):
    found = token_batches(np.array(counts, dtype=np.int64), most)
    assert [batch.tolist() for batch in found] == batches_by_loop(counts, most)


@given(COUNTS, st.integers(1, 200))
def test_every_row_is_in_one_batch_and_batches_hold_to_the_limit(counts, most):
    found = token_batches(np.array(counts, dtype=np.int64), most)
    assert sorted(row for batch in found for row in batch.tolist()) == list(range(len(counts)))
    for batch in found:
        longest = max(counts[row] for row in batch)
        assert len(batch) == 1 or len(batch) * longest <= most


def test_an_example():
    found = token_batches(np.array([3, 9, 4, 4, 1]), 8)
    assert [batch.tolist() for batch in found] == [[1], [2, 3], [0, 4]]
