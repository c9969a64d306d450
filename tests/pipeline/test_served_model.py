"""A real server: infinity with the packaged all-MiniLM-L6-v2 gives the rows of the same model loaded here."""

import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.errors import ServerError
from hnmine.models import encoders
from hnmine.models.model_files import local_model
from hnmine.models.served import ServedEncoder
from hnmine.runtime.engines import Progress
from hnmine.storage.store import read_json
from hnmine.storage.vectors import VectorStore
from tests.support import config_for, make_collection, tree

INFINITY = os.environ.get("HNMINE_INFINITY", "")
pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.model,
    pytest.mark.skipif(not INFINITY, reason="HNMINE_INFINITY names no infinity_emb; .ci/server makes one"),
]
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


class Infinity:
    """A server process, which can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        config = config_for(self.folder, embed={"model": MINILM}).embed
        command = [
            INFINITY, "v2", "--model-id", str(local_model(config)), "--served-model-name", "minilm", "--engine",
            "torch", "--device", "cpu", "--host", "127.0.0.1", "--port", str(self.port), "--url-prefix", "/v1",
            "--no-bettertransformer", "--no-model-warmup",
        ]  # fmt: skip
        quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
        with (self.folder / "infinity.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env={**os.environ, **quiet}
            )
        while True:
            assert self.process.poll() is None, (self.folder / "infinity.log").read_text()
            try:
                with urllib.request.urlopen(f"{self.url}/models", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_collection(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def server(base):
    found = Infinity(base)
    found.start()
    yield found
    found.kill()


def config(base, out, server, **more):
    # one request at a time: the server batches what it has at hand, and padding changes a vector's last bits
    served = {"model": server.url, "requests_in_flight": 1, "request_texts": 8, "retries": 0, **more}
    return config_for(base, out, embed=served, filter={"rule": "auto"})


def test_a_served_model_gives_the_rows_of_the_same_model_loaded(base, server):
    loaded = config_for(base, "loaded", embed={"model": MINILM, "device": "cpu"}, filter={"rule": "auto"})
    served = config(base, "served", server, requests_in_flight=4)
    run(loaded)
    run(served)
    files = [sorted((one.out_folder / "emit").glob("part-*.parquet")) for one in (loaded, served)]
    assert pq.read_table(files[0]).equals(pq.read_table(files[1]))
    for side in ("corpus", "queries"):
        one, two = (VectorStore(each.out_folder / "embed" / side) for each in (loaded, served))
        rows = np.arange(one.rows)
        np.testing.assert_allclose(one.gather(rows), two.gather(rows), atol=2e-6)
    counts = read_json(served.out_folder / "embed/_manifest.json")
    assert counts["parts"]["teacher"]["stated"]["backend"] == "torch"
    assert counts["counts"]["served"]["embed"]["requests"] == 8 + 3
    assert counts["counts"]["served"]["embed"]["tokens"] > 80


def test_a_killed_server_costs_nothing_that_was_finished_and_changes_no_byte(base, server, monkeypatch):
    monkeypatch.setattr(encoders, "SERVED_ROWS", 16)
    monkeypatch.setattr(ServedEncoder, "cell_rows", 16)
    whole = config(base, "whole", server)
    run(whole)

    class Killer(Progress):
        rows = 0

        def advance(self, rows: int) -> None:
            self.rows += rows
            if self.rows > 60 + 40:  # ingest's documents and some vectors
                server.kill()

    broken = config(base, "broken", server)
    with pytest.raises(ServerError, match="same command again when the server answers"):
        run(broken, progress=Killer())
    kept = {path: path.stat().st_mtime_ns for path in (broken.out_folder / "embed").glob("*/part-*.parquet")}
    assert kept
    server.start()
    run(broken)
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert tree(broken.out_folder) == tree(whole.out_folder)
