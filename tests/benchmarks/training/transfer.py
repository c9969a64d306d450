"""The transferred models that an arm may use: for each collection one that saw none of its labels.

The model in the package is fitted on all of the collections. A benchmark on one of them would test it on labels that it
has seen.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from hnmine.science.calibration import Logistic, stack
from hnmine.stages.filter import calibration
from hnmine.stages.filter.calibration import FOLDS
from hnmine.stages.filter.features import NAMES
from hnmine.stages.filter.hidden_positives import ProtocolRows
from hnmine.storage.store import write_json
from tests.benchmarks.collections import mined
from tests.benchmarks.false_negatives import evidence, fit_on
from tests.benchmarks.training.prepare import Prepared

_FOLDER = "transfer"
_ARRAYS = ("mean", "scale", "weights", "bias")


def write_models(data: Path, work: Path) -> None:
    """Fit and store, for each collection, a model on the others; do nothing where all are there."""
    names = [path.parent.name for path in sorted(data.glob("*/vectors-corpus.parquet"))]
    if all(_stored(work, name) is not None for name in names):
        return
    known = {}
    with tempfile.TemporaryDirectory() as folder:
        for one in mined(data, Path(folder)):
            protocol = ProtocolRows.of(one.pieces, one.config)
            if protocol.measured:
                known[one.name] = evidence(protocol.rows)
    for name in names:
        model = fit_on({other: part for other, part in known.items() if other != name})
        arrays = {key: np.asarray(getattr(model, key)[0]).tolist() for key in _ARRAYS}
        write_json({"features": list(NAMES), **arrays}, work / _FOLDER / f"{name}.json")


def _stored(work: Path, name: str) -> Logistic | None:
    """Return the model stored for a collection; None where there is none, or one of other features."""
    path = work / _FOLDER / f"{name}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if found.get("features") != list(NAMES):
        return None
    return Logistic(*(np.array([found[key]], dtype=np.float64) for key in _ARRAYS))


@contextmanager
def fitted_elsewhere(prepared: Prepared) -> Iterator[None]:
    """Let hnmine transfer the model stored for a collection, if any, instead of the package's."""
    model = _stored(prepared.folder.parents[1], prepared.name)
    if model is None:
        yield
        return
    with mock.patch.object(calibration, "transferred_models", return_value=stack([model] * (FOLDS + 1))):
        yield
