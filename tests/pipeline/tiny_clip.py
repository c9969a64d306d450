"""A CLIP model of a few kilobytes, made on the spot, that loads as any sentence-transformers model of images does."""

from pathlib import Path

from tests.pipeline.tiny import part_of_sentence_transformers
from tests.support import WORDS

SIDE = 16
"""Pixels of a side of the images that the model sees."""


def save_tiny_clip(folder: Path, seed: int = 0) -> None:
    """Write a model with random weights in safetensors, with its tokenizer and image processor."""
    import torch
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

    names = ["<pad>", "<unk>", "<start>", "<end>", *WORDS, *map(str, range(200))]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<start>", eos_token="<end>",
        model_max_length=32,
    )  # fmt: skip
    pixels = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    layer = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**layer, "vocab_size": len(names), "max_position_embeddings": 32, "bos_token_id": 2, "eos_token_id": 3}
    vision = {**layer, "image_size": SIDE, "patch_size": 8}
    torch.manual_seed(seed)
    plain = folder.with_name(f"{folder.name}-plain")
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(plain)
    CLIPProcessor(pixels, words).save_pretrained(plain)
    clip = part_of_sentence_transformers("modules").CLIPModel(str(plain))
    SentenceTransformer(modules=[clip], device="cpu").save(str(folder), create_model_card=False)
    assert list(folder.rglob("*.safetensors"))
