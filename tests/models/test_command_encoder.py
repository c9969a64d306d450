"""Encoders by command: real programs that answer, and such that misbehave in every way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnmine.config.models import EmbedConfig
from hnmine.errors import ModelError
from hnmine.models.command_encoder import CommandEncoder
from hnmine.models.model_files import fingerprint
from hnmine.storage.digest_cache import DigestCache

LOOP = (
    "import json, os, sys, time\nfor line in sys.stdin:\n    request = json.loads(line)\n    texts = request['texts']\n"
)
LENGTHS = (
    LOOP + "    print(json.dumps([[len(t), float(request['kind'] == 'query'), 1.5] for t in texts]), flush=True)\n"
)


def config(code: str, **settings: Any) -> EmbedConfig:
    return EmbedConfig(command=[sys.executable, "-S", "-c", code], **settings)


def encoder(code: str, **settings: Any) -> CommandEncoder:
    return CommandEncoder(config(code, **settings), "embed", 2048)


def test_texts_come_back_in_their_order_with_their_prompts_and_kind() -> None:
    texts = ["aa", "", "€" * 70_000, "line\nbreak", "b"] * 3
    found = encoder(LENGTHS, batch_size=4, query_prompt="q: ")
    done: list[int] = []
    queries = found.prepare(texts, "query")(done.append)
    assert queries.tolist() == [[len(text) + 3, 1.0, 1.5] for text in texts]
    assert queries.dtype == np.float32
    assert sum(done) == len(texts)
    assert found.encode(texts, "document").tolist() == [[len(text), 0.0, 1.5] for text in texts]
    assert found.encode([], "document").shape == (0, 3)


def test_arrays_by_numpy_save_are_read_in_any_layout() -> None:
    code = (
        "import json, sys\nimport numpy as np\n"
        "for line in sys.stdin:\n"
        "    texts = json.loads(line)['texts']\n"
        "    both = np.array([[len(t) for t in texts], [7] * len(texts)], dtype=np.float16).T\n"
        "    np.save(sys.stdout.buffer, both)\n    sys.stdout.flush()\n"
    )
    found = CommandEncoder(EmbedConfig(command=[sys.executable, "-c", code], batch_size=3), "embed", 2048)
    assert found.encode(["a", "bbb", "cc", "d"], "query").tolist() == [[1, 7], [3, 7], [2, 7], [1, 7]]


ANSWER = LOOP + "    big = len(texts) > 1\n    vectors = [[1.0, 2.0] for t in texts]\n"
FAULTS = {
    "exit": (
        "    if big: print('no memory left', file=sys.stderr); sys.exit(3)\n",
        "ended with exit code 3.*no memory left",
    ),
    "real-time signal": ("    if big: os.kill(os.getpid(), 40)\n", "ended with signal 40"),
    "signal": ("    if big: os.kill(os.getpid(), 9)\n", "ended with signal SIGKILL"),
    "words": ("    if big: print('loading weights')\n", "wrote 'loading weights' where an answer should be"),
    "few": ("    if big: vectors = vectors[1:]\n", r"array of shape \(2, 2\) for 3 texts"),
    "flat": ("    if big: vectors = vectors[0]\n", r"array of shape \(2,\) for 3 texts"),
    "ragged": ("    if big: vectors[0] = [1.0]\n", "no list of 3 vectors of equal length"),
    "object": ("    if big: vectors = {'vectors': vectors}\n", "no list of 3 vectors"),
    "dimension": ("    if big: vectors = [[1.0] * 3] * 3\n", "vectors of 3 numbers, after others of 2"),
    "nan": ("    if big: vectors[1][0] = float('nan')\n", "not finite"),
    "null": ("    if big: vectors[1][0] = None\n", "not finite"),
    "huge": ("    if big: vectors[1][0] = 1e300\n", "not finite, or too large"),
    "closed": ("    if big: os.close(1); time.sleep(60)\n", "closed its standard output"),
    "twice": ("    print(json.dumps(vectors))\n", r"array of shape \(1, 2\) for 3 texts"),
    "once too many": ("    if big: print(json.dumps(vectors))\n", r"array of shape \(3, 2\) for 1 texts"),
    "endless": ("    while big: print('[1,' * 9999999, end='')\n", "a line of more than 7,864,320 bytes"),
    "no array": ("    if big: sys.stdout.buffer.write(b'\\x93NUMPY' + bytes(99)); vectors = ''\n", "began an array"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_program_is_named(fault: str, monkeypatch) -> None:
    if fault == "closed":
        monkeypatch.setattr("hnmine.models.command_encoder._PATIENCE", 0.3)
    code, message = FAULTS[fault]
    with pytest.raises(ModelError, match=rf"(?s)^embed.command \(.*{message}") as raised:
        encoder(ANSWER + code + "    print(json.dumps(vectors), flush=True)\n").encode(["a", "b", "c"], "query")
    assert len(str(raised.value)) < 6_000


HANGS = LENGTHS.replace("    texts", "    if len(request['texts']) > 1: time.sleep(600)\n    texts")


def test_a_program_that_does_not_answer_is_ended_in_time() -> None:
    found = encoder(HANGS)
    found.config = found.config.model_copy(update={"command_timeout": 0.2})
    with pytest.raises(ModelError, match=r"no answer within 0.2 seconds \(command_timeout\)"):
        found.encode(["a", "b"], "query")
    assert has_ended(found._program.pid)


def test_the_end_of_long_messages_is_shown() -> None:
    code = "import sys\nsys.stderr.write('9% \\r' * 99_999 + '\\x1b[31mout of memory')\nsys.exit(1)\n"
    with pytest.raises(ModelError) as raised:
        encoder(code)
    assert str(raised.value).endswith("9% \n[31mout of memory")
    assert len(str(raised.value)) < 3_000


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("no-such-program", "no program 'no-such-program' is on the PATH"),
        ("./e", "no file that can be run"),
        ("~no-one/e", "no file"),
    ],
)
def test_a_missing_program_is_named_before_it_is_started(word: str, message: str) -> None:
    wrong = EmbedConfig(command=[word])
    with pytest.raises(ModelError, match=f"guide.command: .*{message}"):
        fingerprint(wrong, DigestCache(), "guide")
    with pytest.raises(ModelError, match=message):
        CommandEncoder(wrong, "guide", 2048)


def test_a_word_too_long_for_a_program_is_named() -> None:
    with pytest.raises(ModelError, match=r"^embed\.command: cannot be started: .*; check its words"):
        CommandEncoder(EmbedConfig(command=[sys.executable, "-c", "0", "x" * 3_000_000]), "embed", 2048)


def test_a_file_that_the_system_cannot_run_is_named_without_a_traceback(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("no first line that names an interpreter")
    program.chmod(0o755)
    with pytest.raises(ModelError, match=rf"(?s)ended with exit code 1 .*{program} cannot be run: ") as raised:
        CommandEncoder(EmbedConfig(command=[str(program)]), "embed", 2048)
    assert "Traceback" not in str(raised.value)


def has_ended(process: int) -> bool:
    """Return whether a process ends within ten seconds."""
    for _ in range(500):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_the_program_ends_with_its_encoder_and_may_take_its_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("hnmine.models.command_encoder._PATIENCE", 60)
    code = LENGTHS + f"time.sleep(0.2)\nopen({str(tmp_path / 'end')!r}, 'w').write('ended by itself')\n"
    found = encoder(code)
    process = found._program.pid
    assert found.encode(["a"], "query").shape == (1, 3)
    del found
    assert has_ended(process)
    assert (tmp_path / "end").read_text() == "ended by itself"


@pytest.mark.skipif(sys.platform != "linux", reason="the signal at a parent's end is Linux's")
def test_a_program_that_hangs_ends_when_its_run_is_killed() -> None:
    script = (
        "from hnmine.config.tables import EmbedConfig\nfrom hnmine.models.command_encoder import CommandEncoder\n"
        f"found = CommandEncoder(EmbedConfig(command={config(HANGS).command!r}), 'embed', 2048)\n"
        "print(found._program.pid, flush=True)\nfound.encode(['a', 'b'], 'query')\n"
    )
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert run.stdout is not None
    program = int(run.stdout.readline())
    os.kill(program, 0)
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    assert has_ended(program)


def test_a_command_is_known_by_its_words_its_files_and_its_version(tmp_path: Path) -> None:
    def parts(folder: Path, *command: str, **settings: Any) -> str:
        made = EmbedConfig(command=list(command), **settings)
        made._folder = folder
        return json.dumps(fingerprint(made, DigestCache()))

    for name, content in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "encode.py").write_text(content)
    (tmp_path / "a" / "other.py").write_text("one")
    plain = parts(tmp_path / "a", sys.executable, "encode.py")
    assert parts(tmp_path / "b", sys.executable, "encode.py") == plain
    assert parts(tmp_path / "a", sys.executable, "other.py") == plain
    assert parts(tmp_path / "b", sys.executable, str(tmp_path / "a" / "encode.py")) == plain
    assert parts(tmp_path / "c", sys.executable, "encode.py") != plain
    assert parts(tmp_path / "a", sys.executable, "encode.py", "--layers=3") != plain
    assert parts(tmp_path / "a", sys.executable, "encode.py", command_version="2") != plain
    assert str(tmp_path) not in plain
    for word in ("x" * 5_000, "~no-such-user/encode.py"):  # words that can be no file count as they are
        assert json.dumps(word) in parts(tmp_path / "a", sys.executable, word)


def test_a_file_of_a_command_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch) -> None:
    def unreadable(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "encode.py").write_text("")
    monkeypatch.setattr("hnmine.models.command_files.sha256_of", unreadable)
    wrong = EmbedConfig(command=[sys.executable, str(tmp_path / "encode.py")])
    with pytest.raises(ModelError, match=r"^guide\.command: .*encode\.py cannot be read: Permission denied$"):
        fingerprint(wrong, DigestCache(), "guide")
