"""A command's answer is on stdout, as tables or as JSON; warnings and hints are on stderr."""

import json
import subprocess
import sys

import pytest

from hnmine.cli.app import app
from hnmine.commands.explain import SHOWN
from tests.cli.support import hnmine
from tests.support import make_collection

TOML = (
    'out = "out"\n[input]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = "qrels.tsv"\n'
    '[embed]\nmodel = "hash"\n[retrieve]\ntop_k = 40\n[filter]\nanchor = "min"\n[emit]\nnum_negatives = 3\n'
    "[report]\nhtml = false\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a config and its finished run."""
    found = make_collection(tmp_path_factory.mktemp("answers"), documents=80, queries=50)
    (found / "hnmine.toml").write_text(TOML)
    done = hnmine("run", found / "hnmine.toml")
    assert done.returncode == 0, done.stderr
    return found


ANSWERS = {
    "plan": ("plan", "hnmine.toml"),
    "explain": ("explain", "hnmine.toml", "--query-id", "q1"),
    "random": ("explain", "hnmine.toml", "--random", 3, "--seed", 1),
    "sweep": ("sweep", "hnmine.toml", "--target-false-negative-rate", 1),
    "probe": ("probe", "hnmine.toml", "--seeds", 1),
    "compare": ("compare", "out", "out"),
    "audit": ("audit", "out/emit"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answer_is_on_stdout_as_a_table_without_colours_or_as_json(folder, name):
    shown = hnmine(*ANSWERS[name], cwd=folder)
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) > 5
    assert "\x1b" not in shown.stdout + shown.stderr
    asked = hnmine(*ANSWERS[name], "--json", cwd=folder)
    assert isinstance(json.loads(asked.stdout), dict)


def test_an_answer_does_not_change_with_the_terminal_it_is_not_written_to(folder):
    command = [sys.executable, "-m", "hnmine", "explain", "hnmine.toml", "--query-id", "q1"]
    narrow, wide = (
        subprocess.run(command, cwd=folder, capture_output=True, check=True, env={"COLUMNS": columns, "PATH": ""})
        for columns in ("40", "200")
    )
    assert narrow.stdout == wide.stdout


def test_explain_shows_20_candidates_and_hints_at_the_others(folder):
    shown = hnmine("explain", "hnmine.toml", "--query-id", "q1", "--json", cwd=folder)
    data = json.loads(shown.stdout)
    (anchor,) = data["anchors"]
    assert len(anchor["candidates"]) == SHOWN == 20
    assert sum(one["chosen"] for one in anchor["candidates"]) == 2  # of three negatives one is a random document
    table = hnmine("explain", "hnmine.toml", "--query-id", "q1", "--top", 2, cwd=folder)
    every = json.loads(hnmine("explain", "hnmine.toml", "--query-id", "q1", "--all", "--json", cwd=folder).stdout)
    count = len(every["anchors"][0]["candidates"])
    assert anchor["not_shown"] == count - 20
    assert every["anchors"][0]["not_shown"] == 0
    assert f"{count - 2} more candidates are not shown: --all shows them" in table.stderr  # the two chosen are shown


def test_the_default_number_of_candidates_is_that_of_the_command_line():
    callback = next(one.callback for one in app.registered_commands if one.callback.__name__ == "explain")
    assert callback.__defaults__[1] == SHOWN


@pytest.mark.parametrize("wrong", [(), ("--query-id", "q1", "--random", 2)])
def test_explain_wants_a_query_or_a_number_of_rows(folder, wrong):
    done = hnmine("explain", "hnmine.toml", *wrong, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "error: explain: give --query-id ID for one query, or --random N for rows of the set, not both\n"
    )


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("explain hnmine.toml --query-id q1 --all", 0),
        ("explain hnmine.toml --random 50", 0),
        ("--help", 0),
        ("report hnmine.toml --json --fail-over coverage=0", 7),
    ],
)
def test_a_reader_that_leaves_ends_no_command_and_changes_no_exit_code(folder, command, code):
    script = f"{sys.executable} -m hnmine {command} | true; echo ${{PIPESTATUS[0]}} >&2"
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == str(code)
    for word in ("Traceback", "Exception ignored", "Broken pipe"):
        assert word not in done.stderr


def test_a_reader_of_the_warnings_that_leaves_does_not_stop_a_run(folder, tmp_path):
    script = f"{sys.executable} -m hnmine run hnmine.toml --out {tmp_path / 'out'} 2>&1 >{tmp_path / 'path'} | true"
    subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert (tmp_path / "path").read_text() == f"{tmp_path / 'out'}\n"


def test_a_command_without_stdout_ends_as_it_would_with_one(folder):
    script = f"{sys.executable} -m hnmine explain hnmine.toml --query-id q1 >&-"
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["explain", "random", "probe"])
def test_other_settings_than_those_of_the_run_are_told(folder, name):
    changed = ("--set", "emit.num_negatives=2", "--set", "filter.percent=0.9")
    shown = hnmine(*ANSWERS[name], *changed, cwd=folder)
    told = (
        "warning: this run was made with other settings: filter.percent was 0.95, now 0.9; emit.num_negatives was 3, "
    )
    assert told + "now 2\n" in shown.stderr
    same, asked = (json.loads(hnmine(*ANSWERS[name], "--json", *more, cwd=folder).stdout) for more in ((), changed))
    assert [(one["name"], one["was"], one["now"]) for one in asked["other_settings"]] == [
        ("filter.percent", 0.95, 0.9),
        ("emit.num_negatives", 3, 2),
    ]
    assert same == {**asked, "other_settings": []}


def test_sweep_is_told_of_what_it_reads_alone(folder):
    own = hnmine(*ANSWERS["sweep"], "--set", "filter.percent=0.9", "--set", "emit.num_negatives=2", cwd=folder)
    assert own.stderr == ""
    other = hnmine(*ANSWERS["sweep"], "--set", "retrieve.top_k=7", cwd=folder)
    assert "warning: this run was made with other settings: retrieve.top_k was 40, now 7\n" in other.stderr


@pytest.mark.parametrize(
    "wrong", [("--fail-under", "ecii=1"), ("--set", "report.fail_over={ecii=1}"), ("--fail-over", "eci=nan")]
)
def test_a_limit_that_cannot_be_checked_is_refused_before_the_run(folder, tmp_path, wrong):
    done = hnmine("run", "hnmine.toml", "--out", tmp_path / "out", *wrong, cwd=folder)
    assert done.returncode == 2
    assert "did you mean eci?" in done.stderr or "NAME=NUMBER" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_sweep_says_that_its_numbers_are_not_those_of_the_report(folder):
    shown, found = (hnmine(*ANSWERS["sweep"], *more, cwd=folder).stdout for more in ((), ("--json",)))
    measured = json.loads(found)["measured_on_hidden_positives"]
    assert ("hardness, fill and ECI differ from" in shown) is measured


def test_help_begins_with_the_commands_that_begin_a_run():
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert names[:4] == ["mine", "init", "plan", "run"]
