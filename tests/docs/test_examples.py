"""The training scripts of docs/examples run as they are, on a small mined set and a tiny model."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from hnmine import run
from tests.pipeline.tiny import save_tiny_bert
from tests.support import ROOT, config_for, make_collection

EMIT: dict[str, dict[str, Any]] = {
    "train_distillation.py": {"format": "distillation"},
    "train_mixing.py": {
        "format": "n-tuple", "extra_columns": ["query_id", "positive_id"], "mixing": 4, "mixing_query": 1,
    },
}  # fmt: skip
pytestmark = [pytest.mark.model, pytest.mark.slow]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection mined for each script, and an untrained model."""
    pytest.importorskip("accelerate", reason="the trainer needs it")
    folder = make_collection(tmp_path_factory.mktemp("examples"), 40, 12)
    for name, emit in EMIT.items():
        run(config_for(folder, name, emit={"num_negatives": 3, **emit}))
    save_tiny_bert(folder / "model")
    return folder


@pytest.mark.parametrize("script", EMIT)
def test_the_script_trains(script: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import load_file

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "trained"
    monkeypatch.setattr(sys, "argv", [script, str(base / script / "emit"), str(base / "model"), str(out)])
    runpy.run_path(str(ROOT / "docs/examples" / script), run_name="__main__")
    before, after = (load_file(folder / "model.safetensors") for folder in (base / "model", out))
    assert before.keys() == after.keys()
    assert any((before[name] != after[name]).any() for name in before)
