"""Recipes: each is a config that runs, and says where it is from."""

import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hnmine import load_config, run
from hnmine.commands.init import write_starter
from hnmine.commands.mine import MineRequest, prepare
from hnmine.commands.recipes import RECIPES, list_recipes
from hnmine.config.file import check_config
from hnmine.config.section import tables
from hnmine.config.tables import Config
from hnmine.errors import ConfigError
from hnmine.pipeline.run import RunOptions
from hnmine.stages.filter.deeper_search import searches_deeper
from tests.cli.support import hnmine
from tests.support import ROOT

SAMPLE = ROOT / "sample_data"
FILES = {name: str(SAMPLE / file) for name, file in
         (("corpus", "corpus.jsonl"), ("queries", "queries.jsonl"), ("qrels", "qrels.tsv"))}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample collection embedded by the hash encoder, in `first`."""
    folder = tmp_path_factory.mktemp("recipes")
    run(config(folder, "first", {}), ("ingest", "embed", "index"))
    return folder


def config(base: Path, out: str, recipe: Any) -> Config:
    plain: dict[str, Any] = {"out": out, "input": FILES, "embed": {"model": "hash"}, "report": {"html": False}}
    return check_config({**plain, **recipe}, out, base)


@pytest.mark.parametrize("name", RECIPES)
def test_it_runs_on_the_sample_and_gives_the_number_of_negatives_that_it_says(base: Path, name: str) -> None:
    used = config(base, name, RECIPES[name].settings)
    results = run(used, options=RunOptions(source=base / "first"))
    counts = results[-2].counts
    assert counts["examples_full"] > 0
    assert counts["negatives_wanted"] == counts["examples"] * used.emit.num_negatives
    suffix = "jsonl" if name == "bge" else "parquet"
    assert (base / name / f"emit/part-00000.{suffix}").exists()


HOLDS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "nv-retriever": lambda row: row["negative_score"] <= row["positive_score"] - 0.05 * abs(row["positive_score"]),
    "topk-margin": lambda row: row["negative_score"] <= row["positive_score"] - 0.05,
    "topk-abs": lambda row: row["negative_score"] <= 0.7,
    "nemotron": lambda row: row["negative_score"] <= row["anchor_score"] - 0.05 * abs(row["anchor_score"]),
    "sentence-transformers": lambda row: row["anchor_score"] <= row["positive_score"],
    "bge": lambda row: 11 <= row["rank"] <= 210,
    "simans": lambda row: row["source"] == "retrieved",
    "star": lambda row: row["source"] == "retrieved",
    "ance": lambda row: row["source"] == "retrieved",
    "dpr": lambda row: row["source"] == "bm25",
}
"""What a recipe says of each of its rows."""


@pytest.mark.parametrize("name", RECIPES)
def test_its_rows_are_what_it_says(base: Path, name: str) -> None:
    settings = RECIPES[name].settings
    extra = ["rank", "positive_score", "negative_score", "anchor_score", "source", "query_id", "positive_id"]
    emit = {**settings["emit"], "format": "triplet", "extra_columns": extra, "fallback": "none"}
    run(config(base, f"{name}-rows", {**settings, "emit": emit}), options=RunOptions(source=base / "first"))
    rows = [
        row for part in sorted((base / f"{name}-rows/emit").glob("part-*")) for row in pq.read_table(part).to_pylist()
    ]
    assert all(map(HOLDS[name], rows))
    examples = Counter((row["query_id"], row["positive_id"]) for row in rows)
    assert max(examples.values()) == settings["emit"].get("num_negatives", 5)


@pytest.mark.parametrize("name", RECIPES)
def test_init_writes_it_with_its_source_and_it_loads_as_these_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "hnmine.toml"
    monkeypatch.chdir(tmp_path)
    Path("pairs.jsonl").write_text("")
    write_starter(path, beir=None, pairs="pairs.jsonl", force=False, recipe=name)
    text = path.read_text()
    assert f"# Recipe {name}: " in text
    assert f"# {RECIPES[name].source}" in text
    raw = tomllib.loads(text)
    given = {table: values for table, values in raw.items() if values and table not in ("seed", "out", "input")}
    given = {table: {key: value for key, value in values.items() if value} for table, values in given.items()}
    assert {table: values for table, values in given.items() if values} == RECIPES[name].settings
    assert load_config(path).emit == config(tmp_path, "x", RECIPES[name].settings).emit


@pytest.mark.parametrize("name", RECIPES)
def test_it_names_its_source_and_only_settings_of_the_config(name: str) -> None:
    recipe = RECIPES[name]
    assert "https://" in recipe.source
    assert recipe.does.endswith(".")
    models = {table.path: table.model for table in tables(Config)}
    for table, values in recipe.settings.items():
        assert values.keys() <= models[table].model_fields.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_it_searches_no_deeper_than_its_source_does(base: Path, name: str) -> None:
    assert not searches_deeper(config(base, "depth", RECIPES[name].settings))


def test_options_of_mine_change_the_settings_of_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"anchor": "a", "positive": "b"}\n')
    request = MineRequest([str(tmp_path / "pairs.jsonl")], out=str(tmp_path / "out"), model="hash", recipe="bge",
                          num_negatives=7, overrides=["filter.ranks=[5, 50]"])  # fmt: skip
    mining = prepare(request)
    emit, rules = mining.config.emit, mining.config.filter
    assert (emit.choose, emit.format, emit.num_negatives, rules.ranks) == ("random", "bge", 7, (5, 50))
    assert mining.text is not None
    assert "# Recipe bge: " in mining.text
    assert RECIPES["bge"].settings["emit"]["num_negatives"] == 15, "the recipe itself is as it was"


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    done = hnmine("mine", "x.jsonl", "--recipe", "nvretriever", "-n", "0")
    assert done.returncode == 2
    assert "--recipe nvretriever: no such recipe; did you mean 'nv-retriever'?" in done.stderr
    assert "emit.num_negatives" in done.stderr
    with pytest.raises(ConfigError, match="known: nv-retriever, "):
        write_starter(Path("never.toml"), beir=None, pairs=None, force=False, recipe="unheard")


def test_the_list_is_an_answer_on_stdout() -> None:
    done = hnmine("init", "--list-recipes")
    assert done.returncode == 0
    assert done.stdout == list_recipes()
    assert all(f"{name}\n  " in done.stdout for name in RECIPES)
