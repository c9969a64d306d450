"""Shell completion through the protocol of the shells: the line so far in the environment, the choices on stdout."""

import os
import shutil
import subprocess
import sys

import pytest

from hnmine.cli.completion import MOST
from hnmine.pipeline.run import run
from hnmine.pipeline.stage_names import SUMMARIES
from tests.cli.support import hnmine
from tests.support import config_for, make_collection

TOML = 'out = "out"\n[input]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = "qrels.tsv"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a config and its finished run of 120 queries, q0 to q119."""
    found = make_collection(tmp_path_factory.mktemp("completion"), documents=130, queries=120)
    (found / "hnmine.toml").write_text(TOML)
    run(config_for(found), ("ingest", "embed", "index", "retrieve", "filter"))
    return found


def choices(folder, *words, split=False):
    """Return what bash is offered for the last word; with `split`, the words are those of bash, which ends one at =."""
    line = ["hnmine", *words]
    if split:
        line = [part for word in line for part in word.replace("=", " = ").split()]
    environment = {**os.environ, "_HNMINE_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(line)}
    done = subprocess.run(
        [sys.executable, "-m", "hnmine"], cwd=folder, capture_output=True, text=True, check=False,
        env={**environment, "COMP_CWORD": str(len(line) - 1)},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def test_stages_are_commands(folder):
    assert set(SUMMARIES) < set(choices(folder, ""))
    assert choices(folder, "retr") == ["retrieve"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "hnmine.toml", "--set", "filter.max_f"], ["filter.max_false_negative_rate="]),
        (["run", "hnmine.toml", "--set", "filter.rule=two"], ["filter.rule=two_sided"]),
        (["run", "hnmine.toml", "--set", "emit.format=n-"], ["emit.format=n-tuple", "emit.format=n-tuple-scores"]),
        (["run", "hnmine.toml", "--set", "report.html="], ["report.html=true", "report.html=false"]),
        (["run", "hnmine.toml", "--set", "nothing=x"], []),
        (["run", "hnmine.toml", "--engine", "p"], ["pool"]),
        (["run", "hnmine.toml", "--fail-under", "eci"], ["eci=", "eci_sem="]),
        (["mine", "--rule", "calib"], ["calibrated"]),
        (["mine", "--format", "labeled"], ["labeled-pair", "labeled-list"]),
        (["init", "--recipe", "nv-"], ["nv-retriever"]),
        (["tune", "hnmine.toml", "--student", "st"], ["static"]),
    ],
)
def test_values_of_options(folder, words, expected):
    assert choices(folder, *words) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [("filter.rule=two", ["two_sided"]), ("emit.format=", ["triplet", "n-tuple", "n-tuple-scores"])],
)
def test_bash_is_given_what_comes_after_the_sign_at_which_it_ends_a_word(folder, word, expected):
    words = ("run", "hnmine.toml", "--set", "filter.percent=0.9", "--set", word)
    assert choices(folder, *words, split=True)[: len(expected)] == expected


def test_query_ids_of_the_finished_run(folder, tmp_path):
    asked = ("explain", "hnmine.toml", "--query-id")
    assert choices(folder, *asked, "q11") == ["q11", *(f"q11{i}" for i in range(10))]
    assert len(choices(folder, *asked, "q")) == MOST
    assert choices(folder, *asked, "x") == []
    assert choices(folder, "explain", "hnmine.toml", "--out", str(tmp_path), "--query-id", "q") == []
    assert choices(folder, "explain", "no-such.toml", "--query-id", "q") == []


def test_completion_and_help_load_no_model_library(folder):
    code = (
        "import sys; from pathlib import Path; from hnmine.cli import completion;"
        "found = completion.query_ids({'config': Path('hnmine.toml')}, 'q1');"
        "found += completion.numbers({'config': Path('hnmine.toml')}, 'eci') + completion.rules({}, 'p');"
        "found += completion.students({}, 'static');"
        "print(len(found), [name for name in ('torch', 'faiss', 'sentence_transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == "35 []\n"


def test_the_script_for_a_shell_is_shown(folder):
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    shown = subprocess.run(
        ["bash", "-c", f"_HNMINE_COMPLETE=source_bash {sys.executable} -m hnmine"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "_HNMINE_COMPLETE=complete_bash" in shown.stdout
    listed = hnmine("--help").stdout
    assert "--install-completion" in listed
    assert "--show-completion" in listed
