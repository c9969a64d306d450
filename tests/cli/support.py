"""Running the real command in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def hnmine(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `hnmine` and return its exit code, stdout and stderr."""
    return subprocess.run(
        [sys.executable, "-m", "hnmine", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"},
    )
