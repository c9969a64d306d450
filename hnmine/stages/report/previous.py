"""The report's section `previous`: how the negatives changed since an earlier run, and their hardness then and now."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.runtime.stage import RunContext
from hnmine.science.agreement import agreement
from hnmine.stages.emit.previous.refresh import FATES, read_previous
from hnmine.stages.report.negatives import Negatives
from hnmine.stages.report.statistics import mean
from hnmine.storage.schemas.filter import VERDICTS

_LISTS = ("previous_scores", "previous_hardness", "scores", "hardness", "verdicts", "fates", "stays")


def against_previous(context: RunContext, chosen: pa.Table, negatives: Negatives) -> dict[str, Any]:
    """Return the section `previous` of a run whose config names an earlier one; `negatives` are in `chosen`'s order."""
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
    rows, removable = int(compared.sum()), int(had.sum())
    fates, stays = Counter(lists["fates"].tolist()), lists["stays"].astype(bool)
    verdicts = Counter(lists["verdicts"][lists["fates"] == "rejected"].tolist())
    found: dict[str, Any] = {
        "replace": config.replace,
        "queries": len(np.unique(table.column("query_row").to_numpy()[compared])),
        "rows": rows,
        "rows_changed": int((shared < union).sum()) / rows if rows else None,
        "churn": int((had - shared).sum()) / removable if removable else None,
        "overlap": float((shared[most > 0] / most[most > 0]).mean()) if (most > 0).any() else None,
        "negatives": {"before": removable, "now": int(has.sum()), "shared": int(shared.sum())},
        "then": {"score": mean(lists["previous_scores"]), "hardness": mean(lists["previous_hardness"])},
        "now": {"score": mean(lists["scores"]), "hardness": mean(lists["hardness"])},
        "new": {
            "score": mean(negatives.score[compared[negatives.anchor]]),
            "hardness": mean(negatives.hardness[compared[negatives.anchor]]),
        },
        "fates": {"gone": int(gone.sum())} | {name: fates[name] for name in FATES},
        "rejected_by": {name: verdicts[name] for name in VERDICTS if verdicts[name]},
    }
    if config.replace == "easy":
        found |= {"stayed": int(stays.sum()), "no_room": fates["hard"] - int(stays.sum())}
    return found
