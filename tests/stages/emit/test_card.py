"""The card beside the training files: the hub's client reads it, it says how the set was mined, and nothing private."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard

from hnmine import run
from hnmine.commands.audit.reader import mined_sources
from hnmine.config.models import EmbedConfig, SparseConfig
from hnmine.config.tables import Config
from hnmine.errors import InputError
from hnmine.stages.emit.card_text import SIZES, code, model_name, public, size_category
from hnmine.storage.input_files import TABLE_ENDINGS, find_sources
from hnmine.storage.schemas.filter import VERDICTS
from tests.pipeline.helpers import rows, table
from tests.storage.hub_server import TOKEN, hub_server
from tests.support import config_for, make_collection

STAGES = ["ingest", "embed", "index", "retrieve", "filter", "emit"]


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The emit folder of a set in three formats, with an evaluation set kept out."""
    base = make_collection(tmp_path_factory.mktemp("card"), 60, 20)
    (base / "eval.tsv").write_text("query_id\tdoc_id\trelevance\nq0\td0\t1\n")
    tables: dict[str, Any] = {
        "input": {"eval_qrels": "eval.tsv"},
        "retrieve": {"source": [{"kind": "dense"}, {"kind": "bm25", "name": "words", "stem": False}]},
        "emit": {"format": ["triplet", "bge", "labeled-list"]},
    }
    run(config_for(base, **tables), STAGES)
    return base / "out/emit"


def test_the_hub_reads_its_front_matter(mined: Path) -> None:
    data = DatasetCard.load(mined / "README.md").data.to_dict()
    assert [one["config_name"] for one in data["configs"]] == ["triplet", "labeled-list"]
    assert data["configs"][0]["data_files"] == [{"split": "train", "path": "triplet/part-*.parquet"}]
    assert data["size_categories"] == ["n<1K"]
    assert "hard-negatives" in data["tags"]
    assert not {"license", "language"} & data.keys(), "they are the user's to say"


def test_it_says_how_the_set_was_mined_and_how_to_load_it(mined: Path) -> None:
    card = (mined / "README.md").read_text()
    for line in (
        "| input | 60 documents, ",
        "| evaluation set, kept out | its 1 queries and the 1 documents relevant to them |",
        "| teacher | `hash`, similarity `cosine` |",
        "| candidates | for each query the best documents: 10 by `dense`, 10 by `words` |",
        '| rules | `rule = "percent"`: ',
        "| choice | `top`, up to 3 negatives for each (query, positive) |",
        'load_dataset("FOLDER", "triplet", split="train")',
        'load_dataset("FOLDER", data_files="bge/part-*.jsonl", split="train")',
        "## Limits",
    ):
        assert line in card
    assert str(mined.parents[1]) not in "".join(path.read_text() for path in mined.glob("*.*"))


def test_its_counts_are_those_of_the_files(tmp_path: Path) -> None:
    tables: dict[str, Any] = {
        "rescore": {"model": "hash", "top_n": 4},
        "filter": {"rule": "percent", "score": "checked"},
        "emit": {"extra_columns": ["query_id", "negative_id"], "choose": "mixed", "random_share": 0.34},
    }
    base = make_collection(tmp_path, 60, 20)
    qrels = (base / "qrels.tsv").read_text()
    (base / "qrels.tsv").write_text(f"{qrels}q0\td40\t0\nq1\td41\t0\n")
    run(config_for(base, **tables), [*STAGES[:-2], "rescore", *STAGES[-2:]])
    emit = base / "out/emit"
    found = rows(emit)
    card = (emit / "README.md").read_text()
    verdicts = [v for lists in table(base / "out/filter").column("verdicts").to_pylist() for one in lists for v in one]
    tried = [one for one in verdicts if one != "positive"]
    given = [name for name in VERDICTS if name in tried and name != "keep"]
    shares = [f"{100 * tried.count(name) / len(tried):.1f}% `{name}`" for name in given]
    pairs = [s for one in table(base / "out/rescore").column("scores").to_pylist() for s in one]
    scored = sum(score is not None for score in pairs)
    examples = len({(row["query_id"], row["positive"]) for row in found})
    for line in (
        f"| queries with negatives | {len({row['query_id'] for row in found})} |",
        f"| different documents among all negatives | {len({row['negative_id'] for row in found})} |",
        f"| negatives an example, on average | {len(found) / examples:.2f} |",
        f"| rejected | {', '.join(shares)} |",
        f"a cross-encoder: {scored} of {len(pairs)} candidates and labelled positives among them |",
        "labelled positives, 2 pairs judged irrelevant |",
    ):
        assert line in card
    assert len(shares) > 1


