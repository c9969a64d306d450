"""Several formats from one run: each as a run of its own would write it, in a folder of its own."""

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.commands.audit.reader import mined_sources
from hnmine.commands.compare.compare import compare
from hnmine.config.emit import FormatName
from hnmine.errors import ConfigError, InputError, StaleOutput
from hnmine.pipeline.run import RunOptions
from tests.support import config_for, make_collection, tree

FORMATS = list(get_args(FormatName))
# under a cap some examples have no negative, and some have fewer than wanted
EMIT: dict[str, Any] = {"num_negatives": 3, "max_per_document": 3}
MORE: dict[str, Any] = {"shard_rows": 256}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection mined in all formats at once, into `all`."""
    folder = make_collection(tmp_path_factory.mktemp("several"), 120, 300)
    mine(folder, "all", FORMATS)
    return folder


def mine(base: Path, out: str, names: Any, emit: dict[str, Any] | None = None, **more: Any) -> Path:
    options = RunOptions(source=base / "all" if out != "all" and (base / "all").exists() else None)
    run(config_for(base, out, emit={**EMIT, "format": names, **(emit or {})}, **{**MORE, **more}), options=options)
    return base / out / "emit"


def content(folder: Path) -> Any:
    """Return the rows of a format's files, shard by shard."""
    parts = sorted(folder.glob("part-*"))
    assert len(parts) == 2
    return [part.read_text() if part.suffix == ".jsonl" else pq.read_table(part) for part in parts]


def counts(emit: Path) -> Any:
    return json.loads((emit / "_manifest.json").read_text())["counts"]


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_as_from_a_run_of_its_own(base: Path, name: str) -> None:
    alone = mine(base, f"only-{name}", name)
    assert content(base / "all/emit" / name) == content(alone)
    assert not (alone / name).exists()
    found, single = counts(base / "all/emit"), counts(alone)
    assert found["formats"][name]["rows"] == single["rows"]
    assert "formats" not in single
    left_out = single["examples_short"] if name.startswith("n-tuple") else 0
    assert found["formats"][name]["examples_left_out"] == left_out
    assert single["examples_short"] > 0
    assert found["rows"] == sum(own["rows"] for own in found["formats"].values())


def test_a_list_of_one_is_that_format(base: Path) -> None:
    assert tree(mine(base, "listed", ["triplet"])) == tree(mine(base, "named", "triplet"))


def test_the_card_names_every_format_with_its_losses_and_loads(base: Path, tmp_path: Path) -> None:
    card = (base / "all/emit/README.md").read_text()
    for name in FORMATS:
        rows = counts(base / "all/emit")["formats"][name]["rows"]
        assert f"| `{name}` | {rows:,} |" in card
        assert (f'path: "{name}/part-*.parquet"' if name != "bge" else 'data_files="bge/part-*') in card
    assert "MarginMSELoss" in card
    assert "LambdaLoss" in card
    datasets = pytest.importorskip("datasets")
    assert content(base / "all/emit/n-tuple")[1].num_rows == 0, "a shard without rows loads, too"
    for name in FORMATS:
        where = (str(base / "all/emit"), *([name] if name != "bge" else []))
        files = None if name != "bge" else "bge/part-*.jsonl"
        loaded = datasets.load_dataset(*where, data_files=files, split="train", cache_dir=str(tmp_path))
        assert len(loaded) == counts(base / "all/emit")["formats"][name]["rows"]


def test_batches_are_the_same_in_all_formats(base: Path) -> None:
    emit = mine(base, "batched", ["triplet", "n-tuple"], {"batch_size": 8, "extra_columns": ["query_id"]})
    tables = {name: pa.concat_tables(content(emit / name)) for name in ("triplet", "n-tuple")}
    of_triplets, of_tuples = (
        {(row["query_id"], row["positive"]): row["batch_id"] for row in table.to_pylist()} for table in tables.values()
    )
    assert None not in of_triplets.values()
    assert of_tuples.items() <= of_triplets.items()
    assert len(of_tuples) < len(of_triplets)


def test_workers_and_a_lost_shard_change_no_byte(base: Path) -> None:
    emit, before = base / "all/emit", tree(base / "all/emit")
    names = ["n-tuple", "bge"]
    first = tree(mine(base, "one", names))
    second = mine(base, "two", names, workers=2)
    assert tree(second) == first
    (second / "bge/part-00001.jsonl").unlink()
    (second / "_manifest.json").unlink()
    kept = (second / "n-tuple/part-00000.parquet").stat().st_ino
    mine(base, "two", names)
    assert tree(second) == first
    assert (second / "n-tuple/part-00000.parquet").stat().st_ino == kept
    assert tree(emit) == before


def test_other_formats_are_stale_and_overwriting_leaves_no_old_file(base: Path) -> None:
    emit = mine(base, "changed", ["triplet", "bge"])
    config = config_for(base, "changed", emit={**EMIT, "format": "triplet"}, **MORE)
    with pytest.raises(StaleOutput, match=r'emit.format was \["triplet", "bge"\], now "triplet"'):
        run(config, options=RunOptions(source=base / "all"))
    run(config, options=RunOptions(source=base / "all", overwrite=True))
    assert sorted(path.name for path in emit.iterdir()) == [
        "README.md", "_manifest.json", "_started.json", "chosen", "part-00000.parquet", "part-00001.parquet",
    ]  # fmt: skip


def test_audit_says_which_folder_to_name_and_compare_takes_the_run(base: Path) -> None:
    for entry in (str(base / "all"), str(base / "all/emit")):
        with pytest.raises(InputError, match=r"the same examples in several formats; name one of .*all/emit/triplet"):
            mined_sources([entry], base)
    (first, second) = mined_sources([str(base / "all/emit/triplet")], base)
    assert (first.path.rsplit("/", 1)[-1], second.path.rsplit("/", 1)[-1]) == (
        "part-00000.parquet", "part-00001.parquet",
    )  # fmt: skip
    mine(base, "second", ["triplet", "bge"])
    assert compare([str(base / "all"), str(base / "second")], None, 0)["comparisons"]


def test_an_audit_of_a_run_reads_no_records_of_batches(base: Path) -> None:
    mine(base, "records", "triplet", {"batch_size": 8})
    assert {source.path.rsplit("/", 1)[-1][:5] for source in mined_sources([str(base / "records")], base)} == {"part-"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "emit.format: an empty list"),
        (["triplet", "bge", "triplet"], "emit.format: 'triplet' is there 2 times"),
        (["triplet", "bg"], r"\(given: 'bg'\); did you mean 'bge'\?"),
    ],
)
def test_lists_that_do_not_fit(base: Path, names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_for(base, emit={"format": names})


def test_soft_labels_need_one_labelled_format(base: Path) -> None:
    soft: dict[str, Any] = {"soft_labels": True}
    rules = {"rule": ["percent", "calibrated"]}
    with pytest.raises(ConfigError, match="rows of shape 'triplet', 'bge' have no labels"):
        config_for(base, emit={**soft, "format": ["triplet", "bge"]}, filter=rules)
    emit = mine(base, "soft", ["triplet", "labeled-pair"], soft, filter=rules)
    assert content(emit / "labeled-pair")[0].schema.field("label").type == pa.float32()
    shutil.rmtree(base / "soft")
