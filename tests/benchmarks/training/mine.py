"""Mined sets: hnmine runs in process for an arm's settings, or the arm's own function; and what the sets are like."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.arrays.ragged import Ragged
from hnmine.pipeline.run import RunOptions, run
from hnmine.stages.emit.formats import Examples, labeled_list
from hnmine.storage.store import read_json, write_table
from tests.benchmarks.collections import BEFORE_FILTER
from tests.benchmarks.training.arms import ARMS, Arm
from tests.benchmarks.training.prepare import Prepared
from tests.benchmarks.training.transfer import fitted_elsewhere

AFTER_RETRIEVE = ("hubs", "filter", "emit", "report")
IDS = ["query_id", "positive_id", "negative_id"]


class MinedSet(NamedTuple):
    """A mined set: the corpus rows of each example's positive and of its negatives.

    There is one example for each training query, in the order of the runs; with relabelled positives, further ones
    follow, and `queries` has the query of every example.
    """

    positives: np.ndarray
    negatives: Ragged
    queries: np.ndarray | None = None

    @property
    def asked(self) -> np.ndarray:
        """The training query of each example, int64."""
        return np.arange(len(self.positives)) if self.queries is None else self.queries


def mine(prepared: Prepared, arm: str, settings: Arm | None = None) -> Path:
    """Mine for an arm and return its folder: training rows in emit/ (labeled-list), report/report.json if hnmine ran.

    A setting of hnmine that writes something else than before replaces what is there.

    Args:
        prepared: the collection.
        arm: a name of `ARMS`, or any name of the settings.
        settings: the arm; default: that of the name.
    """
    one = settings or ARMS[arm]
    folder = prepared.folder / "arms" / arm.replace(" ", "_")
    if one.make is not None:
        if not (folder / "emit").exists():
            _write(prepared, one.make(prepared), folder / "emit" / "part-00000.parquet", one.wanted)
        return folder
    emit = {"format": "labeled-list", "extra_columns": IDS, "num_negatives": one.wanted, **one.emit}
    source, tables = prepared.retrieved(one.top_k).config.out_folder, {"retrieve": {"top_k": one.top_k}}
    if one.base is not None:
        tables = one.base(prepared)
        based = prepared.config(prepared.folder / f"base-{one.base.__name__}", **tables)
        run(based, BEFORE_FILTER + ("rescore",) * ("rescore" in tables), RunOptions(overwrite=True))
        source = based.out_folder
    config = prepared.config(folder, **tables, filter=one.filter, emit=emit)
    with fitted_elsewhere(prepared):
        run(config, AFTER_RETRIEVE, RunOptions(source=source, overwrite=True))
    return folder


def _write(prepared: Prepared, negatives: Ragged, path: Path, wanted: int) -> None:
    """Write negatives as emit would."""
    texts = pa.array(prepared.corpus.texts)
    ids = pa.array(_canonical_ids(prepared))
    positives = pa.array(prepared.known)
    columns = {
        "anchor": pa.array(prepared.training.texts),
        "positive": texts.take(positives),
        "query_id": pa.array(prepared.training.ids),
        "positive_id": ids.take(positives),
    }
    rows = pa.array(negatives.values)
    own = {"negative": texts.take(rows), "negative_id": ids.take(rows)}
    write_table(labeled_list(Examples(wanted, columns, negatives.lengths, own), IDS), path, "")


def _canonical_ids(prepared: Prepared) -> list[str]:
    names: dict[int, str] = {}
    for name, row in prepared.corpus.rows.items():
        names.setdefault(row, name)  # a copy's id comes after that of its first document
    return [names[row] for row in range(len(names))]


def read_set(prepared: Prepared, folder: Path) -> MinedSet:
    """Return the training rows of an arm's folder; a query without rows of its label has no negatives."""
    table = pq.read_table(sorted((folder / "emit").glob("part-*.parquet")), columns=[*IDS])
    at = {name: row for row, name in enumerate(prepared.training.ids)}
    rows = prepared.corpus.rows
    lists: list[list[int]] = [[] for _ in at]
    further: list[tuple[int, int]] = []
    for query_id, positive_id, negatives in zip(*(table.column(name).to_pylist() for name in IDS), strict=True):
        query, positive, own = at[query_id], rows[positive_id], [rows[name] for name in negatives]
        if positive == prepared.known[query]:
            lists[query] = own
        else:
            further.append((query, positive))
            lists.append(own)
    values = np.array([row for own in lists for row in own], dtype=np.int64)
    found = Ragged.from_lengths(values, np.array([len(own) for own in lists]))
    if not further:
        return MinedSet(prepared.known, found)
    queries, positives = np.array(further, dtype=np.int64).T
    return MinedSet(np.concatenate([prepared.known, positives]), found, np.concatenate([np.arange(len(at)), queries]))


def measure(prepared: Prepared, mined: MinedSet, wanted: int) -> dict[str, Any]:
    """Return false_negatives (share of negatives that a hidden label calls relevant), cosine (mean), fill, negatives.

    The shares are None without negatives.
    """
    negatives = mined.negatives
    count = len(negatives.values)
    fill = count / (wanted * len(negatives))
    if not count:
        return {"false_negatives": None, "cosine": None, "fill": fill, "negatives": 0}
    queries, corpus = prepared.vectors()
    owners = mined.asked[negatives.owners]
    false = prepared.training.relevant.contains(owners, negatives.values)
    cosine = np.einsum("nd,nd->n", queries[owners], corpus[negatives.values])
    return {
        "false_negatives": float(false.mean()), "cosine": float(cosine.mean()), "fill": fill, "negatives": count,
    }  # fmt: skip


def report_numbers(folder: Path) -> dict[str, float]:
    """Return the numbers of an arm's report, nested names dotted; empty where hnmine did not run."""
    report = read_json(folder / "report" / "report.json")
    return dict(_numbers(report, "")) if report else {}


def _numbers(value: Any, name: str) -> list[tuple[str, float]]:
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [(name, float(value))]
    if isinstance(value, dict):
        parts = [_numbers(own, f"{name}.{key}" if name else key) for key, own in value.items() if key != "timings"]
        return [one for part in parts for one in part]
    return []