def test_a_card_of_json_lines_has_no_table_of_another_type(tmp_path: Path) -> None:
    base = make_collection(tmp_path, 60, 20)
    run(config_for(base, emit={"format": "bge", "mixing": 1}), STAGES)
    card = DatasetCard.load(base / "out/emit/README.md")
    assert [one["config_name"] for one in card.data.to_dict()["configs"]] == ["default"]
    assert 'mixing = load_dataset("FOLDER", data_files="mixing/part-*.parquet", split="train")' in card.content


def test_what_is_private_is_left_out() -> None:
    given = {
        "embed": {"model": "/home/someone/models/mine", "query_prompt": "/find: ", "served_model": "bge-m3"},
        "guide": {"model": "http://10.0.0.3:8000/v1"},
        "command": ["python", "./tools/encoder.py"],
        "where": [{"field": "a/b", "share": 0.5}],
    }
    assert public(given) == {
        "embed": {"model": "mine", "query_prompt": "/find: ", "served_model": "bge-m3"},
        "guide": {"model": "(a server)"},
        "command": ["python", "encoder.py"],
        "where": [{"field": "a/b", "share": 0.5}],
    }
    assert public("s3://bucket/private/model") == "model"
    assert public("org/name") == "org/name"


def test_names_of_models_are_no_markup() -> None:
    assert code("a|b`c\n") == "`a b c `"
    names = {
        "org/name": "`org/name`", "../mine": "`mine`", "http://10.0.0.3/v1": "a model of a server",
        "precomputed": "precomputed vectors",
    }  # fmt: skip
    assert {name: model_name(EmbedConfig(model=name)) for name in names} == names
    assert model_name(EmbedConfig(model="http://10.0.0.3", served_model="m")) == "`m`, by a server"
    assert model_name(EmbedConfig(model="http://10.0.0.3"), "/srv/models/m1") == "`m1`, by a server"
    assert model_name(EmbedConfig(model="org/name", revision="abc")) == "`org/name` at revision `abc`"
    program = EmbedConfig(command=["python", "/home/someone/encoder.py", "--fast"])
    assert model_name(program) == "the program `python encoder.py --fast`"
    assert model_name(SparseConfig(model="org/splade")) == "`org/splade`"
    assert Config().embed.model in model_name(Config().embed)


@pytest.mark.parametrize(
    ("rows", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (123_456, "100K<n<1M"), (5 * 10**8, "100M<n<1B")],
)
def test_sizes_as_the_hub_names_them(rows: int, size: str) -> None:
    assert size_category(rows) == size
    assert size_category(10**15) == SIZES[-1]


def test_the_folder_is_pushed_as_the_docs_say_and_mined_from_there(mined: Path, tmp_path: Path) -> None:
    with hub_server(tmp_path / "cache") as hub, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", TOKEN)
        command = [sys.executable, "-c", "from huggingface_hub.cli.hf import main; main()"]
        given = ["upload", "someone/mined", str(mined), ".", "--repo-type", "dataset"]
        records = [part for pattern in ("_*", "*/_keys/*", "chosen/*") for part in ("--exclude", pattern)]
        done = subprocess.run([*command, *given, *records], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        pushed = hub.commits["someone/mined"][hub.branches["someone/mined"]["main"]]
        names = ["README.md", "bge/part-00000.jsonl", "labeled-list/part-00000.parquet", "triplet/part-00000.parquet"]
        assert pushed.keys() == set(names)
        assert all(pushed[name] == (mined / name).read_bytes() for name in names)
        with pytest.raises(InputError, match=r"name the files of one.*hf://datasets/someone/mined/triplet/part"):
            mined_sources(["hf://datasets/someone/mined"], Path())
        assert mined_sources(["hf://datasets/someone/mined/triplet"], Path())
        (source,) = find_sources("hf://datasets/someone/mined/triplet", Path(), "audit", TABLE_ENDINGS)
        assert source.open().read() == pushed["triplet/part-00000.parquet"]
