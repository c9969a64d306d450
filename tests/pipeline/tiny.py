"""A BERT of a few kilobytes, made on the spot, that loads as any sentence-transformers model does."""

from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support import WORDS


def part_of_sentence_transformers(name: str) -> Any:
    """Return its module `modules` or `losses`, which version 6 moved."""
    before = {"modules": "models"}.get(name, name)
    try:
        return import_module(f"sentence_transformers.sentence_transformer.{name}")
    except ImportError:
        return import_module(f"sentence_transformers.{before}")


def save_tiny_bert(folder: Path, seed: int = 0, layers: int = 1) -> None:
    """Write a model with random weights in safetensors, and a tokenizer that knows the tests' words."""
    from sentence_transformers import SentenceTransformer
    from transformers import BertModel

    modules = part_of_sentence_transformers("modules")
    plain = folder.with_name(f"{folder.name}-plain")
    config = _save_plain(plain, BertModel, seed, layers)
    bert = modules.Transformer(str(plain), max_seq_length=48)
    pooling = modules.Pooling(config.hidden_size)
    SentenceTransformer(modules=[bert, pooling], device="cpu").save(str(folder), create_model_card=False)
    assert list(folder.glob("*.safetensors"))


def save_tiny_cross_encoder(folder: Path, seed: int = 0) -> None:
    """Write a model of the same kind that gives a pair of texts one number."""
    from transformers import BertForSequenceClassification

    _save_plain(folder, BertForSequenceClassification, seed)
    assert list(folder.glob("*.safetensors"))


def _save_plain(folder: Path, kind: Any, seed: int, layers: int = 1) -> Any:
    """Write a tokenizer and a model with random weights of a class of transformers', and return its config."""
    import torch
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import BertConfig, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *WORDS, *"0123456789", *(f"##{digit}" for digit in "0123456789")]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", **names).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        num_labels=1,
    )  # fmt: skip
    kind(config).save_pretrained(folder)
    return config


def save_tiny_splade(folder: Path, seed: int = 0) -> None:
    """Write a SparseEncoder that weighs all words of the vocabulary: a masked language model, pooled as SPLADE does."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SpladePooling
    from transformers import BertForMaskedLM

    plain = folder.with_name(f"{folder.name}-plain")
    _save_plain(plain, BertForMaskedLM, seed)
    bert = part_of_sentence_transformers("modules").Transformer(str(plain), transformer_task="fill-mask")
    modules = [bert, SpladePooling()]
    SparseEncoder(modules=modules, device="cpu").save(str(folder), create_model_card=False)


def save_tiny_static(folder: Path, weights: dict[str, float]) -> None:
    """Write a SparseEncoder that looks weights up and runs no network; of a word without one it is 1."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
    from transformers import AutoTokenizer, BertModel

    plain = folder.with_name(f"{folder.name}-plain")
    _save_plain(plain, BertModel, 0)
    tokenizer = AutoTokenizer.from_pretrained(plain)
    weight = torch.ones(len(tokenizer.get_vocab()))
    for word, value in weights.items():
        weight[tokenizer.convert_tokens_to_ids(word)] = value
    module = SparseStaticEmbedding(tokenizer, weight)
    SparseEncoder(modules=[module], device="cpu").save(str(folder), create_model_card=False)


def save_tiny_inference_free(folder: Path, documents: Path, queries: Path) -> None:
    """Write a SparseEncoder of two towers: the modules of one saved model for documents, of another for queries."""
    from sentence_transformers import SparseEncoder

    towers = [list(SparseEncoder(str(path), device="cpu")) for path in (queries, documents)]
    router = part_of_sentence_transformers("modules").Router.for_query_document(*towers)
    SparseEncoder(modules=[router], device="cpu").save(str(folder), create_model_card=False)


def save_tiny_late_interaction(folder: Path, seed: int = 0) -> None:
    """Write a MultiVectorEncoder: a BERT, a projection of its tokens to 8 numbers, and prompts that are tokens."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from transformers import BertModel

    plain = folder.with_name(f"{folder.name}-plain")
    config = _save_plain(plain, BertModel, seed)
    bert = part_of_sentence_transformers("modules").Transformer(str(plain), document_length=24, query_length=16)
    torch.manual_seed(seed)
    project = Dense(config.hidden_size, 8, bias=False, module_input_name="token_embeddings")
    modules = [bert, project, MultiVectorMask(["7"]), Normalize(module_input_name="token_embeddings")]
    prompts = {"query": "amber ", "document": "opal "}
    MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu").save(str(folder), create_model_card=False)


def save_as_pylate(folder: Path, model: Path) -> None:
    """Write a model of `save_tiny_late_interaction` in the form in which pylate saves one."""
    import json
    import shutil

    shutil.copytree(model, folder)
    modules = json.loads((model / "modules.json").read_text())[:2]
    modules[0]["type"], modules[1]["type"] = "sentence_transformers.models.Transformer", "pylate.models.Dense.Dense"
    (folder / "modules.json").write_text(json.dumps(modules))
    saved = {
        "model_type": "ColBERT", "query_prefix": "amber ", "document_prefix": "opal ", "query_length": 16,
        "document_length": 24, "attend_to_expansion_tokens": False, "skiplist_words": ["7"],
        "do_query_expansion": False,
    }  # fmt: skip
    (folder / "config_sentence_transformers.json").write_text(json.dumps(saved))
