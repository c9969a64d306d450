import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

TESTS = """
from pathlib import Path

def test_a():
    (Path(__file__).parent / "kept.txt").write_text("changed")
    (Path(__file__).parent / "ignored.log").write_text("")

def test_b(request):
    if LEAVES:
        (Path(__file__).parent / "left.txt").write_text("")
"""


@pytest.mark.parametrize("options", [[], ["-n", "1"]])
@pytest.mark.parametrize("leaves", [True, False])
def test_a_file_left_in_the_checkout_fails_the_session(tmp_path: Path, leaves: bool, options: list[str]) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_it.py").write_text(TESTS.replace("LEAVES", str(leaves)))
    (tmp_path / ".gitignore").write_text("*.log\n__pycache__\n.pytest_cache\n")
    (tmp_path / "kept.txt").write_text("")  # untracked before, and after
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # conftest.py imports from tests
    command = [sys.executable, "-m", "pytest", "-q", *options, f"--rootdir={tmp_path}", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert "2 passed" in done.stdout
    assert ("a test left left.txt in the checkout" in done.stdout) == leaves
    assert "kept.txt" not in done.stdout
    assert done.returncode == int(leaves)
    shutil.rmtree(tmp_path / ".git")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, env=environment).returncode == 0
