"""The report's section on relabelled positives: their number, and how many such candidates are really relevant."""

from typing import Any

import numpy as np

from hnmine.config.tables import Config
from hnmine.runtime.stage import RunContext
from hnmine.science.relabelling import pick_further_positives
from hnmine.science.statistics import clustered_upper_bounds
from hnmine.stages.emit.relabel.relabelled import is_likely
from hnmine.stages.filter.calibration import OTHERS, Calibration
from hnmine.stages.filter.hidden_positives import HiddenRows, ProtocolRows
from hnmine.stages.filter.verdicts import Scorer
from hnmine.stages.report.statistics import share
from hnmine.storage.store import recorded

_Z = 1.959964
"""Two bounds of 97.5% each make an interval of 95%."""
FROM_OTHERS = (
    "the model of P(false negative) is from other collections, so it is not known how many of the relabelled documents "
    "are relevant here: read some of them (`hnmine explain`), or judge some"
)


def relabelled(context: RunContext, protocol: ProtocolRows, calibration: Calibration | None) -> dict[str, Any]:
    """Return the section `relabelled` of the report; empty where nothing is relabelled.

    Its `precision` is the share of hidden positives among the candidates that would be relabelled if they were not
    labelled: a lower bound, since labels are incomplete.

    Args:
        context: of a run whose stage emit is complete.
        protocol: the rows that are measured on.
        calibration: the filter's model.
    """
    config = context.config
    if not config.emit.relabels:
        return {}
    ingested, emitted = ((recorded(context.reading(name)) or {})["counts"] for name in ("ingest", "emit"))
    further = emitted["positives_relabelled"], emitted["positives_by_judgement"]
    found: dict[str, Any] = {
        "by_probability": further[0],
        "by_judgement": further[1],
        "queries": emitted["queries_relabelled"],
        "share": share(sum(further), ingested["positives"] + sum(further)),
        "precision": None,
        "warning": None,
    }
    if calibration is None or config.emit.relabel_probability is None:
        return {"relabelled": found}
    if not protocol.measured:
        warning = FROM_OTHERS if calibration.fitted_on == OTHERS else None
        return {"relabelled": found | {"reason": protocol.why, "warning": warning}}
    return {"relabelled": found | measure_precision(protocol.rows, config, calibration.out_of_fold())}


def measure_precision(rows: list[HiddenRows], config: Config, scorer: Scorer) -> dict[str, Any]:
    """Return precision, interval, candidates, hidden and expected of `emit.relabel` on hidden positives.

    candidates are those that would be relabelled, hidden are hidden positives among them, or documents judged relevant,
    expected is the mean P(false negative) of the candidates; the 95% interval has queries as clusters.
    """
    top, bottom, expected, queries = [], [], [np.zeros(0)], []
    for part in rows:
        picked, probability = would_be_relabelled(part, config, scorer)
        batch = part.batch
        relevant = part.is_hidden | part.keys.copies(part.keys.relevant, batch)
        owners = batch.owners[picked]
        top.append(np.bincount(owners[relevant[picked]], minlength=len(batch)))
        bottom.append(np.bincount(owners, minlength=len(batch)))
        expected.append(probability[picked])
        queries.append(batch.query_rows)
    unique, of = np.unique(np.concatenate(queries), return_inverse=True)
    hits, trials = (np.bincount(of, weights=np.concatenate(one), minlength=len(unique)) for one in (top, bottom))
    count, predicted = int(trials.sum()), np.concatenate(expected)
    found: dict[str, Any] = {"candidates": count, "hidden": int(hits.sum())}
    if not count:
        return found | {"reason": "no candidate of a query with hidden positives is that probable"}
    misses, high = clustered_upper_bounds(np.stack([trials - hits, hits], axis=1), np.stack([trials] * 2, axis=1), _Z)
    return found | {
        "precision": float(hits.sum() / count),
        "interval": [1 - float(misses), float(high)],
        "expected": float(predicted.mean()),
    }


def would_be_relabelled(rows: HiddenRows, config: Config, scorer: Scorer) -> tuple[np.ndarray, np.ndarray]:
    """Return the candidates (int64, positions) that each row would relabel, and P(false negative) of all of them."""
    # the checks alone decide, and a row of the protocol knows one positive, so it has one cell a candidate
    checks = config.filter.model_copy(update={"rule": "none", "anchor": "each"})
    batch, judged = rows.batch, rows.verdicts(checks, scorer)
    assert judged.probabilities is not None
    probability = judged.probabilities.astype(np.float32)
    likely = is_likely(judged.codes, probability, config.emit.relabel_probability or np.inf)
    at = np.flatnonzero(likely & ~rows.keys.is_judged(batch))
    owners, documents = batch.owners[at], batch.candidates.values[at]
    texts = rows.keys.documents[documents]
    picked = pick_further_positives(owners, owners, documents, texts, probability[at], config.emit.max_relabelled)
    return at[picked], probability
