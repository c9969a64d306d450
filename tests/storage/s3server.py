"""An S3 server on this machine, for tests: buckets in memory, reached as the real ones are, by the environment."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support import comparable

BUCKET = "mined"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3_server() -> Iterator[str]:
    """Start a server with the bucket `BUCKET`, say so in the environment, and return its address."""
    server_module = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or it names every request
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(name, value)
        store().call_s3("create_bucket", Bucket=BUCKET)
        yield f"http://{host}:{port}"
    server.stop()


def store() -> Any:
    """Return a view of the server that keeps nothing in mind, and is none of the package's own."""
    import s3fs

    return s3fs.S3FileSystem(use_listings_cache=False, version_aware=False)


def new_folder() -> str:
    """Return the URL of a folder in which nothing is yet."""
    return f"s3://{BUCKET}/{secrets.token_hex(4)}/run"


def objects(url: str) -> dict[str, bytes]:
    """Return every object below a URL that must be equal from run to run, by its name in there."""
    root = url.removeprefix("s3://")
    return comparable((path.removeprefix(f"{root}/"), store().cat_file(path)) for path in sorted(store().find(root)))


def written(url: str) -> dict[str, Any]:
    """Return for every object below a URL when it was last written."""
    root = url.removeprefix("s3://")
    return {
        name.removeprefix(f"{root}/"): info["LastModified"] for name, info in store().find(root, detail=True).items()
    }
