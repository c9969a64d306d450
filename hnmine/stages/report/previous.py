"""The report's section on an earlier run: how its negatives changed, and how hard they were and are."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.runtime.stage import RunContext
from hnmine.science.agreement import agreement
from hnmine.stages.emit.previous.refresh import FATES, read_previous
from hnmine.stages.report.distributions import Negatives
from hnmine.storage.schemas.filter import VERDICTS


def against_previous(context: RunContext, chosen: pa.Table, negatives: Negatives) -> dict[str, Any]:
    """Return the section `previous` of the report of a run whose config names an earlier one.

    Args:
        context: the run.
        chosen: the chosen table.
        negatives: facts of the chosen, in its order.
    """
    config = context.config.previous
    assert config is not None
    table = read_previous(context.reading("emit"))
    compared, gone = table.column("compared").to_numpy(zero_copy_only=False), table.column("gone").to_numpy()
    before, now = (Ragged.from_arrow(one.column("doc_rows")) for one in (table, chosen))
    lists = {name: Ragged.from_arrow(table.column(name)).values for name in _LISTS}
    ours = compared[now.owners]
    shared, union = agreement([(before.owners, before.values), (now.owners[ours], now.values[ours])], len(before))
    had, has = (before.lengths + gone)[compared], now.lengths[compared]
    shared, union = shared[compared], (union + gone)[compared]
    most = np.maximum(had, has)
    fates, stays = Counter(lists["fates"].tolist()), lists["stays"].astype(bool)
    verdicts = Counter(lists["verdicts"][lists["fates"] == "rejected"].tolist())
    found: dict[str, Any] = {
        "replace": config.replace,
        "queries": len(np.unique(table.column("query_row").to_numpy()[compared])),
        "rows": int(compared.sum()),
        "rows_changed": _share(int((shared < union).sum()), int(compared.sum())),
        "churn": _share(int((had - shared).sum()), int(had.sum())),
        "overlap": float((shared[most > 0] / most[most > 0]).mean()) if (most > 0).any() else None,
        "negatives": {"before": int(had.sum()), "now": int(has.sum()), "shared": int(shared.sum())},
        "then": {"score": _mean(lists["previous_scores"]), "hardness": _mean(lists["previous_hardness"])},
        "now": {"score": _mean(lists["scores"]), "hardness": _mean(lists["hardness"])},
        "new": {
            "score": _mean(negatives.score[compared[negatives.anchor]]),
            "hardness": _mean(negatives.hardness[compared[negatives.anchor]]),
        },
        "fates": {"gone": int(gone.sum())} | {name: fates[name] for name in FATES},
        "rejected_by": {name: verdicts[name] for name in VERDICTS if verdicts[name]},
    }
    if config.replace == "easy":
        found |= {"stayed": int(stays.sum()), "no_room": fates["hard"] - int(stays.sum())}
    return found


_LISTS = ("previous_scores", "previous_hardness", "scores", "hardness", "verdicts", "fates", "stays")


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: np.ndarray) -> float | None:
    return float(values.astype(np.float64).mean()) if len(values) else None
