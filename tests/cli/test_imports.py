"""What a command imports: libraries that it does not use would cost its start, whatever the collection's size."""

import subprocess
import sys
from pathlib import Path

from tests.support import make_collection

HEAVY = (
    "torch",
    "faiss",
    "sklearn",
    "scipy",
    "jinja2",
    "sentence_transformers",
    "datasets",
    "pyarrow.dataset",
)
CONFIG = """
[input]
corpus = "corpus.jsonl"
queries = "queries.jsonl"
qrels = "qrels.tsv"
[embed]
model = "hash"
[filter]
rule = "percent"
[emit]
choose = "top"
"""
CODE = f"""
import sys
from hnmine.cli.app import app
try:
    app(prog_name="hnmine")
finally:
    sys.stdout.write(str(sorted(set(sys.modules) & set({HEAVY}))))
"""


def imported(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
    )
    assert "[" in done.stdout, done.stderr
    return done.stdout[done.stdout.rindex("[") :]


def test_commands_import_only_what_they_use(tmp_path: Path) -> None:
    config = make_collection(tmp_path) / "c.toml"
    config.write_text(CONFIG)
    imported("run", config)
    assert imported("run", config) == "[]", "on a finished run"
    other = ("--set", "filter.percent=0.9", "--overwrite")
    assert imported("filter", config, *other) in ("[]", "['faiss']"), "faiss only where it searches deeper"
    assert imported("emit", config, *other) == "[]"
    assert imported("plan", config) == "[]"
    assert imported("init", "--path", tmp_path / "new.toml") == "[]"
