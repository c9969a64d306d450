"""The training scripts of docs/examples run as they are, on a small mined set and a tiny model."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from hnmine import run
from tests.pipeline.tiny import save_tiny_bert
from tests.support import ROOT, config_for, make_collection

pytestmark = [pytest.mark.model, pytest.mark.slow]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection mined for both scripts, and an untrained model."""
    pytest.importorskip("accelerate", reason="the trainer needs it")
    folder = make_collection(tmp_path_factory.mktemp("examples"), 40, 12)
    run(config_for(folder, emit={"format": "distillation", "num_negatives": 3}))
    save_tiny_bert(folder / "model")
    return folder


def train(script: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Run a script and return the weights before and after."""
    from safetensors.numpy import load_file

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", [script, str(base / "out/emit"), str(base / "model"), str(tmp_path / "trained")])
    runpy.run_path(str(ROOT / "docs/examples" / script), run_name="__main__")
    return tuple(load_file(folder / "model.safetensors") for folder in (base / "model", tmp_path / "trained"))


@pytest.mark.parametrize("script", ["train_distillation.py"])
def test_the_script_trains(script: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = train(script, base, tmp_path, monkeypatch)
    assert before.keys() == after.keys()
    assert any((before[name] != after[name]).any() for name in before)
