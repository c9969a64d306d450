"""Runs whose teachers are programs: the vectors of the same encoder in this process, also after a failure, and keys."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnmine import run
from hnmine.commands.plan.plan import make_plan
from hnmine.config.file import check_config
from hnmine.config.models import EmbedConfig
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, ModelError, StaleOutput
from hnmine.storage.store import part_name
from tests.pipeline.helpers import vectors
from tests.support import ROOT, config_for, make_collection

SAME_AS_HASH = """
import json, sys
import numpy as np
from hnmine.config.models import EmbedConfig
from hnmine.models.encoders import HashEncoder

encoder = HashEncoder(EmbedConfig(model="hash"))
for line in sys.stdin:
    request = json.loads(line)
    np.save(sys.stdout.buffer, encoder.encode(request["texts"], request["kind"]))
    sys.stdout.flush()
"""


def by_command(folder: Path, out: str = "out", script: str = "my_encoder.py", **more: Any) -> Config:
    own = {"command": [sys.executable, script], **more.pop("embed", {})}
    raw = {
        "out": out,
        "input": {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"},
        "embed": own,
        "retrieve": {"top_k": 10},
        "filter": {"rule": "percent"},
        "emit": {"num_negatives": 3},
        "report": {"html": False},
        **more,
    }
    return check_config(raw, "test config", folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "docs" / "examples" / "my_encoder.py", tmp_path)
    return make_collection(tmp_path)


def test_vectors_are_those_of_the_same_encoder_in_this_process(folder: Path) -> None:
    (folder / "same.py").write_text(SAME_AS_HASH)
    run(by_command(folder, script="same.py"), ["ingest", "embed"])
    run(config_for(folder, "local"), ["ingest", "embed"])
    for side in ("corpus", "queries"):
        np.testing.assert_array_equal(vectors(folder / "out", side), vectors(folder / "local", side))


def test_the_documented_program_serves_every_table_and_says_what_it_is(folder: Path) -> None:
    command = [sys.executable, "my_encoder.py", "second"]
    source = {"kind": "dense", "name": "other", "teacher": {"command": [*command, "third"]}}
    config = by_command(folder, guide={"command": command}, retrieve={"source": [{"kind": "dense"}, source]})
    planned = make_plan(config)
    assert "my_encoder.py second" in next(one["work"] for one in planned["stages"] if one["stage"] == "embed")
    assert any("embed.command: the dimension" in one for one in planned["warnings"])
    counts = next(result.counts for result in run(config, ["ingest", "embed"]) if result.stage == "embed")
    assert (counts["dim"], counts["guide_dim"], counts["source_dims"]) == (512, 512, {"other": 512})
    assert not any("dimension" in one for one in make_plan(config)["warnings"])


def test_a_run_whose_program_failed_goes_on_with_other_workers_and_shards_to_the_same_vectors(tmp_path: Path) -> None:
    folder = make_collection(tmp_path, documents=4500)
    example = (ROOT / "docs" / "examples" / "my_encoder.py").read_text()
    stops = "    request = json.loads(line)\n    import os\n    if os.path.exists('weak') and 'texts' in request:\n"
    stops += "        served = globals().setdefault('served', []); served.append(1)\n"
    stops += "        len(served) > 80 and sys.exit('no power left')\n"
    (folder / "my_encoder.py").write_text(example.replace("    request = json.loads(line)\n", stops))
    run(by_command(folder, "whole"), ["ingest", "embed"])
    (folder / "weak").touch()
    small = by_command(folder, shard_rows=256)
    with pytest.raises(ModelError, match=r"ended with exit code 1 .*\nit wrote to standard error:\nno power left"):
        run(small, ["ingest", "embed"])
    first = folder / "out" / "embed" / "corpus" / part_name(0)
    before = first.stat().st_mtime_ns
    (folder / "weak").unlink()
    run(by_command(folder, shard_rows=256, workers=2), ["ingest", "embed"])
    assert first.stat().st_mtime_ns == before
    for side in ("corpus", "queries"):
        np.testing.assert_array_equal(vectors(folder / "out", side), vectors(folder / "whole", side))


def test_a_changed_program_makes_its_vectors_stale_and_a_changed_limit_does_not(folder: Path) -> None:
    run(by_command(folder), ["ingest", "embed"])
    unchanged = by_command(folder, embed={"command_timeout": 5, "batch_size": 7})
    assert not any(result.ran for result in run(unchanged, ["ingest", "embed"]))
    with pytest.raises(StaleOutput, match="version"):
        run(by_command(folder, embed={"command_version": "2"}), ["ingest", "embed"])
    (folder / "my_encoder.py").write_text((folder / "my_encoder.py").read_text() + "# changed\n")
    with pytest.raises(StaleOutput, match="words"):
        run(by_command(folder), ["ingest", "embed"])


def test_settings_that_do_not_go_together_are_all_named(folder: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        by_command(
            folder, embed={"model": "hash", "precision": "bfloat16", "max_length": 9}, guide={"model": "command"}
        )
    text = str(raised.value)
    for part in (
        "embed.command: given, and so is embed.model = 'hash'", "embed.precision: the program of embed.command",
        "embed.max_length: the program", 'guide.command: needed with guide.model = "command"',
    ):  # fmt: skip
        assert part in text
    assert text.count("\n") == 3
    with pytest.raises(ConfigError, match=r"embed\.command_version: used only with embed\.command"):
        config_for(folder, embed={"command_version": "2"})


def test_keys_of_other_teachers_are_those_of_before() -> None:
    assert {"command", "command_version", "command_timeout"}.isdisjoint(EmbedConfig().vector_settings())


def test_the_page_shows_the_example_as_it_is() -> None:
    example = (ROOT / "docs" / "examples" / "my_encoder.py").read_text()
    assert example.partition('"""\n\n')[2] in (ROOT / "docs" / "command.md").read_text()
