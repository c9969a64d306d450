"""Running the real command in a process of its own."""

import os
import subprocess
import tempfile
from pathlib import Path

from tests.pipeline.forkserver import ForkServer, server_process


def hnmine(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `hnmine` and return its exit code, stdout and stderr."""
    words = [str(word) for word in arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        status = ForkServer(server_process(), output).command(words, cwd or Path.cwd(), environment, output)
        said = ((output / name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(["hnmine", *words], status, *said)
