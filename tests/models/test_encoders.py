"""The hash encoder."""

from hnmine.config import EmbedConfig
from hnmine.models.encoders import HashEncoder


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
