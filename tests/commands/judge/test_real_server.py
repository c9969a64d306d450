"""A real server of chats: `transformers serve` with a tiny model of random weights, whose replies are no JSON."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hnmine import run
from hnmine.commands.judge.ask import Budget
from hnmine.commands.judge.judge import JudgeOptions, ask_server
from hnmine.runtime.engines import Progress
from tests.support import config_for, make_collection

COMMAND = Path(sys.executable).with_name("transformers")
LACKING = [name for name in ("fastapi", "uvicorn", "openai") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.server,
    pytest.mark.model,
    pytest.mark.skipif(bool(LACKING), reason=f"no {', '.join(LACKING)}: pip install 'transformers[serving]'"),
]
TEMPLATE = (
    "{% for m in messages %}<|role|>{{ m['role'] }}\n{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|role|>assistant\n{% endif %}"
)


def save_model(folder: Path) -> None:
    """Save a language model of random weights whose tokens are bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>", "<|role|>"]
    numbers = {token: number for number, token in enumerate(tokens)}
    pieces = Tokenizer(models.BPE(vocab=numbers, merges=[]))
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces, bos_token="<s>", eos_token="</s>", pad_token="</s>", extra_special_tokens=["<|role|>"]
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    marks = {"bos_token_id": numbers["<s>"], "eos_token_id": numbers["</s>"], "pad_token_id": numbers["</s>"]}
    config = LlamaConfig(vocab_size=len(tokens), max_position_embeddings=16_384, **shape, **marks)
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    save_model(tmp_path / "tiny")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [COMMAND, "serve", tmp_path / "tiny", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*map(str, command)], stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    try:
        while True:
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def test_the_protocol_is_that_of_a_real_server(tmp_path: Path, address: str) -> None:
    folder = make_collection(tmp_path / "data")
    config = config_for(folder, judge={"model": address, "answer_tokens": 10, "candidates": 2})
    run(config, stages=("ingest", "embed", "index", "retrieve", "filter", "emit"))
    found = ask_server(config, tmp_path / "judged.jsonl", JudgeOptions(budget=Budget(requests=3)), Progress())
    assert found["judge"] == str(tmp_path / "tiny"), "the only model that it lists"
    assert (found["requests"], found["without_usage"], found["stopped"]) == (3, 0, True)
    assert found["prompt_tokens"] > 1000
    assert 0 < found["completion_tokens"] <= 3 * 20
    assert found["unanswered"] == found["pairs"] == found["findings"]["malformed"]["count"] * 2
    lines = [json.loads(line) for line in (tmp_path / "judged.replies.jsonl").read_text().splitlines()]
    assert {line["response"]["body"]["object"] for line in lines} == {"chat.completion"}
    budget = found["prompt_tokens"] + found["completion_tokens"]
    more = ask_server(config, tmp_path / "more.jsonl", JudgeOptions(budget=Budget(tokens=budget)), Progress())
    assert 0 < more["prompt_tokens"] + more["completion_tokens"] <= budget
