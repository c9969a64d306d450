"""Imported by the process that workers of tests are forked from (`tests.workers`): what most of them need.

torch is not among it: its import takes longer than all that it would spare the few workers that load a model.
"""

import gc
import multiprocessing
import os

import faiss  # noqa: F401 - imported for the processes that are forked, as those below
import pyarrow as pa
import pytest  # noqa: F401
import scipy.sparse  # noqa: F401

import hnmine.pipeline.run  # noqa: F401

pa.array([0])  # imports pandas where it is installed
_own_parent = os.getppid


def _starter() -> int:
    """Return the process that asked for this worker, while it lives: the parent of a worker that is not forked."""
    starter = multiprocessing.parent_process()
    return starter.pid if starter is not None and starter.pid is not None and starter.is_alive() else _own_parent()


os.getppid = _starter
os.fsync = lambda handle: None  # as in all tests: a signal loses nothing that the system has taken
gc.freeze()  # a worker's collections leave what was imported alone, and with it the pages shared with this process
