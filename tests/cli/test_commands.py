import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hnmine import __version__
from hnmine.cli.app import app
from hnmine.config.file import load_config
from hnmine.config.tables import Config
from hnmine.pipeline.stage_names import SUMMARIES
from hnmine.pipeline.stages import STAGES
from tests.cli.support import hnmine
from tests.support import make_collection

APPLYING = [name for name, stage in STAGES.items() if stage.applies(Config())]
COMMANDS = {info.name or info.callback.__name__: info for info in app.registered_commands}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run of a made-up collection, and its config file."""
    folder = make_collection(tmp_path_factory.mktemp("cli"))
    (folder / "hnmine.toml").write_text(
        'out = "out"\n[input]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = "qrels.tsv"\n'
        '[embed]\nmodel = "hash"\n[retrieve]\ntop_k = 10\nmax_top_k = 10\n[emit]\nnum_negatives = 3\n'
    )
    done = hnmine("run", folder / "hnmine.toml")
    assert done.returncode == 0, done.stderr
    return folder


def test_an_empty_path_is_refused(run_folder, tmp_path):
    done = hnmine("run", run_folder / "hnmine.toml", "--out", "", cwd=tmp_path)
    assert done.returncode == 2
    assert "an empty path" in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_imports_nothing_heavy():
    code = "import sys; from hnmine.cli.app import app; print([m for m in sys.modules if m in HEAVY])"
    heavy = {
        "torch",
        "faiss",
        "sklearn",
        "sentence_transformers",
        "pyarrow",
        "numpy",
        "pydantic",
        "jinja2",
        "matplotlib",
        "ray",
    }
    out = subprocess.run([sys.executable, "-c", f"HEAVY = {heavy}\n{code}"], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_stage_is_a_command_and_has_its_summary():
    assert list(SUMMARIES) == list(STAGES)
    assert set(SUMMARIES) < set(COMMANDS)
    others = {
        "run", "init", "mine", "plan", "explain", "sweep", "tune", "probe", "compare", "audit", "export-judgements",
        "judge",
    }  # fmt: skip
    assert set(COMMANDS) - set(SUMMARIES) == others


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example_of_itself(name):
    assert COMMANDS[name].callback.__doc__
    assert COMMANDS[name].epilog.startswith(f"Example: hnmine {name} ")


def test_help_of_a_command_shows_its_example():
    shown = hnmine("explain", "--help")
    assert shown.returncode == 0
    assert "Example: hnmine explain hnmine.toml --query-id q007" in shown.stdout


def test_version():
    assert hnmine("--version").stdout.strip() == f"hnmine {__version__}"


def test_run_prints_the_folder_on_stdout_and_the_report_on_stderr(run_folder):
    again = hnmine("run", run_folder / "hnmine.toml")
    assert again.stdout.strip() == str((run_folder / "out").resolve())
    assert "coverage" in again.stderr
    assert "kept" in again.stderr
    assert "do not train" in again.stderr


def test_run_as_json_is_one_document_on_stdout(run_folder):
    data = json.loads(hnmine("run", run_folder / "hnmine.toml", "--json").stdout)
    assert [stage["stage"] for stage in data["stages"]] == APPLYING
    assert not any(stage["ran"] for stage in data["stages"])
    assert data["report"]["counts"]["ingest"]["queries"] == 20


def test_stages_one_by_one_write_what_run_writes(run_folder, tmp_path):
    for name in APPLYING:
        done = hnmine(name, run_folder / "hnmine.toml", "--out", tmp_path / "steps")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(tmp_path / "steps" / name)
    ours = (tmp_path / "steps" / "emit" / "part-00000.parquet").read_bytes()
    assert ours == (run_folder / "out" / "emit" / "part-00000.parquet").read_bytes()


def test_a_stage_before_its_turn_says_which_to_run(run_folder, tmp_path):
    done = hnmine("filter", run_folder / "hnmine.toml", "--out", tmp_path / "new")
    assert done.returncode == 4
    assert "run `hnmine ingest` first" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_folder_reuses_a_run_with_from(run_folder, tmp_path):
    source, out = run_folder / "out", tmp_path / "looser"
    done = hnmine("run", run_folder / "hnmine.toml", "--from", source, "--out", out, "--set", "filter.percent=0.8")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == ["emit", "filter", "report"]


def test_changed_settings_are_refused_and_overwritten_only_when_told(run_folder, tmp_path):
    out = ("--out", tmp_path / "out")
    assert hnmine("run", run_folder / "hnmine.toml", *out).returncode == 0
    refused = hnmine("run", run_folder / "hnmine.toml", *out, "--set", "filter.percent=0.8")
    assert refused.returncode == 4
    assert "filter.percent was 0.95, now 0.8" in refused.stderr
    assert hnmine("run", run_folder / "hnmine.toml", *out, "--set", "filter.percent=0.8", "--overwrite").returncode == 0


@pytest.mark.parametrize(
    ("limit", "code", "message"),
    [
        (("--fail-under", "eci=99"), 7, "eci = "),
        (("--fail-over", "coverage=0.01"), 7, "coverage = 1 is over the limit 0.01"),
        (("--fail-under", "coverage=0.01"), 0, ""),
        (("--fail-under", "ecii=1"), 2, "did you mean eci?"),
        (("--fail-under", "eci"), 2, "NAME=NUMBER"),
    ],
)
def test_limits_set_the_exit_code(run_folder, limit, code, message):
    done = hnmine("report", run_folder / "hnmine.toml", *limit)
    assert done.returncode == code
    assert message in done.stderr


def test_limits_of_the_config_count_too(run_folder):
    done = hnmine("report", run_folder / "hnmine.toml", "--set", "report.fail_under={eci=99}")
    assert done.returncode == 7


def test_explain_shows_every_candidate(run_folder):
    data = json.loads(hnmine("explain", run_folder / "hnmine.toml", "--query-id", "q1", "--json").stdout)
    assert data["query_id"] == "q1"
    assert [p["doc_id"] for p in data["positives"]] == ["d1", "d2"]
    assert len(data["anchors"]) == 2
    for anchor in data["anchors"]:
        scores = [c["score"] for c in anchor["candidates"]]
        assert scores == sorted(scores, reverse=True)
        assert sum(c["verdict"] != "positive" for c in anchor["candidates"]) == 10
        assert all(c["verdict"] == "keep" for c in anchor["candidates"] if c["chosen"])
        assert all(c["text"] for c in anchor["candidates"])


def test_judgements_go_out_and_come_back(run_folder, tmp_path):
    config, path = run_folder / "hnmine.toml", tmp_path / "judge.jsonl"
    done = hnmine("export-judgements", config, "--path", path, "--number", 7, "--per-query", 2)
    assert (done.returncode, done.stdout) == (0, f"{path}\n")
    assert "7 candidates of" in done.stderr
    assert "set input.judgements to the file" in done.stderr
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    asked = [line["query_id"] for line in lines]
    assert len(lines) == 7
    assert max(map(asked.count, asked)) <= 2
    again = hnmine("export-judgements", config, "--path", path)
    assert again.returncode == 4
    assert "may hold judgements" in again.stderr
    data = json.loads(hnmine("export-judgements", config, "--path", path, "--force", "--json").stdout)
    assert data["written"] == len(path.read_text().splitlines()) > 7
    lines[0]["judgement"], lines[1]["judgement"] = "relevant", "perhaps"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    back = ("run", config, "--out", tmp_path / "second", "--set", f"input.judgements={json.dumps(str(path))}")
    refused = hnmine(*back)
    assert refused.returncode == 3
    assert "line 2: judgement: relevant, irrelevant" in refused.stderr
    assert "Traceback" not in refused.stderr
    lines[1]["judgement"] = "unsure"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert hnmine(*back).returncode == 0
    told = hnmine("explain", config, "--out", tmp_path / "second", "--query-id", lines[0]["query_id"], "--json")
    found = {c["doc_id"]: c["verdict"] for c in json.loads(told.stdout)["anchors"][0]["candidates"]}
    assert found[lines[0]["doc_id"]] == "judged_relevant"


def test_explain_of_an_unknown_query_names_near_ones(run_folder):
    done = hnmine("explain", run_folder / "hnmine.toml", "--query-id", "q100")
    assert done.returncode == 3
    assert "near it: q10" in done.stderr


def test_text_from_data_is_never_markup(tmp_path):
    folder = make_collection(tmp_path)
    text = (folder / "queries.jsonl").read_text().replace("amber", "[bold red]{amber}[/] %s $(touch x)")
    (folder / "queries.jsonl").write_text(text)
    (folder / "c.toml").write_text(
        'out = "out"\n[input]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = "qrels.tsv"\n'
        '[embed]\nmodel = "hash"\n[emit]\nnum_negatives = 2\n'
    )
    assert hnmine("run", folder / "c.toml").returncode == 0
    with_markup = next(json.loads(line)["query_id"] for line in text.splitlines() if "[bold red]" in line)
    shown = hnmine("explain", folder / "c.toml", "--query-id", with_markup)
    assert "[bold red]{amber}[/] %s $(touch x)" in shown.stdout


def test_plan_loads_no_model_and_tells_what_is_done(run_folder, tmp_path):
    planned = json.loads(hnmine("plan", run_folder / "hnmine.toml", "--json").stdout)
    assert {stage["state"] for stage in planned["stages"]} == {"done"}
    assert planned["documents"] == 60
    new = json.loads(hnmine("plan", run_folder / "hnmine.toml", "--out", tmp_path / "new", "--json").stdout)
    assert {stage["state"] for stage in new["stages"]} == {"to do"}
    assert not (tmp_path / "new").exists()


def test_plan_warns_of_settings_without_effect(run_folder):
    done = hnmine("plan", run_folder / "hnmine.toml", "--set", 'filter.rule="margin"', "--set", "filter.percent=0.9")
    assert "filter.percent is set, but filter.rule is 'margin'" in done.stderr


def test_init_writes_a_config_that_loads_and_keeps_one_that_is_there(tmp_path):
    assert hnmine("init", cwd=tmp_path).stdout.strip() == "hnmine.toml"
    assert load_config(tmp_path / "hnmine.toml").input.corpus == "corpus.jsonl"
    again = hnmine("init", cwd=tmp_path)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert hnmine("init", "--force", cwd=tmp_path).returncode == 0


def test_init_offers_itself_for_a_beir_folder_and_for_pairs(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text("")
    hnmine("init", cwd=tmp_path)
    assert load_config(tmp_path / "hnmine.toml").input.beir == "."
    (tmp_path / "pairs.parquet").write_bytes(b"")
    hnmine("init", "--pairs", "pairs.parquet", "--path", "p.toml", cwd=tmp_path)
    assert Path(load_config(tmp_path / "p.toml").input.pairs) == tmp_path / "pairs.parquet"


def test_usage_errors_exit_2_without_a_traceback():
    for arguments in (("run",), ("run", "x.toml", "--bogus"), ("nonsense",), ("run", "no-such.toml")):
        done = hnmine(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_run_with_its_code_and_the_next_run_continues(run_folder, tmp_path, number, code):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "hnmine", "run", str(run_folder / "hnmine.toml"), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    deadline = time.monotonic() + 60
    while not (out / ".lock").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert hnmine("run", run_folder / "hnmine.toml", "--out", out).returncode == 0


def test_a_second_run_on_a_live_folder_is_refused(run_folder, tmp_path):
    import fcntl

    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write(json.dumps({"pid": 4711, "host": "elsewhere"}))
        held.flush()
        done = hnmine("run", run_folder / "hnmine.toml", "--out", tmp_path / "out")
    assert done.returncode == 4
    assert "process 4711 on elsewhere is writing to this folder" in done.stderr


def test_a_closed_stdout_is_no_error(run_folder):
    command = f"{sys.executable} -m hnmine run {run_folder / 'hnmine.toml'} --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
