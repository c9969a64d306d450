"""ECI-sem and the intervals of the report, against plain loops over what the stages left behind."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.errors import IncompleteStage
from hnmine.pipeline.run import RunOptions
from hnmine.stages.report import eci_sem as module
from tests import oracles
from tests.pipeline.helpers import report, rows, vectors
from tests.support import config_for, make_collection, tree

NAMES = (
    "coverage", "fill", "hardness", "safety", "capacity", "eci", "eci_sem", "negatives_at_or_above_positive",
)  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "each": {},
    "min": {"filter": {"anchor": "min"}},
    "probabilities": {"filter": {"probabilities": True}},
    "random": {"emit": {"num_negatives": 4, "choose": "mixed", "random_share": 0.5, "fallback": "random"}},
    "left-out": {"emit": {"bad_positives": "leave_out"}, "filter": {"bad_positive_quantile": 0.85}},
    "left-out-max": {
        "emit": {"bad_positives": "leave_out"}, "filter": {"bad_positive_quantile": 0.85, "anchor": "max"},
    },
    "few": {"filter": {"percent": 0.45}},
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("sem"), 80, 40)
    run(config_for(folder, "source", shard_rows=256), ["ingest", "embed", "index", "retrieve"])
    return folder


def mine(base: Path, name: str, **tables: Any) -> Path:
    run(config_for(base, name, **{"shard_rows": 256, **tables}), options=RunOptions(source=base / "source"))
    return base / name


def by_loops(base: Path, out: Path, leave_out: float | None) -> list[float]:
    """Return ECI-sem of each query: every positive that is emitted, with its anchor's negatives one by one."""
    e = vectors(base / "source", "corpus").astype(np.float64)
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    chosen = {(row["query_row"], row["anchor"]): row for row in pq.read_table(out / "emit/chosen").to_pylist()}
    found = []
    for q in rows(out / "filter"):
        values = []
        for place, positive in enumerate(q["positive_rows"]):
            reach = q["background_mean"] + q["background_std"]
            low = q["positive_scores"][place] <= reach
            if leave_out is not None and low and q["positive_standing"][place] < leave_out:
                continue
            anchor = place if len(q["anchor_scores"]) > 1 else 0
            own = chosen[q["query_row"], anchor]
            residuals, weights = [], []
            for at, document, s in zip(own["positions"], own["doc_rows"], own["scores"], strict=True):
                c = oracles.safety(s, q["anchor_scores"][anchor], q["background_mean"])
                if at >= 0 and q["probabilities"][anchor]:
                    c = 1 - q["probabilities"][anchor][at]
                h = oracles.hardness(s, q["anchor_scores"][anchor], q["background_mean"])
                weights.append(oracles.residual_weight(c, h, q["query_overlaps"][at] if at >= 0 else 0.0))
                residuals.append(e[document] - e[positive])
            values.append(oracles.eci_sem(residuals, weights))
        found.append(oracles.mean(values) or 0.0)
    return found


@pytest.mark.parametrize("case", CASES)
def test_eci_sem_of_each_query_is_that_of_plain_loops(base: Path, case: str) -> None:
    out = mine(base, case, **CASES[case])
    expected = by_loops(base, out, 0.85 if "left-out" in case else None)
    found = [row["eci_sem"] for row in rows(out / "report/queries")]
    assert found == pytest.approx(expected, abs=2e-5)
    assert report(out)["eci_sem"] == pytest.approx(np.mean(expected), abs=2e-5)
    assert max(expected) > 0.05
    if case == "random":
        assert any(-1 in row["positions"] for row in pq.read_table(out / "emit/chosen").to_pylist())


def test_one_document_under_many_names_is_less_than_many_documents(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    varied = report(mine(base, "varied"))
    monkeypatch.setattr(module.Chosen, "from_table", _first_only(module.Chosen.from_table))
    assert report(mine(base, "copied", seed=0, shard_rows=512))["eci_sem"] < varied["eci_sem"]


def _first_only(read: Any) -> Any:
    """Return a reader that takes each anchor's first negative for all of its negatives."""

    def copied(table: Any) -> Any:
        chosen = read(table)
        first = np.repeat(chosen.doc_rows.offsets[:-1], chosen.doc_rows.lengths)
        lists = (chosen.positions, chosen.doc_rows, chosen.scores)
        return module.Chosen(*(own.with_values(own.values[first]) for own in lists))

    return copied


def test_spans_and_shards_change_no_bit(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mine(base, "whole")
    monkeypatch.setattr(module, "BLOCK_ROWS", 8)
    monkeypatch.setattr(module, "_NUMBERS", 1)
    cut = mine(base, "cut")
    assert tree(cut) == tree(whole)
    assert rows(mine(base, "shards", shard_rows=512) / "report/queries") == rows(whole / "report/queries")


def test_every_headline_number_lies_in_its_interval(base: Path) -> None:
    found = report(mine(base, "intervals", filter={"percent": 0.5}))
    assert tuple(found["intervals"]) == tuple(sorted(NAMES))
    for name in NAMES:
        low, high = found["intervals"][name]
        assert low <= found[name] <= high
    assert found["intervals"]["hardness"][0] < found["intervals"]["hardness"][1]


def test_intervals_of_fill_and_hardness_are_those_of_plain_loops(base: Path) -> None:
    from tests.science.test_statistics import draws

    out = mine(base, "loops", filter={"percent": 0.45}, retrieve={"max_top_k": 10})
    queries, picked = rows(out / "report/queries"), draws(40, 0, 1000)
    per = {name: [[0.0] * 40, [0.0] * 40] for name in ("fill", "hardness", "coverage")}
    for row in pq.read_table(out / "emit/chosen").to_pylist():
        per["fill"][0][row["query_row"]] += len(row["positions"])
        per["fill"][1][row["query_row"]] += row["wanted"]
    for q in queries:
        per["hardness"][0][q["query_row"]] = q["hardness"] or 0.0
        per["hardness"][1][q["query_row"]] = float(q["hardness"] is not None)
        per["coverage"][0][q["query_row"]] = float(q["chosen"] > 0)
        per["coverage"][1][q["query_row"]] = 1.0
    assert 0 < sum(per["coverage"][0]) < 40
    for name, (top, bottom) in per.items():
        ends = np.nanquantile(oracles.bootstrap_ratios(top, bottom, picked), [0.025, 0.975])
        assert report(out)["intervals"][name] == pytest.approx(ends.tolist())


def test_a_set_without_negatives_has_no_interval_of_its_hardness(base: Path) -> None:
    found = report(mine(base, "none", filter={"rule": "absolute", "max_score": -5.0}))
    assert found["eci_sem"] == 0
    assert found["intervals"]["eci_sem"] == [0, 0]
    assert found["hardness"] is found["intervals"]["hardness"] is None


def test_vectors_that_are_gone_are_named(base: Path, tmp_path: Path) -> None:
    make_collection(tmp_path)
    run(config_for(tmp_path), ["ingest", "embed", "index", "retrieve", "filter", "emit"])
    shutil.rmtree(tmp_path / "out/embed/corpus")
    with pytest.raises(IncompleteStage, match="corpus holds no vectors"):
        run(config_for(tmp_path), ["report"])
