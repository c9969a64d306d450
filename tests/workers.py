"""Worker processes of tests, cheap to start: forked from a process that has imported hnmine."""

import multiprocessing
import os
from functools import cache
from multiprocessing.context import BaseContext
from unittest import mock

from tests.support import ROOT

# set by pytest for each test, and by torch and tokenizers where they are imported, which workers do themselves
_CHANGING = {"PYTEST_CURRENT_TEST", "KMP_INIT_AT_FORK", "TORCHINDUCTOR_CACHE_DIR", "TOKENIZERS_PARALLELISM"}


def forked_context() -> BaseContext:
    """Return multiprocessing's fork server, or spawn if the environment is no longer that in which it started."""
    context, environment = _server()
    return context if environment == _environment() else multiprocessing.get_context("spawn")


@cache
def _server() -> tuple[BaseContext, dict[str, str]]:
    """Start the server; it ends with this process. Return it and the environment of its workers."""
    from multiprocessing import forkserver  # Windows has none

    context, environment = multiprocessing.get_context("forkserver"), _environment()
    context.set_forkserver_preload(["tests.preload"])
    with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)):  # the server does not get this process' path
        forkserver.ensure_running()
    return context, environment


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _CHANGING}
