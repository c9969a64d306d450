"""`hnmine tune` with a student whose gain is known: the choice, resuming, limits, errors; and with a real student."""

import json
import random
import shutil

import numpy as np
import pytest

from hnmine.commands.tune import tuner as tuner_module
from hnmine.commands.tune.choice import write_choice
from hnmine.commands.tune.tune import FOLDER, PAGE, RESULT, Options, tune
from hnmine.config.file import load_config
from hnmine.errors import ConfigError, IncompleteStage, ModelError, TooFewQueries
from hnmine.pipeline.run import run
from tests.cli.support import hnmine
from tests.commands.tune.made import COPIES, Loader, collection, finished
from tests.support import ROOT, config_for, make_collection

GRID = [
    {"rule": "none"}, {"rule": "none", "ranks": [2 * COPIES, 40]}, {"rule": "none", "num_negatives": 1},
    {"rule": "none", "choose": "random"}, {"rule": "percent", "percent": 0.99},
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = collection(tmp_path_factory.mktemp("tune"))
    (folder / "grid.json").write_text(json.dumps(GRID))
    return finished(folder), folder / "grid.json"


@pytest.fixture
def fresh(made, tmp_path):
    """A run of its own, its config and the grid."""
    config, grid = made
    shutil.copytree(config.out_folder, tmp_path / "out")
    return config.model_copy(update={"out": str(tmp_path / "out")}), grid


def test_planted_false_negatives_are_not_chosen_and_safe_ones_are(fresh):
    config, grid = fresh
    found = tune(config, options=Options(grid=grid), load=Loader())
    rows = {row["name"]: row for row in found["settings"]}
    verdict = found["verdict"]
    assert rows["yours: unfiltered"]["role"] == "own"
    assert not rows["yours: unfiltered"]["within_one_error"]
    assert rows["yours: unfiltered"]["over_in_batch"]["interval"][1] < 0
    assert verdict["chosen"] in ("ranks 24 to 40", "3 random documents")
    assert verdict["learned"]
    assert not verdict["in_batch_is_enough"]
    assert found["settings"][0]["finalist"]
    for name in ("yours: unfiltered", "no mined negatives", "3 random documents"):
        assert rows[name]["seeds"] == 3
    assert "Over the config's setting" in verdict["lines"][1]


def test_random_documents_that_do_as_well_are_said_to(fresh):
    config, grid = fresh
    found = tune(config, options=Options(grid=grid), load=Loader())
    assert found["verdict"]["random_is_enough"]
    assert any(line.startswith("Random documents in equal number do as well") for line in found["verdict"]["lines"])


def test_where_negatives_gain_nothing_it_says_do_not_mine(fresh):
    config, grid = fresh
    found = tune(config, options=Options(grid=grid), load=Loader(gain=-0.02))
    assert found["verdict"]["outcome"] == "in_batch"
    assert found["verdict"]["lines"][0].startswith("Do not mine")
    assert write_choice(config, found).endswith("no setting of a run mines nothing")


@pytest.mark.parametrize("settings", [{"gain": 0.0, "loss": 0.0}, {"noise": 5.0}], ids=["all alike", "all noise"])
def test_where_nothing_is_told_apart_the_configs_setting_is_kept(fresh, settings):
    config, grid = fresh
    found = tune(config, options=Options(grid=grid), load=Loader(**settings))
    assert found["verdict"]["outcome"] == "undecided"
    assert found["verdict"]["chosen"] == "yours: unfiltered"
    assert len(found["verdict"]["lines"]) == 1
    assert write_choice(config, found).endswith("its own setting is kept")


def test_equal_sets_are_trained_once_and_a_second_tune_trains_nothing(fresh, tmp_path):
    config, grid = fresh
    loader = Loader()
    found = tune(config, options=Options(grid=grid), load=loader)
    assert len(loader.student.trained) == len(set(loader.student.trained))
    first = (config.out_folder / RESULT).read_bytes(), (config.out_folder / PAGE).read_bytes()
    again = Loader()
    assert tune(config, options=Options(grid=grid), load=again) == found
    assert again.student is None  # nothing is loaded either
    assert ((config.out_folder / RESULT).read_bytes(), (config.out_folder / PAGE).read_bytes()) == first
    same = json.loads(grid.read_text())
    same.append({"rule": "absolute", "max_score": 10.0})  # the same set as that of "none" by another rule
    (tmp_path / "more.json").write_text(json.dumps(same))
    third = tune(config, options=Options(grid=tmp_path / "more.json"), load=Loader())
    assert any(row["same_as"] for row in third["settings"])


def test_the_order_of_the_grid_changes_nothing(fresh, tmp_path):
    config, grid = fresh
    tune(config, options=Options(grid=grid), load=Loader())
    first = (config.out_folder / RESULT).read_bytes()
    rows = json.loads(grid.read_text())
    for order in range(2):
        random.Random(order).shuffle(rows)
        (tmp_path / "other.json").write_text(json.dumps(rows))
        shutil.rmtree(config.out_folder / FOLDER)
        tune(config, options=Options(grid=tmp_path / "other.json"), load=Loader())
        assert (config.out_folder / RESULT).read_bytes() == first


@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_tune_that_is_stopped_goes_on_and_ends_the_same(made, fresh, tmp_path, after):
    config, grid = fresh
    tune(config, options=Options(grid=grid), load=Loader())
    whole = (config.out_folder / RESULT).read_bytes(), (config.out_folder / PAGE).read_bytes()
    other = config.model_copy(update={"out": str(tmp_path / "stopped")})
    shutil.copytree(made[0].out_folder, other.out_folder)
    with pytest.raises(KeyboardInterrupt):
        tune(other, options=Options(grid=grid), load=Loader(stop=after))
    assert not (other.out_folder / RESULT).exists()
    stored = sorted((other.out_folder / FOLDER).glob("*.npy"))
    if len(stored) > 2:
        stored[0].write_bytes(b"half")  # as a full disk could leave it
    loader = Loader()
    tune(other, options=Options(grid=grid), load=loader)
    assert ((other.out_folder / RESULT).read_bytes(), (other.out_folder / PAGE).read_bytes()) == whole


def test_no_training_begins_after_the_time(fresh, monkeypatch):
    config, grid = fresh
    now = [0.0]
    monkeypatch.setattr(tuner_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(tuner_module, "in_threads", lambda function, parts: [function(part) for part in parts])

    class Slow(Loader):
        def __call__(self, *given):
            student = super().__call__(*given)
            train = student.train

            def timed(*own):
                now[0] += 10
                return train(*own)

            student.train = timed
            return student

    with pytest.raises(ConfigError, match="no time for a single training"):
        tune(config, options=Options(grid=grid, seconds=0), load=Slow())
    loader = Slow()
    found = tune(config, options=Options(grid=grid, seconds=35 + now[0]), load=loader)
    assert found["cut"]
    assert len(loader.student.trained) == 4
    assert found["untried"]
    assert {row["seeds"] for row in found["settings"]} == {1}
    assert found["verdict"]["chosen"] in {row["name"] for row in found["settings"]}
    whole = tune(config, options=Options(grid=grid), load=Loader())
    assert not whole["cut"]
    assert not whole["untried"]


def test_a_choice_is_written_and_read_again(fresh):
    config, grid = fresh
    file = config.out_folder.parent / "hnmine.toml"
    base = config.base
    file.write_text(
        f'out = "out"  # ours\n[input]\ncorpus = "{base}/corpus.jsonl"\nqueries = "{base}/queries.jsonl"\n'
        f'qrels = "{base}/qrels.tsv"\n[embed]\nmodel = "hash"\n[retrieve]\ntop_k = 40\nmax_top_k = 40\n'
        '[filter]\nrule = "none"  # for a start\n[emit]\nnum_negatives = 3\n'
    )
    made = load_config(file)
    found = tune(made, options=Options(grid=grid), load=Loader())
    chosen = found["verdict"]["chosen"]
    assert chosen != "yours: unfiltered"
    said = write_choice(made, found)
    assert said.startswith(f"{file}: ")
    text = file.read_text()
    assert "# ours" in text
    assert "# for a start" in text
    after = load_config(file)
    if chosen == "ranks 24 to 40":
        assert after.filter.ranks == (24, 40)
    else:
        assert (after.emit.choose, after.emit.random_share) == ("mixed", 1.0)
    again = tune(after, options=Options(grid=grid), load=Loader())
    assert next(row for row in again["settings"] if row["role"] == "own")["name"].startswith("yours: ")


def test_too_few_queries_and_missing_stages_are_refused(tmp_path, fresh):
    few = config_for(make_collection(tmp_path / "few", queries=12))
    with pytest.raises(IncompleteStage, match="hnmine embed"):
        tune(few, load=Loader())
    run(few)
    with pytest.raises(TooFewQueries, match=r"needs 40 labelled queries.*12 take part"):
        tune(few, load=Loader())
    config, grid = fresh
    with pytest.raises(TooFewQueries, match="30 take part"):
        tune(config, options=Options(grid=grid, queries=30), load=Loader())


def test_queries_that_all_share_a_positive_cannot_be_split(tmp_path):
    folder = make_collection(tmp_path, queries=50)
    lines = (folder / "qrels.tsv").read_text()
    (folder / "qrels.tsv").write_text(lines + "".join(f"q{i}\td59\t1\n" for i in range(50)))
    config = config_for(folder)
    run(config)
    with pytest.raises(TooFewQueries, match="share a positive"):
        tune(config, load=Loader())


def test_wrong_options_are_named_together(fresh):
    config, _ = fresh
    with pytest.raises(ConfigError) as error:
        tune(config, options=Options(student="giant", loss="none", layers=2))
    assert "--student giant: no such student; one of static" in str(error.value)
    assert "--layers: only the student top-layers" in str(error.value)
    assert "--loss none: no such loss; one of batch, own" in str(error.value)


def test_a_student_that_needs_a_model_says_so(fresh):
    config, _ = fresh
    with pytest.raises(ModelError, match="name one with --model"):
        tune(config, options=Options(student="top-layers"))


def test_the_hash_encoder_serves_a_static_student_on_its_vectors(fresh, tmp_path):
    config, _ = fresh
    (tmp_path / "grid.json").write_text(json.dumps(GRID[:2]))
    options = Options(grid=tmp_path / "grid.json", seeds=2)
    found = tune(config, options=options)
    assert found["model"] is None
    assert all(np.isfinite(row["gain"]) for row in found["settings"])
    before = (config.out_folder / RESULT).read_bytes()
    shutil.rmtree(config.out_folder / FOLDER)
    tune(config, options=options)
    assert (config.out_folder / RESULT).read_bytes() == before


def test_the_command_prints_a_table_or_json_alone(fresh, tmp_path):
    config, grid = fresh
    base = config.base
    file = tmp_path / "hnmine.toml"
    file.write_text(
        f'out = "out"\n[input]\ncorpus = "{base}/corpus.jsonl"\nqueries = "{base}/queries.jsonl"\n'
        f'qrels = "{base}/qrels.tsv"\n[embed]\nmodel = "hash"\n[retrieve]\ntop_k = 40\nmax_top_k = 40\n'
        '[filter]\nrule = "none"\n[emit]\nnum_negatives = 3\n'
    )
    done = hnmine("tune", file, "--grid", grid, "--seeds", "1", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert len(data["settings"]) == 7
    assert data["page"] == str(tmp_path / "out" / PAGE)
    shown = hnmine("tune", file, "--grid", grid, "--seeds", "1", "--write")
    assert shown.returncode == 0, shown.stderr
    for row in data["settings"]:
        assert row["name"] in " ".join(shown.stdout.split())
    assert "page: " in shown.stderr
    assert "hnmine.toml" in shown.stderr.splitlines()[-1]
    for options, code, message in (
        (("--student", "giant"), 2, "no such student"), (("--grid", tmp_path / "no.toml"), 2, "cannot be read"),
        (("--seeds", "0"), 2, "--seeds"), (("--out", tmp_path / "nothing"), 4, "is not complete"),
        (("--queries", "20"), 3, "needs 40 labelled queries"),
    ):  # fmt: skip
        failed = hnmine("tune", file, *options)
        assert failed.returncode == code, failed.stderr
        assert message in failed.stderr
        assert "Traceback" not in failed.stderr


def test_the_sample_is_tuned_with_the_hash_encoder(tmp_path):
    config = load_config(ROOT / "sample_data" / "hnmine.toml", ("embed.model=hash",), tmp_path / "sample")
    run(config)
    (tmp_path / "grid.json").write_text(json.dumps([{"rule": "percent", "percent": 0.8}]))
    found = tune(config, options=Options(grid=tmp_path / "grid.json", seeds=1))
    assert {row["role"] for row in found["settings"]} == {"own", "in_batch", "random", "tried"}
    assert 40 <= found["test_queries"] <= 60
    assert (tmp_path / "sample" / PAGE).exists()


@pytest.mark.model
@pytest.mark.slow
def test_the_sample_is_tuned_with_minilm(tmp_path):
    config = load_config(ROOT / "sample_data" / "hnmine.toml", out=tmp_path / "sample")
    run(config)
    (tmp_path / "grid.json").write_text(json.dumps([{"rule": "none"}, {"rule": "percent", "percent": 0.8}]))
    found = tune(config, options=Options(grid=tmp_path / "grid.json", seeds=2))
    assert found["model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert found["measured"]
    rows = {row["role"]: row for row in found["settings"]}
    assert rows["own"]["false_negative_rate"] < next(
        row["false_negative_rate"] for row in found["settings"] if row["name"] == "unfiltered"
    )
    assert found["verdict"]["lines"]
